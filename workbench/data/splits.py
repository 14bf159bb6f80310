"""Selection of calibration samples, drawn over all classes, and their removal from the test samples by a digest of each row."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from workbench.data.samples import Samples
from workbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np

SEED = 0
"""Seed of the draw of calibration samples. It is not a setting, because another draw gives other engines and other test samples."""


def drawn(count: int, wanted: int, labels: np.ndarray | None) -> tuple[np.ndarray, str]:
    """Numbers of the calibration rows, and a phrase that says how they were chosen.

    Where the labels are classes, each class contributes its share of the rows, and at least one where ``wanted`` allows it. The rows
    of a class are drawn at random with the seed :data:`SEED`. Otherwise the rows are spread evenly over the whole file, because files
    are often sorted. In both cases every leading part of the result is a draw of the same kind.

    Args:
        count: number of rows.
        wanted: number of rows to choose, from 1 to ``count``.
        labels: shape ``(count,)``, class numbers or text, or ``(count, classes)``, one-hot; labels of other forms are not used.

    Returns:
        int64 array of shape ``(wanted,)``, without repetition, and the phrase.

    Example:
        >>> rows, how = drawn(100, 4, None)
        >>> sorted(rows.tolist()), how
        ([0, 25, 50, 75], 'spread evenly over the rows')

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
    """Number of rows from each class: in proportion to its size, at least one and not all of them, as far as possible."""
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
    """One SHA-256 digest (bytes) per sample over all its inputs: names, types, shapes and bytes. Labels and constants are left out."""
    totals = [hashlib.blake2b(digest_size=16) for _ in range(samples.count)]
    for name, array in sorted(samples.inputs.items()):
        head = json.dumps([name, array.dtype.str, array.shape[1:]]).encode()
        for total, row in zip(totals, array, strict=True):
            total.update(head + (repr(row.tolist()).encode() if array.dtype == object else row.tobytes()))
    return [total.digest() for total in totals]


def without_overlap(calibration: Samples | None, test: Samples) -> tuple[Samples, str]:
    """``test`` without the samples that are also in ``calibration``, and a phrase about those left out; "" for none.

    Raises:
        InputError: no sample remains.
    """
    if calibration is None or not test.inputs:  # without inputs all are constants: there is one sample
        return test, ""
    known = set(row_digests(calibration))
    kept = [number for number, digest in enumerate(row_digests(test)) if digest not in known]
    if not kept:
        raise InputError(
            f"All {test.count} test samples are also calibration samples, so that no test sample remains. Give other calibration "
            "samples, or set 'calibration_samples' lower."
        )
    left_out = test.count - len(kept)
    if not left_out:
        return test, ""
    text = f"; {left_out:,} samples are also calibration samples and are not tested, {len(kept):,} are tested"
    return test.take(kept), text


def more_set_aside(calibration: Samples | None, test: Samples) -> str:
    """A sentence where more samples are set aside for calibration than are left to test on; else ""."""
    if calibration is None or calibration.count <= test.count:
        return ""
    return (
        f"{calibration.count:,} samples calibrate and only {test.count:,} are left to test on, so that losses are known less exactly than with "
        "fewer: set 'calibration_samples' lower, or give more data."
    )
