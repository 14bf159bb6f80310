"""What is particular to LiteRT: its modes, what each really computes in, names, batches, and files that run as they are."""

import json

import model_zoo
import numpy as np
import pytest

from workbench.backends import get
from workbench.backends.litert.backend import FILE, NAMES
from workbench.data.samples import Samples, save_samples
from workbench.errors import BuildError
from workbench.models.formats import open_model
from workbench.models.inspection import inspect_model
from workbench.plan.rows import rows_of
from workbench.protocols import Source
from workbench.records import TEXT, EngineRecord, EngineSpec, Model, Precision, Status, TensorSpec
from workbench.settings.experiment import Experiment

pytest.importorskip("ai_edge_litert")

BACKEND = get("litert")
WIDE = (TensorSpec("x", "float32", (None, 16)),), (TensorSpec("output_0", "float32", (None, 3)),)
TWO = (
    (TensorSpec("left", "float32", (None, 4)), TensorSpec("right", "float32", (None, 2))),
    (TensorSpec("zeta", "float32", (None, 2)), TensorSpec("alpha", "float32", (None, 3))),
)
METHODS = [("", "fp32"), ("weights", "fp16"), ("dynamic", "int8"), ("", "int8")]


def asked(method="", precision="fp32", **changes):
    return EngineSpec("litert", Precision(precision), method=method, **changes)


def model(form="keras", dtype="float32", quantized=""):
    specs = (TensorSpec("x", dtype, (None, 4)),)
    return Model("m", "m", form, specs, specs, 1, 1, "d", quantized=quantized)


def build(path, specs, into, spec, *, signature="serving_default", samples=None):
    into.mkdir(parents=True, exist_ok=True)
    return BACKEND.build(Source(path, *specs, signature, samples), spec, into, lambda _: None)


def start(folder, built, spec):
    return BACKEND.open(folder, EngineRecord(spec, "key", "LiteRT", "1", built.realized, 1, 1.0))


