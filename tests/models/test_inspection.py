"""What a model is, read from the real file; and one clear sentence for everything that is no model."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import model_zoo
import numpy as np
import onnx
import pytest

from workbench.errors import InputError
from workbench.experiment import Experiment
from workbench.models.inspection import digest_of, inspect_model, recognize
from workbench.pipeline import run
from workbench.records import Status


def one_sentence(error: pytest.ExceptionInfo[InputError]) -> str:
    """The message, after checking that it is for people: short, on one line, and without a traceback."""
    text = error.value.message
    assert len(text) < 700
    assert "\n" not in text
    assert "Traceback" not in text
    return text


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
    if os.getuid() == 0:  # root reads everything: ask as somebody else
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
    """In a process of its own with a time limit: whoever opens a pipe waits for ever, and /dev/zero has no end."""
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
    assert "asks for 'test_inspection.Doubling', which is not a layer of Keras" in one_sentence(error)


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
        ("truncated", "is not a whole archive"),
        ("random", "is not a whole archive"),
        ("text", "is not a whole archive"),
        ("flipped", "is damaged: its part 'model.weights.h5'"),
        ("hdf5", "holds weights only, without the model's layers"),
        ("config.json", "has no config.json inside"),
        ("model.weights.h5", "has no model.weights.h5 inside"),
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


@pytest.mark.parametrize("constants", [False, True])
def test_onnx_weights_are_counted_wherever_they_are_stored(tmp_path, constants):
    from onnx import helper, numpy_helper

    weight = np.ones((8, 5), np.float32)
    stored = [helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight, "w"))] if constants else []
    nodes = [*stored, helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = None if constants else {"w": weight}
    proto = model_zoo.onnx_model(nodes, weights, inputs={"x": ("n", 8)}, outputs={"y": ("n", 5)})
    model = inspect_model(model_zoo.save(proto, tmp_path / "counted.onnx"))
    assert model.parameters == 40
    assert [str(spec) for spec in (*model.inputs, *model.outputs)] == ["x: float32 [? × 8]", "y: float32 [? × 5]"]


def test_initializers_repeated_among_the_inputs_are_no_inputs(tmp_path):
    from onnx import helper

    proto = model_zoo.onnx_dense()
    proto.graph.input.append(helper.make_tensor_value_info("w", 1, (4, 3)))
    model = inspect_model(model_zoo.save(proto, tmp_path / "old.onnx"))
    assert [spec.name for spec in model.inputs] == ["x"]


@pytest.mark.parametrize("kind", ["truncated", "random", "text", "unknown operation"])
def test_a_damaged_onnx_file_is_explained(tmp_path, kind):
    path = tmp_path / "damaged.onnx"
    content = model_zoo.onnx_dense().SerializeToString()
    if kind == "unknown operation":
        from onnx import helper

        content = model_zoo.onnx_model([helper.make_node("Frobnicate", ["x"], ["y"])]).SerializeToString()
    damaged = {
        "truncated": content[: len(content) // 2],
        "random": np.random.default_rng(0).bytes(500),
        "text": b"this is not a model",
    }
    path.write_bytes(damaged.get(kind, content))
    with pytest.raises(InputError) as error:
        inspect_model(path)
    assert "ONNX" in one_sentence(error)


def external(folder: Path, location: str) -> Path:
    import onnx

    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    proto = model_zoo.onnx_dense()
    onnx.save(proto, path, save_as_external_data=True, location="weights.data", size_threshold=0)
    if location != "weights.data":
        proto = onnx.load(path, load_external_data=False)
        for tensor in proto.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        path.write_bytes(proto.SerializeToString())
    return path


def test_weights_beside_an_onnx_file_belong_to_it(tmp_path):
    path = external(tmp_path / "model", "weights.data")
    model = inspect_model(path)
    data = path.with_name("weights.data")
    assert model.parameters == 15
    assert model.size_bytes == path.stat().st_size + data.stat().st_size
    before = digest_of(path)
    assert model.digest == before
    content = bytearray(data.read_bytes())
    content[0] ^= 1
    data.write_bytes(content)
    assert digest_of(path) != before


@pytest.mark.parametrize("location", ["../secret.data", "/etc/hostname"])
def test_weights_outside_the_models_folder_are_refused(tmp_path, location):
    (tmp_path / "secret.data").write_bytes(bytes(100))
    with pytest.raises(InputError) as error:
        inspect_model(external(tmp_path / "model", location))
    assert "outside the model's folder" in one_sentence(error)


def test_missing_weights_are_named(tmp_path):
    path = external(tmp_path / "model", "weights.data")
    path.with_name("weights.data").unlink()
    with pytest.raises(InputError) as error:
        inspect_model(path)
    assert "'weights.data', which is missing" in one_sentence(error)


def test_a_file_that_kills_its_reader_is_one_sentence(tmp_path, store, monkeypatch):
    """A library may crash on a damaged file: that costs the worker, and the user reads why."""
    import threading

    from workbench.runs import sources
    from workbench.workers.worker import Pool, Worker

    real = Worker.send

    def killed(self, *task, **arguments):
        real(self, *task, **arguments)
        self.process.kill()

    path = model_zoo.save(model_zoo.onnx_dense(), tmp_path / "dense.onnx")
    with Pool(store.log_path, threading.Event()) as pool:
        monkeypatch.setattr(Worker, "send", killed)
        with pytest.raises(InputError) as error:
            sources.read_model(store, pool, str(path))
        assert "ended or held up the process that read it" in one_sentence(error)
        assert "SIGKILL" in error.value.message
        monkeypatch.undo()
        assert sources.read_model(store, pool, str(path)).parameters == 15


def test_sizes_that_the_user_changes_are_tried_in_place_of_the_files(tmp_path):
    """ONNX Runtime holds inputs to the sizes that a file declares: it must be given the file with those asked for."""
    path = model_zoo.save(model_zoo.onnx_fixed_conv(), tmp_path / "conv.onnx")
    assert str(inspect_model(path).outputs[0]) == "y: float32 [1 × 4 × 1 × 1]"
    model = inspect_model(path, input_shapes="x:?x3x16x16")
    assert model.probe is not None
    assert model.probe.free
    assert [str(spec) for spec in (*model.inputs, *model.outputs)] == [
        "x: float32 [? × 3 × 16 × 16]",
        "y: float32 [? × 4 × 1 × 1]",
    ]


def test_sizes_that_the_graph_contradicts_are_found_by_trying(tmp_path):
    """Its Reshape to 1 × 12 takes one sample only, whatever its inputs declare."""
    path = model_zoo.save(model_zoo.onnx_fixed_reshape(), tmp_path / "hard.onnx")
    model = inspect_model(path, input_shapes="x:?x3x4")
    assert model.probe is not None
    assert model.probe.worked == (1,)
    assert "Reshape" in dict(model.probe.failed)[2]
    other = inspect_model(path, input_shapes="x:?x3x5")
    assert other.probe is not None
    assert other.probe.worked == ()
    assert "did not run on made-up inputs" in other.notes[0]


def _without_output_shape(domain: str, *, rows: Any = "n") -> Any:
    """gelu(x) @ w with an output of no declared shape; ONNX's shape inference does not know the operator of ONNX Runtime."""
    from onnx import helper

    nodes = [helper.make_node("Gelu", ["x"], ["g"], domain=domain), helper.make_node("MatMul", ["g", "w"], ["y"])]
    weights = {"w": np.ones((4, 3), np.float32)}
    proto = model_zoo.onnx_model(nodes, weights, inputs={"x": (rows, 4)}, opset=20)
    if domain:
        proto.opset_import.append(helper.make_opsetid(domain, 1))
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_an_output_without_a_shape_gets_the_one_that_is_inferred_or_seen(tmp_path, domain):
    path = model_zoo.save(_without_output_shape(domain), tmp_path / "bare.onnx")
    assert [str(spec) for spec in inspect_model(path).outputs] == ["y: float32 [? × 3]"]
    fixed = model_zoo.save(_without_output_shape(domain, rows=2), tmp_path / "fixed.onnx")
    assert [str(spec) for spec in inspect_model(fixed).outputs] == ["y: float32 [2 × 3]"]


