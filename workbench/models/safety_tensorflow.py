"""Checks of TensorFlow graphs: all operations must be known to compute only.

An operation is accepted if TensorFlow registers it as stateless and its name does not match the patterns of operations with outside
access, or if it is in a short list of stateful operations that models need. A list of forbidden operations is not sufficient: a graph
may be contained as text in a constant of another (``DatasetFromGraph``), and every release adds operations.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from typing import Any

from workbench.errors import InputError

REACHING = re.compile(
    r"""
    File | Dataset | Iterator | Reader | Record | PyFunc | ^Write | ^Dump | ^Create\w*Writer | CalibrationStatistics
    | ^Debug(Identity|NanCount|NumericSummary) | ^Copy(Host)?$   # the two that carry the orders of a debugger
    | ^(Decode|Encode)Proto | VocabRemapping | RemapMatrix | ^ImmutableConst$   # these read the file that they name
    | Rpc | Remote | Heartbeat | Bigtable | ^Collective | Nccl | ^_?(Host)?(Send|Recv) | ^DTensor | Mesh | ^Relayout
    | TPU | Tpu | Infeed | Outfeed | ^Prelinearize
    | ^Xla(CallModule|CustomCall|Launch|Host|Send|Recv) | ^Mlir | CompressElement | ^TRTEngine   # a program as text
    | ^Abort$ | ^DistributedSave$ | ^StoreMinibatch | ^_
    """,
    re.VERBOSE,
)
"""Names of operations that access files, the network, Python or the process, or run a program that is text in a tensor.

They include ``XlaCallModule``, whose program, compiled from JAX, can call any function that is registered in the process.
"""

STATEFUL = re.compile(
    r"""
    (Variable | VariableV2 | VarHandleOp | ReadVariableOp | Assign(Add|Sub)?VariableOp | VarIsInitializedOp | VariableShape
    | Resource(Gather|GatherNd|StridedSliceAssign|CountUpTo|Scatter\w+|(Sparse)?Apply\w+) | TemporaryVariable
    | DestroyResourceOp | DisableCopyOnRead | MakeWeakResourceHandle | Empty | DeepCopy
    | (Anonymous)?(Mutable(Dense)?)?HashTable(OfTensors)?(V2)? | InitializeTable(V2|FromTextFile|FromTextFileV2)
    | LookupTable(Export|Find|Import|Insert|Remove|Size)V2
    | TensorArray(V2|V3|Grad\w*|\w+V3)? | Stack(V2|CloseV2|PopV2|PushV2)?
    | (FIFO|PaddingFIFO|RandomShuffle|Priority)Queue(V2)? | Queue(Close|DequeueMany|DequeueUpTo|Dequeue|EnqueueMany|Enqueue|IsClosed|Size)V2
    | Multinomial | ParameterizedTruncatedNormal | TruncatedNormal | NonDeterministicInts | SampleDistortedBoundingBox(V2)?
    | Random(Crop|Gamma|Poisson|PoissonV2|Shuffle|StandardNormal|Uniform|UniformInt) | Rng(ReadAndSkip|Skip)
    | Stateful(RandomBinomial|StandardNormal(V2)?|TruncatedNormal|Uniform|UniformFullInt|UniformInt) | StatelessRandomGetAlg
    | (All|LearnedUnigram|LogUniform|ThreadUnsafeUnigram|Uniform)CandidateSampler   # the fixed one reads a file
    | StatefulPartitionedCall | If | Case | While | DeviceIndex | Assert | Print | PrintV2 | CheckNumerics(V2)?
    | GuaranteeConst | Timestamp | CudnnRNN(Backprop)?(V2|V3)? | ShardedFile(name|spec))
    """,
    re.VERBOSE,
)
"""Operations that are accepted although they are stateful or match such a name; each was reviewed.

A table may be filled from a text file, in which SavedModels store their vocabularies. It is read, and nothing is written.
"""

TERMINAL = (b"stdout", b"stderr", b"log(info)", b"log(warning)", b"log(error)")
"""Streams of ``PrintV2`` that are not files."""

WRITING = {"Save", "SaveV2", "SaveSlices", "MergeV2Checkpoints"}
READING = {"Restore", "RestoreV2", "RestoreSlice"}
SAVING = WRITING | READING
"""Every SavedModel has these for its variables. They are accepted where no signature or step of loading runs them."""


def check_graph_def(graph: Any, what: str) -> None:
    """Refuse a TensorFlow ``GraphDef`` with operations that are not known to compute only.

    Raises:
        InputError: there is such an operation; the message names node and operation.
    """
    functions = {function.signature.name for function in graph.library.function}
    for node in (*graph.node, *(node for function in graph.library.function for node in function.node_def)):
        # an attribute may name an operation instead of a function, and a function may have an operation's name
        for name in functions_of(node):
            if name == node.op and name in SAVING:  # its callers are checked below
                continue
            if not (name in functions and _registered(name) is None):
                _check_operation(name, node, what)
        if node.op == "PrintV2" and not _is_to_terminal(node):
            raise _reaches_out(node.name, node.op, what)
    savers = _holders(graph, SAVING)
    for function in graph.library.function:
        for node in function.node_def:
            called = sorted(functions_of(node) & savers)
            if called:  # a saver is called by the graph itself when variables are saved, and not by other functions
                raise InputError(
                    f"The function '{function.signature.name}' of {what} calls '{called[0]}', which {_does(graph, called[0])} "
                    "a file. A model for inference does not need such a step; it is refused."
                )


def _is_to_terminal(node: Any) -> bool:
    """Whether a ``PrintV2`` prints to the process's own output; a function may get the stream from its caller, and it may be a file."""
    if "output_stream" not in node.attr:
        return True
    stream = node.attr["output_stream"]
    return stream.WhichOneof("value") == "s" and stream.s in TERMINAL


