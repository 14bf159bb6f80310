"""Hostile TensorFlow graphs: each is refused before TensorFlow imports it, and real models are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.errors import InputError
from workbench.models import safety_tensorflow
from workbench.models.inspection import inspect_model


@pytest.fixture(scope="module")
def meta(tmp_path_factory):
    """The one graph of an ordinary SavedModel, variables and their saver included."""
    import model_zoo
    from tensorflow.core.protobuf import saved_model_pb2

    folder = model_zoo.saved_model(tmp_path_factory.mktemp("saved") / "model")
    return saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0]


def copied(meta):
    return type(meta).FromString(meta.SerializeToString())


def saver(meta):
    return next(f for f in meta.graph_def.library.function if "traced_save" in f.signature.name)


def test_an_ordinary_saved_model_passes_with_its_saver(meta):
    assert {node.op for node in saver(meta).node_def} & safety_tensorflow.WRITING
    safety_tensorflow.check_meta_graph(meta, "'m'")


OUTWARD = [
    "WriteFile", "ExperimentalSqlDataset", "DumpTensor", "TFRecordDatasetV2", "EagerPyFunc", "PyFuncStateless",
    "ReadFile", "DatasetFromGraph", "DeserializeIterator", "XlaCallModule", "MlirPassthroughOp", "XlaCustomCallV2",
    "TPUPartitionedCall", "ImmutableConst", "DecodeProtoV2", "DebugIdentity", "DatasetToTFRecord", "Abort", "_Send",
    "CreateSummaryFileWriter",
]  # fmt: skip


@pytest.mark.parametrize("op", OUTWARD)
def test_operations_that_reach_out_are_refused_inside_functions(meta, op):
    bad = copied(meta)
    bad.graph_def.library.function[0].node_def.add(name="inner", op=op)
    with pytest.raises(InputError, match=rf"The node 'inner' of 'm' is a {op}, which accesses files"):
        safety_tensorflow.check_meta_graph(bad, "'m'")


def test_text_may_be_printed_but_not_to_a_file(meta):
    loud = copied(meta)
    node = loud.graph_def.node.add(name="say", op="PrintV2")
    node.attr["output_stream"].s = b"stderr"
    safety_tensorflow.check_meta_graph(loud, "'m'")
    for stream in (
        {"s": b"file:///tmp/x"},
        {"placeholder": "stream"},
    ):  # the second: whatever the function's caller says
        node.attr["output_stream"].CopyFrom(type(node.attr["output_stream"])(**stream))
        with pytest.raises(InputError, match="The node 'say' of 'm' is a PrintV2"):
            safety_tensorflow.check_meta_graph(loud, "'m'")


def test_a_signature_that_saves_is_refused(meta):
    """The saver is every SavedModel's own; here it is called, step by step, by what a user would run."""
    by_graph = copied(meta)
    called = next(node for node in by_graph.graph_def.node if node.name == "StatefulPartitionedCall")
    called.input.append("^StatefulPartitionedCall_1")
    with pytest.raises(InputError, match="The node 'StatefulPartitionedCall_1' of 'm'"):
        safety_tensorflow.check_meta_graph(by_graph, "'m'")

    by_function = copied(meta)
    node = next(f for f in by_function.graph_def.library.function if "score" in f.signature.name).node_def.add(name="n")
    node.op = "StatefulPartitionedCall"
    node.attr["f"].func.name = saver(meta).signature.name
    with pytest.raises(
        InputError, match=r"The function '.*score.*' of 'm' calls '.*traced_save.*', which writes a file"
    ):
        safety_tensorflow.check_meta_graph(by_function, "'m'")

    itself = copied(meta)
    score = next(f for f in itself.graph_def.library.function if "signature_wrapper_score" in f.signature.name)
    score.node_def.add(name="n", op="SaveV2")
    with pytest.raises(
        InputError, match=r"The function '__inference_signature_wrapper_score_\d+' of 'm' writes a file"
    ):
        safety_tensorflow.check_meta_graph(itself, "'m'")


def test_a_frozen_graph_whose_output_waits_for_a_saver_is_refused():
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        tf.identity(x, name="fine")
        saved = tf.raw_ops.SaveV2(prefix="stolen", tensor_names=["x"], shape_and_slices=[""], tensors=[x], name="s")
        with tf.control_dependencies([saved]):
            tf.identity(x, name="y")
    found = graph.as_graph_def()
    safety_tensorflow.check_outputs(found, ["fine:0"], "'m'")
    with pytest.raises(InputError, match="The node 's' of 'm' is a SaveV2"):
        safety_tensorflow.check_outputs(found, ["y:0"], "'m'")


