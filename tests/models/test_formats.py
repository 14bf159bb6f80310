"""Every format beyond Keras 3 and plain SavedModels: read, run and exported, with real files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converting import convert_model

from workbench.errors import ExportError, InputError
from workbench.models import formats
from workbench.models.inspection import inspect_model
from workbench.records import Model
from workbench.store import file_digest


def runs_alike(model: Model, tmp_path: Path) -> None:
    """The source and its ONNX form give the same outputs under the same names."""
    import model_zoo

    from workbench.data.synthetic import generated

    check = convert_model(model, tmp_path / "out.onnx")
    feeds = generated(model.inputs, "random", 3, seed=5).feeds(0, model.fixed_batch or 3)
    source = formats.get(model.format).open(Path(model.path), model)(feeds)
    found = model_zoo.run_onnx(tmp_path / "out.onnx", feeds)
    assert sorted(found) == sorted(spec.name for spec in model.outputs)
    for name, array in source.items():
        np.testing.assert_allclose(found[name], array, atol=1e-4)
    assert check.max_rel_diff < 1e-4


@pytest.fixture(scope="module")
def tf1(tmp_path_factory) -> Path:
    """A TensorFlow 1 SavedModel with a variable, and a frozen graph of its first part."""
    import tensorflow as tf

    folder, v1 = tmp_path_factory.mktemp("tf1"), tf.compat.v1
    kernel = np.random.default_rng(0).standard_normal((3, 3, 3, 4)).astype("f4")
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], name="img/x")
        y = tf.nn.relu(tf.nn.conv2d(x, kernel, 2, "SAME"), name="out/y")
        (folder / "frozen.pb").write_bytes(session.graph.as_graph_def().SerializeToString())
        weight = v1.get_variable("v", initializer=np.ones((4, 2), "f4"))
        z = tf.matmul(tf.reduce_mean(y, [1, 2]), weight, name="z")
        (folder / "unfrozen.pb").write_bytes(session.graph.as_graph_def().SerializeToString())
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(folder / "saved"), {"image": x}, {"scores": z, "features": y})
    return folder


@pytest.mark.parametrize("signature", ["", "img/x:0 -> out/y:0", "img/x -> out/y"])
def test_a_frozen_graph_is_read_by_its_tensors(tf1, tmp_path, signature):
    model = inspect_model(tf1 / "frozen.pb", signature)
    assert [str(spec) for spec in (*model.inputs, *model.outputs)] == [
        "img_x: float32 [? × 8 × 8 × 3]",
        "out_y: float32 [? × 4 × 4 × 4]",
    ]
    assert model.signature == "img/x:0 -> out/y:0"
    assert model.parameters == 108
    runs_alike(model, tmp_path)


def test_inner_tensors_of_a_frozen_graph_can_be_named(tf1):
    model = inspect_model(tf1 / "frozen.pb", "img/x:0 -> Conv2D:0")
    assert [spec.name for spec in model.outputs] == ["Conv2D"]
    with pytest.raises(InputError, match=r"has no tensor 'nosuch:0'. Its placeholders are: img/x"):
        inspect_model(tf1 / "frozen.pb", "img/x:0 -> nosuch:0")
    with pytest.raises(InputError, match="names tensors: x:0 -> y:0"):
        inspect_model(tf1 / "frozen.pb", "serving_default")


def test_large_constants_of_a_frozen_graph_count_and_can_be_outputs(tmp_path):
    import tensorflow as tf

    weight = np.random.default_rng(0).standard_normal((200, 100)).astype("f4")
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 200], name="x")
        w = tf.constant(weight, name="w")
        tf.matmul(x, w, name="y")
    (tmp_path / "large.pb").write_bytes(graph.as_graph_def().SerializeToString())
    feeds = {"x": np.eye(200, dtype="f4")[:3]}
    for signature, outputs in (("", ["y"]), ("x:0 -> y:0, w:0", ["y", "w"])):
        model = inspect_model(tmp_path / "large.pb", signature)
        assert model.parameters == weight.size
        found = formats.get("frozen_graph").open(Path(model.path), model)(feeds)
        assert list(found) == outputs
        np.testing.assert_allclose(found["y"], weight[:3], rtol=1e-6)
    np.testing.assert_array_equal(found["w"], weight)
    runs_alike(inspect_model(tmp_path / "large.pb"), tmp_path)


@pytest.fixture(scope="module")
def training_leftovers(tmp_path_factory) -> Path:
    """A frozen graph with what training scripts leave in it: a reader before the input, a saver and a variable beside it."""
    import tensorflow as tf

    path, v1 = tmp_path_factory.mktemp("leftovers") / "leftovers.pb", tf.compat.v1
    with tf.Graph().as_default() as graph:
        name = v1.placeholder(tf.string, [], name="file")
        read = tf.io.decode_raw(tf.io.read_file(name), tf.float32)
        x = tf.identity(tf.reshape(read, [-1, 3]), name="x")
        y = tf.matmul(x, tf.constant(np.eye(3, 2, dtype="f4")), name="y")
        v1.get_variable("step", initializer=np.zeros(1, "f4"), use_resource=True)
        tf.raw_ops.SaveV2(prefix=name, tensor_names=["y"], shape_and_slices=[""], tensors=[y], name="save")
        tf.nn.softmax(y, name="fine")
    found = graph.as_graph_def(add_shapes=True)
    path.write_bytes(found.SerializeToString())
    return path


def test_a_frozen_graph_is_judged_by_the_tensors_named_alone(training_leftovers, tmp_path):
    model = inspect_model(training_leftovers, "x:0 -> fine:0")
    assert [str(spec) for spec in (*model.inputs, *model.outputs)] == ["x: float32 [? × 3]", "fine: float32 [? × 2]"]
    runs_alike(model, tmp_path)
    with pytest.raises(InputError, match="which reaches files"):
        inspect_model(training_leftovers)
    with pytest.raises(InputError, match="is a ReadFile, which reaches files"):
        inspect_model(training_leftovers, "file:0 -> fine:0")


def test_functions_that_only_other_parts_of_a_frozen_graph_call_are_left_out(tmp_path):
    import tensorflow as tf

    from workbench.models.formats import frozen_graph

    @tf.function
    def save(value):
        tf.io.write_file("stolen", tf.strings.as_string(value))
        return value

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        tf.identity(x * 2, name="y")
        tf.identity(save(tf.reduce_sum(x)), name="other")
    (tmp_path / "f.pb").write_bytes(graph.as_graph_def().SerializeToString())
    part, _, _ = frozen_graph.load(tmp_path / "f.pb", "x:0 -> y:0")
    assert not part.library.function
    with pytest.raises(InputError, match="WriteFile"):
        frozen_graph.load(tmp_path / "f.pb", "x:0 -> other:0")


def test_a_graph_with_loose_variables_is_not_called_frozen(tf1, tmp_path):
    with pytest.raises(InputError, match="is not frozen: the variable 'v'"):
        inspect_model(tf1 / "unfrozen.pb")
    (tmp_path / "noise.pb").write_bytes(b"\x0a\xff\xff\xff")
    with pytest.raises(InputError, match="is not a frozen TensorFlow graph"):
        inspect_model(tmp_path / "noise.pb")


def test_a_tensorflow_1_saved_model_is_read(tf1, tmp_path):
    model = inspect_model(tf1 / "saved")
    assert [spec.name for spec in model.outputs] == ["features", "scores"]
    runs_alike(model, tmp_path)


def test_a_saved_model_that_only_the_old_loader_opens_is_used_frozen(tf1, tmp_path, monkeypatch):
    """As with models whose optimizer's state TensorFlow 2 no longer knows: its loader fails, the older one does not."""
    from workbench.models.formats import saved_model

    def fails(path: Path) -> Any:
        raise InputError("'_UserObject' object has no attribute 'add_slot'")

    monkeypatch.setattr(saved_model, "load", fails)
    model = inspect_model(tf1 / "saved")
    assert model.legacy
    assert "TensorFlow 1's loader can" in model.notes[0]
    assert [str(spec) for spec in model.outputs] == ["features: float32 [? × 4 × 4 × 4]", "scores: float32 [? × 2]"]
    monkeypatch.undo()
    runs_alike(model, tmp_path)