def _check_operation(name: str, node: Any, what: str) -> None:
    if STATEFUL.fullmatch(name):
        return
    if name in SAVING or REACHING.search(name):
        raise _reaches_out(node.name, name, what)
    found = _registered(name)
    if found is None:
        raise InputError(
            f"The node '{node.name}' of {what} is a {name}, which is not an operation of this TensorFlow. If a library adds it, "
            "export the model without that library's operations."
        )
    if found.is_stateful:
        raise InputError(
            f"The node '{node.name}' of {what} is a {name}, which is not among the operations with state that models for "
            "inference need. It may do more than compute; it is refused."
        )


@cache
def _registered(name: str) -> Any:
    """TensorFlow's own description of an operation, or ``None``."""
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(name)


def check_meta_graph(meta: Any, what: str) -> None:
    """:func:`check_graph_def` for a SavedModel's ``MetaGraphDef``, with a check that loading and signatures do not save files.

    Raises:
        InputError: a signature, a function, or a step of loading would write a file; the message names it.
    """
    graph = meta.graph_def
    check_graph_def(graph, what)
    savers = _holders(graph, SAVING)
    for name in meta.object_graph_def.concrete_functions:
        if name in savers:
            raise InputError(
                f"The function '{name}' of {what} {_does(graph, name)} a file. A model for inference does not; it is refused."
            )
    check_outputs(graph, _run_by_callers(meta), what)
    check_outputs(graph, _run_by_loaders(meta), what, WRITING)


def check_outputs(graph: Any, tensors: Iterable[str], what: str, operations: Collection[str] = SAVING) -> None:
    """Refuse a ``GraphDef`` in which the computation of ``tensors`` runs one of these operations, which save or restore files.

    Raises:
        InputError: it does; the message names the node.
    """
    savers, nodes = _holders(graph, operations), {node.name: node for node in graph.node}
    waiting, seen = list(tensors), set()
    while waiting:
        name = waiting.pop().lstrip("^").partition(":")[0]
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        if nodes[name].op in operations or (functions_of(nodes[name]) | {nodes[name].op}) & savers:
            raise _reaches_out(name, nodes[name].op, what)
        waiting.extend(nodes[name].input)


def _run_by_callers(meta: Any) -> Iterator[str]:
    """Tensors of every signature, including the initializer's, and the nodes that collections name as operations."""
    for signature in meta.signature_def.values():
        for info in signature.outputs.values():
            parts = info.coo_sparse
            yield from (info.name, parts.values_tensor_name, parts.indices_tensor_name, parts.dense_shape_tensor_name)
            yield from (part.name for part in info.composite_tensor.components)
    for collection in meta.collection_def.values():
        yield from collection.node_list.value
    for asset in meta.asset_file_def:
        yield asset.tensor_info.name


def _run_by_loaders(meta: Any) -> Iterator[str]:
    """Nodes that restore the variables, and nodes that initialize those that a collection describes."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import variable_pb2

    yield meta.saver_def.restore_op_name
    for collection in meta.collection_def.values():
        for content in collection.bytes_list.value:
            try:
                found = variable_pb2.VariableDef.FromString(content)
            except DecodeError:  # it does not describe a variable, and is not run
                continue
            yield from (found.initializer_name, found.initial_value_name, found.snapshot_name, found.variable_name)


def _reaches_out(node: str, operation: str, what: str) -> InputError:
    return InputError(
        f"The node '{node}' of {what} is a {operation}, which accesses files, the network, Python or another program. A "
        "model for inference does not need that; it is refused."
    )


def _holders(graph: Any, operations: Collection[str]) -> set[str]:
    """The functions that contain one of the operations."""
    return {
        function.signature.name
        for function in graph.library.function
        if any(node.op in operations for node in function.node_def)
    }


def _does(graph: Any, function: str) -> str:
    return "writes" if function in _holders(graph, WRITING) else "reads"


def functions_of(node: Any) -> set[str]:
    """The functions that a node calls: its operation may be one, and its attributes may name others, at any depth."""
    names, waiting = {node.op}, [node.attr]
    while waiting:
        for value in waiting.pop().values():
            for function in ([value.func] if value.HasField("func") else []) + list(value.list.func):
                names.add(function.name)
                waiting.append(function.attr)
    return names
