"""Metrics of text and of sequences of class numbers: edits from the output to the label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from workbench.accuracy.outputs import shown
from workbench.accuracy.truth import Truth
from workbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np

BLANK = 0
"""The blank class of CTC outputs, which is not a character (Graves et al. 2006), as in Paddle's and most recognizers."""


def edit_parts(*, words: bool) -> Callable[..., np.ndarray]:
    """Edits and the label's length of each sample, float64, (n, 2); Levenshtein's distance by RapidFuzz."""

    def parts(outputs: np.ndarray, truth: Truth) -> np.ndarray:
        import numpy as np

        try:
            from rapidfuzz.distance import Levenshtein
        except ImportError as cause:
            raise InputError(
                "Word and character errors need the package 'rapidfuzz', which is not installed. Install it with: pip install "
                '"inference-workbench[text]"'
            ) from cause
        found, wanted = _sequences(outputs, words=words), _sequences(truth.values, words=words)
        if len(found) != len(wanted):
            raise InputError(
                f"There are {len(wanted)} texts in the labels and {len(found)} in the scored output. Save one text per sample."
            )
        if not any(map(len, wanted)):
            raise InputError("All labels are empty texts, so that an error rate is not defined. Save the right texts.")
        return np.array([(Levenshtein.distance(a, b), len(b)) for a, b in zip(found, wanted, strict=True)], np.float64)

    return parts


def _sequences(array: np.ndarray, *, words: bool) -> list[Sequence[Any]]:
    """Characters or words of each sample. Text is split. Scores, [samples × steps × classes], are decoded greedily as CTC: the
    largest of each step, repetitions merged, blanks (class 0) left out. Rows of integers are class numbers; negative ones are left
    out.
    """
    import numpy as np

    if array.dtype.kind in "OUS":
        texts = [str(text) for text in array.ravel()]
        return [text.split() if words else list(text) for text in texts]
    if words:
        raise InputError(
            "'wer' compares words, and this output is not text. Choose 'cer', or give a function as 'metric'."
        )
    if array.dtype.kind == "f":
        if array.ndim != 3:
            raise InputError(
                f"'cer' needs text, or scores [samples × steps × classes], and the scored output is {shown(array.shape)}. Choose "
                "another output with 'score_output', or another 'metric'."
            )
        best = array.argmax(axis=2)
        changed = np.diff(best, axis=1, prepend=-1) != 0
        return [row[keep & (row != BLANK)].tolist() for row, keep in zip(best, changed, strict=True)]
    return [row[row >= 0].tolist() for row in array.reshape(len(array), -1)]


def rate(parts: np.ndarray) -> float:
    """All edits divided by all lengths: long samples have more weight, as is usual for word and character error rates."""
    edits, lengths = parts.sum(axis=0)
    return float(edits / max(lengths, 1))