def test_a_model_with_an_output_without_a_shape_is_run_to_its_results(tmp_path, store):
    path = model_zoo.save(_without_output_shape("com.microsoft"), tmp_path / "bare.onnx")
    asked = Experiment(model=str(path), backends="onnxruntime", precisions="fp32", batches="1,2", measure_s=0.05,
                       max_measure_s=0.05, rounds=2)  # fmt: skip
    assert [row.status for row in run(asked, store=store).rows] == [Status.DONE, Status.DONE]


def test_sizes_that_cannot_be_opened_are_refused_as_such(tmp_path):
    from onnx import helper

    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = {"w": np.ones((4, 3), np.float32)}
    proto = model_zoo.onnx_model(nodes, weights, inputs={"x": (1, 4)}, outputs={"y": (1, 3)})
    with pytest.raises(InputError) as error:
        inspect_model(model_zoo.save(proto, tmp_path / "dense.onnx"), input_shapes="x:?x5")
    assert one_sentence(error).endswith("Give other sizes as 'input_shapes', or none.")


def test_functions_inside_an_onnx_file_are_read_like_plain_nodes(tmp_path):
    from onnx import helper, numpy_helper

    stored = [numpy_helper.from_array(np.ones(shape, np.float32)) for shape in ((4, 16), (16, 3))]
    constants = [helper.make_node("Constant", [], [name], value=t) for name, t in zip("wv", stored, strict=True)]
    nodes = [*constants, helper.make_node("MatMul", ["x", "w"], ["t"]), helper.make_node("MatMul", ["t", "v"], ["y"])]
    model = inspect_model(model_zoo.save(model_zoo.onnx_function(nodes), tmp_path / "plain.onnx"))
    assert (model.exportable, model.parameters, model.quantized) == ("", 4 * 16 + 16 * 3, "")
    assert model.probe is not None
    assert model.probe.free

    zero = helper.make_node("Constant", [], ["z"], value=numpy_helper.from_array(np.uint8(0), "z"))
    one = helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(np.float32(0.1), "s"))
    pair = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["t"]),
    ]
    quantized = model_zoo.onnx_function([*constants, zero, one, *pair, nodes[-1]])
    assert inspect_model(model_zoo.save(quantized, tmp_path / "pair.onnx")).quantized == "int8"


