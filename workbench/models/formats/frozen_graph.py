"""TensorFlow frozen graphs (``.pb``): a GraphDef with its weights as constants, and tensors named by the user.

``signature`` names the tensors: ``x:0, mask:0 -> y:0``. If it is empty, the placeholders are the inputs and the tensors that no
node reads are the outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.errors import InputError, brief
from workbench.models import safety_tensorflow as safety
from workbench.models.formats import Runner, check_dtype, natural, quiet, tensorflow_said
from workbench.models.pixels import with_white
from workbench.models.pixels_tensorflow import scaled_placeholders
from workbench.records import Model, TensorSpec

PLACEHOLDERS = ("Placeholder", "PlaceholderWithDefault", "PlaceholderV2")
NOT_OUTPUTS = {"Const", "NoOp", "Assert", "PrintV2", "Print", *PLACEHOLDERS}
WEIGHT_SIZE = 32
"""Constants of fewer elements count as settings, not as weights."""

LIFTED_BYTES = 1 << 16
"""Constants from this size on are fed to a graph rather than kept in it; smaller ones may determine shapes."""


def read(path: Path, signature: str) -> dict[str, Any]:
    graph_def, inputs, outputs = load(path, signature)
    parameters = weights_in(graph_def)
    graph, _ = _imported(graph_def, inputs, outputs)
    given = {name: graph.get_tensor_by_name(tensor) for name, tensor in inputs.items()}
    return {
        "inputs": with_pixels(
            specs_of(given, "input"), graph_def, {name: tensor.op.name for name, tensor in given.items()}
        ),
        "outputs": specs_of({name: graph.get_tensor_by_name(tensor) for name, tensor in outputs.items()}, "output"),
        "parameters": parameters,
        "signature": f"{', '.join(inputs.values())} -> {', '.join(outputs.values())}",
    }


def open(path: Path, model: Model) -> Runner:  # noqa: A001 - the name every format has
    return runner(*load(path, model.signature))


def load(path: Path, signature: str) -> tuple[Any, dict[str, str], dict[str, str]]:
    """The part of the ``GraphDef`` in ``path`` that leads to the outputs, and its input and output tensors by name.

    Only that part is checked: other nodes of a training script (readers, summaries, savers) are removed and do not run.

    Raises:
        InputError: the file is not a frozen graph, its weights are not frozen, or it has operations that do more than compute.
    """
    graph_def = _parsed(path)
    inputs, outputs = tensors_of(graph_def, signature, path.name)
    found: InputError | None = None
    # nodes that compute an input are kept where they are harmless: TensorFlow reads the input's shape from them
    for cut in (False, True):
        try:
            part = pruned(graph_def, inputs, outputs, cut=cut)
            safety.check_graph_def(part, f"'{path}'")
            safety.check_outputs(part, outputs.values(), f"'{path}'")
            _check_frozen(part, path)
        except InputError as error:
            found = found or error
        else:
            return part, inputs, outputs
    assert found is not None
    if signature:
        raise found
    raise InputError(
        f"{found.message} If the model for inference does not contain it, name its tensors with 'signature', such as 'x:0 -> y:0'."
    ) from found


def pruned(graph_def: Any, inputs: dict[str, str], outputs: dict[str, str], *, cut: bool) -> Any:
    """A ``GraphDef`` with the nodes and functions that the tensors ``outputs`` depend on.

    With ``cut`` the tensors ``inputs`` become placeholders, and the nodes that compute them are left out.

    Raises:
        InputError: the graph does not declare the type of an input that is to be cut off.
    """
    import tensorflow as tf

    nodes = {node.name: node for node in graph_def.node}
    ends = {tensor.partition(":")[0] for tensor in inputs.values()}
    fed = {name for name in ends if nodes[name].op not in PLACEHOLDERS} if cut else set()
    needed: set[str] = set()
    waiting = [*ends, *(tensor.partition(":")[0] for tensor in outputs.values())]
    while waiting:
        name = waiting.pop()
        if name in needed or name not in nodes:
            continue
        needed.add(name)
        if name not in fed:
            waiting.extend(source.lstrip("^").partition(":")[0] for source in nodes[name].input)
    part = tf.compat.v1.GraphDef(versions=graph_def.versions)
    part.node.extend(_placeholder(node) if node.name in fed else node for node in graph_def.node if node.name in needed)
    functions = {function.signature.name: function for function in graph_def.library.function}
    used: set[str] = set()
    calls: set[str] = set().union(*(safety.functions_of(node) for node in part.node))
    while calls := (calls & set(functions)) - used:
        used |= calls
        calls = set().union(*(safety.functions_of(n) for name in calls for n in functions[name].node_def))
    part.library.function.extend(functions[name] for name in sorted(used))
    part.library.gradient.extend(g for g in graph_def.library.gradient if {g.function_name, g.gradient_func} <= used)
    return part


def _placeholder(node: Any) -> Any:
    """A placeholder that replaces a node, with the type and shape from the node's attributes."""
    import tensorflow as tf

    made = tf.compat.v1.NodeDef(name=node.name, op="Placeholder")
    kind = next((node.attr[key].type for key in ("dtype", "T", "DstT", "out_type") if node.attr[key].type), 0)
    if not kind:
        raise InputError(
            f"The type of the tensor '{node.name}:0' is not written in the graph. Name another tensor as input in 'signature'."
        )
    made.attr["dtype"].type = kind
    shape = made.attr["shape"].shape
    shapes = node.attr["_output_shapes"].list.shape
    shape.CopyFrom(shapes[0]) if shapes else setattr(shape, "unknown_rank", True)
    return made


