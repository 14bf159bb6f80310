"""ONNX models that are made to do harm when they are opened: read elsewhere, or take all memory or time.

Each function writes a file or folder into ``folder`` and returns its path. What it tries to write or read is below ``target``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import trial_model

Make = Callable[[Path, Path], Path]


def _onnx(folder: Path) -> Any:
    import onnx

    return onnx.load(trial_model.write_model(folder / "m.onnx"))


def _saved(folder: Path, model: Any, name: str = "m.onnx") -> Path:
    (folder / name).write_bytes(model.SerializeToString())
    return folder / name


def _external(tensor: Any, location: str, **more: str) -> None:
    import onnx

    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)


def _weights(size: int = 4) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.zeros(size, np.float32), "evil")


def onnx_sparse_weights(folder: Path, target: Path) -> Path:
    """The values of sparse weights lie in a file elsewhere."""
    import onnx

    model = _onnx(folder)
    sparse = onnx.SparseTensorProto(
        dims=[8], values=_weights(), indices=onnx.numpy_helper.from_array(np.arange(4), "i")
    )
    _external(sparse.values, str(target / "secret"))
    model.graph.sparse_initializer.append(sparse)
    return _saved(folder, model)


def onnx_function_constant(folder: Path, target: Path) -> Path:
    """A constant in the body of a function lies in a file elsewhere."""
    from onnx import helper

    model, value = _onnx(folder), _weights(3)
    _external(value, "../" * 20 + str(target / "secret"))
    body = [helper.make_node("Constant", [], ["c"], value=value), helper.make_node("Add", ["a", "c"], ["b"])]
    model.functions.append(helper.make_function("own", "F", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[-1].output[0] = "z"
    model.graph.node.append(helper.make_node("F", ["z"], ["y"], domain="own"))
    return _saved(folder, model)


def onnx_training_weights(folder: Path, target: Path) -> Path:
    """The weights of the training part lie in a file elsewhere."""
    model, value = _onnx(folder), _weights()
    _external(value, str(target / "secret"))
    model.training_info.add().initialization.initializer.append(value)
    return _saved(folder, model)


def onnx_branch_constants(folder: Path, target: Path) -> Path:
    """A list of tensors of a node in a branch lies in files elsewhere."""
    from onnx import TensorProto, helper

    model, value = _onnx(folder), _weights(3)
    _external(value, str(target / "secret"))
    odd = helper.make_node("Constant", [], ["e"], value=_weights(3))
    odd.attribute.append(helper.make_attribute("more", [value]))
    branch = helper.make_graph([odd], "b", [], [helper.make_tensor_value_info("e", TensorProto.FLOAT, [3])])
    model.graph.initializer.append(helper.make_tensor("c", TensorProto.BOOL, [], [True]))
    model.graph.node[-1].output[0] = "z"
    model.graph.node.append(helper.make_node("If", ["c"], ["i"], then_branch=branch, else_branch=branch))
    model.graph.node.append(helper.make_node("Add", ["z", "i"], ["y"]))
    return _saved(folder, model)


def onnx_linked_folder(folder: Path, target: Path) -> Path:
    """Weights lie in a sub-folder that is a link to another place."""
    model = _onnx(folder)
    (folder / "weights").symlink_to(target)
    _external(model.graph.initializer[0], "weights/secret")
    return _saved(folder, model)


def onnx_weights_are_a_pipe(folder: Path, _target: Path) -> Path:
    """Weights are read from a pipe without a writer."""
    model = _onnx(folder)
    os.mkfifo(folder / "weights")
    _external(model.graph.initializer[0], "weights")
    return _saved(folder, model)


def onnx_weights_are_endless(folder: Path, _target: Path) -> Path:
    """Weights are a link to a device without end."""
    model = _onnx(folder)
    (folder / "weights").symlink_to("/dev/zero")
    _external(model.graph.initializer[0], "weights")
    return _saved(folder, model)


def onnx_weights_beyond(folder: Path, _target: Path) -> Path:
    """Weights begin beyond the end of their file, by 2^62 bytes."""
    model = _onnx(folder)
    (folder / "weights").write_bytes(bytes(4096))
    _external(model.graph.initializer[0], "weights", offset=str(2**62), length="144")
    return _saved(folder, model)


def onnx_is_a_pipe(folder: Path, _target: Path) -> Path:
    os.mkfifo(folder / "m.onnx")
    return folder / "m.onnx"


def onnx_is_a_device(folder: Path, _target: Path) -> Path:
    (folder / "m.onnx").symlink_to("/dev/zero")
    return folder / "m.onnx"


def onnx_is_ort(folder: Path, _target: Path) -> Path:
    """ONNX Runtime's own format, which it recognizes by its content, under the name of an ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "m.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(
        trial_model.write_model(folder / "m.onnx"), options, providers=["CPUExecutionProvider"]
    )
    (folder / "m.ort").replace(folder / "m.onnx")
    return folder / "m.onnx"


def onnx_compiled_context(folder: Path, target: Path) -> Path:
    """A node whose content is a compiled program of a vendor, in a file elsewhere."""
    from onnx import helper

    model = _onnx(folder)
    del model.graph.node[:]
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.node.append(
        helper.make_node(
            "EPContext",
            ["x"],
            ["y"],
            domain="com.microsoft",
            embed_mode=0,
            ep_cache_context=str(target / "secret"),
            source="QNN",
        )
    )
    return _saved(folder, model)