def export(source, into):
    import keras

    keras.models.load_model(source).export(into, verbose=False)
    return into


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Three dense layers, two with over 1,024 weights; its SavedModel, samples, and answers to them."""
    import keras

    folder = tmp_path_factory.mktemp("wide")
    keras.utils.set_random_seed(1)
    sizes = [keras.layers.Dense(width, activation="relu") for width in (128, 64)]
    network = keras.Sequential([keras.Input((16,), name="x"), *sizes, keras.layers.Dense(3)])
    network.export(folder / "saved_model", verbose=False)
    samples = Samples("random", {"x": np.random.default_rng(0).random((12, 16), dtype=np.float32)})
    save_samples(samples, folder / "samples.npz")
    return folder, samples, network(samples.inputs["x"]).numpy()


@pytest.fixture(scope="module")
def engines(wide, tmp_path_factory):
    folder, _, _ = wide
    found = {}
    for method, precision in METHODS:
        into = tmp_path_factory.mktemp("engine")
        spec = asked(method, precision, calibration_samples=12)
        built = build(folder / "saved_model", WIDE, into, spec, samples=folder / "samples.npz")
        found[method, precision] = (into, built, spec)
    return found


@pytest.mark.parametrize(
    ("case", "layers", "basis"),
    [
        (METHODS[0], {"fp32": 3}, "tensor types of the TensorFlow Lite file"),
        (METHODS[1], {"fp16-weights": 3}, "3 with weights stored as 16-bit floats and computed with in FP32"),
        (METHODS[2], {"int8": 2, "fp32": 1}, "2 hybrid: INT8 weights, activations are float between layers"),
        (METHODS[3], {"int8": 3}, "tensor types of the TensorFlow Lite file"),
    ],
)
def test_each_method_says_what_it_computes_in(engines, case, layers, basis):
    _, built, _ = engines[case]
    assert built.realized.layers == layers
    assert basis in built.realized.basis
    assert ("hybrid" in built.realized.basis) == (case[0] == "dynamic")
    assert built.note == (
        "ranges: smallest and largest values; the calibration method has no effect here" if case == METHODS[3] else ""
    )


def test_16_bit_weights_halve_the_file(engines):
    whole, half = ((engines[case][0] / FILE).stat().st_size for case in METHODS[:2])
    assert half < 0.6 * whole


@pytest.mark.parametrize(("case", "tolerance"), zip(METHODS, (1e-6, 1e-3, 0.02, 0.05), strict=True))
def test_every_batch_has_the_source_models_answers(engines, wide, case, tolerance):
    folder, built, spec = engines[case]
    _, samples, expected = wide
    with start(folder, built, spec) as session:
        for batch in (1, 5, 3, 12, 1):
            outputs = session.run(samples.feeds(0, batch))
            assert list(outputs) == ["output_0"]
            assert outputs["output_0"].dtype == np.float32
            np.testing.assert_allclose(outputs["output_0"], expected[:batch], atol=tolerance)


def test_staged_inputs_outlive_another_run(engines, wide):
    folder, built, spec = engines[METHODS[0]]
    _, samples, expected = wide
    with start(folder, built, spec) as session:
        call = session.stage(samples.feeds(0, 4))
        session.run(samples.feeds(7, 2))
        call()
        (number,) = session._outputs.values()
        np.testing.assert_allclose(session._interpreter.get_tensor(number), expected[:4], atol=1e-6)


@pytest.mark.parametrize("batch", [None, 4])
def test_two_inputs_and_two_outputs_keep_their_names(tmp_path, batch):
    import keras

    source = model_zoo.keras_two_by_two(tmp_path / "two.keras", named=True)
    feeds = {"left": np.arange(16, dtype="f4").reshape(4, 4), "right": np.ones((4, 2), "f4")}
    expected = keras.models.load_model(source)(feeds)
    spec = asked(batch=batch)
    built = build(export(source, tmp_path / "saved_model"), TWO, tmp_path / "engine", spec)
    assert sorted(one.name for one in (tmp_path / "engine").iterdir()) == [FILE, NAMES]
    with start(tmp_path / "engine", built, spec) as session:
        outputs = session.run(feeds)
    assert list(outputs) == ["zeta", "alpha"]  # in the model's order, not the file's
    for name, array in outputs.items():
        np.testing.assert_allclose(array, expected[name], atol=1e-5)


def test_a_fixed_batch_is_in_the_file(wide, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    build(wide[0] / "saved_model", WIDE, tmp_path, asked(batch=4))
    (detail,) = Interpreter(str(tmp_path / FILE)).get_input_details()
    assert list(detail["shape_signature"]) == [4, 16]


def test_a_file_of_the_users_runs_as_it_is(engines, tmp_path):
    (origin, made, _), spec = engines[METHODS[3]], asked(precision="int8")
    built = build(origin / FILE, WIDE, tmp_path, spec)
    assert (tmp_path / FILE).read_bytes() == (origin / FILE).read_bytes()
    assert built.file_sha256 == made.file_sha256
    assert len({each.file_sha256 for _, each, _ in engines.values()}) == len(METHODS)
    assert built.realized.layers == {"int8": 3}
    assert built.note == ""


@pytest.fixture(scope="module")
def signatures(tmp_path_factory):
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("signatures")
    path = model_zoo.saved_model(folder / "saved_model")
    content = tf.lite.TFLiteConverter.from_saved_model(str(path), signature_keys=["half", "score"]).convert()
    (folder / "model.tflite").write_bytes(content)
    return folder / "model.tflite"


def test_a_signature_that_is_not_the_main_graph_is_refused(signatures, tmp_path):
    build(signatures, ((), ()), tmp_path, asked(), signature="half")
    assert list(json.loads((tmp_path / NAMES).read_text())["inputs"]) == ["x"]
    with pytest.raises(BuildError) as caught:
        build(signatures, ((), ()), tmp_path, asked(), signature="score")
    assert str(caught.value) == (
        "The signature 'score' is not the main one of this TensorFlow Lite file, and only the main one can be run. "
        "Set 'signature' to 'half'."
    )


def with_state(path):
    """A file without signatures: one SVDF layer, which sums its last two inputs of one number each."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name, shape, buffer=0, *, variable=False):
        made = schema.TensorT()
        made.name, made.shape, made.buffer, made.isVariable = name, shape, buffer, variable
        return made

    code, operator, main, whole = schema.OperatorCodeT(), schema.OperatorT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SVDF
    operator.inputs, operator.outputs = [0, 1, 2, -1, 3], [4]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.SVDFOptions, schema.SVDFOptionsT()
    operator.builtinOptions.rank = 1
    main.tensors = [
        tensor("x", [1, 1]),
        tensor("feature", [1, 1], 1),
        tensor("time", [1, 2], 2),
        tensor("state", [1, 2], variable=True),
        tensor("y", [1, 1]),
    ]
    main.inputs, main.outputs, main.operators = [0], [4], [operator]
    buffers = [schema.BufferT() for _ in range(3)]
    for buffer, values in zip(buffers[1:], ([1.0], [1.0, 1.0]), strict=True):
        buffer.data = list(np.array(values, "f4").tobytes())
    whole.version, whole.operatorCodes, whole.subgraphs, whole.buffers = 3, [code], [main], buffers
    builder = flatbuffers.Builder()
    builder.Finish(whole.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def test_a_layer_with_memory_begins_every_call_without_one(tmp_path):
    built = build(with_state(tmp_path / "svdf.tflite"), ((), ()), tmp_path / "engine", asked(), signature="")
    assert built.realized.layers == {"fp32": 1}
    with start(tmp_path / "engine", built, asked()) as session:
        for value in (3.0, 5.0):
            assert session.run({"x": np.array([[value]], "f4")})["y"].item() == value


@pytest.mark.parametrize(
    ("spec", "found", "reason"),
    [
        (asked(precision="fp16"), model(), "its CPU kernels compute in FP32 or INT8; 16-bit weights only make the"),
        (asked(precision="bf16"), model(), "its CPU kernels compute in FP32 or INT8; 16-bit weights only make the"),
        (asked("weights", "int8"), model(), "TensorFlow Lite's converter does not make int8-weights"),
        (asked("entropy", "int8"), model(), "TensorFlow Lite's converter does not make int8-entropy"),
        (asked(), model("onnx"), "LiteRT cannot run an ONNX model"),
        (asked(), model("saved_model", dtype=TEXT), "TensorFlow Lite's converter leaves out operations on text"),
        (asked("weights", "fp16"), model("tflite"), "this TensorFlow Lite file holds fp32 and is not converted again"),
        (
            asked("dynamic", "int8"),
            model("tflite", quantized="int8"),
            "this TensorFlow Lite file holds int8 and is not",
        ),
        (asked("", "int8"), model("tflite"), "this TensorFlow Lite file holds fp32 and is not converted again"),
        (asked(), model("tflite", quantized="int8"), "this TensorFlow Lite file holds int8 and is not converted"),
    ],
)
def test_what_is_refused_says_why_and_what_to_do(spec, found, reason):
    able = BACKEND.supports(spec, found)
    assert not able
    assert able.reason.startswith(reason)
    assert able.fix


@pytest.mark.parametrize(
    ("form", "possible"),
    [("keras", {"fp32", "int8"}), ("saved_model", {"fp32", "int8"}), ("tflite", {"fp32"}), ("onnx", set())],
)
def test_a_run_with_the_default_backends_has_it_where_it_can_run_the_model(form, possible):
    rows = [row for row in rows_of(Experiment(), model(form)) if row.spec.backend == "litert"]
    assert {row.spec.asked for row in rows} == set(Experiment().precisions)
    assert {row.spec.asked for row in rows if row.status == Status.PLANNED} == possible


def test_what_each_is_built_from():
    specs = [asked(method, precision) for method, precision in METHODS]
    assert all(BACKEND.supports(spec, model()) for spec in specs)
    forms = [BACKEND.source(spec, model()) for spec in specs]
    assert forms == ["saved_model", "saved_model", "saved_model", "saved_model+calibration"]
    assert BACKEND.supports(asked("", "int8"), model("tflite", quantized="int8"))
    assert BACKEND.source(asked("", "int8"), model("tflite", quantized="int8")) == "tflite"


def test_int8_without_samples_names_the_method_that_needs_none(wide, tmp_path):
    with pytest.raises(BuildError, match=r"Give data as an .npz file, or use int8-dynamic"):
        build(wide[0] / "saved_model", WIDE, tmp_path, asked(precision="int8"))


def test_an_operation_without_a_kernel_is_named(tmp_path):
    import tensorflow as tf

    path = model_zoo.saved_model_of(tmp_path / "saved_model", tf.math.digamma, None, 4)
    specs = (TensorSpec("x", "float32", (None, 4)),), (TensorSpec("y", "float32", (None, 4)),)
    with pytest.raises(BuildError) as caught:
        build(path, specs, tmp_path / "engine", asked())
    assert str(caught.value) == (
        "TensorFlow Lite has no kernel for tf.Digamma, which this model uses. Choose another backend."
    )


@pytest.mark.long
def test_a_recurrent_layer_is_built_for_one_sample_or_refused(tmp_path):
    import keras

    keras.utils.set_random_seed(1)
    layers = [keras.Input((5, 8), name="x"), keras.layers.GRU(4), keras.layers.Dense(3)]
    network = keras.Sequential(layers)
    network.export(tmp_path / "saved_model", verbose=False)
    specs = (TensorSpec("x", "float32", (None, 5, 8)),), (TensorSpec("output_0", "float32", (None, 3)),)
    with pytest.raises(BuildError, match=r"only for a batch of 1. Set 'shapes' to fixed and 'batches' to 1"):
        build(tmp_path / "saved_model", specs, tmp_path / "engine", asked())
    samples = Samples("random", {"x": np.random.default_rng(0).random((2, 5, 8), dtype=np.float32)})
    save_samples(samples, tmp_path / "samples.npz")
    # this one would end the process, tests included
    with pytest.raises(BuildError, match="Use int8-dynamic, which needs no calibration"):
        build(
            tmp_path / "saved_model",
            specs,
            tmp_path / "engine",
            asked(precision="int8", batch=1),
            samples=tmp_path / "samples.npz",
        )
    built = build(tmp_path / "saved_model", specs, tmp_path / "engine", asked(batch=1))
    assert built.realized.layers == {"fp32": 3}  # two of them in the body of the loop
    with start(tmp_path / "engine", built, asked(batch=1)) as session:
        feeds = samples.feeds(0, 1)
        for _ in range(2):  # and no state is left from the call before
            np.testing.assert_allclose(session.run(feeds)["output_0"], network(feeds["x"]), atol=1e-5)


def test_a_model_fixed_to_another_batch_is_refused(wide, tmp_path):
    specs = (TensorSpec("x", "float32", (2, 16)),), WIDE[1]
    with pytest.raises(BuildError, match="A batch of 3 was requested, but the model has the fixed batch 2"):
        build(wide[0] / "saved_model", specs, tmp_path, asked(batch=3))


def test_layers_of_8_bit_weights_and_16_bit_activations_are_counted_as_such(tmp_path):
    path = model_zoo.tflite_int16x8(tmp_path / "wide.tflite")
    specs = (TensorSpec("x", "float32", (1, 8, 8, 3)),), (TensorSpec("output_0", "float32", (1, 4)),)
    built = build(path, specs, tmp_path / "engine", asked(precision="int8"))
    assert built.realized.layers == {"int8": 1}
    assert built.realized.basis.endswith("; 1 with INT8 weights and 16-bit activations (int16x8)")


def test_what_is_said_about_denormals_is_what_it_does(tmp_path):
    import keras

    half = keras.layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(0.5))
    keras.Sequential([keras.Input((1,), name="x"), half]).export(tmp_path / "saved_model", verbose=False)
    specs = (TensorSpec("x", "float32", (None, 1)),), (TensorSpec("output_0", "float32", (None, 1)),)
    built = build(tmp_path / "saved_model", specs, tmp_path / "engine", asked())
    with start(tmp_path / "engine", built, asked()) as session:
        (found,) = session.run({"x": np.full((4, 1), np.finfo(np.float32).tiny, np.float32)}).values()
        reported = {each.name: each.value for each in session.in_effect()}
    assert reported["delegate"] == "1 parts"
    assert reported["denormals"] == "flushed to zero"
    assert not found.view(np.uint32).any()


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """A regression of 8 inputs as full-integer files: what goes in and out is stored as integers of one type."""
    import keras

    x = np.random.default_rng(21).uniform(0, 1, (100, 8)).astype(np.float32)  # all of them give the ranges
    network = keras.Sequential([keras.Input((8,), name="x"), keras.layers.Dense(2)])
    network.layers[-1].set_weights([np.linspace(-0.5, 0.5, 16, dtype=np.float32).reshape(8, 2), np.float32([-1, 1])])
    folder = tmp_path_factory.mktemp("quantized")
    for kind in ("int8", "uint8", "int16"):
        model_zoo.tflite_integers(folder / f"{kind}.tflite", network, x, kind)
    return folder, x, network(x).numpy()


