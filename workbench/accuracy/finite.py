"""Values that are not finite in a model's outputs: counts by output, and sentences about them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from workbench.accuracy.by_sample import is_ragged
from workbench.accuracy.outputs import by_row


def not_finite(outputs: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Counts of samples with NaN or infinity, as text by output: ``{"o": "NaN for 300 of 300 samples"}``."""
    found = {}
    for name, array in outputs.items():
        counts = []
        for word, test in (("NaN", np.isnan), ("infinite", np.isinf)):
            if is_ragged(array):
                number = sum(bool(test(one).any()) for one in array if one.dtype.kind == "f")
            else:
                number = int(test(by_row(array)).any(axis=1).sum()) if array.dtype.kind == "f" else 0
            if number:
                counts.append(f"{word} for {number} of {len(array)} samples")
        if counts:
            found[name] = " and ".join(counts)
    return found


def not_finite_remarks(found: Mapping[str, str]) -> list[str]:
    """Sentences about the result of :func:`not_finite` for the source model's outputs."""
    return [
        f"The output '{name}' of the source model is not finite: {counts}. Samples with NaN are left out of agreement, and no accuracy is claimed "
        "for samples with NaN or infinity."
        for name, counts in found.items()
    ]
