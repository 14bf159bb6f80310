"""Descriptions of a model in sentences that the command line, the panel and the report share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from workbench.records import ExportCheck, Hop, Model, TensorSpec

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

COPY = "a copy of the input"
AS_IT_IS = "ONNX as it is"
"""The route for a model that is an ONNX file already."""


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def sizes_used(model: Model, data: Dataset) -> str:
    """A sentence with the sizes that are used for free axes of the inputs; "" where there are none."""
    feeds = data.test.feeds(0, 1)
    sizes = [
        f"{spec.name} {'×'.join('batch' if axis == spec.batch_axis else str(n) for axis, n in enumerate(feeds[spec.name].shape))}"
        for spec in model.inputs
        if spec.free_axes
    ]
    return f"Sizes of free axes in all timings and scores: {', '.join(sizes)}." if sizes else ""


def size(size_bytes: int) -> str:
    """A file's size in MiB or KiB (2**20 and 2**10 bytes).

    >>> size(3 * 2**20), size(2048)
    ('3.00 MiB', '2.0 KiB')
    """
    return f"{size_bytes / 2**20:.2f} MiB" if size_bytes >= 2**20 else f"{size_bytes / 1024:.1f} KiB"


def batches_text(model: Model) -> str:
    """The batch sizes that the model takes, with the basis of that."""
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
    """Sentences about the conversion to ONNX: every step with its difference, failed routes, and repairs."""
    for hop in check.hops:
        whole = not (hop.not_finite or hop.uncompared)  # "the same numbers" only where all numbers were compared
        if hop.step == AS_IT_IS and not hop.max_rel_diff and whole:
            yield "The ONNX file is used as it is; with the names of axes and the repairs that the workbench adds it gives the same numbers."
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
            f"The comparison shows little: {', '.join(constant)} did not depend on any compared input. Check that the model is trained"
            + (" and that the data belong to it." if real else ", or give real data.")
        )
    yield from _without_weights(check)
    for attempt in check.attempts:
        yield f"Route that failed: {attempt.route}: {attempt.reason}"
    if check.repairs:
        yield f"Repairs: {'; '.join(check.repairs)}."


def _not_compared(hop: Hop) -> Iterator[str]:
    if hop.uncompared:
        yield f"{hop.step}: {_listed(hop.uncompared)} not compared with the source, because the model does not repeat itself there."
    for name in hop.not_finite:
        compared = "only its finite values were compared" if name in hop.compared else "it was not compared"
        yield f"{hop.step}: the model itself gives NaN or infinity in '{name}'; {compared}."


def _without_weights(check: ExportCheck) -> Iterator[str]:
    """Sentences about outputs whose agreement does not depend on the weights, where the model has others."""
    names = {name for hop in check.hops for name in (*hop.compared, *hop.not_finite, *hop.uncompared)}
    for name, why in check.unreached.items() if names - set(check.unreached) else ():
        if COPY not in why:
            yield f"The agreement of the output '{name}' shows nothing of the weights: {why}."


def _listed(names: Iterable[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return f"{', '.join(quoted)} {'was' if len(quoted) == 1 else 'were'}"


def output_notes(model: Model) -> Iterator[str]:
    """Sentences about unusual properties of the model's outputs that were observed when it was opened."""
    yield from varying_notes(model)
    for name, counts in (model.probe.not_finite if model.probe else {}).items():
        yield f"The output '{name}' is not finite: {counts}."
    yield from copy_notes(model)
    yield from row_notes(model)


def copy_notes(model: Model) -> Iterator[str]:
    """Sentences about outputs that copy an input, whose agreement has no meaning."""
    for spec in model.outputs:
        if COPY in spec.unreached:
            yield f"The agreement of the output '{spec.name}' has no meaning: {spec.unreached}."


def mixed_notes(model: Model, batches: Collection[int]) -> Iterator[str]:
    """A sentence that says at which batch a model is scored whose samples depend on each other; none for one batch size."""
    if model.probe and model.probe.mixed and len(batches) > 1:
        yield (
            f"The result of a sample depends on the other samples of its batch ({', '.join(model.probe.mixed)}). Accuracy and "
            "agreement are those of the batch size that an engine is scored at, and are shown in its row only. Set 'batches' to one "
            "size to score it at that size."
        )


def varying_notes(model: Model) -> Iterator[str]:
    """Sentences about outputs that the model does not repeat, with the consequences."""
    for name, how in model.varying.items():
        yield (
            f"The output '{name}' is random, or depends on a state: {how}. It is not compared with the source model after the "
            "conversion, and not used for agreement or accuracy."
        )


def _otherwise(model: Model, spec: TensorSpec) -> str:
    """A phrase about the comparison of rows for models that do not run at a batch of 1; "" for those that do."""
    if model.fixed_batch in (None, 1) and not (model.probe and model.probe.failed):
        return ""
    if spec.index_output:
        return f" or, at larger batches, by the batch index in column {spec.index_column} of '{spec.index_output}'"
    if spec.batch_axis is not None:
        return ""
    return "; at larger batches, where the sample of a row is not known, all rows of a batch are compared together"


def row_notes(model: Model) -> Iterator[str]:
    """Sentences about outputs with more or fewer rows than samples: what samples/s and the number of samples count."""
    counts = "Samples/s and the number of samples count input samples, not these rows."
    for spec in model.outputs:
        if spec.ragged_axis is not None:
            yield (
                f"The number of rows of the output '{spec.name}' depends on the data (axis {spec.ragged_axis}). {counts} Each sample "
                f"is scored in a separate call{_otherwise(model, spec)}, and rows are compared in any order."
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