def test_a_saved_model_that_writes_files_is_refused_by_node(tmp_path):
    import model_zoo
    import tensorflow as tf

    def writes(x: Any) -> Any:
        tf.io.write_file("stolen.txt", "x")
        return x * 2

    folder = model_zoo.saved_model_of(tmp_path / "bad", writes, None, 4)
    with pytest.raises(InputError, match=r"The node 'WriteFile' of .* is a WriteFile, which reaches files"):
        inspect_model(folder)


def test_a_saved_model_with_a_link_out_of_its_folder_is_refused(tf1, tmp_path):
    shutil.copytree(tf1 / "saved", tmp_path / "linked")
    (tmp_path / "secret").write_text("x")
    (tmp_path / "linked" / "assets").mkdir(exist_ok=True)
    (tmp_path / "linked" / "assets" / "words.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="is a link that leaves the folder"):
        inspect_model(tmp_path / "linked")


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
    with pytest.raises(ExportError, match=r"the custom operation Erfinv, .* LiteRT does not run it here either"):
        convert_model(model, tmp_path / "out.onnx")


def test_a_file_with_the_wrong_content_is_named(tmp_path):
    (tmp_path / "x.tflite").write_bytes(b"not a flatbuffer at all")
    with pytest.raises(InputError, match="is not a TensorFlow Lite file, whatever its ending says"):
        inspect_model(tmp_path / "x.tflite")
    (tmp_path / "x.h5").write_bytes(b"not hdf5")
    with pytest.raises(InputError, match=r"is neither an HDF5 file nor a \.keras archive"):
        inspect_model(tmp_path / "x.h5")


def test_a_full_model_in_hdf5_is_read(demo_folder, tmp_path):
    import keras

    keras.models.load_model(demo_folder / "demo.keras").save(tmp_path / "demo.h5")
    model = inspect_model(tmp_path / "demo.h5")
    assert (model.format, model.parameters) == ("keras", 35994)
    runs_alike(model, tmp_path)


def test_a_live_model_is_kept_once(demo_folder, store):
    import keras

    from workbench.models.live import kept_model

    live = keras.models.load_model(demo_folder / "demo.keras")
    first, again = kept_model(live, store), kept_model(live, store)
    assert first == again
    assert first.is_file()
    with pytest.raises(InputError, match=r"A model is a path or a live keras.Model; found list"):
        kept_model([], store)


def test_text_is_measured_by_tensorflow_but_not_exported(tmp_path):
    import model_zoo

    model = inspect_model(model_zoo.saved_model(tmp_path / "several"), "text")
    with pytest.raises(ExportError, match="cannot become ONNX: 'words' holds text, and engines take numbers"):
        convert_model(model, tmp_path / "out.onnx")


@pytest.mark.parametrize(
    "make", ["keras_mlp", "keras_gelu", "keras_normalization", "named", "listed", "spaced", "fixed"]
)
def test_a_keras_signature_is_the_one_that_its_export_gives(tmp_path, make):
    """Told from the structure, without an export; an export says the same."""
    import model_zoo

    from workbench.models.formats import keras as keras_format

    path = tmp_path / "m.keras"
    if make in ("named", "listed"):
        model_zoo.keras_two_by_two(path, named=make == "named")
    elif make in ("spaced", "fixed"):
        model_zoo.keras_mlp(path, name="my image" if make == "spaced" else "x", batch=3 if make == "fixed" else None)
    else:
        getattr(model_zoo, make)(path)
    model = keras_format.load(path)
    assert keras_format.described(model) == keras_format.exported(model)


def test_an_input_that_looks_up_a_table_is_made_up_within_it(tmp_path):
    """Rows beyond the table are no indices: TensorFlow and ONNX Runtime refuse them."""
    import keras
    import model_zoo
    from onnx import helper

    entry = keras.Input((6,), dtype="int32", name="ids")
    found = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(5, 3)(entry))
    keras.Model(entry, found).save(tmp_path / "words.keras")
    model = inspect_model(tmp_path / "words.keras")
    assert (model.inputs[0].low, model.inputs[0].high) == (0, 4)
    assert model.probe is not None
    assert model.probe.free
    runs_alike(model, tmp_path)

    nodes = [helper.make_node("Cast", ["x"], ["i"], to=7), helper.make_node("Gather", ["table", "i"], ["y"])]
    table = np.ones((3, 2), np.float32)
    proto = model_zoo.onnx_model(nodes, {"table": table}, inputs={"x": ("n",)}, outputs={"y": ("n", 2)}, dtype=6)
    spec = inspect_model(model_zoo.save(proto, tmp_path / "gather.onnx")).inputs[0]
    assert (spec.low, spec.high) == (0, 2)


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
    assert found == (f"{name}-weights", f"1 of its weights are {name}, turned into floats by Cast and a scale")