def _check_frozen(graph_def: Any, path: Path) -> None:
    unfrozen = [node.name for node in graph_def.node if node.op in ("VarHandleOp", "VariableV2", "Variable")]
    if unfrozen:
        raise InputError(
            f"'{path.name}' is not frozen: the values of the variable '{unfrozen[0]}' are not in the file. Freeze it, or open "
            "the SavedModel folder."
        )


def _parsed(path: Path) -> Any:
    import tensorflow as tf

    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except Exception as cause:
        raise InputError(
            f"'{path}' is not a frozen TensorFlow graph ({brief(cause, 120)}). If it is a SavedModel, give its folder."
        ) from cause
    if not graph_def.node:
        raise InputError(f"'{path}' does not contain a graph. Freeze the model again, or open its SavedModel folder.")
    return graph_def


def tensors_of(graph_def: Any, signature: str, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Input and output tensors by the name of the input or output: the tensor's name without ``:0``, with ``_`` for ``/``."""
    nodes = {node.name: node for node in graph_def.node}
    if signature:
        left, arrow, right = signature.partition("->")
        inputs, outputs = ([part.strip() for part in side.split(",") if part.strip()] for side in (left, right))
        if not arrow or not inputs or not outputs:
            raise InputError(
                f"'signature' is '{signature}', and a frozen graph needs names of tensors. Write them as x:0 -> y:0."
            )
    else:
        read_by = {source.lstrip("^").partition(":")[0] for node in graph_def.node for source in node.input}
        inputs = [node.name for node in graph_def.node if node.op in PLACEHOLDERS]
        outputs = [n.name for n in graph_def.node if n.name not in read_by and n.op not in NOT_OUTPUTS]
    for tensor in (*inputs, *outputs):
        if tensor.partition(":")[0] not in nodes:
            known = ", ".join([n.name for n in graph_def.node if n.op in PLACEHOLDERS][:5]) or "none"
            raise InputError(
                f"'{name}' has no tensor '{tensor}'. Its placeholders are: {known}; its last node is "
                f"'{graph_def.node[-1].name}'. Set 'signature' to x:0 -> y:0 with names of this graph."
            )
    if not inputs or not outputs:
        missing = "placeholder" if not inputs else "output"
        raise InputError(f"No {missing} of '{name}' could be found. Set 'signature' to its tensors: x:0 -> y:0.")
    return _named(inputs), _named(outputs)


def specs_of(tensors: dict[str, Any], role: str) -> tuple[TensorSpec, ...]:
    """TensorFlow's descriptions of tensors as records, sorted by name."""
    specs = []
    for name in sorted(tensors, key=natural):
        tensor = tensors[name]
        if tensor.shape.rank is None:
            raise InputError(
                f"The {role} '{name}' has no known number of axes. Export the model with a fixed input shape."
            )
        dtype = check_dtype(name, str(tensor.dtype.name), role)
        specs.append(TensorSpec(name, dtype, tuple(tensor.shape.as_list())))
    return tuple(specs)


def with_pixels(
    specs: tuple[TensorSpec, ...], graph_def: Any, placeholders: Mapping[str, str]
) -> tuple[TensorSpec, ...]:
    """Inputs with the range of pixels, where the graph scales images down. ``placeholders`` are their nodes by name."""
    found = scaled_placeholders(graph_def, placeholders.values())
    return tuple(with_white(spec, found.get(placeholders.get(spec.name, ""))) for spec in specs)


def _named(tensors: list[str]) -> dict[str, str]:
    full = [tensor if ":" in tensor else f"{tensor}:0" for tensor in tensors]
    return {tensor.removesuffix(":0").replace("/", "_").replace(":", "_").replace(".", "_"): tensor for tensor in full}


def prune(graph_def: Any, inputs: list[str], outputs: list[str]) -> Any:
    """The part of the graph from ``inputs`` to ``outputs`` as a concrete function."""
    import tensorflow as tf

    def imported() -> None:
        tf.compat.v1.import_graph_def(graph_def, name="")

    try:
        with quiet():
            return tf.compat.v1.wrap_function(imported, []).prune(inputs, outputs)
    except Exception as cause:
        raise InputError(
            f"TensorFlow could not import the graph between {', '.join(inputs)} and {', '.join(outputs)}: "
            f"{brief(cause, 250)} Name other tensors as 'signature'."
        ) from cause


def _imported(graph_def: Any, inputs: dict[str, str], outputs: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    """The graph without its large constants, with the named tensors in it; and those constants, by the tensor to feed.

    TensorFlow copies constants into every form that a graph has on its way to a session, but not values that are fed: memory
    falls from 15 to 4 times the file's size. The constants are removed from ``graph_def``.

    Raises:
        InputError: TensorFlow does not accept the graph, or a tensor is not in it.
    """
    import tensorflow as tf

    graph = tf.Graph()
    try:
        lifted = _lift(graph_def, {tensor.partition(":")[0] for tensor in (*inputs.values(), *outputs.values())})
        with quiet(), graph.as_default():
            tf.compat.v1.import_graph_def(graph_def, name="")
        for tensor in (*inputs.values(), *outputs.values()):
            graph.get_tensor_by_name(tensor)
    except Exception as cause:
        raise InputError(
            f"TensorFlow could not import the graph between {', '.join(inputs.values())} and {', '.join(outputs.values())}: "
            f"{brief(cause, 250)} Name other tensors as 'signature'."
        ) from cause
    return graph, lifted


def _lift(graph_def: Any, named: set[str]) -> dict[str, Any]:
    """Replace large constants with placeholders, and return their values by tensor."""
    import tensorflow as tf

    lifted = {}
    for node in graph_def.node:
        if node.op != "Const" or node.name in named or node.ByteSize() < LIFTED_BYTES:
            continue
        kind = tf.as_dtype(node.attr["dtype"].type)
        if not (kind.is_floating or kind.is_integer):
            continue
        value = tf.make_ndarray(node.attr["value"].tensor)
        node.op = "Placeholder"
        del node.attr["value"]
        node.attr["shape"].shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
        lifted[f"{node.name}:0"] = value
    return lifted


def runner(graph_def: Any, inputs: dict[str, str], outputs: dict[str, str]) -> Runner:
    """The graph in a TensorFlow 1 session: as a TensorFlow 2 function it needs several times the memory."""
    import tensorflow as tf

    graph, lifted = _imported(graph_def, inputs, outputs)
    session = tf.compat.v1.Session(graph=graph)

    def run(feeds: Any) -> dict[str, Any]:
        try:
            found = session.run(list(outputs.values()), lifted | {inputs[name]: feeds[name] for name in inputs})
        except Exception as cause:
            raise InputError(f"TensorFlow could not run the graph: {tensorflow_said(cause)}") from cause
        return dict(zip(outputs, found, strict=True))

    return run


def write_saved_model(graph_def: Any, inputs: dict[str, str], outputs: dict[str, str], into: Path) -> None:
    """Write the graph as a SavedModel with one signature, ``serving_default``, which TensorFlow's tools accept."""
    import tensorflow as tf

    function = prune(graph_def, list(inputs.values()), list(outputs.values()))
    module = tf.Module()
    specs = {
        name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name)
        for name, tensor in zip(inputs, function.inputs, strict=True)
    }

    def call(**feeds: Any) -> Any:
        return dict(zip(outputs, function(*(feeds[name] for name in inputs)), strict=True))

    module.call = tf.function(call, autograph=False)
    with quiet():
        concrete = module.call.get_concrete_function(**specs)
        tf.saved_model.save(module, str(into), signatures={"serving_default": concrete})


def weights_in(graph_def: Any) -> int:
    """Number of elements of the floating-point constants that are large enough to be weights."""
    import numpy as np
    import tensorflow as tf

    total = 0
    for node in (*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)):
        if node.op == "Const" and tf.as_dtype(node.attr["dtype"].type).is_floating:
            size = int(np.prod([dim.size for dim in node.attr["value"].tensor.tensor_shape.dim], dtype=np.int64))
            total += size if size >= WEIGHT_SIZE else 0
    return total
