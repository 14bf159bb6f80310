"""Enumerations of the records: the values of settings, statuses and verdicts."""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    """The requested number format of the layers with weights."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    INT4 = "int4"  # weights only
    FP8 = "fp8"  # E4M3


class Region(StrEnum):
    """The region that one timed call encloses."""

    HOST_TO_HOST = "host-to-host"  # NumPy arrays in, NumPy arrays out
    COMPUTE = "compute"  # inputs already in place; the call runs the engine and waits for it
    DEVICE = "device"  # the GPU's own time between two CUDA events around the engine's launches


class Wait(StrEnum):
    """How the host waits for a GPU."""

    SPIN = "spin"  # polls: reacts quickly, and keeps a core busy
    BLOCK = "block"  # sleeps until the driver wakes it


CPU = "cpu"
"""``device`` of engines that run on the CPU."""


class Calibration(StrEnum):
    """Methods of choosing INT8 activation ranges from calibration samples."""

    MINMAX = "minmax"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"
    DISTRIBUTION = "distribution"


class Status(StrEnum):
    """The status of a row of the results."""

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
    """The verdict of a comparison."""

    FASTER = "faster"
    SLOWER = "slower"
    CANNOT_TELL = "cannot tell"
    BASELINE = "baseline"


class Until(StrEnum):
    """When the measuring of a variant ends, unless its time limit comes first."""

    KNOWN = "known"  # the verdict is known, or the interval is as narrow as requested
    NARROW = "narrow"  # the interval is as narrow as requested, whatever the verdict


class Ended(StrEnum):
    """The reason for the end of a variant's measuring."""

    KNOWN = "verdict known"  # the interval of its ratio to the baseline excludes 1
    NARROW = "interval narrow"  # it is as narrow as requested
    BUDGET = "budget spent"
    TIME = "run ended early"  # its time limit, or a request to finish; a later run can go on
    FIXED = "fixed time"  # of a protocol, a single launch, or a variant without a baseline

    @property
    def text(self) -> str:
        """In words for people, to whom a budget is that of the accuracy."""
        words = {Ended.BUDGET: "longest time for a row reached", Ended.KNOWN: "enough for its verdict"}
        return words.get(self, str(self))
