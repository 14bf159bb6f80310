"""What a model is, read from the real file; and one clear sentence for everything that is no model."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import model_zoo
import numpy as np
import pytest
from converting import one_sentence

from workbench.errors import InputError
from workbench.models.inspection import digest_of, inspect_model, recognize


def test_formats_are_recognized_without_loading_a_library(demo_folder):
    code = (
        "import sys; from workbench.models.inspection import recognize, digest_of\n"
        f"print([recognize(p) for p in {[str(demo_folder / 'demo.keras'), str(demo_folder / 'saved_model')]!r}])\n"
        f"print(len(digest_of({str(demo_folder / 'saved_model')!r})))\n"
        "print([m for m in ('tensorflow', 'keras', 'onnx', 'numpy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split("\n")[:3] == ["['keras', 'saved_model']", "64", "[]"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone.keras", None, "There is no model at"),
        ("empty.onnx", b"", "is empty"),
        ("model.pt", b"data", "torch.onnx.export"),
        ("weights.safetensors", b"data", "holds weights only"),
        ("saved_model.pb", b"data", "Give the folder"),
        ("photo.jpeg", b"data", "has the ending '.jpeg'"),
    ],
)
def test_what_cannot_be_opened_is_named_with_a_way_out(tmp_path, name, content, says):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        recognize(path)
    assert says in one_sentence(error)


def test_a_folder_without_a_model_lists_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError) as error:
        recognize(tmp_path)
    assert "has no saved_model.pb (it holds notes.txt)" in one_sentence(error)


def test_a_file_without_permission_is_said_to_be_unreadable(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"data")
    path.chmod(0)
    if os.getuid() == 0:  # root reads everything: try as another user
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == 0 and folder != Path("/") and not folder.stat().st_mode & stat.S_IXOTH:
                folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    code = (
        "import os, sys\n"
        "from workbench.models.inspection import recognize, InputError\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        f"try: recognize({str(path)!r})\nexcept InputError as e: print(e.message)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "cannot be read (Permission denied)" in out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes by name on this system")
def test_pipes_and_devices_are_refused_not_read(tmp_path):
    """In a process of its own with a time limit: opening a pipe waits for ever, and /dev/zero has no end."""
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    for name, part in (("graph", "saved_model.pb"), ("weights", "variables/variables.index"), ("link", "assets/words")):
        inside = tmp_path / name / part
        inside.parent.mkdir(parents=True)
        (tmp_path / name / "saved_model.pb").write_bytes(b"graph")
        inside.unlink(missing_ok=True)
        inside.symlink_to("/dev/zero") if name == "link" else os.mkfifo(inside)
    places = [str(tmp_path / name) for name in ("pipe.onnx", "zero.onnx", "graph", "weights", "link")]
    code = (
        "import sys\nfrom workbench.models.inspection import digest_of, recognize\nfrom workbench.errors import InputError\n"
        "for look in (recognize, digest_of):\n    for path in sys.argv[1:]:\n"
        "        try: look(path)\n        except InputError as e: print(e.message)"
    )
    done = subprocess.run([sys.executable, "-c", code, *places], capture_output=True, text=True, check=True, timeout=60)
    lines = done.stdout.splitlines()
    assert len(lines) == 10
    assert all("is a pipe, a socket or a device, not a file. Save or copy the model as" in line for line in lines)


def test_the_digest_follows_content_and_names(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        (folder / "variables").mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"graph")
        (folder / "variables" / "data").write_bytes(b"weights")
    before = digest_of(first)
    assert digest_of(second) == before
    (second / "variables" / "data").write_bytes(b"weightz")
    assert digest_of(second) != before
    (second / "variables" / "data").write_bytes(b"weights")
    (second / "variables" / "data").rename(second / "variables" / "data2")
    assert digest_of(second) != before


def test_the_demo_is_read_alike_from_keras_and_from_its_saved_model(demo_folder):
    keras, folder = inspect_model(demo_folder / "demo.keras"), inspect_model(demo_folder / "saved_model")
    assert (keras.format, folder.format) == ("keras", "saved_model")
    assert keras.inputs == folder.inputs
    assert keras.outputs == folder.outputs
    assert str(keras.inputs[0]) == "image: float32 [? × 28 × 28 × 1]"
    assert str(keras.outputs[0]) == "output_0: float32 [? × 10]"
    assert keras.parameters == folder.parameters == 35994  # counted by hand from the lesson's layers
    assert keras.dynamic_batch
    assert keras.size_bytes == (demo_folder / "demo.keras").stat().st_size
    assert keras.digest == digest_of(demo_folder / "demo.keras")
    assert folder.signature == "serving_default"
    assert "serving_default" in folder.signatures


@pytest.mark.parametrize(("named", "outputs"), [(True, ["alpha", "zeta"]), (False, ["output_0", "output_1"])])
def test_two_inputs_and_two_outputs_keep_the_export_names(tmp_path, named, outputs):
    model = inspect_model(model_zoo.keras_two_by_two(tmp_path / "two.keras", named=named))
    assert [spec.name for spec in model.inputs] == ["left", "right"]
    assert [spec.name for spec in model.outputs] == outputs
    assert model.parameters == 6 * 2 + 2 + 6 * 3 + 3


def test_a_name_that_tensorflow_refuses_gets_underscores(tmp_path):
    model = inspect_model(model_zoo.keras_mlp(tmp_path / "spaced.keras", name="my image"))
    assert [spec.name for spec in model.inputs] == ["my_image"]


def test_a_fixed_batch_of_two_named_inputs_stays_fixed(tmp_path):
    import keras

    entries = {name: keras.Input(batch_shape=(5, 2), name=name) for name in ("left side", "right")}
    keras.Model(entries, {"sum": keras.layers.Add()(list(entries.values()))}).save(tmp_path / "named.keras")
    model = inspect_model(tmp_path / "named.keras")
    assert [str(spec) for spec in model.inputs] == ["left_side: float32 [5 × 2]", "right: float32 [5 × 2]"]
    assert str(model.outputs[0]) == "sum: float32 [5 × 2]"


def test_a_fixed_batch_stays_fixed(tmp_path):
    model = inspect_model(model_zoo.keras_mlp(tmp_path / "fixed.keras", batch=3))
    assert model.inputs[0].shape == (3, 4)
    assert not model.dynamic_batch


def test_a_lambda_layer_is_refused_by_name_and_its_code_does_not_run(tmp_path):
    with pytest.raises(InputError) as error:
        inspect_model(model_zoo.keras_lambda(tmp_path / "lambda.keras"))
    assert "The layer 'double' is a Lambda" in one_sentence(error)
    assert "model.export('folder')" in error.value.message


def test_a_custom_layer_is_named(tmp_path):
    import keras

    class Doubling(keras.layers.Layer):
        def call(self, inputs):
            return inputs * 2

    keras.Sequential([keras.Input((4,)), Doubling(), keras.layers.Dense(2)]).save(tmp_path / "custom.keras")
    with pytest.raises(InputError) as error:
        inspect_model(tmp_path / "custom.keras")
    assert "uses 'test_inspection.Doubling', which is not a layer of Keras" in one_sentence(error)


def damage_keras(kind: str, whole: Path, path: Path) -> None:
    content = whole.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "random":
        path.write_bytes(np.random.default_rng(0).bytes(2000))
    elif kind == "text":
        path.write_text("this is not a model")
    elif kind == "flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    elif kind == "hdf5":
        with zipfile.ZipFile(whole) as archive:
            path.write_bytes(archive.read("model.weights.h5"))
    else:  # a zip without one of its parts
        with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(path, "w") as copy:
            for name in archive.namelist():
                if name != kind:
                    copy.writestr(name, archive.read(name))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("truncated", "is not a complete archive"),
        ("random", "is not a complete archive"),
        ("text", "is not a complete archive"),
        ("flipped", "is damaged: its part 'model.weights.h5'"),
        ("hdf5", "holds weights only, without the model's layers"),
        ("config.json", "does not contain config.json"),
        ("model.weights.h5", "does not contain model.weights.h5"),
    ],
)
def test_a_damaged_keras_file_is_explained(tmp_path, demo_folder, kind, says):
    path = tmp_path / "damaged.keras"
    damage_keras(kind, demo_folder / "demo.keras", path)
    with pytest.raises(InputError) as error:
        inspect_model(path)
    assert says in one_sentence(error)


def test_signatures_are_chosen_and_listed(tmp_path):
    folder = model_zoo.saved_model(tmp_path / "several")
    model = inspect_model(folder, "score")
    assert (model.signature, model.signatures) == ("score", ("half", "score", "text"))
    assert model.parameters == 8  # the counter of steps is no weight
    assert [str(spec) for spec in (*model.inputs, *model.outputs)] == ["x: float32 [? × 4]", "y: float32 [? × 2]"]
    assert inspect_model(folder, "half").parameters == 0
    text = inspect_model(folder, "text")
    assert text.inputs[0].dtype == "str"
    assert "'words' holds text" in text.exportable
    assert text.probe is not None
    assert text.probe.free
    for asked, says in (
        ("", "several signatures and no serving_default; it has: half, score, text"),
        ("nosuch", "no signature 'nosuch'; it has: half, score, text"),
    ):
        with pytest.raises(InputError) as error:
            inspect_model(folder, asked)
        assert says in one_sentence(error)


def test_a_signature_makes_no_sense_for_other_formats(tmp_path, demo_folder):
    with pytest.raises(InputError, match="this Keras file has no signatures"):
        inspect_model(demo_folder / "demo.keras", "score")


@pytest.mark.parametrize("damage", ["graph", "variables"])
def test_a_damaged_saved_model_is_explained(tmp_path, demo_folder, damage):
    folder = tmp_path / "saved"
    shutil.copytree(demo_folder / "saved_model", folder)
    if damage == "graph":
        content = (folder / "saved_model.pb").read_bytes()
        (folder / "saved_model.pb").write_bytes(content[: len(content) // 2])
    else:
        shutil.rmtree(folder / "variables")
    with pytest.raises(InputError) as error:
        inspect_model(folder)
    assert ("is damaged" if damage == "graph" else "could not load the SavedModel") in one_sentence(error)


@pytest.mark.parametrize("shape", [(), (1, 4), (4,)])
def test_an_input_without_the_batch_is_known_as_such(tmp_path, shape):
    from onnx import helper

    nodes = [helper.make_node("Mul", ["x", "scale"], ["y"])]
    proto = model_zoo.onnx_model(nodes, inputs={"x": ("n", 4), "scale": shape}, outputs={"y": ("n", 4)})
    model = inspect_model(model_zoo.save(proto, tmp_path / "scaled.onnx"))
    assert [spec.batch_axis for spec in model.inputs] == [0, None]
    assert model.dynamic_batch
    assert model.probe is not None
    assert model.probe.worked == (1, 2, 3)


@pytest.mark.parametrize(("written", "named"), [("model.keras", "model.h5"), ("model.h5", "model.keras")])
def test_a_keras_file_opens_by_its_content(tmp_path, written, named):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(), keras.layers.Dense(3)])
    model.save(tmp_path / written)
    (tmp_path / named).write_bytes((tmp_path / written).read_bytes())
    found = inspect_model(tmp_path / named)
    assert found.parameters == model.count_params() == 31  # 8 of them are not trainable
    from workbench.conformance.examination import Examination
    from workbench.graph.facts import GraphFacts
    from workbench.panel.view import model_facts

    shown = model_facts(
        found, Examination(GraphFacts(opset=17, nodes=3, parameters=27))
    )  # what is left after a conversion stands apart
    assert '<th scope="row">Parameters</th><td>31</td>' in shown
    assert '<th scope="row">ONNX parameters</th><td>27 (the conversion merges some and adds constants)</td>' in shown
    assert found.outputs[0].shape == (None, 3)
