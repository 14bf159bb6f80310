"""Keras files: ``.keras`` of Keras 3, and full models in HDF5 (``.h5``, ``.hdf5``) of Keras 2 and earlier.

No code from the file runs: Keras loads in safe mode, and files that need code are refused before Keras opens them.

**Names.** A Keras file does not have a signature: the names are those of its export as a SavedModel (``output_0`` for a plain
output, the dictionary's keys for named ones). They are derived from the model's structure where that is flat, which avoids the
export; else the model is exported once and the names are read from the export.
"""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.errors import InputError, brief, during
from workbench.models import safety
from workbench.models.formats import Runner, check_dtype, natural, quiet, running, saved_model, tensorflow_said
from workbench.models.pixels import white
from workbench.records import Model, TensorSpec

HDF5 = b"\x89HDF\r\n\x1a\n"
HDF5_ENDINGS = (".h5", ".hdf5")


def read(path: Path, _signature: str) -> dict[str, Any]:
    model = load(path)
    facts = described(model) or exported(model)
    largest = {name: rows - 1 for name, rows in _tables(model).items()} | _pixels(model)
    facts["inputs"] = tuple(
        replace(spec, low=0.0, high=float(largest[spec.name])) if spec.name in largest else spec
        for spec in facts["inputs"]
    )
    facts |= {"notes": _training_calls(model), "parameters": int(model.count_params())}
    return facts | {"signature": saved_model.DEFAULT, "signatures": ()}


def _training_calls(model: Any) -> tuple[str, ...]:
    """A note about layers that are called with ``training=True``, such as Monte Carlo dropout: here they run for inference."""
    calls = [(layer, node) for layer in getattr(model, "layers", ()) for node in getattr(layer, "_inbound_nodes", ())]
    named = dict.fromkeys(layer.name for layer, node in calls if node.arguments.kwargs.get("training") is True)
    if not named:
        return ()
    layers = ", ".join(f"'{name}'" for name in list(named)[:5])
    note = (
        f"Layers that the model calls in training mode ({layers}{' …' if len(named) > 5 else ''}) are run and exported for inference, "
        "as model.predict does. model(x) would draw random numbers."
    )
    return (note,)


def _tables(model: Any) -> dict[str, int]:
    """Inputs of Embedding layers, with the number of rows of the layer, above which values are not valid indices."""
    import keras

    found: dict[str, int] = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Embedding):
            name = _identifier(str(getattr(getattr(layer, "input", None), "name", "")))
            found[name] = min(found.get(name, 2**31), int(layer.input_dim))
    return found


def _pixels(model: Any) -> dict[str, int]:
    """Inputs that the model scales down from 0..255, by a Rescaling layer of 1/255, 1/128 or 1/127.5, or from 0..65535, with the largest value.

    Generated values of about 1 would become so small that the result is dominated by rounding.
    """
    import keras

    return {
        _identifier(str(layer.input.name)): largest
        for layer in model.layers
        if isinstance(layer, keras.layers.Rescaling)
        and any(layer.input is each for each in model.inputs)
        and isinstance(layer.scale, int | float)
        and (largest := white(layer.scale)) is not None
    }


