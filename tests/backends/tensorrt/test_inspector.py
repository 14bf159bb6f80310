"""The reader of the engine inspector's JSON, on samples of several versions; what is known of each: data/inspector."""

import json
from pathlib import Path

import pytest

from workbench.backends.tensorrt import inspector
from workbench.backends.tensorrt.inspector import Inspection, Layer, Tensor, dtype_of, read, realized
from workbench.errors import BuildError

SAMPLES = Path(__file__).with_name("inspector")


def sample(name: str) -> Inspection:
    return read((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def test_8_x_int8_is_read_whole():
    found = sample("trt-8.4-int8")
    assert found.detailed
    assert found.io == (Tensor("image"), Tensor("scores"))
    assert [(layer.type, layer.precision) for layer in found.layers] == [
        ("Reformat", "fp32"),
        ("CaskConvolution", "int8"),
        ("CublasConvolution", "fp32"),
    ]
    conv = found.layers[1]
    assert conv.origin == ("kernel_1", "quantize_kernel_1", "conv_1", "relu_1")
    assert conv.tactic == "made_up_int8x4_tactic"
    assert conv.inputs == (
        Tensor("quantize_image:0", "int8", (4, 3, 32, 32), "Four wide channel vectorized row major Int8 format"),
    )
    assert found.layers[2].tactic == "0x0000000000000001"  # no name: the value


def test_weights_tell_where_dynamic_shapes_leave_inputs_without_a_type():
    found = sample("trt-8.5-dynamic")
    assert [layer.precision for layer in found.layers] == ["", "fp16"]
    assert realized(found, ["conv_1"]).layers == {"fp16": 1}  # not the copy before it, which bears its name


def test_names_alone_are_not_a_precision():
    found = sample("trt-8.4-names")
    assert not found.detailed
    assert [layer.name for layer in found.layers][2] == "pool_1"
    assert realized(found, ["conv_1"]) is None


def test_10_x_names_nodes_in_its_metadata():
    found = sample("trt-10-fp16")
    assert [layer.origin for layer in found.layers] == [("cast_image", "conv_1"), ("conv_1", "relu_1"), ("dense_1",)]
    # conv_1 is in a cast's layer too, which starts from FP32
    assert realized(found, ["conv_1", "dense_1"]).layers == {"fp16": 2}


def test_11_x_has_objects_for_inputs_and_outputs_and_types_apart():
    found = sample("trt-11-bf16")
    layout = "Row major linear format (kLINEAR)"
    assert found.io == (
        Tensor("image", "bf16", (-1, 3, 32, 32), layout),
        Tensor("scores", "bf16", (-1, 16, 32, 32)),
    )
    assert found.layers[0].inputs == (Tensor("image", "bf16", (8, 3, 32, 32), layout),)
    assert realized(found, ["conv_1"]).layers == {"bf16": 1}


def test_a_node_that_no_layer_names_makes_no_half_count():
    assert realized(sample("trt-10-fp16"), ["conv_1", "conv_2"]) is None


def test_weights_stored_in_int8_and_used_in_fp16_count_as_fp16():
    text = (
        '{"Layers": [{"Name": "dense", "LayerType": "gemm", "Weights": {"Type": "Int8", "Count": 4}, "Precision": "Int8",'
        ' "Inputs": [{"Name": "mask", "Format/Datatype": "Bool"}, {"Name": "x", "Format/Datatype": "Half"}]}]}'
    )
    assert read(text).layers[0].precision == "fp16"


def test_a_copy_made_for_a_node_is_not_the_node():
    layers = [
        {"LayerType": "Reformat", "Inputs": [{"Format/Datatype": "Float"}], "Metadata": "[ONNX Layer: conv_1]"},
        {"LayerType": "kgen", "Inputs": [{"Format/Datatype": "Half"}], "Metadata": "[ONNX Layer: conv_1]"},
    ]
    assert realized(read(json.dumps({"Layers": layers})), ["conv_1"]).layers == {"fp16": 1}


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("Row major linear FP32", "fp32"),
        ("Row major linear FP16 format", "fp16"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Half", "fp16"),
        ("Float", "fp32"),
        ("BFloat16", "bf16"),
        ("BF16", "bf16"),
        ("FP8", "fp8"),
        ("Float8 (E4M3)", "fp8"),
        ("UInt8", "uint8"),
        ("Int4", "int4"),
        ("Int64", "int64"),
        ("Bool", "bool"),
        ("N/A due to dynamic shapes", ""),
        ("", ""),
    ],
)
def test_words_for_types(words, name):
    assert dtype_of(words) == name


@pytest.mark.parametrize("text", ["", "junk", "[]", '{"Layers": 3}', '{"layers": []}', '{"Layers": [{"Inputs": 3}]}'])
def test_what_is_not_an_inspection_is_one_sentence(text):
    with pytest.raises(BuildError, match="could not be read"):
        read(text)


def test_an_engine_without_layers_is_one():
    assert read('{"Layers": [], "Bindings": []}') == Inspection((), (), detailed=True)


def test_the_table_lies_beside_the_engine(tmp_path):
    assert inspector.load(tmp_path) is None
    kept = Inspection((Layer("conv", "CONVOLUTION", precision="fp32", origin=("conv",)),), (Tensor("x"),))
    kept.save(tmp_path)
    assert inspector.load(tmp_path) == kept
