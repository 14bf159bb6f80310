"""Inspection of a model: its format, inputs and outputs, size, and a digest of its bytes.

:func:`recognize` and :func:`digest_of` load no libraries. :func:`inspect_model` loads TensorFlow, LiteRT or ONNX and runs in a
child process: it reads the file (``formats/``), determines the batch axes, and runs the model at several batch sizes to find those
that work.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.data.synthetic import generated
from workbench.errors import InputError, LimitError, MemoryLimitError, WorkbenchError, brief, out_of_memory
from workbench.models import formats, safety
from workbench.models.behaviour import CHEAP_S, Behaviour, behaviour
from workbench.models.describe import COPY
from workbench.models.formats import size_of
from workbench.models.layout import with_layout
from workbench.models.onnx_file import external_files
from workbench.models.placeholder import placeholder_notes
from workbench.models.rows import mixed_outputs, with_sample_index
from workbench.records import TEXT, AxisRange, Model, Probe, TensorSpec
from workbench.settings import shapes

if TYPE_CHECKING:
    import numpy as np

ACCEPTED = (
    "a .keras or .h5 file, a SavedModel folder (one that holds saved_model.pb), a frozen graph (.pb), a .tflite file, or "
    "an .onnx file"
)
LONGEST = 600
"""Largest length of a message about a file, in characters."""

PROBING = 9
"""Version of the results of opening a model. Raise it when they change, so that the store does not return older results."""

PROBED = (1, 2, 3)
USUAL_SIZES = (16, 32, 48, 64, 128, 224, 320)
"""Sizes tried in free axes without a given size."""

IMAGE_SIZES = (224, 128, 64, 32, 16, 320, 48)
"""The same for the height and width of images, with the most common size of image models first."""

IMAGE_CHANNELS = (1, 3, 4)

PROBED_FURTHER = (4, 8, 16, 32)
"""Batch sizes tried as well where one of the first sizes fails: perhaps only multiples of some number work."""

PROBED_LAST = (5, 6, 7, 10, 12, 20, 24, 48, 50, 64, 100, 128)
"""Batch sizes tried one after another, until one works, where none of those works."""

PROBING_S = 20.0
"""Time limit for these in seconds: a large model may fail for another reason than its batch size."""

_TORCH = "Export it with torch.onnx.export and open the .onnx file."
_WAYS_OUT = {
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".safetensors": "It holds weights only. Export the model to ONNX in the program that defines its layers.",
    ".ckpt": "It holds weights only. Save the whole model: model.save('model.keras').",
    ".pkl": "Opening it would run code. Save the model in its library's own format.",
    ".zip": "Unpack it and open the model inside.",
    ".engine": "An engine runs only where it was built; open the model it was built from.",
    ".plan": "An engine runs only where it was built; open the model it was built from.",
}


def recognize(path: str | Path) -> str:
    """The format of the file or folder ``path``: the name of a module in ``workbench/models/formats``.

    Raises:
        InputError: it is missing, not readable, empty, a pipe or a device, or of a format that is not accepted.
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
            "Check its path and its permissions, or copy it to your own folder."
        ) from cause
    ending = place.suffix.lower()
    if not start:
        raise InputError(f"The file '{path}' is empty. Save or copy the model again.")
    if place.name == "saved_model.pb":
        raise InputError(f"'{path}' is a part of a SavedModel. Give the folder that contains it: '{place.parent}'.")
    if ending in _WAYS_OUT:
        raise InputError(f"Files ending in {ending} are not accepted ('{path}'). {_WAYS_OUT[ending]}")
    if ending not in formats.ENDINGS:
        raise InputError(f"'{path}' has the ending '{ending}', which is not known. Accepted are {ACCEPTED}.")
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
    """Refuse paths that are neither files nor folders: reading a pipe blocks, and some devices have no end.

    A broken link is accepted here; the code that opens it reports that it is missing.
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

    The digest of an ``.onnx`` file includes the separate files with its weights.

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
    """Load the model at ``path`` and describe it.

    ``signature`` names the SavedModel or TensorFlow Lite signature to use ("" means ``serving_default``, or the only one), or the
    tensors of a frozen graph (``x:0 -> y:0``). ``input_shapes`` and ``input_values`` are described in
    :mod:`workbench.settings.shapes`. No code from the model's file runs.

    Raises:
        InputError: the model cannot be loaded; the message says why.
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
        # names in a damaged file may be of any length, and the end of the message says what to do
        half = LONGEST // 2 - 1
        raise type(error)(f"{error.message[:half]}…{error.message[-half:]}", log=error.log) from error
    except Exception as cause:  # libraries raise errors of any class for a damaged file
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
            f"The number of axes of the output '{without_shape[0]}' is not declared, and the model did not run on generated inputs, "
            "which would show it. Export the model with shapes."
        )
    notes = placeholder_notes(model, shapes.parse_shapes(input_shapes))
    return replace(model, notes=(*model.notes, *notes))


