"""Precision is a rewrite of the ONNX graph, never a flag. Runs in a child process.

What each form is made by lies in a file of its own: 16-bit floats, INT8 with calibrated ranges, small weights, FP8.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.choices.methods import MODELOPT, method_of
from workbench.errors import InputError, writing
from workbench.precision import floats16, integers, modelopt, weight_only
from workbench.precision.fp8 import fp8
from workbench.precision.integers import WEIGHTED, check, onnx_checked
from workbench.precision.selection import Selection
from workbench.records import Calibration, Precision, RealizedPrecision

if TYPE_CHECKING:
    from workbench.data.samples import Samples

__all__ = ["FORMS", "WEIGHTED", "fix_batch", "judge", "rewrite"]

CALIBRATED_FORMS = ("int8-u8", "int8-s8", "fp8", "int8-modelopt", "fp8-modelopt")
FORMS = (
    "fp32",
    "fp16",
    "bf16",
    "int8-u8",
    "int8-s8",
    "int8-dynamic",
    "int8-weights",
    "int4-weights",
    "int8-weights-dq",
    "int4-weights-dq",
    "fp8",
    "fp16-modelopt",
    "bf16-modelopt",
    "int8-modelopt",
    "fp8-modelopt",
)

_SHARE = 0.5  # of the layers with weights that must have the format asked for
ALL = Selection()


def rewrite(
    source: Path,
    form: str,
    into: Path,
    *,
    calibration: Samples | None,
    method: Calibration,
    progress: Callable[[str], None],
    selection: Selection = ALL,
) -> dict[str, Any]:
    """Write the FP32 model ``source`` in another precision to ``into``; returns what was done, ready for JSON.

    ``calibration`` samples choose the ranges of INT8 and FP8, and for FP16, where they are given, the nodes that are kept in
    FP32 because their results go beyond FP16's largest number.

    Raises:
        InputError: ranges without calibration samples, a model that is already quantized or 16-bit, or a selection that
            names nothing.
        ExportError: nothing could be rewritten, or the result is not valid.
    """
    if form not in FORMS:
        raise InputError(f"Unknown form '{form}'. Choose from: {', '.join(FORMS)}.")
    if form in CALIBRATED_FORMS and (calibration is None or calibration.count == 0):
        raise InputError(
            f"{form[:4].rstrip('-').upper()} needs calibration samples, and these data have none. Give an .npz file of real "
            "inputs as 'data', with more rows than 'calibration_samples'."
        )
    with writing(into), tempfile.TemporaryDirectory(dir=into.parent, prefix=".rewrite-") as scratch:
        draft = Path(scratch) / "model.onnx"
        done = _rewritten(source, form, draft, calibration, method, selection, progress)
        draft.replace(into)
    return {"form": form, **done}


def rewrite_from_json(
    progress: Callable[[str], None],
    source: str,
    form: str,
    into: str,
    samples: str | None,
    method: str | None,
    quantize: list[str] | None = None,
    keep: list[str] | None = None,
) -> dict[str, Any]:
    """:func:`rewrite` for a process that is told what to do in JSON."""
    from workbench.data.samples import load_samples

    return rewrite(
        Path(source),
        form,
        Path(into),
        calibration=load_samples(Path(samples)) if samples else None,
        method=Calibration(method) if method else Calibration.MINMAX,
        progress=progress,
        selection=Selection(tuple(quantize or ()), tuple(keep or ())),
    )


def _rewritten(
    source: Path,
    form: str,
    into: Path,
    samples: Samples | None,
    method: Calibration,
    selection: Selection,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    if form == "fp32":
        shutil.copyfile(source, into)
        return {}
    if form.endswith(MODELOPT):
        progress(f"ModelOpt: rewriting to {form.partition('-')[0]}")
        done = modelopt.rewrite(source, form, into, samples, selection)
        onnx_checked(into, form)
        return done
    if samples is not None and form in CALIBRATED_FORMS:
        if form == "fp8":
            return fp8(source, into, samples, method, selection, progress)
        return integers.static(source, form, into, samples, method, selection, progress)
    progress(f"rewriting to {form}")
    if form == "fp16":
        done = floats16.fp16(source, into, samples, selection)
        check(into, "FP16")
        return done
    if form == "bf16":
        return floats16.bf16(source, into, selection)
    if form == "int8-dynamic":
        return weight_only.dynamic(source, into, selection, progress)
    return weight_only.weights(source, into, int(form[3]), selection, standard=form.endswith("-dq"))


def fix_batch(source: Path, batch: int, into: Path, sizes: Mapping[str, Sequence[int]] | None = None) -> None:
    """Write ``source`` with its batch axis fixed to ``batch``, and the other axes of the inputs in ``sizes`` to those.

    Raises:
        InputError: the model's batch is fixed to another number already.
    """
    import onnx
    from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_dim_param_fixed

    model = onnx.load(source)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in weights]
    named = any(dim.dim_param == "batch" for v in inputs for dim in v.type.tensor_type.shape.dim)
    firsts = [v.type.tensor_type.shape.dim[0].dim_value for v in inputs if v.type.tensor_type.shape.dim]
    if not named and firsts and firsts[0] not in (0, batch):
        raise InputError(
            f"A batch of {batch} was asked for, but the model is fixed to {firsts[0]}. "
            f"Set 'batches' to {firsts[0]}, or export the model with a dynamic batch."
        )
    if named or sizes:
        del model.graph.value_info[:]
        make_dim_param_fixed(model.graph, "batch", batch)
        for value in inputs:
            for dim, size in zip(value.type.tensor_type.shape.dim, (sizes or {}).get(value.name, ()), strict=False):
                if dim.dim_param:
                    make_dim_param_fixed(model.graph, dim.dim_param, size)
        fix_output_shapes(model)
    with writing(into):
        draft = into.with_name(into.name + ".part")
        onnx.save(model, draft)
        draft.replace(into)


def judge(asked: str, realized: RealizedPrecision, *, chosen: bool = False) -> str:
    """Why an engine does not deserve the name of what was asked for, or "" where it does.

    FP32 must be FP32 throughout; of another format, half of the layers with weights must have it. A model without such
    layers has nothing to realize. ``asked`` is a name in :mod:`workbench.choices.methods`. Where a person has ``chosen`` the nodes, one
    layer is enough.
    """
    total = sum(realized.layers.values())
    got = realized.layers.get(method_of(asked).realized, 0)
    if total == 0 or (got == total if asked == Precision.FP32 else got >= (1 if chosen else _SHARE * total)):
        return ""
    found = ", ".join(f"{count} {name}" for name, count in sorted(realized.layers.items()) if count)
    what = "store their weights so" if method_of(asked).weights_only else "compute in it"
    return (
        f"Asked for {asked}, but {got} of {total} layers with weights {what} (found: {found}; "
        f"read from {realized.basis}). Choose another precision for this backend."
    )
