"""TensorFlow SavedModels of TensorFlow 2 and of TensorFlow 1, with any signature.

Some folders that TensorFlow 2 cannot restore (for example with the state of an optimizer whose class has changed) still open with
TensorFlow 1's loader. They are used through the frozen graph of the signature.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.errors import InputError, brief
from workbench.models import safety_tensorflow as safety
from workbench.models.formats import Runner, frozen_graph, natural, quiet, unsigned
from workbench.models.formats.frozen_graph import runner, specs_of, weights_in, with_pixels
from workbench.records import Model, TensorSpec

DEFAULT = "serving_default"


def read(path: Path, signature: str) -> dict[str, Any]:
    # before both loaders, because the second would open a folder that the check in the first refuses
    check_graphs(path)
    try:
        loaded = load(path)
    except InputError as cause:
        return _read_legacy(path, signature, cause)
    names = tuple(sorted(loaded.signatures))
    if not names:
        return _read_unsigned(loaded, path, signature)
    chosen = choose(path, names, signature)
    function = loaded.signatures[chosen]
    return {
        "inputs": _inputs(function, function.structured_input_signature[1]),
        "outputs": specs_of(function.structured_outputs, "output"),
        "parameters": count_parameters(function),
        "signature": chosen,
        "signatures": names,
    }


def _inputs(concrete: Any, tensors: dict[str, Any]) -> tuple[TensorSpec, ...]:
    """The inputs of a ConcreteFunction, whose placeholders keep the names of its arguments."""
    graph_def = concrete.graph.as_graph_def()
    placeholders = [node for node in graph_def.node if node.op == "Placeholder"]
    named = {node.attr["_user_specified_name"].s.decode() or node.name: node.name for node in placeholders}
    return with_pixels(specs_of(tensors, "input"), graph_def, named)


def open(path: Path, model: Model) -> Runner:  # noqa: A001 - the name every format has
    if model.legacy:
        return runner(*legacy_graph(path, model.signature))
    if model.unsigned:
        loaded = load(path)
        return unsigned.runner(loaded, unsigned.function_of(loaded, model.name, model.signature), model.name)
    return run_function(load(path), model.signature, model.name)


def run_function(loaded: Any, signature: str, name: str) -> Runner:
    """A signature of a loaded SavedModel as a runner."""
    function = loaded.signatures[signature]
    return unsigned.runner(loaded, lambda feeds: function(**feeds), name)


def load(path: Path) -> Any:
    """The SavedModel, restored by TensorFlow 2.

    Raises:
        InputError: it cannot be restored, or its graph accesses files, the network or Python.
    """
    import tensorflow as tf

    check_graphs(path)
    try:
        with quiet():
            return tf.saved_model.load(str(path))
    except Exception as cause:
        raise InputError(
            f"TensorFlow {tf.__version__} could not load the SavedModel '{path}': {brief(cause, 300)} "
            "It may be incomplete or older than this TensorFlow; export it again with model.export('folder')."
        ) from cause


def check_graphs(path: Path) -> None:
    """Read the graphs without restoring variables, and refuse those that do more than compute."""
    from tensorflow.core.protobuf import saved_model_pb2

    found = saved_model_pb2.SavedModel()
    try:
        found.ParseFromString((path / "saved_model.pb").read_bytes())
    except Exception as cause:
        raise InputError(
            f"'{path}/saved_model.pb' is damaged ({brief(cause, 120)}). Copy the folder again, or export the model again."
        ) from cause
    for meta in found.meta_graphs:
        safety.check_meta_graph(meta, f"'{path}'")


def choose(path: Path, names: tuple[str, ...], signature: str) -> str:
    """The signature with the given name, or ``serving_default``, or the only one."""
    chosen = signature or (DEFAULT if DEFAULT in names else names[0] if len(names) == 1 else "")
    if chosen in names:
        return chosen
    listed = ", ".join(names) or "none at all"
    asked = f"no signature '{signature}'" if signature else f"several signatures and no {DEFAULT}"
    raise InputError(f"'{path.name}' has {asked}; it has: {listed}. Set 'signature' to one of those.")


def count_parameters(function: Any) -> int:
    """Number of elements of the floating-point variables that a function uses, and of its large constants."""
    import numpy as np

    weights = [v for v in {id(v): v for v in function.variables}.values() if v.dtype.is_floating]
    return int(sum(np.prod(v.shape.as_list(), dtype=np.int64) for v in weights))


def _read_unsigned(loaded: Any, path: Path, signature: str) -> dict[str, Any]:
    function = unsigned.function_of(loaded, path.name, signature)
    return {
        "inputs": _inputs(function.concrete, function.inputs),
        "outputs": specs_of(function.outputs, "output"),
        "parameters": count_parameters(function.concrete),
        "signature": function.name,
        "unsigned": True,
        "notes": (f"This SavedModel has no signature; its function '{function.name}' is used.",),
    }


def write_saved_model(path: Path, model: Model, into: Path) -> None:
    """Write a SavedModel with the signature ``serving_default`` for one that lacks it, or that only TensorFlow 1 opens."""
    if model.legacy:
        frozen_graph.write_saved_model(*legacy_graph(path, model.signature), into)
        return
    loaded = load(path)
    unsigned.write_saved_model(loaded, unsigned.function_of(loaded, model.name, model.signature), into)


def _read_legacy(path: Path, signature: str, cause: InputError) -> dict[str, Any]:
    import tensorflow as tf

    try:
        with quiet(), tf.Graph().as_default(), tf.compat.v1.Session() as session:
            signatures = tf.compat.v1.saved_model.load(session, ["serve"], str(path)).signature_def
    except Exception as error:
        raise cause from error  # neither loader can open it: the message of the newer one is more specific
    names = tuple(sorted(name for name in signatures if not name.startswith("__")))
    chosen = choose(path, names, signature)
    graph_def, given, _ = legacy_graph(path, chosen)
    return {
        "inputs": with_pixels(
            specs_of(_described(signatures[chosen].inputs), "input"),
            graph_def,
            {name: tensor.rpartition(":")[0] for name, tensor in given.items()},
        ),
        "outputs": specs_of(_described(signatures[chosen].outputs), "output"),
        "parameters": weights_in(graph_def),
        "signature": chosen,
        "signatures": names,
        "legacy": True,
        "notes": (
            "TensorFlow 2 cannot restore this SavedModel; TensorFlow 1's loader can. It is used as a frozen graph.",
        ),
    }


def _described(tensors: Any) -> dict[str, Any]:
    """Declared shape and type of a signature's tensors."""
    import tensorflow as tf

    return {name: tf.TensorSpec(info.tensor_shape, tf.as_dtype(info.dtype)) for name, info in tensors.items()}


def legacy_graph(path: Path, signature: str) -> tuple[Any, dict[str, str], dict[str, str]]:
    """A signature frozen by TensorFlow 1's loader: its GraphDef, and the tensor of each input and output."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with quiet(), tf.Graph().as_default(), v1.Session() as session:
        meta = v1.saved_model.load(session, ["serve"], str(path))
        found = meta.signature_def[signature]
        inputs, outputs = (
            {name: each[name].name for name in sorted(each, key=natural)} for each in (found.inputs, found.outputs)
        )
        nodes = [tensor.rpartition(":")[0] for tensor in outputs.values()]
        frozen = v1.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), nodes)
    return frozen, inputs, outputs