def _stored(x, spec):
    ends = np.iinfo(spec.dtype)
    return np.clip(np.round(x / spec.scale) + spec.zero_point, ends.min, ends.max).astype(spec.dtype)


@pytest.mark.parametrize(("kind", "tolerance"), [("int8", 0.02), ("uint8", 0.02), ("int16", 0.01)])
def test_integer_outputs_are_given_as_the_numbers_they_stand_for(quantized, tmp_path, kind, tolerance):
    """The stored integers, up to 255, were compared with labels and truths as they are: an RMSE of 154.5 for 0.021."""
    folder, x, expected = quantized
    path = folder / f"{kind}.tflite"
    source = inspect_model(path)
    (spec,) = source.outputs
    assert (spec.dtype, spec.scale > 0) == (kind, True)
    feeds = {"x": _stored(x, source.inputs[0])}
    found = open_model(source)(feeds)["output_0"]
    np.testing.assert_allclose(found, expected, atol=tolerance)
    asked_for = asked(precision="int8")
    built = build(path, (source.inputs, source.outputs), tmp_path, asked_for)
    with start(tmp_path, built, asked_for) as session:
        given = session.run(feeds)["output_0"]
        (caller,) = session.callers(1).each
        np.testing.assert_array_equal(caller.run(feeds)["output_0"], given)
        session.stage(feeds)()
    assert given.dtype == np.float32
    np.testing.assert_array_equal(given, found)  # the source's runner and the engine scale alike


def test_integers_without_a_scale_are_given_as_stored(tmp_path):
    import tensorflow as tf

    class Chooser(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([4, 3], name="x")])
        def serve(self, x):
            return {"at": tf.argmax(x, axis=1)}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([Chooser().serve.get_concrete_function()])
    path = tmp_path / "at.tflite"
    path.write_bytes(converter.convert())
    source = inspect_model(path)
    x = np.random.default_rng(0).random((4, 3)).astype(np.float32)
    built = build(path, (source.inputs, source.outputs), tmp_path / "engine", asked())
    with start(tmp_path / "engine", built, asked()) as session:
        (found,) = session.run({source.inputs[0].name: x}).values()
    assert found.dtype.kind == "i"
    np.testing.assert_array_equal(found, x.argmax(axis=1))