def probed(model: Model, run: formats.Runner, reopen: Callable[[], formats.Runner] | None = None) -> Model:
    """``model`` with the batch sizes at which ``run`` works on generated inputs, and the behaviour of its outputs.

    An output's batch axis is the one whose size follows the batch; its ``rows`` are the entries there per sample. A model that
    runs at no size is not refused: it may need other values than generated ones. Free axes for which the user gave no sizes get the
    first of a few usual sizes at which the model runs. ``reopen`` opens the model a second time, to check whether it then gives the
    same values.
    """
    fixed, tries = model.fixed_batch, _Tries(run)
    for candidate in _sized(model):
        tries = _Tries(run)
        if tries.any_work(candidate, fixed or PROBED[0]):
            model = candidate
            break
    if fixed is None:
        model = _try_batches(model, tries)
    worked, failed = tries.worked, tries.failed
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
        notes = (*notes, f"It did not run on generated inputs{_tried(model, failed)}: {reason}")
    found = replace(
        model,
        outputs=outputs,
        probe=Probe(tuple(worked), tuple(failed.items()), seen.varying, seen.not_finite),
        notes=notes,
    )
    found = with_sample_index(found, run)
    mixed = mixed_outputs(found, run)
    if mixed and found.probe:
        note = (
            f"The result of a sample depends on the other samples of its batch ({', '.join(mixed)}), as by a softmax over the "
            "batch axis: results at different batch sizes are not comparable"
        )
        found = replace(found, notes=(*found.notes, note), probe=replace(found.probe, mixed=mixed))
    return found


def _sized(model: Model) -> Iterator[Model]:
    """The model with each of the usual sizes in its free axes; the model itself where all free axes have sizes."""
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
    """Whether an input has four axes, the batch first, a number of channels of images, and free height and width."""
    return (
        len(spec.shape) == 4
        and spec.batch_axis == 0
        and any(spec.shape[axis] in IMAGE_CHANNELS for axis in (1, 3))
        and len(spec.free_axes) == 2
    )


def _tried(model: Model, failed: Mapping[int, str]) -> str:
    """A phrase with the sizes at which a model did not run."""
    found = f" in batches of {', '.join(map(str, sorted(failed)))}" if model.fixed_batch is None else ""
    images = any(_is_image(spec) and not spec.ranges for spec in model.inputs)
    if len(list(itertools.islice(_sized(model), 2))) == 2:
        sizes = IMAGE_SIZES if images else USUAL_SIZES
        found += f", its free axes at {', '.join(map(str, sizes))} (input_shapes sets others)"
    return found


def _try_batches(model: Model, tries: _Tries) -> Model:
    """Try more batch sizes, and return the model with the sizes at which it ran.

    A model may run only at multiples of some number, or at one size only.
    """
    worked = tries.any_work(model, *PROBED[1:])
    if not tries.failed:
        return model
    if worked:
        tries.any_work(model, *PROBED_FURTHER)
        return model
    first, *others = _sized(model)
    end = time.monotonic() + PROBING_S
    for batch in (*PROBED_FURTHER, *PROBED_LAST):
        if time.monotonic() > end:
            return model
        if tries.any_work(first, batch):
            tries.any_work(first, 2 * batch)
            return first
    return next((candidate for candidate in others if tries.any_work(candidate, *PROBED_FURTHER[:2])), model)


@dataclass
class _Tries:
    """Runs on generated inputs: outputs by the batch size at which they worked, and messages by the other sizes."""

    run: formats.Runner
    worked: dict[int, Mapping[str, np.ndarray]] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)

    def any_work(self, model: Model, *sizes: int) -> bool:
        """Try these batch sizes too; return whether any size worked so far."""
        for size in sizes:
            try:
                self.worked[size] = self.run(generated(model.inputs, "random", size).feeds(0, size))
            except InputError as error:
                if out_of_memory(error):
                    raise
                self.failed[size] = error.message
        return bool(self.worked)