def test_an_unknown_operation_inside_a_function_is_named(tmp_path):
    from onnx import helper

    proto = model_zoo.onnx_function([helper.make_node("Odd", ["x"], ["y"], domain="elsewhere")], elsewhere=1)
    with pytest.raises(InputError) as error:
        inspect_model(model_zoo.save(proto, tmp_path / "odd.onnx"))
    assert "is the custom operation elsewhere.Odd, which no engine here knows" in one_sentence(error)


@pytest.mark.parametrize(("multiple", "worked"), [(4, (4, 8)), (5, (5, 10)), (1, (1, 2, 3))])
def test_more_batch_sizes_are_tried_where_the_first_fail(tmp_path, multiple, worked):
    import keras

    from workbench.export.convert import export, saved_model_of

    x = keras.Input((8,), name="x")
    joined = keras.ops.reshape(keras.layers.Dense(4)(x), (-1, multiple * 4))
    keras.Model(x, keras.ops.reshape(keras.layers.Dense(multiple * 4)(joined), (-1, 4))).save(tmp_path / "net.keras")
    model = inspect_model(tmp_path / "net.keras")
    assert model.probe is not None
    assert model.probe.worked == worked
    for size, said in model.probe.failed:  # the library's own sizes, not the calls that led there
        assert (
            f"Input to reshape is a tensor with {size * 4} values, but the requested shape requires a multiple of"
            in said
        )
        assert "File" not in said
    saved_model_of(model, tmp_path / "saved")
    check = export(model, tmp_path / "saved", None, tmp_path / "net.onnx", lambda _: None)
    assert check.batches == ((1, 7) if multiple == 1 else worked)