def test_bytes_that_are_no_weights_are_not_taken_for_quantized_ones():
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

    from workbench.experiment import Experiment
    from workbench.pipeline import plan

    model = inspect_model(model_zoo.save(_cast_and_scaled("INT8", form="plain"), tmp_path / "cast.onnx"))
    asked = Experiment(
        backends="onnxruntime", precisions="fp32,int8,int8-dynamic,int8-weights,int4-weights", batches="1"
    )
    rows = {row.spec.asked: row.failure.message if row.failure else "" for row in plan(asked, model)}
    assert rows.pop("fp32") == ""
    for message in rows.values():
        assert message == (
            "the model's weights are quantized already (1 of its weights are int8, turned into floats by Cast and a scale); "
            "choose fp32, which runs it as it is, or open the model it was made from"
        )


def test_weights_of_4_bits_are_run_as_they_are(tmp_path):
    import model_zoo

    model = inspect_model(model_zoo.save(model_zoo.onnx_4_bits(), tmp_path / "four.onnx"))
    assert (model.quantized, model.quantized_how) == ("int8", "it holds 1 MatMulNBits")
    assert model.probe is not None
    assert model.probe.free


@pytest.mark.parametrize(
    ("make", "shapes", "done"),
    [("onnx_fixed_conv", "x:?x3x16x16", {1: True, 2: True}), ("onnx_fixed_reshape", "x:?x3x4", {1: True, 2: False})],
)
def test_sizes_changed_by_the_user_are_measured_where_they_run(tmp_path, store, make, shapes, done):
    import model_zoo

    from workbench import Experiment, run

    path = model_zoo.save(getattr(model_zoo, make)(), tmp_path / "fixed.onnx")
    asked = Experiment(
        model=path,
        input_shapes=shapes,
        backends="onnxruntime",
        precisions="fp32",
        batches="1,2",
        data="random",
        measure_s=0.05,
        max_measure_s=0.05,
        rounds=2,
    )
    rows = run(asked, store=store).rows
    assert {row.batch: row.timing is not None for row in rows} == done


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_inputs_of_a_dictionary_reach_their_own_names(tmp_path, order):
    import keras

    tensors = {name: keras.Input((3,), name=name) for name in order}
    keras.Model(tensors, tensors["a"] * 2 - tensors["b"]).save(tmp_path / "pair.keras")
    model = inspect_model(tmp_path / "pair.keras")
    feeds = {"a": np.ones((1, 3), "f4"), "b": np.zeros((1, 3), "f4")}
    assert formats.get("keras").open(Path(model.path), model)(feeds)["output_0"].tolist() == [[2, 2, 2]]
    runs_alike(model, tmp_path)


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
def test_real_numbers_are_quantized_for_a_file_that_takes_8_bits(tmp_path, store):
    """As the file says, not by casting: the answers are those of the float model."""
    import tensorflow as tf

    from workbench import Experiment, run

    draw = np.random.default_rng(0)
    weight, x = draw.standard_normal((6, 4)).astype("f4"), draw.standard_normal((200, 6)).astype("f4")

    @tf.function(input_signature=[tf.TensorSpec((None, 6), tf.float32, name="x")])
    def net(x):
        return {"y": tf.matmul(x, weight)}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([net.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in x)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (tmp_path / "net.tflite").write_bytes(converter.convert())
    model = inspect_model(tmp_path / "net.tflite")
    assert model.inputs[0].dtype == "int8"
    assert 0.005 < model.inputs[0].scale < 0.05
    assert "int8 [? × 6], standing for" in str(model.inputs[0])
    np.savez(tmp_path / "data.npz", x=x, y=(x @ weight).argmax(1))
    asked = Experiment(
        model=model.path, backends="litert", precisions="int8", batches=1, data=str(tmp_path / "data.npz"),
        calibration_samples=1, measure_s=0.05, max_measure_s=0.05, rounds=2,
    )  # fmt: skip
    (row,) = run(asked, store=store).rows
    assert row.accuracy.value > 0.95
    assert row.engine.source_sha256 == file_digest(tmp_path / "net.tflite")
    np.savez(tmp_path / "data.npz", x=np.where(x == x[3, 0], np.nan, x))
    with pytest.raises(InputError, match="A value that is not a number or is infinite is in row 3"):
        run(asked, store=store)


def test_layers_called_in_training_mode_are_run_for_inference_and_said_so(tmp_path):
    """Monte Carlo dropout: Keras' own predict leaves it out."""
    import keras

    given = keras.layers.Input((4,))
    hidden = keras.layers.Dropout(0.5, name="monte_carlo")(keras.layers.Dense(8)(given), training=True)
    keras.Model(given, keras.layers.Dense(3)(hidden)).save(tmp_path / "mc.keras")
    model = inspect_model(tmp_path / "mc.keras")
    assert not model.varying
    assert any("training mode ('monte_carlo') are run and exported for inference" in note for note in model.notes)
    plain = keras.layers.Dropout(0.5)(keras.layers.Dense(8)(given))
    keras.Model(given, keras.layers.Dense(3)(plain)).save(tmp_path / "plain.keras")
    assert not any("training mode" in note for note in inspect_model(tmp_path / "plain.keras").notes)


def test_made_up_pixels_have_the_range_that_a_model_scales_down(tmp_path):
    import keras

    image = keras.Input((8, 8, 3), name="image")
    keras.Model(image, keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, offset=-1)(image))).save(
        tmp_path / "a.keras"
    )
    keras.Model(image, keras.layers.Flatten()(keras.layers.Rescaling(2.0)(image))).save(tmp_path / "b.keras")
    scaled, other = (inspect_model(tmp_path / name).inputs[0] for name in ("a.keras", "b.keras"))
    assert (scaled.low, scaled.high) == (0, 255)
    assert (other.low, other.high) == (None, None)
