"""A model comes in: what it is, what goes in and out, how large it is, and a digest of its bytes.

:func:`recognize` and :func:`digest_of` are light. :func:`inspect_model` loads TensorFlow or ONNX and runs in a child
process.

**Names.** Inputs and outputs carry the names of the SavedModel signature, and an ONNX file made from it keeps them, so
every backend is fed by the same names. A ``.keras`` file has no signature of its own: it is exported once into a
scratch folder and read from there, because only the export decides the names (``output_0`` for a plain output, the
dictionary's keys for named ones). Both lists are sorted by name, with numbers by value.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.errors import InputError, brief, during
from workbench.onnx_file import external_files, load_onnx, weight_tensors
from workbench.records import Model, TensorSpec

ACCEPTED = "a .keras file, a SavedModel folder (one that holds saved_model.pb), or an .onnx file"

_KERAS_3 = "Open it in Keras and save it again: keras.models.load_model(path, compile=False).save('model.keras')."
_TORCH = "Export it with torch.onnx.export and open the .onnx file."
_WAYS_OUT = {
    ".h5": _KERAS_3,
    ".hdf5": _KERAS_3,
    ".tflite": "Convert it with: python -m tf2onnx.convert --tflite model.tflite --output model.onnx.",
    ".pb": "Convert a frozen graph with: python -m tf2onnx.convert --graphdef model.pb --inputs x:0 --outputs y:0 "
    "--output model.onnx.",
    ".pt": _TORCH,
    ".pth": _TORCH,
}
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_HDF5 = b"\x89HDF\r\n\x1a\n"


def recognize(path: str | Path) -> str:
    """``keras``, ``saved_model`` or ``onnx``, judged by what lies at ``path``.

    Raises:
        InputError: nothing there, not readable, empty, or of a kind that is not accepted.
    """
    place = Path(path).expanduser()
    try:
        if not str(path).strip() or not place.exists():
            raise InputError(f"There is no model at '{path}'. Check the path; accepted are {ACCEPTED}.")
        if place.is_dir():
            return _recognize_folder(place)
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
        raise InputError(f"Files ending in {ending} are not accepted yet ('{path}'). {_WAYS_OUT[ending]}")
    if ending not in (".keras", ".onnx"):
        raise InputError(f"'{path}' has the ending '{ending}', which says nothing known. Accepted are {ACCEPTED}.")
    return ending[1:]


def _recognize_folder(place: Path) -> str:
    names = sorted(entry.name for entry in place.iterdir())
    if "saved_model.pb" in names:
        if (place / "saved_model.pb").stat().st_size == 0:
            raise InputError(f"'{place}/saved_model.pb' is empty. Export the model again: model.export('folder').")
        (place / "saved_model.pb").open("rb").close()
        return "saved_model"
    found = ", ".join(names[:5]) + (", …" if len(names) > 5 else "") or "nothing"
    raise InputError(
        f"The folder '{place}' is not a SavedModel: it has no saved_model.pb (it holds {found}). Accepted are {ACCEPTED}."
    )


def digest_of(path: str | Path) -> str:
    """SHA-256 of a file, or of every file of a folder with its relative name, in sorted order.

    An ``.onnx`` file whose weights lie in files beside it is digested together with those.
    """
    place = Path(path).expanduser()
    total = hashlib.sha256()
    try:
        if place.is_dir():
            files = sorted((p.relative_to(place).as_posix(), p) for p in place.rglob("*") if p.is_file())
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
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def inspect_model(path: str | Path, signature: str = "") -> Model:
    """Load the model at ``path`` and say what it is.

    ``signature`` names the SavedModel signature to use; "" means ``serving_default``, or the only one there is. No code
    from the model's file runs: Keras loads in safe mode, and ONNX data may lie only inside the model's own folder.

    Raises:
        InputError: the model cannot be loaded or cannot be fed by the workbench; one sentence says why.
    """
    kind = recognize(path)
    place = Path(path).expanduser().resolve()
    if signature and kind != "saved_model":
        raise InputError(
            f"'signature' is '{signature}', but only a SavedModel has signatures and this is a .{kind} file. "
            "Leave 'signature' empty."
        )
    read = {"keras": _read_keras, "saved_model": _read_saved_model, "onnx": _read_onnx}[kind]
    facts = read(place, signature)
    common_batch(facts["inputs"])
    files = [p for p in place.rglob("*") if p.is_file()] if place.is_dir() else [place]
    if kind == "onnx":
        files += external_files(place)
    return Model(
        path=str(place),
        name=place.name if place.is_dir() else place.stem,
        format=kind,
        size_bytes=sum(file.stat().st_size for file in files),
        digest=digest_of(place),
        **facts,
    )


def common_batch(inputs: Iterable[TensorSpec]) -> int | None:
    """The first axis that all inputs share: ``None`` where it is dynamic.

    Raises:
        InputError: the inputs do not all begin with the same axis, so there is no batch to feed.
    """
    specs = tuple(inputs)
    firsts = {spec.shape[0] if spec.shape else "scalar" for spec in specs}
    if len(firsts) != 1 or "scalar" in firsts:
        found = "; ".join(map(str, specs)) or "no inputs at all"
        raise InputError(
            f"Every input must begin with the same batch axis; found {found}. "
            "Export the model so that state and constants stay inside it."
        )
    first = specs[0].shape[0]
    return None if first is None else int(first)


def load_keras(path: Path) -> Any:
    """The Keras model in the ``.keras`` file ``path``, loaded without running code from it and without compiling."""
    _check_keras_file(path)
    import keras

    try:
        with quiet():
            return keras.models.load_model(path, safe_mode=True, compile=False)
    except Exception as cause:
        custom = re.search(r"Could not locate (?:class|function) '([^']+)'", str(cause))
        if custom:
            raise InputError(
                f"'{path}' uses '{custom[1]}', which is not part of Keras and cannot be rebuilt from the file. "
                "In the program that knows it, run model.export('folder') and open that folder."
            ) from cause
        raise InputError(
            f"Keras could not load '{path}': {brief(cause, 300)} Save the model again, or open its export: "
            "model.export('folder')."
        ) from cause


def _check_keras_file(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(8) == _HDF5:
            raise InputError(
                f"'{path}' is an HDF5 file: weights only, or a model of an older Keras. "
                "Save the whole model with model.save('model.keras')."
            )
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            config = json.loads(archive.read("config.json")) if "config.json" in names else None
            broken = archive.testzip()
    except Exception as cause:  # zipfile, zlib and json all have kinds of their own
        raise InputError(
            f"'{path}' is not a whole .keras file ({brief(cause, 120)}). It may be cut short; save or copy it again."
        ) from cause
    if config is None or "model.weights.h5" not in names:
        missing = "config.json" if config is None else "model.weights.h5"
        raise InputError(
            f"'{path}' has no {missing} inside, so it holds no whole model. Save it with model.save('model.keras')."
        )
    if broken:
        raise InputError(f"'{path}' is damaged: its part '{broken}' does not match its checksum. Copy it again.")
    for name in _lambda_layers(config):
        raise InputError(
            f"The layer '{name}' is a Lambda, whose Python code would have to run to load '{path}'. In the program that "
            "trusts it, run model.export('folder') and open that folder."
        )


def _lambda_layers(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        if config.get("class_name") == "Lambda":
            yield str((config.get("config") or {}).get("name", "lambda"))
        for value in config.values():
            yield from _lambda_layers(value)
    elif isinstance(config, list):
        for value in config:
            yield from _lambda_layers(value)


def write_saved_model(model: Any, into: Path) -> None:
    """Export a loaded Keras model into the folder ``into``.

    Left to itself Keras makes a fixed batch dynamic, and hands on names such as "my image", which TensorFlow refuses.
    Here a fixed batch stays fixed, and such names get underscores.
    """
    import keras
    import tensorflow as tf

    tensors = list(getattr(model, "inputs", None) or [])
    signature = None
    if any(t.shape[0] is not None or not _IDENTIFIER.fullmatch(t.name) for t in tensors):
        structure = tensors[0] if isinstance(model, keras.Sequential) else model.input
        signature = [
            keras.tree.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype, name=_identifier(t.name)), structure)
        ]
    with quiet(), during("export", "the Keras model to a SavedModel", InputError):
        model.export(into, verbose=False, input_signature=signature)


def _identifier(name: str) -> str:
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    return name if not name[:1].isdigit() else f"x{name}"


def _read_keras(path: Path, _signature: str) -> dict[str, Any]:
    model = load_keras(path)
    with tempfile.TemporaryDirectory(prefix="workbench-") as scratch:
        write_saved_model(model, Path(scratch) / "model")
        facts = _read_saved_model(Path(scratch) / "model", "serving_default")
    return {**facts, "parameters": int(model.count_params()), "signatures": ()}


def load_saved_model(path: Path) -> Any:
    import tensorflow as tf

    try:
        with quiet():
            return tf.saved_model.load(str(path))
    except Exception as cause:
        raise InputError(
            f"TensorFlow {tf.__version__} could not load the SavedModel '{path}': {brief(cause, 300)} "
            "It may be incomplete or older than this TensorFlow; export it again with model.export('folder')."
        ) from cause


def _read_saved_model(path: Path, signature: str) -> dict[str, Any]:
    import numpy as np

    loaded = load_saved_model(path)
    names = tuple(sorted(loaded.signatures))
    chosen = signature or ("serving_default" if "serving_default" in names else names[0] if len(names) == 1 else "")
    if chosen not in names:
        listed = ", ".join(names) or "none at all"
        asked = f"no signature '{signature}'" if signature else "several signatures and no serving_default"
        if not names:
            asked = "no signature to call"
        raise InputError(f"'{path.name}' has {asked}; it has: {listed}. Set 'signature' to one of those.")
    function = loaded.signatures[chosen]
    weights = [v for v in {id(v): v for v in function.variables}.values() if v.dtype.is_floating]
    return {
        "inputs": _tensor_specs(function.structured_input_signature[1], "input"),
        "outputs": _tensor_specs(function.structured_outputs, "output"),
        "parameters": int(sum(np.prod(v.shape.as_list(), dtype=np.int64) for v in weights)),
        "signature": chosen,
        "signatures": names,
    }


def _tensor_specs(found: dict[str, Any], role: str) -> tuple[TensorSpec, ...]:
    specs = []
    for name in sorted(found, key=_natural):
        tensor = found[name]
        if tensor.shape.rank is None:
            raise InputError(
                f"The {role} '{name}' has no known number of axes. Export the model with a fixed input shape."
            )
        dtype = str(tensor.dtype.name)
        _check_dtype(name, dtype, role)
        specs.append(TensorSpec(name, dtype, tuple(tensor.shape.as_list())))
    return tuple(specs)


def _natural(name: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]


def _check_dtype(name: str, dtype: str, role: str) -> None:
    if re.fullmatch(r"bool|u?int(8|16|32|64)|float(16|32|64)", dtype) or (role == "output" and dtype == "bfloat16"):
        return
    kind = "text" if dtype in ("string", "object", "str") else dtype
    raise InputError(
        f"The {role} '{name}' holds {kind}, which the workbench does not handle: engines take numbers. "
        "Move that step out of the model, or choose a signature with numeric inputs and outputs."
    )


def _read_onnx(path: Path, _signature: str) -> dict[str, Any]:
    model = load_onnx(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    return {
        "inputs": tuple(_value_spec(v, "input") for v in model.graph.input if v.name not in weights),
        "outputs": tuple(_value_spec(v, "output") for v in model.graph.output),
        "parameters": sum(math.prod(tensor.dims) for tensor in weight_tensors(model.graph)),
    }


def _value_spec(value: Any, role: str) -> TensorSpec:
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise InputError(
            f"The {role} '{value.name}' is a {str(kind).removesuffix('_type')}, not a tensor. Export the model with plain "
            "tensors (with skl2onnx: the option zipmap=False)."
        )
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    _check_dtype(value.name, dtype, role)
    if not tensor.HasField("shape"):
        raise InputError(
            f"The {role} '{value.name}' has no known number of axes. Export the model with shapes "
            "(onnx.shape_inference.infer_shapes may find them)."
        )
    # Some exporters write -1 for a dynamic axis.
    return TensorSpec(value.name, dtype, tuple(d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings of libraries that this project does not own out of the user's sight."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
