"""What was found about a model, in sentences that the command line, the panel and the report share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from workbench.records import ExportCheck, Hop, Model

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

COPY = "a copy of the input"
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
        whole = not (hop.not_finite or hop.uncompared)  # "the same numbers" is said only where it was seen
        if hop.step == AS_IT_IS and not hop.max_rel_diff and whole:
            yield "The ONNX file is used as it is; put into the workbench's form (names of axes, repairs) it gives the same numbers."
            continue
        yield from _not_compared(hop)
        if not whole and not hop.compared:
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
    yield from _without_weights(check)
    for attempt in check.attempts:
        yield f"Route given up: {attempt.route}: {attempt.reason}"
    if check.repairs:
        yield f"Repaired on the way: {'; '.join(check.repairs)}."


def _not_compared(hop: Hop) -> Iterator[str]:
    if hop.uncompared:
        yield f"{hop.step}: {_listed(hop.uncompared)} not compared with the source, because the model does not repeat itself there."
    for name in hop.not_finite:
        told = "only its finite values were compared" if name in hop.compared else "nothing was compared in it"
        yield f"{hop.step}: the model itself gives NaN or infinity in '{name}'; {told}."


def _without_weights(check: ExportCheck) -> Iterator[str]:
    """Outputs whose agreement says nothing about the weights, where the model has others."""
    names = {name for hop in check.hops for name in (*hop.compared, *hop.not_finite, *hop.uncompared)}
    for name, why in check.unreached.items() if names - set(check.unreached) else ():
        yield f"That the output '{name}' agrees says nothing about the weights: {why}."


def _listed(names: Iterable[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return f"{', '.join(quoted)} {'was' if len(quoted) == 1 else 'were'}"


def output_notes(model: Model) -> Iterator[str]:
    """What is unusual about the model's outputs, as far as opening it has shown, in sentences."""
    yield from varying_notes(model)
    for name, told in (model.probe.not_finite if model.probe else {}).items():
        yield f"The output '{name}' is not finite: {told}."
    yield from copy_notes(model)
    yield from row_notes(model)


def copy_notes(model: Model) -> Iterator[str]:
    """Outputs that were seen to copy an input: that they agree says nothing."""
    for spec in model.outputs:
        if COPY in spec.unreached:
            yield f"That the output '{spec.name}' agrees says nothing: {spec.unreached}."


def varying_notes(model: Model) -> Iterator[str]:
    """The outputs that the model does not repeat, and what follows from that."""
    for name, how in model.varying.items():
        yield (
            f"The output '{name}' is random, or keeps a state: {how}. It is not compared with the source model, neither after the "
            "conversion nor for agreement or accuracy."
        )


def row_notes(model: Model) -> Iterator[str]:
    """For outputs with more or fewer rows than samples go in: what samples/s and the number of samples refer to."""
    counts = "Samples/s and the number of samples count what goes in, not these rows."
    for spec in model.outputs:
        if spec.ragged_axis is not None:
            yield (
                f"The output '{spec.name}' has as many rows as the data asks for (axis {spec.ragged_axis}). {counts} Each sample "
                "is scored in a call of its own, and its rows are compared in any order."
            )
        elif spec.rows > 1 and spec.batch_axis is not None:
            yield f"The output '{spec.name}' has {spec.rows} rows for each sample along axis {spec.batch_axis}. {counts}"
        elif spec.samples_per_row > 1:
            yield (
                f"The output '{spec.name}' has one row for every {spec.samples_per_row} samples. {counts} Each of these samples is "
                "scored with the row that they share."
            )
        elif spec.batch_axis is None and any(each.batch_axis is not None for each in model.inputs):
            yield f"The output '{spec.name}' has the same size for every batch. {counts}"
