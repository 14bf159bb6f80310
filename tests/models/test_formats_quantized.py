"""TensorFlow Lite files and models that already hold a lower precision: read, run and exported, with real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converting import convert_model, runs_alike

from workbench.errors import ExportError
from workbench.models import formats
from workbench.models.inspection import inspect_model


@pytest.fixture(scope="module")
def lite(demo_folder, tmp_path_factory) -> Path:
    """The demo as TensorFlow Lite: float, float16 weights and dynamic range; and a model with text."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("lite")
    for name in ("float", "float16", "dynamic"):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(demo_folder / "saved_model"))
        converter.optimizations = [] if name == "float" else [tf.lite.Optimize.DEFAULT]
        if name == "float16":
            converter.target_spec.supported_types = [tf.float16]
        (folder / f"{name}.tflite").write_bytes(converter.convert())
    return folder


@pytest.mark.parametrize(
    ("name", "quantized", "how"),
    [("float", "", ""), ("float16", "", "stored as 16-bit floats"), ("dynamic", "int8", "dynamic range")],
)
def test_tensorflow_lite_files_are_read_and_known_for_what_they_hold(lite, tmp_path, name, quantized, how):
    model = inspect_model(lite / f"{name}.tflite")
    assert str(model.inputs[0]) == "image: float32 [? × 28 × 28 × 1]"
    assert model.probe is not None
    assert model.probe.free
    assert model.quantized == quantized
    assert how in model.quantized_how
    if name == "float":
        runs_alike(model, tmp_path)


def test_a_file_with_state_is_measured_by_litert_but_not_exported(tmp_path, store):
    import tensorflow as tf

    from workbench import Experiment, run

    class Sum(tf.Module):
        def __init__(self):
            self.total = tf.Variable(tf.zeros((1, 4)))

        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
        def __call__(self, x):
            return {"y": self.total.assign_add(x)}

    module = Sum()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.__call__.get_concrete_function()], module)
    (tmp_path / "sum.tflite").write_bytes(converter.convert())
    model = inspect_model(tmp_path / "sum.tflite")
    with pytest.raises(
        ExportError, match=r"keeps state between calls \(ASSIGN_VARIABLE, .*Choose the backend 'litert'"
    ):
        convert_model(model, tmp_path / "out.onnx")
    asked = Experiment(
        model=model.path,
        backends="litert,onnxruntime",
        precisions="fp32",
        batches=1,
        data="random",
        measure_s=0.05,
        max_measure_s=0.05,
        rounds=2,
    )
    first, second = run(asked, store=store).rows
    assert first.timing is not None
    assert second.failure is not None
    assert "keeps state between calls" in second.failure.message


def test_a_custom_operation_of_tensorflow_lite_is_named(tmp_path):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
    def inverse(x):
        return tf.raw_ops.Erfinv(x=x) * 2

    converter = tf.lite.TFLiteConverter.from_concrete_functions([inverse.get_concrete_function()])
    converter.allow_custom_ops = True
    (tmp_path / "erf.tflite").write_bytes(converter.convert())
    model = inspect_model(tmp_path / "erf.tflite")
    assert "unresolved custom op: Erfinv" in model.notes[0]
    with pytest.raises(ExportError, match=r"the custom operation Erfinv, .* LiteRT cannot run it here either"):
        convert_model(model, tmp_path / "out.onnx")


@pytest.mark.long
def test_a_file_of_8_bit_weights_and_16_bit_activations_is_known_as_quantized(tmp_path, store):
    import model_zoo

    from workbench import Experiment, run

    model = inspect_model(model_zoo.tflite_int16x8(tmp_path / "wide.tflite"))
    assert model.quantized == "int8"
    assert model.quantized_how == "1 of its layers have 8-bit weights and 16-bit activations (int16x8)"
    with pytest.raises(ExportError, match=r"\(int16x8\), which ONNX cannot hold .* Choose the backend 'litert'"):
        convert_model(model, tmp_path / "out.onnx")
    asked = Experiment(
        model=model.path,
        backends="litert",
        precisions="fp32,int8",
        batches=1,
        data="random",
        measure_s=0.05,
        max_measure_s=0.05,
        rounds=2,
    )
    rows = {row.spec.precision: row for row in run(asked, store=store).rows}
    assert rows["int8"].timing is not None
    assert rows["fp32"].timing is None


