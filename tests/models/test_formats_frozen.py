"""Frozen graphs and SavedModels of TensorFlow 1: read, run and exported, with real files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converting import runs_alike

from workbench.errors import InputError
from workbench.models import formats
from workbench.models.inspection import inspect_model


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
    with pytest.raises(InputError, match=r"a frozen graph needs names of tensors\. Write them as x:0 -> y:0"):
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
    with pytest.raises(
        InputError, match=r"which accesses files.* name its tensors with 'signature', such as 'x:0 -> y:0'"
    ):
        inspect_model(training_leftovers)
    with pytest.raises(InputError, match="is a ReadFile, which accesses files"):
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
    with pytest.raises(InputError, match="is not frozen: the values of the variable 'v'"):
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
    with pytest.raises(InputError, match=r"The node 'WriteFile' of .* is a WriteFile, which accesses files"):
        inspect_model(folder)


def test_a_saved_model_with_a_link_out_of_its_folder_is_refused(tf1, tmp_path):
    shutil.copytree(tf1 / "saved", tmp_path / "linked")
    (tmp_path / "secret").write_text("x")
    (tmp_path / "linked" / "assets").mkdir(exist_ok=True)
    (tmp_path / "linked" / "assets" / "words.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="is a link that leaves the folder"):
        inspect_model(tmp_path / "linked")