def test_what_is_not_known_to_compute_is_refused(meta):
    for op, says in (
        ("BoostedTreesUpdateEnsemble", "is not among the operations with state that models for inference need"),
        ("NobodysOp", "is not an operation of this TensorFlow"),
    ):
        bad = copied(meta)
        bad.graph_def.node.add(name="odd", op=op)
        with pytest.raises(InputError, match=f"The node 'odd' of 'm' is a {op}, which {says}"):
            safety_tensorflow.check_meta_graph(bad, "'m'")


def test_operations_in_place_of_functions_are_seen(meta):
    """As an attribute, inside another attribute, and behind a function of the same name."""
    direct, nested, masked = copied(meta), copied(meta), copied(meta)
    direct.graph_def.node.add(name="n", op="PartitionedCall").attr["f"].func.name = "WriteFile"
    inside = nested.graph_def.node.add(name="n", op="PartitionedCall").attr["f"].func
    inside.name = saver(meta).signature.name.replace("save", "restore")
    inside.attr["g"].list.func.add(name="WriteFile")
    masked.graph_def.library.function.add().signature.name = "WriteFile"
    masked.graph_def.node.add(name="n", op="WriteFile")
    saving = copied(meta)
    saving.graph_def.node.add(name="n", op="PartitionedCall").attr["f"].func.name = "SaveV2"
    with pytest.raises(InputError, match="The node 'n' of 'm' is a SaveV2"):
        safety_tensorflow.check_meta_graph(saving, "'m'")
    for bad in (direct, masked):
        with pytest.raises(InputError, match="The node 'n' of 'm' is a WriteFile"):
            safety_tensorflow.check_meta_graph(bad, "'m'")
    with pytest.raises(InputError, match="The node 'n' of 'm' is a"):
        safety_tensorflow.check_meta_graph(nested, "'m'")


def test_a_model_may_have_functions_of_its_own_as_operations(meta):
    own = copied(meta)
    name = next(f.signature.name for f in own.graph_def.library.function if "half" in f.signature.name)
    own.graph_def.node.add(name="n", op=name)
    safety_tensorflow.check_meta_graph(own, "'m'")


def test_a_graph_in_a_constant_is_refused_and_writes_nothing(tmp_path):
    """A frozen graph that, while it is only looked at, would run another one which writes a file."""
    import fuzzing
    import graph_mutants
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        tf.nn.relu(x, name="y")
    found = graph.as_graph_def()
    graph_mutants.hidden(found, fuzzing.Draw(1), str(tmp_path / "stolen"), "y")
    (tmp_path / "m.pb").write_bytes(found.SerializeToString())
    with pytest.raises(InputError, match=r"is a Dataset\w+, which accesses files, .*another program"):
        inspect_model(tmp_path / "m.pb")
    assert [path.name for path in tmp_path.iterdir()] == ["m.pb"]


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A SavedModel of TensorFlow 1 with a step that writes a file, to which nothing leads; and that step's name."""
    import tensorflow as tf

    v1, folder = tf.compat.v1, tmp_path_factory.mktemp("old")
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 3], name="x")
        y = tf.matmul(x, v1.get_variable("w", initializer=tf.ones([3, 2])), name="y")
        step = tf.raw_ops.SaveV2(
            prefix=str(folder / "stolen"), tensor_names=["a"], shape_and_slices=[""], tensors=[tf.ones(2)]
        )
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(folder / "model"), {"x": x}, {"y": y})
    return folder, step.name


STEPS = {
    "main": lambda meta, step: meta.collection_def["saved_model_main_op"].node_list.value.append(step),
    "legacy": lambda meta, step: meta.collection_def["legacy_init_op"].node_list.value.append(step),
    "tables": lambda meta, step: meta.collection_def["table_initializer"].node_list.value.append(step),
    "init": lambda meta, step: setattr(meta.signature_def["__saved_model_init_op"].outputs["o"], "name", step),
    "restored": lambda meta, step: setattr(meta.saver_def, "restore_op_name", step),
    "restore": lambda meta, step: node_of(meta, meta.saver_def.restore_op_name).input.append("^" + step),
    "local": lambda meta, step: meta.collection_def["local_variables"].bytes_list.value.append(variable(step)),
    "parts": lambda meta, step: setattr(
        meta.signature_def["serving_default"].outputs["s"].coo_sparse, "values_tensor_name", step + ":0"
    ),
}
"""Ways in which loading, or a call, comes to run a step."""