@pytest.fixture(scope="module")
def two_signatures(tmp_path_factory) -> Path:
    """``add`` (x + 10) and ``mul`` (x · 3), each a graph of its own."""
    import model_zoo

    return model_zoo.tflite_two_signatures(tmp_path_factory.mktemp("signatures"))


@pytest.mark.parametrize(("signature", "wanted"), [("add", 12), ("mul", 6)])
def test_each_signature_of_a_tensorflow_lite_file_runs_its_own_graph(two_signatures, signature, wanted):
    model = inspect_model(two_signatures, signature)
    assert model.probe is not None
    assert model.probe.free
    run = formats.get("tflite").open(two_signatures, model)
    for rows in (3, 1):
        np.testing.assert_array_equal(run({"x": np.full((rows, 4), 2, "f4")})["y"], np.full((rows, 4), wanted))


def test_only_the_main_signature_of_a_tensorflow_lite_file_is_converted(two_signatures, tmp_path):
    """The converter takes the main graph whatever signature is meant."""
    import model_zoo

    main = inspect_model(two_signatures)  # what is taken when nothing is asked for
    assert (main.signature, main.signatures) == ("mul", ("add", "mul"))
    convert_model(main, tmp_path / "mul.onnx")
    x = np.full((2, 4), 2, "f4")
    np.testing.assert_array_equal(model_zoo.run_onnx(tmp_path / "mul.onnx", {"x": x})["y"], x * 3)
    with pytest.raises(ExportError, match=r"only the main signature .* which is 'mul' here"):
        convert_model(inspect_model(two_signatures, "add"), tmp_path / "add.onnx")
    assert not (tmp_path / "add.onnx").exists()


def test_the_way_through_tensorflow_lite_takes_a_signature_of_any_name(tmp_path, monkeypatch):
    import model_zoo

    from workbench.export import routes

    way = routes.Route("through TFLite", routes.through_tflite, "tflite")
    monkeypatch.setitem(routes.ROUTES, "saved_model", (way,))
    runs_alike(inspect_model(model_zoo.saved_model(tmp_path / "several"), "score"), tmp_path)


@pytest.mark.parametrize(
    ("op", "domain", "quantized"),
    [
        *((op, "", True) for op in ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger")),
        ("DynamicQuantizeLinear", "", True),
        *((op, "com.microsoft", True) for op in ("QLinearAdd", "QGemm", "QAttention", "MatMulIntegerToFloat")),
        *((op, "com.microsoft", True) for op in ("DynamicQuantizeLSTM", "MatMulNBits", "MatMulBnb4")),
        *((op, "", False) for op in ("Conv", "MatMul", "Gemm", "CastLike")),
        *((op, "com.microsoft", False) for op in ("QuickGelu", "FusedMatMul")),
        ("QLinearAdd", "elsewhere", False),
    ],
)
def test_quantized_operations_are_known_by_name_inside_branches_too(op, domain, quantized):
    import model_zoo
    from onnx import helper

    from workbench.models.formats.onnx import already_quantized

    branch = helper.make_graph([helper.make_node(op, ["x"], ["y"], domain=domain)], "branch", [], [])
    model = model_zoo.onnx_model([helper.make_node("If", ["p"], ["y"], then_branch=branch, else_branch=branch)])
    assert already_quantized(model) == (("int8", f"it holds 2 {op}") if quantized else ("", ""))


def _cast_and_scaled(kind: str, *, form: str) -> Any:
    """x @ (float(w) × s): weights of few bits by Cast and a scale, in the forms that exporters write."""
    import model_zoo
    from onnx import TensorProto, helper, numpy_helper

    weights: dict[str, Any] = {"s": np.full((1, 3), 0.1, "f4"), "z": np.full((1, 3), 2, "f4")}
    raw = (
        np.arange(12, dtype=np.int8).reshape(3, 4)
        if form == "transposed"
        else np.arange(12, dtype=np.int8).reshape(4, 3)
    )
    stored = helper.make_tensor("w", getattr(TensorProto, kind), raw.shape, raw.ravel().tolist())
    nodes = [helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT)]
    last = "f"
    if form == "transposed":
        nodes.append(helper.make_node("Transpose", [last], ["t"]))
        last = "t"
    if form == "zero point":
        nodes.append(helper.make_node("Sub", [last, "z"], ["d"]))
        last = "d"
    if form == "scale behind":
        nodes += [helper.make_node("MatMul", ["x", last], ["v"]), helper.make_node("Mul", ["v", "s"], ["y"])]
    else:
        nodes += [helper.make_node("Mul", [last, "s"], ["v"]), helper.make_node("MatMul", ["x", "v"], ["y"])]
    model = model_zoo.onnx_model(nodes, weights, opset=22)
    if form == "constant":
        model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=stored))
    else:
        model.graph.initializer.append(stored)
    assert numpy_helper.to_array(stored).shape == raw.shape
    return model


