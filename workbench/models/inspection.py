"""A model comes in: what it is, what goes in and out, how large it is, and a digest of its bytes.

:func:`recognize` and :func:`digest_of` are light. :func:`inspect_model` loads TensorFlow, LiteRT or ONNX and runs in a child
process: it reads the file (``formats/``), works out which axis counts samples, and runs the model at a few batch sizes to
see which of them really work.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.choices import shapes
from workbench.data.synthetic import generated
from workbench.errors import InputError, LimitError, MemoryLimitError, WorkbenchError, brief, out_of_memory
from workbench.models import formats, safety
from workbench.models.behaviour import CHEAP_S, Behaviour, behaviour
from workbench.models.describe import COPY
from workbench.models.formats import size_of
from workbench.models.layout import with_layout
from workbench.models.onnx_file import external_files
from workbench.models.placeholder import placeholder_notes
from workbench.models.rows import mixed_outputs
from workbench.records import TEXT, AxisRange, Model, Probe, TensorSpec

if TYPE_CHECKING:
    import numpy as np

ACCEPTED = (
    "a .keras or .h5 file, a SavedModel folder (one that holds saved_model.pb), a frozen graph (.pb), a .tflite file, or "
    "an .onnx file"
)
LONGEST = 600
"""Characters of a message about a file."""

PROBING = 5
"""Raised when opening a model finds out more, so that the store does not hand out what was found before."""

PROBED = (1, 2, 3)
USUAL_SIZES = (16, 32, 48, 64, 128, 224, 320)
"""Sizes tried in free axes that nobody has given a size."""

IMAGE_SIZES = (224, 128, 64, 32, 16, 320, 48)
"""The same for the height and width of images: the size that most image models are made for comes first."""

IMAGE_CHANNELS = (1, 3, 4)

PROBED_FURTHER = (4, 8, 16, 32)
"""Tried as well where one of the first sizes fails: perhaps only multiples of some number work."""

PROBED_LAST = (5, 6, 7, 10, 12, 20, 24, 48, 50, 64, 100, 128)
"""Tried one after another where none of those works, until one does."""

PROBING_S = 20.0
"""Time for these: a model that fails for another reason than its batch size may be large."""

_TORCH = "Export it with torch.onnx.export and open the .onnx file."
_WAYS_OUT = {
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".safetensors": "It holds weights only. Export the model to ONNX in the program that knows its layers.",
    ".ckpt": "It holds weights only. Save the whole model: model.save('model.keras').",
    ".pkl": "Opening it would run code. Save the model in its library's own format.",
    ".zip": "Unpack it and open the model inside.",
    ".engine": "An engine runs only where it was built; open the model it was built from.",
    ".plan": "An engine runs only where it was built; open the model it was built from.",
}


def recognize(path: str | Path) -> str:
    """The format of what lies at ``path``: a file in ``workbench/models/formats``.

    Raises:
        InputError: nothing there, not readable, empty, a pipe or a device, or of a kind that is not accepted.
    """
    place = Path(path).expanduser()
    try:
        if not str(path).strip() or not place.exists():
            raise InputError(f"There is no model at '{path}'. Check the path; accepted are {ACCEPTED}.")
        if place.is_dir():
            return _recognize_folder(place)
        _check_regular(place)
        with place.open("rb") as file:
            start = file.read(8)
    except OSError as cause:
        raise InputError(
            f"The model at '{path}' cannot be read ({cause.strerror or cause}). "
            "Check its path and its permissions, or copy it to a folder of yours."
        ) from cause
    ending = place.suffix.lower()
    if not start:
        raise InputError(f"The file '{path}' is empty. Save or copy the model again.")
    if place.name == "saved_model.pb":
        raise InputError(f"'{path}' is the inside of a SavedModel. Give the folder that holds it: '{place.parent}'.")
    if ending in _WAYS_OUT:
        raise InputError(f"Files ending in {ending} are not accepted ('{path}'). {_WAYS_OUT[ending]}")
    if ending not in formats.ENDINGS:
        raise InputError(f"'{path}' has the ending '{ending}', which says nothing known. Accepted are {ACCEPTED}.")
    return formats.ENDINGS[ending]


def _recognize_folder(place: Path) -> str:
    names = sorted(entry.name for entry in place.iterdir())
    if "saved_model.pb" in names:
        for entry in place.rglob("*"):
            _check_regular(entry)
        if (place / "saved_model.pb").stat().st_size == 0:
            raise InputError(f"'{place}/saved_model.pb' is empty. Export the model again: model.export('folder').")
        (place / "saved_model.pb").open("rb").close()
        return "saved_model"
    found = ", ".join(names[:5]) + (", …" if len(names) > 5 else "") or "nothing"
    raise InputError(
        f"The folder '{place}' is not a SavedModel: it has no saved_model.pb (it holds {found}). Accepted are {ACCEPTED}."
    )


def _check_regular(path: Path) -> None:
    """Refuse what is neither file nor folder: reading a pipe waits for ever, and some devices have no end.

    A link to nothing passes; whoever needs it will say that it is missing.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(
            f"'{path}' is a pipe, a socket or a device, not a file. Save or copy the model as ordinary files."
        )


