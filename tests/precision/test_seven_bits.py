"""Weights of 7 bits, whose products do not saturate on CPUs without VNNI."""

from __future__ import annotations

import model_zoo
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from workbench.precision.seven_bits import LARGEST, multiplies_signed_activations, seven_bits

RNG = np.random.default_rng(7)
X = RNG.uniform(0.9, 1, (4, 64)).astype(np.float32)
WEIGHTS = RNG.integers(90, 128, (64, 8)).astype(np.int8)
CONSTANTS = {
    "s": np.float32(1 / 255), "z": np.uint8(0), "W": WEIGHTS, "F": WEIGHTS * np.float32(0.01),
    "ws": np.full(8, 0.01, np.float32), "wz": np.zeros(8, np.int8), "one": np.float32(0.01), "zero": np.int8(0),
}  # fmt: skip


def quantized(name: str, *, scale: str, zero: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", scale, zero], [f"{name}_d"]),
    ]


FORMS = {
    "by channel": [helper.make_node("DequantizeLinear", ["W", "ws", "wz"], ["w"], axis=1)],
    "one scale": [helper.make_node("DequantizeLinear", ["W", "one", "zero"], ["w"])],
    "no zero point": [helper.make_node("DequantizeLinear", ["W", "one"], ["w"])],
    "floats": [
        helper.make_node("QuantizeLinear", ["F", "ws", "wz"], ["q"], axis=-1),
        helper.make_node("DequantizeLinear", ["q", "ws", "wz"], ["w"], axis=-1),
    ],
    "a constant's node": [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(WEIGHTS)),
        helper.make_node("DequantizeLinear", ["c", "one", "zero"], ["w"]),
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_products_of_large_weights_are_right_in_openvino(tmp_path, form):
    """They were off by half of the largest value."""
    openvino = pytest.importorskip("openvino")
    nodes = [*quantized("x", scale="s", zero="z"), *FORMS[form], helper.make_node("MatMul", ["x_d", "w"], ["o"])]
    read = {name for node in nodes for name in node.input}
    constants = {name: array for name, array in CONSTANTS.items() if name in read}
    proto = model_zoo.onnx_model(nodes, constants, inputs={"x": ("n", 64)}, outputs={"o": ("n", 8)})
    path = model_zoo.save(proto, tmp_path / "m.onnx")
    assert seven_bits(path, tmp_path / "seven.onnx")
    written = onnx.load(tmp_path / "seven.onnx")
    stored = [numpy_helper.to_array(tensor) for tensor in written.graph.initializer if len(tensor.dims) == 2]
    assert [(array.dtype, np.abs(array).max()) for array in stored] == [(np.int8, LARGEST)]
    onnx.checker.check_model(written, full_check=True)
    wanted = X @ (WEIGHTS * np.float32(0.01))
    core = openvino.Core()
    run = core.compile_model(core.read_model(str(tmp_path / "seven.onnx")), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.abs(next(iter(run(X).values())) - wanted).max() < 0.01 * wanted.max()
    assert not seven_bits(tmp_path / "seven.onnx", tmp_path / "again.onnx")
    assert not (tmp_path / "again.onnx").exists()


def test_other_constants_stay_as_they_are(tmp_path):
    constants = {"B": np.int32([5000, -7]), "U": np.uint8([255, 3]), "A": np.int8([127, 5]), "s": np.float32(0.1)}
    constants |= {"z8": np.uint8(128), "shift": np.int8(3)}
    nodes = [
        helper.make_node("DequantizeLinear", ["B", "s"], ["b"]),
        helper.make_node("DequantizeLinear", ["U", "s", "z8"], ["u"]),
        helper.make_node("DequantizeLinear", ["A", "s", "shift"], ["a"]),
        helper.make_node("Sum", ["x", "b", "u", "a"], ["o"]),
    ]
    proto = model_zoo.onnx_model(nodes, constants, inputs={"x": ("n", 2)}, outputs={"o": ("n", 2)})
    assert not seven_bits(model_zoo.save(proto, tmp_path / "m.onnx"), tmp_path / "seven.onnx")


@pytest.mark.parametrize(("zero", "expected"), [(np.uint8(0), False), (np.int8(0), True)])
def test_products_of_two_signed_activations_are_found(tmp_path, zero, expected):
    nodes = [*quantized("x", scale="s", zero="z"), helper.make_node("Transpose", ["x_d"], ["t"], perm=[1, 0])]
    nodes += [*quantized("t", scale="s", zero="z"), helper.make_node("MatMul", ["x_d", "t_d"], ["o"])]
    proto = model_zoo.onnx_model(
        nodes, {"s": np.float32(0.1), "z": zero}, inputs={"x": ("n", 4)}, outputs={"o": ("n", "n")}
    )
    assert multiplies_signed_activations(model_zoo.save(proto, tmp_path / "m.onnx")) == expected
