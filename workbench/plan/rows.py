"""The rows of a run: every variant at every batch, planned, or not possible with the reason."""

from __future__ import annotations

from dataclasses import replace

from workbench import backends
from workbench.errors import InputError
from workbench.plan.variants import variants_of
from workbench.precision.selection import selectable
from workbench.protocols import AVAILABLE, Availability, unavailable
from workbench.records import EngineSpec, Failure, Model, Precision, Result, Status
from workbench.records.methods import method_of
from workbench.settings.experiment import Experiment


def rows_of(experiment: Experiment, model: Model, *, has_calibration: bool = True) -> tuple[Result, ...]:
    """One row per variant and batch: planned, or not possible with the reason.

    Raises:
        InputError: a backend that does not exist.
    """
    for address in experiment.backends:
        backends.check(address)
    rows = []
    for asked in variants_of(experiment):
        try:
            spec = _effective(asked, model)
            able = _possible(spec, model, has_calibration) and selectable(asked, spec)
        except Exception as cause:
            spec, able = asked, backends.failed(asked.backend, cause)
        works = {batch: batch_works(model, batch) for batch in spec.batches}
        served = replace(spec, batches=tuple(batch for batch in spec.batches if works[batch]) or spec.batches)
        for batch in spec.batches:
            here = able and works[batch]
            failure = None if here else Failure("plan", here.reason + (f"; {here.fix}" if here.fix else ""))
            status = Status.PLANNED if here else Status.UNSUPPORTED
            rows.append(Result(spec=served, batch=batch, status=status, failure=failure))
    return tuple(rows)


def batch_works(model: Model, batch: int) -> Availability:
    """Whether the model takes this batch, as far as opening it has shown."""
    fixed, probe = model.fixed_batch, model.probe
    if fixed is not None:
        return (
            AVAILABLE
            if batch == fixed
            else unavailable(f"the model's batch is fixed to {fixed}", f"choose the batch {fixed}")
        )
    if probe is None or not probe.failed or not probe.worked or batch in probe.worked:
        return AVAILABLE
    failed = dict(probe.failed)
    works = ", ".join(map(str, probe.worked))
    if batch in failed:
        return unavailable(
            f"the model declares a free batch but did not run with {batch} ({failed[batch]})", f"these worked: {works}"
        )
    if batch > max(failed) and max(failed) > max(probe.worked):
        return unavailable(f"the model declares a free batch but ran only with {works}", "choose one of those")
    return AVAILABLE


def check_batch(experiment: Experiment, model: Model) -> None:
    """Compare the requested batch sizes with a batch size that the model fixes.

    Raises:
        InputError: that batch size was not requested.
    """
    fixed = model.fixed_batch
    if fixed is not None and fixed not in experiment.batches:
        raise InputError(
            f"The model's batch is fixed to {fixed}, and the requested batches are {list(experiment.batches)}. "
            f"Choose the batch {fixed}, free it with 'input_shapes', or export the model with a dynamic batch."
        )


def _effective(asked: EngineSpec, model: Model) -> EngineSpec:
    """The variant without lists of nodes where nothing is rewritten as ONNX, so that they do not change its key."""
    form = backends.get(asked.backend).source(asked, model)
    listless = form.startswith("onnx:fp32") or not form.startswith("onnx:")
    return replace(asked, quantize=(), keep=()) if listless else asked


def _possible(spec: EngineSpec, model: Model, has_calibration: bool) -> Availability:
    backend, answers = backends.get(spec.backend), backends.of(spec)
    able = answers.status(spec.mode)
    if able:
        able = answers.supports(spec, model)
    if able and backend.source(spec, model).startswith("onnx:") and model.exportable:
        return unavailable(f"the model cannot be converted to ONNX: {model.exportable}")
    converted = model.format == "tflite" and backend.source(spec, model).startswith("onnx:")
    dynamic = "dynamic range" in model.quantized_how
    if able and model.quantized == "int8" and converted and dynamic and spec.precision == Precision.FP32:
        return able  # such weights become FP32 on the way to ONNX; what was built is read back
    if able and model.quantized == "int8":
        held = f"the model is quantized already ({model.quantized_how})"
        if spec.asked != Precision.INT8:
            return unavailable(held, "choose int8, which runs it as it is, or open the model it was made from")
        return able
    few_bits = (
        spec.precision not in (Precision.FP32, Precision.FP16, Precision.BF16) or method_of(spec.asked).weights_only
    )
    if able and model.quantized.endswith("-weights") and few_bits:
        return unavailable(
            f"the model's weights are quantized already ({model.quantized_how})",
            "choose fp32, which runs it as it is, or open the model it was made from",
        )
    if able and method_of(spec.asked).calibrated and not has_calibration:
        return unavailable(
            f"{spec.precision.upper()} needs calibration samples, and the data has none",
            "give real samples as data: an .npz or .csv file, or a folder of images",
        )
    return able


def usable(experiment: Experiment, model: Model) -> Experiment:
    """The experiment with the batches that the model takes, or with all where it takes none of them."""
    batches = tuple(batch for batch in experiment.batches if batch_works(model, batch))
    return replace(experiment, batches=batches or experiment.batches)
