"""Calibration and test samples are never the same: told apart by a digest of every row."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.data.samples import Samples


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
