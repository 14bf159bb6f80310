"""Inspection of ONNX files: weights, damage, sizes and functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import model_zoo
import numpy as np
import onnx
import pytest
from converting import one_sentence

from workbench import open_model
from workbench.errors import InputError
from workbench.models.inspection import digest_of, inspect_model
from workbench.models.onnx_file import doubtful_inputs
from workbench.records import Status
from workbench.runs.pipeline import run
from workbench.settings.experiment import Experiment


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


def test_initializers_repeated_among_the_inputs_are_not_inputs(tmp_path):
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
    from workbench.workers.pool import Pool
    from workbench.workers.worker import Worker

    real = Worker.send

    def killed(self, *task, **arguments):
        real(self, *task, **arguments)
        self.process.kill()

    path = model_zoo.save(model_zoo.onnx_dense(), tmp_path / "dense.onnx")
    with Pool(store.log_path, threading.Event()) as pool:
        monkeypatch.setattr(Worker, "send", killed)
        with pytest.raises(InputError) as error:
            sources.read_model(store, pool, str(path))
        assert "crashed or stopped the process" in one_sentence(error)
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
    assert "did not run on generated inputs" in other.notes[0]


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
    assert "is the custom operation elsewhere.Odd, which no installed library supports" in one_sentence(error)


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


@pytest.mark.long
def test_a_conversion_is_compared_at_the_batches_asked_for_where_none_ran(tmp_path):
    import keras

    from workbench.errors import ExportError
    from workbench.export.convert import export, saved_model_of

    x = keras.Input((8,), name="x")
    joined = keras.ops.reshape(keras.layers.Dense(4)(x), (-1, 36 * 4))
    keras.Model(x, keras.ops.reshape(keras.layers.Dense(36 * 4)(joined), (-1, 4))).save(tmp_path / "net.keras")
    model = inspect_model(tmp_path / "net.keras")
    assert "It did not run on generated inputs in batches of 1, 2, 3, 4, 5" in model.notes[0]
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


@pytest.mark.long
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


def test_inputs_that_a_converter_may_have_made_of_constants_are_named(tmp_path):
    """As Keras exports a Normalization layer: the mean becomes an input of a fixed shape, and another input is read by no node."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Sub", ["x", "mean:0"], ["y"])],
        "lost",
        [
            value("x", onnx.TensorProto.FLOAT, ["n", 3]),
            value("mean:0", onnx.TensorProto.FLOAT, [1, 3]),
            value("sqrt:0", onnx.TensorProto.FLOAT, [1, 3]),
        ],
        [value("y", onnx.TensorProto.FLOAT, ["n", 3])],
    )
    unread, lost = doubtful_inputs(graph)
    assert unread == "The input 'sqrt:0' is read by no node."
    assert lost.startswith(
        "The input 'mean:0' has the fixed shape [1 × 3], and another input takes any number of samples. If it is a constant"
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "lost.onnx",
    )
    notes = open_model(tmp_path / "lost.onnx", store=tmp_path / "store").notes
    assert (unread in notes, lost in notes) == (True, True)