def digest_of(path: str | Path) -> str:
    """SHA-256 of a file, or of every file of a folder with its relative name, in sorted order.

    An ``.onnx`` file whose weights lie in files beside it is digested together with those.

    Raises:
        InputError: it cannot be read, or is a pipe or a device.
    """
    place = Path(path).expanduser()
    total = hashlib.sha256()
    try:
        if place.is_dir():
            files = sorted(
                (p.relative_to(place).as_posix(), p) for p in place.rglob("*") if p.exists() and not p.is_dir()
            )
        else:
            total.update(_file_digest(place))
            files = [(p.name, p) for p in external_files(place)] if place.suffix.lower() == ".onnx" else []
            if not files:
                return total.hexdigest()
        for name, file in files:
            total.update(json.dumps(name).encode() + _file_digest(file))
    except OSError as cause:
        raise InputError(
            f"The model at '{path}' cannot be read ({cause.strerror or cause}). Check the path."
        ) from cause
    return total.hexdigest()


def _file_digest(path: Path) -> bytes:
    _check_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def inspect_model(path: str | Path, signature: str = "", input_shapes: str = "", input_values: str = "") -> Model:
    """Load the model at ``path`` and say what it is.

    ``signature`` names the SavedModel or TensorFlow Lite signature to use ("" means ``serving_default``, or the only one
    there is), or the tensors of a frozen graph (``x:0 -> y:0``). ``input_shapes`` and ``input_values`` are those of
    :mod:`workbench.choices.shapes`. No code from the model's file runs.

    Raises:
        InputError: the model cannot be loaded; one sentence says why.
    """
    kind = recognize(path)
    place = Path(path).expanduser().resolve()
    try:
        return _inspect(kind, place, signature, input_shapes, input_values)
    except WorkbenchError as error:
        if out_of_memory(error) and not isinstance(error, LimitError):
            raise MemoryLimitError(
                f"Memory ran out while '{path}' was read ({brief(error, 200)}).", log=error.log
            ) from error
        if len(error.message) <= LONGEST:
            raise
        # names in a damaged file may be of any length; the end says what to do
        half = LONGEST // 2 - 1
        raise type(error)(f"{error.message[:half]}…{error.message[-half:]}", log=error.log) from error
    except Exception as cause:  # libraries raise whatever they like on a damaged file
        if out_of_memory(cause):
            raise MemoryLimitError(f"Memory ran out while '{path}' was read ({brief(cause, 200)}).") from cause
        raise InputError(
            f"'{path}' could not be read ({type(cause).__name__}: {brief(cause, 200)}). It may be damaged; copy or export it "
            "again."
        ) from cause


def _inspect(kind: str, place: Path, signature: str, input_shapes: str, input_values: str) -> Model:
    if signature and kind in ("keras", "onnx"):
        raise InputError(
            f"'signature' is '{signature}', but this {formats.TITLES[kind]} has no signatures. Leave 'signature' empty."
        )
    if kind == "saved_model":
        safety.check_folder(place)
    module = formats.get(kind)
    facts = module.read(place, signature)
    without_shape = facts.pop("without_shape", ())
    inputs = shapes.with_batch_axes(facts.pop("inputs"), facts.pop("axis_names", None))
    facts["inputs"] = shapes.with_user(inputs, input_shapes, input_values)
    model = Model(
        path=str(place),
        name=place.name if place.is_dir() else place.stem,
        format=kind,
        size_bytes=size_of(place)
        + sum(file.stat().st_size for file in (external_files(place) if kind == "onnx" else ())),
        digest=digest_of(place),
        **facts,
    )
    text = [spec.name for spec in (*model.inputs, *model.outputs) if spec.dtype == TEXT]
    if text:
        model = replace(model, exportable=model.exportable or f"'{text[0]}' holds text, and engines take numbers")
    began = time.perf_counter()
    run = formats.open_model(model)
    cheap = time.perf_counter() - began < CHEAP_S
    model = probed(model, run, partial(formats.open_model, model) if cheap else None)
    if without_shape and not (model.probe and model.probe.worked):
        raise InputError(
            f"The output '{without_shape[0]}' has no known number of axes, and the model did not run on generated inputs, which "
            "would show it. Export the model with shapes."
        )
    notes = placeholder_notes(model, shapes.parse_shapes(input_shapes))
    return replace(model, notes=(*model.notes, *notes))


