"""Rewrite an ONNX graph to another precision. Runs in a child process.

Each kind of rewrite has a separate module: 16-bit floats, INT8 with calibrated ranges, small weights, FP8.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.data.samples import Samples, load_samples
from workbench.errors import InputError, writing
from workbench.precision import floats16, integers, modelopt, weight_only
from workbench.precision.fp8 import fp8
from workbench.precision.integers import check
from workbench.precision.options import RewriteOptions
from workbench.precision.selection import Selection
from workbench.records import Calibration, Precision, RealizedPrecision
from workbench.records.methods import MODELOPT, method_of

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

_SHARE = 0.5  # share of the layers with weights that must have the requested format
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
    """Write the FP32 model ``source`` in another precision to ``into``; return a description of the result that can be written as JSON.

    ``calibration`` samples choose the ranges of INT8 and FP8. For FP16, if they are given, they choose the nodes that are kept in
    FP32 because their results exceed FP16's largest number.

    Raises:
        InputError: ranges without calibration samples, a model that is already quantized or 16-bit, or an entry of the selection
            that matches no node.
        ExportError: nothing could be rewritten, or the result is not valid.
    """
    if form not in FORMS:
        raise InputError(f"Unknown form '{form}'. Choose from: {', '.join(FORMS)}.")
    if form in CALIBRATED_FORMS and (calibration is None or calibration.count == 0):
        raise InputError(
            f"{form[:4].rstrip('-').upper()} needs calibration samples, and the data has none. Give an .npz file of real "
            "inputs as 'data', with more rows than 'calibration_samples'."
        )
    with writing(into), tempfile.TemporaryDirectory(dir=into.parent, prefix=".rewrite-") as scratch:
        draft = Path(scratch) / "model.onnx"
        done = _rewritten(source, draft, RewriteOptions(form, calibration, method, selection, progress))
        draft.replace(into)
    return {"form": form, **done}


def rewrite_from_json(
    progress: Callable[[str], None],
    source: str,
    form: str,
    into: str,
    calibration: tuple[str | None, str | None] = (None, None),
    selection: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """:func:`rewrite` with arguments from JSON; ``calibration`` has the file of the samples and the method."""
    samples, method = calibration
    chosen = selection or {}
    return rewrite(
        Path(source),
        form,
        Path(into),
        calibration=load_samples(Path(samples)) if samples else None,
        method=Calibration(method) if method else Calibration.MINMAX,
        progress=progress,
        selection=Selection(tuple(chosen.get("quantize", ())), tuple(chosen.get("keep", ()))),
    )


def _rewritten(source: Path, into: Path, options: RewriteOptions) -> dict[str, Any]:
    form, samples, selection, progress = options.form, options.samples, options.selection, options.progress
    if form == "fp32":
        shutil.copyfile(source, into)
        return {}
    if form.endswith(MODELOPT):
        progress(f"ModelOpt: rewriting to {form.partition('-')[0]}")
        done = modelopt.rewrite(source, form, into, samples, selection)
        check(into, form, opened=False)
        return done
    if samples is not None and form in CALIBRATED_FORMS:
        if form == "fp8":
            return fp8(source, into, options)
        return integers.static(source, into, options)
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
    """Write ``source`` with its batch axis fixed to ``batch``, and the other axes of inputs fixed to ``sizes``.

    Raises:
        InputError: the model has another fixed batch.
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
            f"A batch of {batch} was requested, but the model has the fixed batch {firsts[0]}. "
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
    """The reason why an engine does not have the requested precision; "": it has.

    FP32 must be FP32 throughout; of another format, half of the layers with weights must have it. A model without such layers
    always passes. ``asked`` is a name in :mod:`workbench.records.methods`. If the user has ``chosen`` the nodes, one layer is
    enough.
    """
    total = sum(realized.layers.values())
    got = realized.layers.get(method_of(asked).realized, 0)
    if total == 0 or (got == total if asked == Precision.FP32 else got >= (1 if chosen else _SHARE * total)):
        return ""
    found = ", ".join(f"{count} {name}" for name, count in sorted(realized.layers.items()) if count)
    what = "store their weights in it" if method_of(asked).weights_only else "compute in it"
    return (
        f"Asked for {asked}, but {got} of {total} layers with weights {what} (found: {found}; "
        f"read from {realized.basis}). Choose another precision for this backend."
    )
