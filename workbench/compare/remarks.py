"""What a reader should know of a row beside its numbers."""

from __future__ import annotations

from typing import NamedTuple

from workbench.accuracy.guard import disagreement
from workbench.records import Accuracy, Ended, Precision, Region, Result, Row, Status, Timing

UNEVEN = 1.5
"""A mean above so many medians is reported: samples/s is computed from the median, and a long run of calls would be slower."""

CANNOT_TELL = "cannot tell: "
NOT_SCORED = "it had been timed when it was cancelled, and was not scored"


class Remark(NamedTuple):
    """One remark on a row."""

    text: str
    ranges: bool = False
    """Whether remarks of other rows that differ in their figures only may be given as one with ranges."""


def remark(result: Result, row: Row | None, refused: str) -> str:
    """Remarks on one row of the table; "" where there are none.

    ``refused`` is why the row must not be compared with the baseline.
    """
    return "; ".join(each.text for each in remarks(result, row, refused))


def remarks(result: Result, row: Row | None, refused: str) -> list[Remark]:
    """:func:`remark` as a list."""
    found = [Remark(text, text.startswith(CANNOT_TELL)) for text in essential(result, row, refused)]
    return found + [Remark(text, ranges=True) for text in _disturbances(result, row)]


def disturbances(result: Result, row: Row | None) -> str:
    """What disturbed the rounds of a row, in words; "" where there is nothing."""
    return "; ".join(_disturbances(result, row))


def _disturbances(result: Result, row: Row | None) -> list[str]:
    parts = [row.note] if row and row.note else []
    parts += _disturbed(result.timing) if result.timing else []
    return [part.rstrip(". ") for part in parts if part]


def essential(result: Result, row: Row | None, refused: str, *, counters: bool = True) -> list[str]:
    """:func:`remark` without what disturbed its rounds, and without what was only counted beside them unless ``counters``."""
    parts = [
        disagreement(result),
        result.failure.message if result.failure else "",
        result.engine.note if result.engine else "",
        f"not compared: {refused}" if refused else "",
    ]
    if row and row.why:
        ended = what_ended(result)
        parts.append(f"{CANNOT_TELL}{row.why}" + (f" ({ended})" if ended and ended != Ended.FIXED.text else ""))
    if result.timing and result.status == Status.CANCELLED:
        parts.append(NOT_SCORED)
    if row and row.across:
        parts.append(f"the ratio is across devices: {result.device} here, {row.across} for the baseline")
    parts.append(agreement_text(result.accuracy) if result.accuracy else "")
    if result.timing:
        parts += _timing_notes(result.timing, counters=counters)
    if result.timing and result.timing.device and result.spec.precision == Precision.FP32:
        parts.append("TF32 allowed" if result.spec.tf32 else "no TF32")
    return [part.rstrip(". ") for part in parts if part]


def what_ended(result: Result) -> str:
    """What ended the measuring of a row, in words; "" for a row without a timing, and for one that was cancelled, where it would be
    read as the reason of that.
    """
    return result.timing.ended.text if result.timing and result.status != Status.CANCELLED else ""


def agreement_text(score: Accuracy) -> str:
    """The output that a score's agreement is of, how the others agree, and the limits of the agreement; "" where that says nothing."""
    parts = []
    if len(score.agreements) > 1 and score.agreement < 1:
        others = ", ".join(
            f"'{name}' {share:.1%}" for name, share in score.agreements.items() if name != score.agreement_output
        )
        count = len(score.agreements)
        parts.append(
            f"agreement is that of '{score.agreement_output}', the worst of {count} outputs (others: {others})"
        )
    if score.positions and score.agreement < 1:
        parts.append("a sample agrees only where its answers at all positions or steps are equal")
    if score.together > 1:
        parts.append(
            f"agreement is of {score.samples} batches of {score.together}, because which rows of '{score.agreement_output}' belong to "
            "which sample is not known"
        )
    if score.not_compared:
        left = score.not_compared
        parts.append(
            f"{left} of {score.samples} samples are left out of the agreement, for which the source model's values are not finite"
        )
    parts += [
        f"'{name}' is not compared: {why}"
        for name, why in score.left_out.items()
        if not why.startswith("'score_output'")
    ]
    return "; ".join(parts)


def _timing_notes(timing: Timing, *, counters: bool) -> list[str]:
    parts = []
    if timing.streams > 1:
        parts.append(f"{timing.streams} calls in flight: times are between two answers, not latencies")
    if device := timing.device:
        parts += ["CUDA graph"] if device.graph else []
        if timing.region == Region.DEVICE and device.runs > 1:
            parts.append(f"each time is the mean over {device.runs} runs in one graph")
        parts += [f"no CUDA graph: {device.graph_note}"] if device.graph_note else []
    parts += _gpu_counters(timing) if counters else []
    blocks = len(timing.blocks)
    parts += [
        f"clocks held down by {why} in {count} of {blocks} blocks" for why, count in timing.throttled_blocks.items()
    ]
    return parts


def _gpu_counters(timing: Timing) -> list[str]:
    """The parts of a call on a GPU, its memory and its clock."""
    parts = []
    if device := timing.device:
        copy_in, compute, copy_out = (f"{seconds * 1e3:.3f}" for seconds in device.split_s)
        parts.append(f"copies in {copy_in} ms, computes {compute} ms, copies out {copy_out} ms")
        if device.memory_basis.startswith("NVML"):
            parts.append(f"GPU memory {device.memory_bytes / 2**20:,.0f} MiB")
        else:  # the fall of the device's free memory is that of every engine in it
            parts.append("GPU memory not known: NVML does not list this process")
    if clocks := timing.sm_mhz:
        parts.append(f"clock {' to '.join(f'{mhz:,}' for mhz in dict.fromkeys(clocks))} MHz")
    return parts


def _disturbed(timing: Timing) -> list[str]:
    parts, blocks = [], len(timing.blocks)
    if noisy := timing.noisy_blocks:
        parts.append(f"{noisy} of {blocks} blocks were disturbed")
    parts += [f"{count} of {blocks} blocks were spoiled by {why}" for why, count in timing.spoiled_blocks.items()]
    mean = float(timing.samples_s.mean())
    if mean > UNEVEN * timing.median_s:
        parts.append(
            f"calls took {mean / timing.median_s:.1f} times the median on average, because some were held up; samples/s is "
            "computed from the median"
        )
    return parts
