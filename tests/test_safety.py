"""Hostile and damaged files: each is refused in one sentence before a library reads it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from workbench import safety
from workbench.errors import InputError


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/"), content)
    return path


def test_a_sound_archive_passes(tmp_path):
    safety.check_archive(archive(tmp_path / "a.keras", config=b"{}", weights=b"123"))


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil", "a/../../b", "C:evil", "..\\evil"])
def test_parts_that_leave_the_folder_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as file:
        file.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(InputError, match="would be written outside its folder"):
        safety.check_archive(tmp_path / "a.keras")


def test_links_bombs_doubles_and_damage_are_refused(tmp_path):
    link = zipfile.ZipInfo("weights")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.keras", "w") as file:
        file.writestr(link, b"/etc/passwd")
    with pytest.raises(InputError, match="holds the link 'weights'"):
        safety.check_archive(tmp_path / "link.keras")
    with pytest.raises(InputError, match="would unpack to"):
        safety.check_archive(archive(tmp_path / "bomb.keras", zeros=bytes(64 << 20)))
    with zipfile.ZipFile(tmp_path / "twice.keras", "w") as file:
        file.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a", b"2")
    with pytest.raises(InputError, match="two parts of one name"):
        safety.check_archive(tmp_path / "twice.keras")
    content = bytearray(archive(tmp_path / "hurt.keras", a=b"a" * 100 + b"b" * 100).read_bytes())
    content[35] ^= 0xFF
    (tmp_path / "hurt.keras").write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged|is not a whole archive"):
        safety.check_archive(tmp_path / "hurt.keras")


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ({"class_name": "Lambda", "config": {"name": "double"}}, "The layer 'double' is a Lambda"),
        ({"class_name": "function", "module": "os", "config": "system"}, "asks for 'os.function'"),
        ({"class_name": "get_file", "module": "keras.utils"}, "asks for 'keras.utils.get_file'"),
        ({"class_name": "get_file", "module": "keras.src.utils.file_utils"}, "keras.src.utils"),
        ({"class_name": "write_file", "module": "tensorflow.io"}, "asks for 'tensorflow.io.write_file'"),
        ({"class_name": "keras.layers>Lambda", "config": {"name": "double"}}, "The layer 'double' is a Lambda"),
        ({"class_name": "TorchModuleWrapper", "config": {"name": "t"}}, "loads another file or library"),
        (
            {"class_name": "StringLookup", "config": {"name": "w", "vocabulary": "/etc/passwd"}},
            "from the file '/etc/passwd'",
        ),
    ],
)
def test_configurations_that_would_run_code_are_refused(layer, says):
    inside = {
        "class_name": "Sequential",
        "module": "keras",
        "config": {"layers": [{"class_name": "TimeDistributed", "config": {"layer": layer}}]},
    }
    with pytest.raises(InputError) as error:
        safety.check_keras_config(inside, "'model.keras'")
    assert says in error.value.message


def test_ordinary_configurations_pass():
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="gelu", kernel_regularizer="l2")])
    safety.check_keras_config({"class_name": "Sequential", "module": "keras", "config": model.get_config()}, "'m'")


def test_hdf5_that_points_elsewhere_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["w"] = np.ones(4)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file.create_group("layers")["w"] = h5py.ExternalLink("other.h5", "/w")
    with pytest.raises(InputError, match=r"points to another file \('other.h5'\)"):
        safety.check_hdf5(tmp_path / "link.h5", "'m'")
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("w", (4,), "f4", external=[(str(tmp_path / "raw.bin"), 0, 16)])
    with pytest.raises(InputError, match=r"The weights '/w' of 'm' lie in another file"):
        safety.check_hdf5(tmp_path / "raw.h5", "'m'")
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("w", (1 << 34,), "f4", chunks=(1 << 20,), compression="gzip")
    with pytest.raises(InputError, match=r"declares 64.0 GiB of weights"):
        safety.check_hdf5(tmp_path / "bomb.h5", "'m'")
    (tmp_path / "noise.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    with pytest.raises(InputError, match="is damaged"):
        safety.check_hdf5(tmp_path / "noise.h5", "'m'")
    safety.check_hdf5(tmp_path / "other.h5", "'m'")


def test_hdf5_with_a_link_to_nothing_is_refused(tmp_path):
    with h5py.File(tmp_path / "soft.h5", "w") as file:
        file["w"] = np.ones(4)
        file["same"] = h5py.SoftLink("/w")
    safety.check_hdf5(tmp_path / "soft.h5", "'m'")
    with h5py.File(tmp_path / "soft.h5", "a") as file:
        file["gone"] = h5py.SoftLink("/nothing")
    with pytest.raises(InputError, match="holds a link to '/nothing', which is not in it"):
        safety.check_hdf5(tmp_path / "soft.h5", "'m'")


def test_a_graph_of_more_than_its_format_can_hold_is_refused(tmp_path):
    with (tmp_path / "saved_model.pb").open("wb") as file:
        file.truncate(safety.MAX_GRAPH_BYTES + 1)  # a sparse file: it takes no room
    with pytest.raises(InputError, match="a SavedModel's graph ends at 2"):
        safety.check_folder(tmp_path)


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
    assert {node.op for node in saver(meta).node_def} & safety.SAVING_OPS
    safety.check_meta_graph(meta, "'m'")


@pytest.mark.parametrize(
    "op", ["WriteFile", "ExperimentalSqlDataset", "DumpTensor", "TFRecordDatasetV2", "EagerPyFunc"]
)
def test_operations_that_reach_out_are_refused_inside_functions(meta, op):
    bad = copied(meta)
    bad.graph_def.library.function[0].node_def.add(name="inner", op=op)
    with pytest.raises(InputError, match=rf"The node 'inner' of 'm' is a {op}, which reaches files"):
        safety.check_meta_graph(bad, "'m'")


def test_text_may_be_printed_but_not_to_a_file(meta):
    loud = copied(meta)
    node = loud.graph_def.node.add(name="say", op="PrintV2")
    node.attr["output_stream"].s = b"stderr"
    safety.check_meta_graph(loud, "'m'")
    node.attr["output_stream"].s = b"file:///tmp/x"
    with pytest.raises(InputError, match="The node 'say' of 'm' is a PrintV2"):
        safety.check_meta_graph(loud, "'m'")


def test_a_signature_that_saves_is_refused(meta):
    """The saver is every SavedModel's own; here it is called, step by step, by what a user would run."""
    by_graph = copied(meta)
    called = next(node for node in by_graph.graph_def.node if node.name == "StatefulPartitionedCall")
    called.input.append("^StatefulPartitionedCall_1")
    with pytest.raises(InputError, match="The node 'StatefulPartitionedCall_1' of 'm'"):
        safety.check_meta_graph(by_graph, "'m'")

    by_function = copied(meta)
    node = next(f for f in by_function.graph_def.library.function if "score" in f.signature.name).node_def.add(name="n")
    node.op = "StatefulPartitionedCall"
    node.attr["f"].func.name = saver(meta).signature.name
    with pytest.raises(
        InputError, match=r"The function '.*score.*' of 'm' calls '.*traced_save.*', which writes a file"
    ):
        safety.check_meta_graph(by_function, "'m'")

    itself = copied(meta)
    score = next(f for f in itself.graph_def.library.function if "signature_wrapper_score" in f.signature.name)
    score.node_def.add(name="n", op="SaveV2")
    with pytest.raises(
        InputError, match=r"The function '__inference_signature_wrapper_score_\d+' of 'm' writes a file"
    ):
        safety.check_meta_graph(itself, "'m'")


def test_a_frozen_graph_whose_output_waits_for_a_saver_is_refused():
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        tf.identity(x, name="fine")
        saved = tf.raw_ops.SaveV2(prefix="stolen", tensor_names=["x"], shape_and_slices=[""], tensors=[x], name="s")
        with tf.control_dependencies([saved]):
            tf.identity(x, name="y")
    found = graph.as_graph_def()
    safety.check_outputs(found, ["fine:0"], "'m'")
    with pytest.raises(InputError, match="The node 's' of 'm' is a SaveV2"):
        safety.check_outputs(found, ["y:0"], "'m'")