def test_a_conversion_is_compared_at_the_batches_asked_for_where_none_ran(tmp_path):
    import keras

    from workbench.errors import ExportError
    from workbench.export.convert import export, saved_model_of

    x = keras.Input((8,), name="x")
    joined = keras.ops.reshape(keras.layers.Dense(4)(x), (-1, 36 * 4))
    keras.Model(x, keras.ops.reshape(keras.layers.Dense(36 * 4)(joined), (-1, 4))).save(tmp_path / "net.keras")
    model = inspect_model(tmp_path / "net.keras")
    assert "It did not run on made-up inputs in batches of 1, 2, 3, 4, 5" in model.notes[0]
    saved_model_of(model, tmp_path / "saved")
    with pytest.raises(ExportError, match="requires a multiple of 144"):
        export(model, tmp_path / "saved", None, tmp_path / "net.onnx", lambda _: None)
    check = export(model, tmp_path / "saved", None, tmp_path / "net.onnx", lambda _: None, batches=(36, 72))
    assert check.batches == (36, 72)


@pytest.mark.parametrize(("channels", "last", "size"), [(3, True, 224), (1, False, 224), (7, True, 16)])
def test_free_sizes_of_images_start_at_a_usual_one(tmp_path, channels, last, size):
    shape = ("n", "h", "w", channels) if last else ("n", channels, "h", "w")
    net = model_zoo.onnx_model(
        [onnx.helper.make_node("Relu", ["x"], ["y"])], {}, inputs={"x": shape}, outputs={"y": shape}
    )
    model = inspect_model(model_zoo.save(net, tmp_path / "net.onnx"))
    assert {each.opt for each in model.inputs[0].ranges} == {size}


def test_free_sizes_of_images_fall_back_and_the_sizes_tried_are_said(tmp_path):
    import keras

    def saved(name: str, *, side: int) -> Path:
        x = keras.Input((None, None, 3), name="x")
        keras.Model(x, keras.ops.reshape(x, (-1, side * side * 3))).save(tmp_path / name)
        return tmp_path / name

    model = inspect_model(saved("fits.keras", side=64))
    assert {each.opt for each in model.inputs[0].ranges} == {128}  # 224 does not fit
    (note,) = inspect_model(saved("odd.keras", side=211)).notes
    assert "its free axes at 224, 128, 64, 32, 16, 320, 48 (input_shapes sets others)" in note


@pytest.mark.parametrize(("written", "named"), [("model.keras", "model.h5"), ("model.h5", "model.keras")])
def test_a_keras_file_opens_by_its_content(tmp_path, written, named):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(), keras.layers.Dense(3)])
    model.save(tmp_path / written)
    (tmp_path / named).write_bytes((tmp_path / written).read_bytes())
    found = inspect_model(tmp_path / named)
    assert found.parameters == model.count_params() == 31  # 8 of them are not trainable
    from workbench.examine import Examination
    from workbench.graph.facts import GraphFacts
    from workbench.panel.view import model_facts

    shown = model_facts(
        found, Examination(GraphFacts(opset=17, nodes=3, parameters=27))
    )  # what is left after a conversion stands apart
    assert '<th scope="row">Parameters</th><td>31</td>' in shown
    assert '<th scope="row">ONNX parameters</th><td>27</td>' in shown
    assert found.outputs[0].shape == (None, 3)