@pytest.mark.parametrize("form", ["plain", "zero point", "transposed", "constant", "scale behind"])
@pytest.mark.parametrize(("kind", "name"), [("INT8", "int8"), ("UINT8", "int8"), ("INT4", "int4")])
def test_weights_quantized_by_cast_and_scale_are_known(form, kind, name):
    from workbench.models.formats.onnx import already_quantized

    found = already_quantized(_cast_and_scaled(kind, form=form))
    assert found == (f"{name}-weights", f"1 of its weights are {name}, converted to floats by Cast and a scale")


def test_bytes_that_are_not_weights_are_not_taken_for_quantized_ones():
    """A table of 8-bit settings that is cast but not scaled, and an 8-bit input that is scaled."""
    import model_zoo
    from onnx import TensorProto, helper

    from workbench.models.formats.onnx import already_quantized

    cast = [helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT), helper.make_node("MatMul", ["x", "f"], ["y"])]
    assert already_quantized(model_zoo.onnx_model(cast, {"w": np.ones((4, 3), "i1")})) == ("", "")
    scaled = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "s"], ["g"]),
        helper.make_node("MatMul", ["g", "w"], ["y"]),
    ]
    weights = {"s": np.float32(0.1), "w": np.ones((4, 3), "f4")}
    assert already_quantized(model_zoo.onnx_model(scaled, weights, dtype=TensorProto.UINT8)) == ("", "")


def test_weights_quantized_already_are_run_in_fp32_and_not_quantized_again(tmp_path):
    import model_zoo

    from workbench.plan.rows import rows_of
    from workbench.settings.experiment import Experiment

    model = inspect_model(model_zoo.save(_cast_and_scaled("INT8", form="plain"), tmp_path / "cast.onnx"))
    asked = Experiment(
        backends="onnxruntime", precisions="fp32,int8,int8-dynamic,int8-weights,int4-weights", batches="1"
    )
    rows = {row.spec.asked: row.failure.message if row.failure else "" for row in rows_of(asked, model)}
    assert rows.pop("fp32") == ""
    for message in rows.values():
        assert message == (
            "the model's weights are quantized already (1 of its weights are int8, converted to floats by Cast and a scale); "
            "choose fp32, which runs it as it is, or open the model it was made from"
        )


def test_weights_of_4_bits_are_run_as_they_are(tmp_path):
    import model_zoo

    model = inspect_model(model_zoo.save(model_zoo.onnx_4_bits(), tmp_path / "four.onnx"))
    assert (model.quantized, model.quantized_how) == ("int8", "it holds 1 MatMulNBits")
    assert model.probe is not None
    assert model.probe.free
