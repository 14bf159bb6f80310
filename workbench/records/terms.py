"""The words of the records: the values that a setting, a status or a verdict may take."""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    """The number format asked for in the layers that carry weights."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    INT4 = "int4"  # weights only
    FP8 = "fp8"  # E4M3


class Region(StrEnum):
    """What one timed call encloses."""

    HOST_TO_HOST = "host-to-host"  # NumPy arrays in, NumPy arrays out
    COMPUTE = "compute"  # inputs already in place; the call runs the engine and waits for it
    DEVICE = "device"  # the GPU's own time between two CUDA events around the engine's launches


class Wait(StrEnum):
    """How the host waits for a GPU."""

    SPIN = "spin"  # asks again and again: quick to notice, and keeps a core busy
    BLOCK = "block"  # sleeps until the driver wakes it


CPU = "cpu"
"""``device`` of what runs on the processor."""


class Calibration(StrEnum):
    """How INT8 activation ranges are chosen from calibration samples."""

    MINMAX = "minmax"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"
    DISTRIBUTION = "distribution"


class Status(StrEnum):
    """Where a row of the results stands."""

    PLANNED = "planned"
    PREPARING = "preparing"
    BUILDING = "building"
    BUILT = "built"
    MEASURING = "measuring"
    SCORING = "scoring"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNSUPPORTED = "not possible"


FINAL = frozenset({Status.BUILT, Status.DONE, Status.FAILED, Status.CANCELLED, Status.UNSUPPORTED})


class Verdict(StrEnum):
    """What a comparison says."""

    FASTER = "faster"
    SLOWER = "slower"
    CANNOT_TELL = "cannot tell"
    BASELINE = "baseline"


class Until(StrEnum):
    """When enough is known of a variant, unless the time is up before."""

    KNOWN = "known"  # who is faster, or the interval is as narrow as was asked for
    NARROW = "narrow"  # the interval is as narrow as was asked for, whoever is faster


class Ended(StrEnum):
    """What ended the measuring of a variant."""

    KNOWN = "verdict known"  # the interval of its ratio to the baseline left out 1
    NARROW = "interval narrow"  # it was as narrow as was asked for
    BUDGET = "budget spent"
    FIXED = "fixed time"  # a protocol's, a single launch's, or that of a variant with nothing to be compared with
