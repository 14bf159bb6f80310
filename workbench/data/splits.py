"""Which samples calibrate, and that none of them is tested: rows drawn over all classes, and compared by a digest of each."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from workbench.data.samples import Samples

SEED = 0
"""Of the draw of calibration samples. It is no setting: another draw would mean other engines and other test samples."""


def drawn(count: int, wanted: int, labels: np.ndarray | None) -> tuple[np.ndarray, str]:
    """Numbers of the rows that calibrate, and how they were chosen, in words.

    Where the labels are classes, each class gets its share of the rows, and at least one where ``wanted`` allows it; the rows of a
    class are drawn at random with the seed :data:`SEED`. Otherwise the rows are spread evenly over the whole file, because files
    are often sorted. In either case any first part of the answer is a draw of the same kind.

    Args:
        count: rows in all.
        wanted: how many to choose, from 1 to ``count``.
        labels: shape ``(count,)``, class numbers or text; ``(count, classes)``, one-hot; anything else says nothing of classes.

    Returns:
        int64 array of shape ``(wanted,)``, without repetition.
    """
    import numpy as np

    generator = np.random.default_rng(SEED)
    classes = _classes(labels)
    if classes is None:
        rows = (np.arange(wanted) * count) // wanted
        return generator.permutation(rows), "spread evenly over the rows"
    names, numbers, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    shares = _shares(sizes, wanted)
    chosen = [generator.permutation(np.flatnonzero(numbers == number))[:share] for number, share in enumerate(shares)]
    named = names >= 0 if names.dtype.kind in "iu" else np.ones(len(names), bool)  # below 0: rows without a label
    number, used = int(named.sum()), int((named & (shares > 0)).sum())
    over = f"all {number} classes" if used == number else f"{used} of {number} classes"
    return generator.permutation(np.concatenate(chosen)), f"drawn at random over {over}"


def _classes(labels: np.ndarray | None) -> np.ndarray | None:
    """One class for each row, or ``None`` where the labels are not classes."""
    import numpy as np

    if labels is None or not len(labels):
        return None
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind in "iub" and (labels.sum(axis=1) == 1).all():
        return np.asarray(labels.argmax(axis=1))
    if labels.ndim != 1 or labels.dtype.kind not in "iubU":
        return None
    return labels if 2 * len(np.unique(labels)) <= len(labels) else None


def _shares(sizes: np.ndarray, wanted: int) -> np.ndarray:
    """How many rows each class gives: in proportion to its size, at least one, and not its last, as far as that is possible."""
    import numpy as np

    exact = sizes * wanted / sizes.sum()
    least = (sizes > 1) & (wanted >= len(sizes))
    most = np.maximum(sizes - 1, 0) if wanted <= (sizes - 1).sum() else sizes
    shares: np.ndarray = np.minimum(np.maximum(np.floor(exact).astype(np.int64), least), most)
    while shares.sum() != wanted:
        missing = shares.sum() < wanted
        open_ = shares < most if missing else shares > 1 if (shares > 1).any() else shares > 0
        gain = (exact - shares) if missing else (shares - exact)
        shares[np.argmax(np.where(open_, gain, -np.inf))] += 1 if missing else -1
    return shares


def row_digests(samples: Samples) -> list[bytes]:
    """One digest per sample over all of its inputs: names, types, shapes and bytes. Labels and constants are left out."""
    totals = [hashlib.blake2b(digest_size=16) for _ in range(samples.count)]
    for name, array in sorted(samples.inputs.items()):
        head = json.dumps([name, array.dtype.str, array.shape[1:]]).encode()
        for total, row in zip(totals, array, strict=True):
            total.update(head + (repr(row.tolist()).encode() if array.dtype == object else row.tobytes()))
    return [total.digest() for total in totals]


def held_apart(calibration: Samples, test: Samples) -> tuple[Samples, int]:
    """``test`` without the samples that are among ``calibration`` too, and how many those were.

    Raises:
        InputError: none would be left.
    """
    if not test.inputs:
        return test, 0  # nothing but constants: there is one sample
    known = set(row_digests(calibration))
    kept = [number for number, digest in enumerate(row_digests(test)) if digest not in known]
    if not kept:
        raise InputError(
            f"All {test.count} test samples are among the calibration samples too, so that nothing is left to test on. Give "
            "other calibration samples, or set 'calibration_samples' lower."
        )
    left_out = test.count - len(kept)
    return (test.take(kept) if left_out else test), left_out


def apart_in_words(test: Samples, left_out: int) -> str:
    """What to tell of samples that were left out; empty where there were none."""
    if not left_out:
        return ""
    return f"; {left_out:,} more were the same as calibration samples and are not tested, {test.count:,} are"


def told_apart(calibration: Samples | None, test: Samples, description: str) -> tuple[Samples, str]:
    """The test samples to use, and the description with what was left out."""
    if calibration is None:
        return test, description
    kept, left_out = held_apart(calibration, test)
    return replace(kept, name=test.name), description + apart_in_words(kept, left_out)