def probed(model: Model, run: formats.Runner, reopen: Callable[[], formats.Runner] | None = None) -> Model:
    """``model`` with the batch sizes at which ``run`` works on made-up inputs, and what its outputs do.

    An output's batch axis is the one whose size follows the batch; its ``rows`` are the entries there per sample. A
    model that runs at no size is not refused: it may want other values than made-up ones. Free axes for which the user
    gave no sizes get the first of a few usual ones at which the model runs. ``reopen`` opens the model a second time, to see
    whether it then gives the same values.
    """
    fixed = model.fixed_batch
    worked: dict[int, Mapping[str, np.ndarray]] = {}
    failed: dict[int, str] = {}
    for candidate in _sized(model):
        worked, failed = {}, {}
        _try(candidate, run, (fixed or PROBED[0],), worked, failed)
        if worked:
            model = candidate
            break
    if fixed is None:
        model = _try_batches(model, run, worked, failed)
    shapes_seen = {size: {name: array.shape for name, array in outputs.items()} for size, outputs in worked.items()}
    seen = behaviour(model, run, next(iter(worked)), reopen) if worked else Behaviour()
    free = any(each.free_axes for each in model.inputs)
    outputs = tuple(
        replace(
            with_layout(spec, shapes_seen, seen.ragged.get(spec.name), free=free),
            unreached=f"it is {COPY} '{seen.copies[spec.name]}'" if spec.name in seen.copies else spec.unreached,
        )
        for spec in model.outputs
    )
    notes = model.notes
    if not worked:
        reason = brief(ValueError(next(iter(failed.values()))), 400)
        notes = (*notes, f"It did not run on made-up inputs{_tried(model, failed)}: {reason}")
    found = replace(
        model,
        outputs=outputs,
        probe=Probe(tuple(worked), tuple(failed.items()), seen.varying, seen.not_finite),
        notes=notes,
    )
    mixed = mixed_outputs(found, run)
    if mixed:
        note = (
            f"The result of a sample depends on the other samples of its batch ({', '.join(mixed)}), as by a softmax over the "
            "batch axis: results at different batch sizes are not comparable"
        )
        found = replace(found, notes=(*found.notes, note))
    return found


def _sized(model: Model) -> Iterator[Model]:
    """The model with each of the usual sizes in its free axes; only once where it has none without sizes."""
    asked = any(set(spec.free_axes) - {each.axis for each in spec.ranges} for spec in model.inputs)
    if not asked:
        yield model
        return
    for usual, of_images in zip(USUAL_SIZES, IMAGE_SIZES, strict=True):
        inputs = []
        for spec in model.inputs:
            size = of_images if _is_image(spec) else usual
            largest = min(2 * size, size + 96) if _is_image(spec) else 2 * size
            given = {each.axis: each for each in spec.ranges}
            ranges = tuple(given.get(axis, AxisRange(axis, size, size, largest)) for axis in spec.free_axes)
            inputs.append(replace(spec, ranges=ranges))
        yield replace(model, inputs=tuple(inputs))


def _is_image(spec: TensorSpec) -> bool:
    """Four axes, the batch first, a number of channels as images have, and height and width free."""
    return (
        len(spec.shape) == 4
        and spec.batch_axis == 0
        and any(spec.shape[axis] in IMAGE_CHANNELS for axis in (1, 3))
        and len(spec.free_axes) == 2
    )


def _tried(model: Model, failed: Mapping[int, str]) -> str:
    """With which sizes a model did not run, in words."""
    found = f" in batches of {', '.join(map(str, sorted(failed)))}" if model.fixed_batch is None else ""
    images = any(_is_image(spec) and not spec.ranges for spec in model.inputs)
    if len(list(itertools.islice(_sized(model), 2))) == 2:
        sizes = IMAGE_SIZES if images else USUAL_SIZES
        found += f", its free axes at {', '.join(map(str, sizes))} (input_shapes sets others)"
    return found


def _try_batches(
    model: Model, run: formats.Runner, worked: dict[int, Mapping[str, np.ndarray]], failed: dict[int, str]
) -> Model:
    """Run at more batch sizes, which are added to ``worked`` or ``failed``; the model with the sizes at which it ran.

    A model may run only at multiples of some number, or at one size only.
    """
    _try(model, run, PROBED[1:], worked, failed)
    if not failed:
        return model
    if worked:
        _try(model, run, PROBED_FURTHER, worked, failed)
        return model
    first, *others = _sized(model)
    end = time.monotonic() + PROBING_S
    for batch in (*PROBED_FURTHER, *PROBED_LAST):
        if time.monotonic() > end:
            return model
        _try(first, run, (batch,), worked, failed)
        if worked:
            _try(first, run, (2 * batch,), worked, failed)
            return first
    for candidate in others:
        _try(candidate, run, PROBED_FURTHER[:2], worked, failed)
        if worked:
            return candidate
    return model


def _try(
    model: Model,
    run: formats.Runner,
    sizes: tuple[int, ...],
    worked: dict[int, Mapping[str, np.ndarray]],
    failed: dict[int, str],
) -> None:
    for size in sizes:
        try:
            worked[size] = run(generated(model.inputs, "random", size).feeds(0, size))
        except InputError as error:
            if out_of_memory(error):
                raise
            failed[size] = error.message