def node_of(meta, name):
    return next(node for node in meta.graph_def.node if node.name == name)


def variable(step):
    from tensorflow.core.framework import variable_pb2

    return variable_pb2.VariableDef(variable_name="w:0", initializer_name=step).SerializeToString()


@pytest.mark.parametrize("way", STEPS)
def test_steps_of_loading_that_save_are_refused(old, tmp_path, way):
    import shutil

    from tensorflow.core.protobuf import saved_model_pb2

    folder, step = old
    place = Path(shutil.copytree(folder / "model", tmp_path / "model"))
    saved = saved_model_pb2.SavedModel.FromString((place / "saved_model.pb").read_bytes())
    safety_tensorflow.check_meta_graph(saved.meta_graphs[0], "'m'")
    STEPS[way](saved.meta_graphs[0], step)
    (place / "saved_model.pb").write_bytes(saved.SerializeToString())
    with pytest.raises(InputError, match=f"The node '{step}' of .* is a SaveV2, which accesses files"):
        inspect_model(place)
    assert [path.name for path in folder.iterdir()] == ["model"]


def test_a_signature_that_restores_is_refused(old):
    from tensorflow.core.protobuf import saved_model_pb2

    meta = saved_model_pb2.SavedModel.FromString((old[0] / "model" / "saved_model.pb").read_bytes()).meta_graphs[0]
    node_of(meta, "y").input.append("^" + meta.saver_def.restore_op_name)
    with pytest.raises(InputError, match=r"is a RestoreV2, which accesses files"):
        safety_tensorflow.check_meta_graph(meta, "'m'")


def keras_models():
    """Models whose graphs hold tables, loops, random numbers, gradients and state."""
    import keras

    layers = keras.layers
    words = layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=6)
    image, series, text = keras.Input((32, 32, 3)), keras.Input((None, 3)), keras.Input((1,), dtype="string")
    changed = layers.RandomContrast(0.1)(layers.RandomZoom(0.1)(layers.RandomRotation(0.1)(layers.RandomFlip()(image))))
    looked = layers.CategoryEncoding(4)(layers.StringLookup(vocabulary=["a", "b"])(text))
    yield "text", keras.Sequential([keras.Input((), dtype="string"), words, layers.Embedding(9, 4), layers.LSTM(5)])
    yield (
        "lookup",
        keras.Model(text, layers.Concatenate()([looked, layers.CategoryEncoding(9)(layers.Hashing(9)(text))])),
    )
    yield (
        "series",
        keras.Model(series, layers.GRU(3)(layers.Bidirectional(layers.LSTM(4, return_sequences=True))(series))),
    )
    normal = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 1.0, 1.0])
    yield "image", keras.Model(image, layers.Conv2D(3, 3)(layers.GaussianNoise(0.1)(normal(changed))))
    yield "mobilenet", keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), classes=10, alpha=0.35)


@pytest.mark.long
def test_real_models_pass(tmp_path):
    from workbench.models.formats.saved_model import check_graphs

    for name, model in keras_models():
        model.export(tmp_path / name, verbose=False)
        check_graphs(tmp_path / name)


def test_a_model_with_tables_loops_and_state_passes(tmp_path):
    import tensorflow as tf

    (tmp_path / "words.txt").write_text("a\nb\n")

    class Module(tf.Module):
        def __init__(self):
            lines = tf.lookup.TextFileIndex
            file = tf.lookup.TextFileInitializer(
                str(tmp_path / "words.txt"), tf.string, lines.WHOLE_LINE, tf.int64, lines.LINE_NUMBER
            )
            self.words = tf.lookup.StaticVocabularyTable(file, 1)
            self.seen = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)
            self.weight = tf.Variable(tf.ones((4, 2)))

        @tf.function(
            input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x"), tf.TensorSpec([None], tf.string, name="w")]
        )
        def call(self, x, w):
            for _ in tf.range(3):
                with tf.GradientTape() as tape:
                    loss = tf.reduce_sum((x @ self.weight) ** 2)
                self.weight.assign_sub(0.01 * tape.gradient(loss, self.weight))
                if loss > 3.0:
                    tf.print(loss)
            tf.debugging.assert_greater(loss, -1.0)
            rows = tf.map_fn(tf.reduce_sum, x)
            known = self.seen.lookup(self.words.lookup(w))
            return {"rows": rows + tf.random.normal([]), "known": tf.ensure_shape(known, [None])}

    module = Module()
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": module.call})
    assert [spec.name for spec in inspect_model(tmp_path / "model").outputs] == ["known", "rows"]
