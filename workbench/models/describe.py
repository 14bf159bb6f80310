"""What was found about a model, in sentences that the command line, the panel and the report share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from workbench.records import ExportCheck, Model

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

AS_IT_IS = "ONNX as it is"
"""The route that converts nothing."""


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def sizes_used(model: Model, data: Dataset) -> str:
    """At which sizes the free axes of the inputs were run; empty where there are none."""
    feeds = data.test.feeds(0, 1)
    told = [
        f"{spec.name} {'×'.join('batch' if axis == spec.batch_axis else str(n) for axis, n in enumerate(feeds[spec.name].shape))}"
        for spec in model.inputs
        if spec.free_axes
    ]
    return f"Sizes of free axes in everything timed and scored: {', '.join(told)}." if told else ""


def size(size_bytes: int) -> str:
    """A file's size in MiB or KiB (2**20 and 2**10 bytes)."""
    return f"{size_bytes / 2**20:.2f} MiB" if size_bytes >= 2**20 else f"{size_bytes / 1024:.1f} KiB"


def batches_text(model: Model) -> str:
    """Which batch sizes the model takes, and how that is known."""
    fixed, probe = model.fixed_batch, model.probe
    if fixed is not None:
        return f"fixed to {fixed}"
    if probe is None or not probe.worked:
        return "declared free, not tried"
    worked = ", ".join(map(str, probe.worked))
    if not probe.failed:
        return f"free (ran with {worked})"
    return f"declared free, but ran only with {worked}; not with {', '.join(str(size) for size, _ in probe.failed)}"


def export_notes(check: ExportCheck) -> Iterator[str]:
    """The way to ONNX in words: every hop with its difference, the routes given up, and what was repaired."""
    for hop in check.hops:
        if hop.step == AS_IT_IS and not hop.max_rel_diff:
            yield "The ONNX file is used as it is; put into the workbench's form (names of axes, repairs) it gives the same numbers."
            continue
        lengths = f", sizes of free axes {' and '.join(hop.lengths)}" if hop.lengths else ""
        yield (
            f"{hop.step}: compared on {', '.join(hop.inputs)} inputs at batches {', '.join(map(str, hop.batches))}{lengths}: "
            f"largest relative difference {hop.max_rel_diff:.1e} (limit {check.tolerance:.0e})."
        )
        if hop.ill_conditioned:
            yield (
                f"{hop.step}: above the limit on {', '.join(hop.ill_conditioned)} inputs, where the source itself changes as "
                "much when its inputs change in their last digits; on the other inputs within it."
            )
    constant = dict.fromkeys(name for hop in check.hops for name in hop.constant)
    if constant:
        real = check.real_samples or any("real" in hop.inputs for hop in check.hops)
        yield (
            f"Little is proven: {', '.join(constant)} did not depend on any input compared. Is the model trained"
            + (", and do the data belong to it?" if real else "? Give real data.")
        )
    for attempt in check.attempts:
        yield f"Route given up: {attempt.route}: {attempt.reason}"
    if check.repairs:
        yield f"Repaired on the way: {'; '.join(check.repairs)}."