def exported(model: Any) -> dict[str, Any]:
    """Inputs and outputs with the names in the model's export."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as scratch:
        write_saved_model(model, Path(scratch) / "model")
        facts = saved_model.read(Path(scratch) / "model", saved_model.DEFAULT)
    return {"inputs": facts["inputs"], "outputs": facts["outputs"]}


def described(model: Any) -> dict[str, Any] | None:
    """Inputs and outputs with the names of an export; ``None`` where an export is needed to determine them."""
    import keras

    if isinstance(model, keras.Sequential):
        output = model.outputs[0]
    elif isinstance(model, keras.Model) and hasattr(model, "output"):
        output = model.output
    else:
        return None
    parts = output if isinstance(output, dict) else output if isinstance(output, list | tuple) else [output]
    named = parts if isinstance(parts, dict) else {f"output_{number}": each for number, each in enumerate(parts)}
    inputs = {_identifier(tensor.name): tensor for tensor in model.inputs}
    flat = all(isinstance(each, keras.KerasTensor) for each in named.values())
    if not flat or len(inputs) < len(model.inputs):
        return None
    return {"inputs": _specs(inputs, "input"), "outputs": _specs(named, "output")}


def _specs(tensors: Mapping[str, Any], role: str) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name, check_dtype(name, str(tensors[name].dtype), role), tuple(tensors[name].shape))
        for name in sorted(tensors, key=natural)
    )


def inputs_of(model: Any) -> list[Any]:
    """The ``tf.TensorSpec`` of each input, in the order of ``model.inputs``, with the names of the signature."""
    import tensorflow as tf

    return [tf.TensorSpec(t.shape, t.dtype, name=_identifier(t.name)) for t in model.inputs]


def inference(model: Any) -> Any:
    """A ``tf.function`` that calls a loaded model with ``training=False``, traced from its inputs' shapes.

    It takes the inputs as separate arguments, in the order of ``model.inputs``, with the names of the signature. ``training=False``
    is explicit because Keras' augmentation layers are in training mode by default.
    """
    import keras
    import tensorflow as tf

    structure, specs = structure_of(model), inputs_of(model)

    # as a graph: in eager mode Keras needs several times the memory and is slower
    @tf.function(input_signature=specs, autograph=False)  # type: ignore[untyped-decorator]
    def call(*given: Any) -> Any:
        # Keras lists the inputs of a dictionary by sorted key, not in the order of the dictionary
        return model(keras.tree.pack_sequence_as(structure, given), training=False)

    return call


def open(path: Path, model: Model) -> Runner:  # noqa: A001 - the name every format has
    import tensorflow as tf

    loaded = load(path)
    names = [spec.name for spec in inputs_of(loaded)]
    outputs = [spec.name for spec in model.outputs]
    call = inference(loaded)

    def run(feeds: Any) -> dict[str, Any]:
        # Keras warns where a single input is not in a list
        with running("Keras", model.name, feeds, tensorflow_said), quiet():
            found = call(*(tf.constant(feeds[name]) for name in names))
        if isinstance(found, dict):
            return {name: tensor.numpy() for name, tensor in found.items()}
        values = found if isinstance(found, list | tuple) else [found]
        return {name: value.numpy() for name, value in zip(outputs, values, strict=True)}

    return run


def load(path: Path) -> Any:
    """The Keras model in ``path``, loaded without running code from it and without compiling.

    Raises:
        InputError: the file is damaged, is not a whole model, or needs code that is not in the file.
    """
    state = path.stat()
    key = (str(path), state.st_mtime_ns, state.st_size)
    if key not in _LATEST:
        _LATEST.clear()
        _LATEST[key] = _load(path)
    return _LATEST[key]


_LATEST: dict[tuple[str, int, int], Any] = {}
"""The model that was loaded last: one process opens, runs and exports it."""


def _load(path: Path) -> Any:
    check(path)
    import keras

    try:
        with quiet(), _named_by_content(path) as place:
            model = keras.models.load_model(place, safe_mode=True, compile=False)
            _ = model.inputs
    except Exception as cause:
        custom = re.search(r"Could not locate (?:class|function) '([^']+)'", str(cause)) or re.search(
            r"Unknown (?:layer|object): '?([\w>]+)'?", str(cause)
        )
        if custom:
            raise InputError(
                f"'{path}' uses '{custom[1]}', which is not part of Keras and cannot be rebuilt from the file. "
                "In the program that defines it, run model.export('folder') and open that folder."
            ) from cause
        raise InputError(
            f"Keras could not load '{path}': {brief(cause, 300)} Save the model again, or open its export: "
            "model.export('folder')."
        ) from cause
    if not model.inputs:
        raise InputError(f"The model in '{path}' is not built: it has no inputs. Call it once and save it again.")
    return model


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(HDF5)) == HDF5


@contextmanager
def _named_by_content(path: Path) -> Iterator[Path]:
    """A path to the file with the ending for its content, because Keras determines the format by the ending only."""
    if _is_hdf5(path) == (path.suffix in HDF5_ENDINGS) and (path.suffix in HDF5_ENDINGS or path.suffix == ".keras"):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="workbench-") as scratch:
        link = Path(scratch) / ("model.h5" if _is_hdf5(path) else "model.keras")
        link.symlink_to(path.absolute())
        yield link


def check(path: Path) -> None:
    """Refuse a file that does not hold a whole model, or would run code, before Keras opens it.

    The format is determined by the content: a ``.keras`` file may be named ``.h5``, and an HDF5 file ``.keras``.
    """
    if _is_hdf5(path):
        _check_hdf5(path)
        return
    if path.suffix.lower() in HDF5_ENDINGS and not zipfile.is_zipfile(path):
        raise InputError(f"'{path}' is neither an HDF5 file nor a .keras archive. Save or copy the model again.")
    safety.check_archive(path)
    try:
        config = config_of(path)
        with zipfile.ZipFile(path) as archive:
            weights = "model.weights.h5" in archive.namelist()
    except Exception as cause:  # zipfile, zlib and json have different error classes
        raise InputError(
            f"'{path}' is not a complete .keras file ({brief(cause, 120)}). It may be truncated; save or copy it again."
        ) from cause
    if config is None or not weights:
        missing = "config.json" if config is None else "model.weights.h5"
        raise InputError(
            f"'{path}' does not contain {missing}, so it is not a whole model. Save it with model.save('model.keras')."
        )
    safety.check_keras_config(config, f"'{path}'")
    with tempfile.TemporaryDirectory(prefix="workbench-") as scratch, zipfile.ZipFile(path) as archive:
        safety.check_hdf5(Path(archive.extract("model.weights.h5", scratch)), f"'{path}'")


def _check_hdf5(path: Path) -> None:
    safety.check_hdf5(path, f"'{path}'")
    try:
        config = config_of(path)
    except Exception as cause:
        raise InputError(f"'{path}' is damaged ({brief(cause, 120)}). Copy or save it again.") from cause
    if config is None:
        raise InputError(
            f"'{path}' holds weights only, without the model's layers. Save the whole model: model.save('model.keras')."
        )
    safety.check_keras_config(config, f"'{path}'")


def config_of(path: Path) -> Any:
    """The configuration in a Keras file; ``None``: there is none. Raises the errors of libraries for a damaged file."""
    if _is_hdf5(path):
        import h5py

        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
    else:
        with zipfile.ZipFile(path) as archive:
            text = archive.read("config.json") if "config.json" in archive.namelist() else None
    return None if text is None else json.loads(text)


def structure_of(model: Any) -> Any:
    """The input tensors of the model, in the structure of its call."""
    import keras

    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def write_saved_model(model: Any, into: Path) -> None:
    """Export a loaded Keras model into the folder ``into``, for inference (``training=False``).

    ``model.export`` would leave augmentation layers in training mode, make a fixed batch dynamic, and use names such as
    "my image", which TensorFlow refuses. Here a fixed batch stays fixed, and such names get underscores.
    """
    import keras
    import tensorflow as tf

    signature = keras.tree.map_structure(
        lambda t: tf.TensorSpec(t.shape, t.dtype, name=_identifier(t.name)), structure_of(model)
    )
    archive = keras.export.ExportArchive()
    with quiet(), during("export", "the Keras model to a SavedModel", InputError):
        archive.track(model)
        archive.add_endpoint("serve", lambda inputs: model(inputs, training=False), input_signature=[signature])
        archive.write_out(str(into), verbose=False)


def _identifier(name: str) -> str:
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    return name if not name[:1].isdigit() else f"x{name}"
