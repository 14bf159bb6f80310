"""Scales, zero points and ranges as they stand in an INT8 file."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_onnx import quantized, saved

from workbench.lessons.scales import COLUMNS, scales


def test_a_layer_between_quantize_and_dequantize(tmp_path):
    table = scales(quantized(tmp_path / "q.onnx").path)
    assert tuple(table.columns) == COLUMNS
    image, weights = table.to_dict("records")
    assert (image["tensor"], image["what"], image["type"], image["channels"]) == ("x", "activation", "int8", 1)
    assert (image["scale"], image["zero point"]) == (pytest.approx(0.05), 0)
    assert (image["low"], image["high"]) == (pytest.approx(-6.4), pytest.approx(6.35))
    assert (weights["tensor"], weights["what"], weights["channels"]) == ("w", "weights", 16)


def test_a_zero_point_moves_the_range_and_the_widest_channel_is_shown(tmp_path):
    held = {
        "x_scale": np.float32(0.1),
        "x_zero": np.uint8(55),
        "w": np.ones((2, 3), np.int8),
        "w_scale": np.array([0.5, 2], np.float32),
        "w_zero": np.zeros(2, np.int8),
        "b": np.ones(2, np.int32),
        "b_scale": np.array([0.05, 0.2], np.float32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "x_scale", "x_zero"], ["x_d"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_d"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "b_scale"], ["b_d"], axis=0),
        helper.make_node("Gemm", ["x_d", "w_d", "b_d"], ["y"], transB=1),
    ]
    floats = TensorProto.FLOAT
    arrays = [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()]
    path = saved(tmp_path / "g.onnx", nodes, [("x", floats, (None, 3))], [("y", floats, (None, 2))], arrays)
    table = scales(path).set_index("tensor")
    assert list(table.index) == ["x", "w"]  # the bias has no scale of its own
    assert (table.loc["x", "low"], table.loc["x", "high"]) == (pytest.approx(-5.5), pytest.approx(20.0))
    assert (table.loc["w", "scale"], table.loc["w", "high"]) == (2.0, 254.0)


def test_a_file_in_fp32_has_none(tmp_path):
    floats = TensorProto.FLOAT
    path = saved(
        tmp_path / "f.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        [("x", floats, (None, 3))],
        [("y", floats, (None, 3))],
    )
    assert scales(path).empty
