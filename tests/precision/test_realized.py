"""Whether an engine has the precision that was requested, and operations that change their meaning between opsets."""

from __future__ import annotations

import model_zoo
import numpy as np
import pytest
from converting import rewritten

from workbench.data.samples import Samples
from workbench.errors import ExportError, InputError
from workbench.precision.rewrite import judge
from workbench.records import Precision, RealizedPrecision


@pytest.mark.parametrize(
    ("asked", "layers", "fine"),
    [
        (Precision.FP32, {"fp32": 6}, True),
        (Precision.FP32, {"fp32": 5, "bf16": 1}, False),
        (Precision.INT8, {"int8": 3, "fp32": 3}, True),
        (Precision.INT8, {"int8": 2, "fp32": 4}, False),
        (Precision.FP16, {"fp32": 6}, False),
        (Precision.BF16, {"bf16": 6}, True),
        (Precision.INT8, {}, True),
    ],
)
def test_an_engine_must_deserve_the_name_of_its_precision(asked, layers, fine):
    text = judge(asked, RealizedPrecision(layers, "the runtime's graph"))
    assert (text == "") == fine
    if asked == Precision.INT8 and not fine:
        assert text == (
            "Asked for int8, but 2 of 6 layers with weights compute in it (found: 4 fp32, 2 int8; read from the runtime's "
            "graph). Choose another precision for this backend."
        )


@pytest.mark.parametrize(("op", "opset"), [("Upsample", 9), ("Resize", 10)])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_int8_of_an_older_opset_resizes_as_the_source_does(tmp_path, op, opset, mode):
    """Per-channel INT8 wants opset 13, where resizing has another meaning unless attributes specify it."""
    from onnx import helper

    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4, name="conv"),
        helper.make_node(op, ["c", "s"], ["y"], mode=mode, name="up"),
    ]
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32) / 5
    proto = model_zoo.onnx_model(
        nodes,
        {"w": weight, "s": np.array([1, 1, 2, 2], np.float32)},
        inputs={"x": ("batch", 3, 8, 8)},
        outputs={"y": ("batch", 4, 16, 16)},
        opset=opset,
    )
    source, into = model_zoo.save(proto, tmp_path / "up.onnx"), tmp_path / "int8.onnx"
    x = np.random.default_rng(1).random((16, 3, 8, 8), dtype=np.float32)
    done = rewritten(source, "int8-u8", into, Samples("s", {"x": x}))
    assert (done["opset_before"], done["opset"]) == (opset, 13)
    wanted = model_zoo.run_onnx(source, {"x": x})["y"]
    found = model_zoo.run_onnx(into, {"x": x})["y"]
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


def test_int8_of_operations_that_changed_their_meaning_is_refused(tmp_path):
    from onnx import helper

    nodes = [helper.make_node("MatMul", ["x", "w"], ["t"]), helper.make_node("Hardmax", ["t"], ["y"])]
    proto = model_zoo.onnx_model(nodes, {"w": np.eye(4, 3, dtype=np.float32)}, opset=11)
    samples = Samples("s", {"x": np.ones((4, 4), np.float32)})
    with pytest.raises(ExportError, match="from opset 11 to 13: Hardmax has another meaning there"):
        rewritten(model_zoo.save(proto, tmp_path / "hard.onnx"), "int8-u8", tmp_path / "out.onnx", samples)


def test_weights_of_4_bits_are_not_quantized_again(tmp_path):
    samples = Samples("s", {"x": np.ones((4, 32), np.float32)})
    source = model_zoo.save(model_zoo.onnx_4_bits(), tmp_path / "four.onnx")
    with pytest.raises(InputError, match=r"is quantized already \(it holds MatMulNBits\)"):
        rewritten(source, "int8-u8", tmp_path / "out.onnx", samples)