def onnx_recursion(folder: Path, _target: Path) -> Path:
    """A function that calls itself."""
    from onnx import helper

    model = _onnx(folder)
    body = [helper.make_node("F", ["a"], ["b"], domain="own")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model.functions.append(helper.make_function("own", "F", ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[-1].output[0] = "z"
    model.graph.node.append(helper.make_node("F", ["z"], ["y"], domain="own"))
    return _saved(folder, model)


def onnx_much_memory(folder: Path, _target: Path) -> Path:
    """A constant of 2^40 values, made while the graph is loaded."""
    from onnx import helper, numpy_helper

    model = _onnx(folder)
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**20, 2**20], np.int64), "size"))
    model.graph.node[-1].output[0] = "z"
    model.graph.node.append(helper.make_node("ConstantOfShape", ["size"], ["big"]))
    model.graph.node.append(helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0))
    model.graph.node.append(helper.make_node("Add", ["z", "sum"], ["y"]))
    return _saved(folder, model)


def onnx_location_twice(folder: Path, target: Path) -> Path:
    """Weights with two locations: one beside the model, one elsewhere."""
    model, weights = _onnx(folder), _weights(8)
    (folder / "weights").write_bytes(bytes(32))
    _external(weights, "weights")
    for place in (target / "secret", "weights"):
        weights.external_data.add(key="location", value=os.path.relpath(place, folder))
    weights.external_data[-1].value = "weights"
    model.graph.initializer.append(weights)
    return _saved(folder, model)


def onnx_location_is_an_address(folder: Path, target: Path) -> Path:
    """Weights at an address of another kind than a path."""
    model, weights = _onnx(folder), _weights(8)
    _external(weights, f"file://{target}/secret")
    model.graph.initializer.append(weights)
    return _saved(folder, model)


def onnx_python_operation(folder: Path, _target: Path) -> Path:
    """An operation that calls a function of Python by its name."""
    from onnx import helper

    model = _onnx(folder)
    model.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))
    model.graph.node[-1].output[0] = "z"
    model.graph.node.append(
        helper.make_node("PyOp", ["z"], ["y"], domain="ai.onnx.contrib", module="os", func="getcwd", compute="getcwd")
    )
    return _saved(folder, model)


def onnx_settings_in_metadata(folder: Path, target: Path) -> Path:
    """Settings of the engine in the model, which write a profile and an optimized model elsewhere."""
    model = _onnx(folder)
    options = {
        "enable_profiling": 1,
        "profile_file_prefix": f"{target}/planted",
        "optimized_model_filepath": f"{target}/o",
    }
    model.metadata_props.add(key="ort_config", value=json.dumps({"session_options": options}))
    return _saved(folder, model)


def onnx_deep_branches(folder: Path, _target: Path) -> Path:
    """Two thousand branches within each other."""
    from onnx import TensorProto, helper

    model = _onnx(folder)
    value = helper.make_tensor_value_info("b0", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Constant", [], ["b0"], value_float=1.0)], "g", [], [value])
    content = graph.SerializeToString()
    for depth in range(2000):  # by hand: the library copies each graph on its way in
        attribute = _field(1, b"then_branch") + _field(6, content) + b"\xa0\x01\x05"
        node = _field(1, b"c") + _field(2, b"b%d" % (depth + 1)) + _field(4, b"If") + _field(5, attribute)
        content = _field(1, node) + _field(2, b"g") + _field(12, _field(1, b"b%d" % (depth + 1)))
    whole = model.SerializeToString() + _field(7, content)  # which is merged into the graph
    (folder / "m.onnx").write_bytes(whole)
    return folder / "m.onnx"


def _field(number: int, content: bytes) -> bytes:
    """A field of a message of Protocol Buffers that holds bytes."""
    size, length = len(content), b""
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def onnx_size_overflows(folder: Path, _target: Path) -> Path:
    """Weights of 2^64 values, whose number of bytes is 0 in 64 bits."""
    import onnx

    model = _onnx(folder)
    model.graph.initializer.append(
        onnx.TensorProto(name="evil", data_type=onnx.TensorProto.FLOAT, dims=[2**32, 2**32], raw_data=b"")
    )
    model.graph.node.append(onnx.helper.make_node("Shape", ["evil"], ["size"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("size", onnx.TensorProto.INT64, [2]))
    return _saved(folder, model)


ONNX: dict[str, Make] = {
    make.__name__: make
    for make in (
        onnx_sparse_weights,
        onnx_function_constant,
        onnx_training_weights,
        onnx_branch_constants,
        onnx_linked_folder,
        onnx_weights_are_a_pipe,
        onnx_weights_are_endless,
        onnx_weights_beyond,
        onnx_is_a_pipe,
        onnx_is_a_device,
        onnx_is_ort,
        onnx_compiled_context,
        onnx_recursion,
        onnx_much_memory,
        onnx_location_twice,
        onnx_location_is_an_address,
        onnx_python_operation,
        onnx_settings_in_metadata,
        onnx_deep_branches,
        onnx_size_overflows,
    )
}
