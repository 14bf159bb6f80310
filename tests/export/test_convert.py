"""Conversions, each compared with its source in numbers; and what cannot be converted says so and leaves nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import model_zoo
import numpy as np
import onnx
import pytest
from converting import convert_model

from workbench.data.dataset import digits
from workbench.data.samples import Samples
from workbench.data.synthetic import generated
from workbench.errors import ExportError, InputError, StoreError
from workbench.export.convert import TOLERANCE, export, saved_model_of
from workbench.export.routes import OPSET
from workbench.models.inspection import inspect_model
from workbench.records import ExportCheck, Model


def convert(path: Path, into: Path, signature: str = "", samples: Samples | None = None, **options: str) -> ExportCheck:
    return convert_model(inspect_model(path, signature, **options), into, samples)


def shapes(path: Path) -> dict[str, list[str | int]]:
    graph = onnx.load(path).graph
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }


def left_over(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.suffix == ".onnx" or p.name.startswith("."))


def test_the_demo_gives_the_same_numbers_as_its_source(tmp_path, demo_folder):
    """Compared here a second time, against Keras itself on all test images, not only against the SavedModel."""
    import keras

    test = digits()[2]
    phases: list[str] = []
    model = inspect_model(demo_folder / "demo.keras")
    into = tmp_path / "demo.onnx"
    check = export(model, demo_folder / "saved_model", test, into, phases.append)
    wanted = keras.models.load_model(demo_folder / "demo.keras").predict(test.inputs["image"], verbose=0)
    found = model_zoo.run_onnx(into, {"image": test.inputs["image"]})["output_0"]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert (check.opset, check.batches, check.real_samples) == (OPSET, (1, 7), True)
    assert 0 <= check.max_rel_diff < 1e-5
    assert check.tolerance == TOLERANCE
    assert shapes(into) == {"image": ["batch", 28, 28, 1], "output_0": ["batch", 10]}
    assert phases == ["converting: Keras → ONNX (tf2onnx)", "comparing the ONNX file with its source"]
    (hop,) = check.hops
    assert hop.inputs == ("real", "random", "ramp", "impulse")
    assert check.route == "Keras → ONNX (tf2onnx)"


def test_converting_changes_nothing_in_this_process(tmp_path):
    before, main = list(sys.argv), sys.modules["__main__"]
    convert(model_zoo.keras_mlp(tmp_path / "mlp.keras"), tmp_path / "mlp.onnx")
    assert sys.argv == before
    assert sys.modules["__main__"] is main
    assert left_over(tmp_path) == ["mlp.onnx"]


@pytest.mark.parametrize("make", [model_zoo.keras_gelu, model_zoo.keras_normalization])
def test_what_other_routes_get_wrong_converts(tmp_path, make):
    path = make(tmp_path / "odd.keras")
    assert convert(path, tmp_path / "odd.onnx").max_rel_diff < 1e-5
    assert [*shapes(tmp_path / "odd.onnx")] == ["x", "output_0"]  # no constant became an input


def test_several_inputs_and_outputs_keep_their_names(tmp_path):
    convert(model_zoo.keras_two_by_two(tmp_path / "two.keras", named=True), tmp_path / "two.onnx")
    assert shapes(tmp_path / "two.onnx") == {
        "left": ["batch", 4],
        "right": ["batch", 2],
        "alpha": ["batch", 3],
        "zeta": ["batch", 2],
    }


def test_a_fixed_batch_is_compared_at_that_batch_only(tmp_path):
    check = convert(model_zoo.keras_mlp(tmp_path / "fixed.keras", batch=3), tmp_path / "fixed.onnx")
    assert check.batches == (3,)
    assert shapes(tmp_path / "fixed.onnx") == {"features": [3, 4], "output_0": [3, 3]}


def test_outputs_that_never_vary_prove_little_and_it_is_said(tmp_path):
    """A classifier that answers 1/3 to everything, or is always sure of the first class, agrees with any conversion."""
    from workbench.models.describe import export_notes

    make = onnx.helper.make_node
    for weight, sure, told in ((0.0, 0, 1), (1.0, 80, 1), (1.0, 0, 0)):
        net = model_zoo.onnx_model(
            [make("MatMul", ["x", "w"], ["z"]), make("Add", ["z", "b"], ["l"]), make("Softmax", ["l"], ["y"])],
            {"w": np.arange(12, dtype=np.float32).reshape(4, 3) * weight / 8, "b": np.float32([sure, 0, -5])},
        )
        check = convert(model_zoo.save(net, tmp_path / "net.onnx"), tmp_path / "out.onnx")
        assert check.hops[-1].constant == ("y",) * told
        assert sum("Little is proven: y did not depend" in note for note in export_notes(check)) == told


def test_the_asked_signature_is_the_one_converted(tmp_path):
    folder = model_zoo.saved_model(tmp_path / "several")
    for signature, wanted in (("score", [[12, 16]]), ("half", [[0.5, 0.5]])):
        into = tmp_path / f"{signature}.onnx"
        convert(folder, into, signature)
        x = np.ones((1, 4 if signature == "score" else 2), np.float32)
        assert model_zoo.run_onnx(into, {"x": x})["y"].tolist() == wanted


def test_every_kind_of_input_is_compared_at_two_lengths(tmp_path, monkeypatch):
    net = model_zoo.onnx_model(
        [onnx.helper.make_node("Mul", ["x", "w"], ["y"])],
        {"w": np.float32(2)},
        inputs={"x": ("n", "t")},
        outputs={"y": ("n", "t")},
    )
    made: list[tuple[str, int]] = []
    whole = sys.modules["workbench.export.convert"].generated

    def spy(inputs, kind, batch, *, which):
        samples = whole(inputs, kind, batch, which=which)
        made.append((kind, samples.inputs["x"].shape[1]))
        return samples

    monkeypatch.setattr("workbench.export.convert.generated", spy)
    convert(model_zoo.save(net, tmp_path / "net.onnx"), tmp_path / "out.onnx", input_shapes="x:?x8..16..40")
    assert {(kind, size) for kind in ("random", "ramp", "impulse") for size in (16, 40)} == set(made)


def test_a_dynamic_axis_beyond_the_batch_stays_dynamic(tmp_path):
    import tensorflow as tf

    folder = model_zoo.saved_model_of(tmp_path / "sums", lambda x: tf.reduce_sum(x, axis=1), None, None, 4)
    convert(folder, tmp_path / "sums.onnx")
    assert shapes(tmp_path / "sums.onnx")["x"][0] == "batch"
    x = np.ones((2, 9, 4), np.float32)
    assert model_zoo.run_onnx(tmp_path / "sums.onnx", {"x": x})["y"].tolist() == [[9] * 4] * 2


def failing(name: str, folder: Path) -> Path:
    import tensorflow as tf

    functions = {
        "unsupported": lambda x: tf.math.lgamma(x) + tf.math.bessel_i0(x),
        "random": lambda x: x + tf.random.uniform(tf.shape(x)),
    }
    return model_zoo.saved_model_of(folder / name, functions[name], None, 4)


def test_what_cannot_be_converted_says_so_and_leaves_nothing(tmp_path):
    with pytest.raises(ExportError) as error:
        convert(failing("unsupported", tmp_path), tmp_path / "out.onnx")
    assert "cannot be expressed in ONNX: BesselI0, Lgamma (first in 'bessel_i0/BesselI0')" in error.value.message
    assert len(error.value.message) < 1200
    assert "\n" not in error.value.message
    assert left_over(tmp_path) == []


def test_a_random_model_is_converted_and_its_numbers_are_not_compared(tmp_path):
    """Two runs of the model itself differ, so that a difference says nothing about the conversion."""
    check = convert(failing("random", tmp_path), tmp_path / "out.onnx")
    assert [hop.uncompared for hop in check.hops] == [("y",)] * len(check.hops)
    assert "'y' was not compared with the source" in _notes(check)


def test_an_output_with_several_rows_per_sample_is_known_as_such(tmp_path):
    import tensorflow as tf

    folder = model_zoo.saved_model_of(tmp_path / "flat", lambda x: tf.reshape(x, (-1,)), None, 4)
    model = inspect_model(folder)
    assert (model.outputs[0].batch_axis, model.outputs[0].rows) == (0, 4)
    convert_model(model, tmp_path / "flat.onnx")
    x = np.ones((5, 4), np.float32)
    assert model_zoo.run_onnx(tmp_path / "flat.onnx", {"x": x})["y"].shape == (20,)


def corrupt(proto: onnx.ModelProto, op: str) -> str:
    """Change the weights of the second layer of this kind; its name."""
    from onnx import numpy_helper

    node = [node for node in proto.graph.node if node.op_type == op][1]
    tensor = next(t for t in proto.graph.initializer if t.name == node.input[1])
    changed = numpy_helper.to_array(tensor) * 1.05
    tensor.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), tensor.name))
    return node.name


def shift(proto: onnx.ModelProto) -> None:
    """Roll the first input by one step along its third axis."""
    from onnx import helper, numpy_helper

    name = proto.graph.input[0].name
    for node in proto.graph.node:
        node.input[:] = ["rolled" if each == name else each for each in node.input]
    bounds = {"head": [0], "one": [1], "end": [2**31], "axis": [2]}
    proto.graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), k) for k, v in bounds.items())
    proto.graph.node.insert(0, helper.make_node("Slice", [name, "one", "end", "axis"], ["later"], name="later"))
    proto.graph.node.insert(1, helper.make_node("Slice", [name, "head", "one", "axis"], ["first"], name="first"))
    proto.graph.node.insert(2, helper.make_node("Concat", ["later", "first"], ["rolled"], axis=2, name="roll"))


@pytest.mark.parametrize("fault", ["weights", "shift"])
def test_a_wrong_conversion_is_refused_and_the_first_wrong_node_named(tmp_path, demo_folder, monkeypatch, fault):
    """A converter that does its work and then something else: only the comparison can tell."""
    from workbench.export import routes

    model = inspect_model(demo_folder / "saved_model")
    named: list[str] = []

    def faulty(origin: routes.Origin, into: Path) -> dict[str, str]:
        known = routes.saved_model_tf2onnx(origin, into)
        proto = onnx.load(into)
        named.append(corrupt(proto, "Conv") if fault == "weights" else shift(proto) or "")
        onnx.save(proto, into)
        return known

    monkeypatch.setitem(routes.ROUTES, "saved_model", (routes.Route("SavedModel → ONNX (faulty)", faulty),))
    with pytest.raises(ExportError, match="does not compute what the model computes") as error:
        convert_model(model, tmp_path / "demo.onnx")
    if fault == "weights":
        assert "The first inner value that differs is that of the node" in error.value.message
    assert left_over(tmp_path) == []


def test_a_route_that_disagrees_gives_way_to_the_next(tmp_path, demo_folder, monkeypatch):
    from workbench.export import routes

    def faulty(origin: routes.Origin, into: Path) -> dict[str, str]:
        known = routes.saved_model_tf2onnx(origin, into)
        proto = onnx.load(into)
        corrupt(proto, "Conv")
        onnx.save(proto, into)
        return known

    ways = (routes.Route("the faulty way", faulty), routes.Route("frozen graph → ONNX (tf2onnx)", routes.frozen_graph))
    monkeypatch.setitem(routes.ROUTES, "saved_model", ways)
    check = convert(demo_folder / "saved_model", tmp_path / "demo.onnx")
    assert check.route == "frozen graph → ONNX (tf2onnx)"
    assert [(each.route, "does not compute" in each.reason) for each in check.attempts] == [("the faulty way", True)]
    assert check.max_rel_diff < 1e-5


def test_whatever_a_library_raises_costs_one_route_only(tmp_path, demo_folder, monkeypatch):
    from workbench.export import routes

    def failing(_origin, _into):
        raise KeyError("unexpected")

    ways = (routes.Route("the failing way", failing), routes.ROUTES["saved_model"][1])
    monkeypatch.setitem(routes.ROUTES, "saved_model", ways)
    check = convert(demo_folder / "saved_model", tmp_path / "demo.onnx")
    assert check.route == "frozen graph → ONNX (tf2onnx)"
    assert check.attempts[0].reason.startswith("KeyError: 'unexpected'")


@pytest.mark.parametrize("way", ["keras_tf2onnx", "saved_model_tf2onnx", "frozen_graph", "through_tflite"])
def test_every_route_converts_the_demo(tmp_path, demo_folder, monkeypatch, way):
    from workbench.export import routes

    between = "tflite" if way == "through_tflite" else ""
    monkeypatch.setitem(routes.ROUTES, "keras", (routes.Route(way, getattr(routes, way), between),))
    model = inspect_model(demo_folder / "demo.keras")
    check = export(model, demo_folder / "saved_model", None, tmp_path / "demo.onnx", lambda _: None)
    assert len(check.hops) == (2 if between else 1)
    assert check.max_rel_diff < 1e-5
    assert shapes(tmp_path / "demo.onnx") == {"image": ["batch", 28, 28, 1], "output_0": ["batch", 10]}


def test_a_failed_keras_export_leaves_no_folder(tmp_path):
    path = tmp_path / "broken.keras"
    path.write_bytes(b"junk")
    with pytest.raises(InputError):
        saved_model_of(Model(str(path), "broken", "keras", (), (), 0, 0, ""), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path, demo_folder):
    (tmp_path / "file").write_text("x")
    model = inspect_model(model_zoo.save(model_zoo.onnx_dense(), tmp_path / "dense.onnx"))
    with pytest.raises(StoreError, match="Could not write to"):
        export(model, None, None, tmp_path / "file" / "model.onnx", lambda _: None)


def test_an_onnx_file_is_brought_into_one_form(tmp_path):
    """Weights from constants and from a file beside it, all in one file; old inputs gone; axes named; same numbers."""
    proto = model_zoo.onnx_dense(constants=True)
    source, into = model_zoo.save(proto, tmp_path / "constants.onnx"), tmp_path / "out.onnx"
    assert "constants lifted to initializers" in convert(source, into).repairs[0]
    graph = onnx.load(into).graph
    assert [node.op_type for node in graph.node] == ["Gemm"]
    assert sorted(tensor.name for tensor in graph.initializer) == ["b", "w"]
    assert shapes(into) == {"x": ["batch", 4], "y": ["batch", 3]}
    x = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
    assert (model_zoo.run_onnx(into, {"x": x})["y"] == model_zoo.run_onnx(source, {"x": x})["y"]).all()

    folder = tmp_path / "beside"
    folder.mkdir()
    old = model_zoo.onnx_dense()
    old.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, (4, 3)))
    onnx.save(old, folder / "model.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    convert(folder / "model.onnx", into)
    (folder / "w.data").unlink()
    assert (model_zoo.run_onnx(into, {"x": x})["y"] == model_zoo.run_onnx(source, {"x": x})["y"]).all()
    assert shapes(into) == {"x": ["batch", 4], "y": ["batch", 3]}


def test_sizes_changed_by_the_user_are_the_ones_compared_and_written(tmp_path):
    """Right at every size: the export computes what the same network does when it is made for the sizes asked for."""
    source, into = model_zoo.save(model_zoo.onnx_fixed_conv(), tmp_path / "conv.onnx"), tmp_path / "out.onnx"
    check = convert(source, into, input_shapes="x:?x3x16x16")
    assert (check.batches, check.repairs) == ((1, 7), ("sizes of x overridden as asked",))
    assert shapes(into) == {"x": ["batch", 3, 16, 16], "y": ["batch", "y_1", "y_2", "y_3"]}
    made_for_it = model_zoo.save(model_zoo.onnx_fixed_conv(batch="n", size=16), tmp_path / "large.onnx")
    x = np.random.default_rng(1).standard_normal((5, 3, 16, 16)).astype(np.float32)
    np.testing.assert_array_equal(
        model_zoo.run_onnx(into, {"x": x})["y"], model_zoo.run_onnx(made_for_it, {"x": x})["y"]
    )


def test_sizes_that_the_graph_contradicts_are_compared_where_they_run_or_refused(tmp_path):
    source = model_zoo.save(model_zoo.onnx_fixed_reshape(), tmp_path / "hard.onnx")
    assert convert(source, tmp_path / "out.onnx", input_shapes="x:?x3x4").batches == (1,)
    with pytest.raises(ExportError, match=r"could not be compared with its conversion: .*Reshape"):
        convert(source, tmp_path / "none.onnx", input_shapes="x:?x3x5")
    assert left_over(tmp_path) == ["hard.onnx", "out.onnx"]


def test_data_are_not_asked_for_where_they_were_given(tmp_path):
    source = model_zoo.save(model_zoo.onnx_fixed_reshape(), tmp_path / "hard.onnx")
    model = inspect_model(source, input_shapes="x:?x3x5")
    samples = generated(model.inputs, "random", 4)
    for given, says in (
        (None, "Give data that the model accepts"),
        (samples, "Neither the given data nor made-up ones ran."),
    ):
        with pytest.raises(ExportError) as error:
            export(model, None, given, tmp_path / "none.onnx", print)
        assert says in error.value.message
        assert ("Give data" in error.value.message) == (given is None)


@pytest.mark.parametrize(("opset", "domains"), [(17, {}), (13, {}), (17, {"com.microsoft": 1})])
def test_functions_inside_an_onnx_file_are_written_out(tmp_path, opset, domains):
    """Whether the function names the model's opset, an older one, or a domain that the model does not name."""
    helper = onnx.helper
    last = (
        helper.make_node("Gelu", ["t"], ["y"], domain="com.microsoft")
        if domains
        else helper.make_node("Neg", ["t"], ["y"])
    )
    stored = onnx.numpy_helper.from_array(np.ones((4, 3), np.float32) / 2, "w")
    nodes = [helper.make_node("Constant", [], ["w"], value=stored), helper.make_node("MatMul", ["x", "w"], ["t"]), last]
    source = model_zoo.save(model_zoo.onnx_function(nodes, opset=opset, **domains), tmp_path / "function.onnx")
    check = convert(source, tmp_path / "out.onnx")
    assert check.repairs[0] == "1 calls of functions inside the file written out"
    graph = onnx.load(tmp_path / "out.onnx").graph
    assert [node.op_type for node in graph.node] == ["MatMul", last.op_type]
    assert check.max_rel_diff == 0
    x = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(
        model_zoo.run_onnx(tmp_path / "out.onnx", {"x": x})["y"], 1.9545 if domains else -2, atol=1e-4
    )


def test_a_pass_of_the_converter_that_fails_costs_only_itself(tmp_path, demo_folder, monkeypatch):
    """tf2onnx copies the graph before every pass in case one fails; here it copies it once, and goes back to that."""
    from tf2onnx import graph, optimizer

    class Failing:
        graph_been_opt = False

        def optimize(self, found, _iteration):
            found.get_nodes()[0].type = "Broken"
            raise ValueError("no such luck")

    whole, copies = optimizer.optimize_graph, []
    monkeypatch.setattr(
        graph.Graph, "__deepcopy__", lambda self, memo: copies.append(1) or _shallow(self, memo), raising=False
    )
    check = convert(demo_folder / "demo.keras", tmp_path / "fine.onnx")
    assert (len(copies), check.attempts) == (1, ())
    monkeypatch.setitem(optimizer._optimizers, "einsum_optimizer", Failing)
    check = convert(demo_folder / "demo.keras", tmp_path / "spare.onnx")
    assert check.attempts == ()
    assert check.max_rel_diff < 1e-4
    assert optimizer.optimize_graph is whole


def _shallow(graph, memo):
    """What deepcopy does of itself where a class has no way of its own."""
    import copy

    made = type(graph).__new__(type(graph))
    memo[id(graph)] = made
    made.__dict__.update({name: copy.deepcopy(value, memo) for name, value in graph.__dict__.items()})
    return made


def _notes(check: ExportCheck) -> str:
    from workbench.models.describe import export_notes

    return " ".join(export_notes(check))


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_a_full_integer_file_becomes_an_onnx_file_that_gives_real_numbers(tmp_path, kind):
    import keras

    x = np.random.default_rng(2).uniform(0, 1, (100, 8)).astype(np.float32)
    network = keras.Sequential([keras.Input((8,), name="x"), keras.layers.Dense(3)])
    network.layers[-1].set_weights([np.linspace(-0.5, 0.5, 24, dtype=np.float32).reshape(8, 3), np.float32([-1, 0, 1])])
    model = inspect_model(model_zoo.tflite_integers(tmp_path / "m.tflite", network, x, kind))
    check = convert_model(model, tmp_path / "m.onnx")
    assert "the integer output 'output_0' is scaled to real numbers in the graph" in check.repairs
    spec = model.inputs[0]
    stored = np.clip(np.round(x / spec.scale) + spec.zero_point, *_ends(kind)).astype(kind)
    found = model_zoo.run_onnx(tmp_path / "m.onnx", {"x": stored})["output_0"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, network(x).numpy(), atol=0.02)
    assert check.max_abs_diff < 0.02


def _ends(kind: str) -> tuple[int, int]:
    return np.iinfo(kind).min, np.iinfo(kind).max


def _quantized_end(path: Path, kind: type, opset: int = 21) -> Path:
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"]),
        onnx.helper.make_node("QuantizeLinear", ["h", "s", "z"], ["q"]),
        onnx.helper.make_node("Reshape", ["q", "shape"], ["y"]),
    ]
    weights = {
        "w": np.eye(4, dtype=np.float32)[:, :3].copy(),
        "s": np.float32(0.25),
        "z": kind(3),
        "shape": np.array([-1, 3]),
    }
    proto = model_zoo.onnx_model(nodes, weights, outputs={"y": ("n", 3)}, opset=opset)
    proto.ir_version = 10
    proto.graph.output[0].type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    return model_zoo.save(proto, path)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16])
def test_an_onnx_file_that_ends_in_a_quantization_gives_real_numbers(tmp_path, kind):
    model = inspect_model(_quantized_end(tmp_path / "q.onnx", kind))
    assert (model.outputs[0].scale, model.outputs[0].zero_point) == (0.25, 3)
    convert_model(model, tmp_path / "out.onnx")
    x = np.float32([[-0.5, 0.26, 7, 0], [0, 1, 2, 3]])
    found = model_zoo.run_onnx(tmp_path / "out.onnx", {"x": x})["y"]
    np.testing.assert_array_equal(found, np.float32([[-0.5, 0.25, 7], [0, 1, 2]]))


def test_the_same_numbers_are_only_claimed_where_they_were_seen(tmp_path):
    """A weight of NaN makes an output NaN, and NaN in the same places was called agreement."""
    weights = np.ones((4, 3), np.float32)
    same = "it gives the same numbers"
    for value, name in ((1.0, "fine"), (np.nan, "nan")):
        weights[0, 0] = value
        nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
        model = inspect_model(model_zoo.save(model_zoo.onnx_model(nodes, {"w": weights}), tmp_path / f"{name}.onnx"))
        told = _notes(convert_model(model, tmp_path / "out.onnx"))
        assert (same in told) == (name == "fine")
        partly = "the model itself gives NaN or infinity in 'y'; only its finite values were compared."
        assert (partly in told) == (name == "nan")
    weights[0] = np.nan
    model = inspect_model(model_zoo.save(model_zoo.onnx_model(nodes, {"w": weights}), tmp_path / "all.onnx"))
    told = _notes(convert_model(model, tmp_path / "out.onnx"))
    assert "the model itself gives NaN or infinity in 'y'; nothing was compared in it." in told
    assert same not in told
    assert "compared on" not in told


def test_what_the_model_does_not_repeat_is_not_compared(tmp_path):
    nodes = [
        onnx.helper.make_node("RandomNormalLike", ["x"], ["r"]),
        onnx.helper.make_node("Add", ["x", "r"], ["noise"]),
        onnx.helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    weights = {"w": np.ones((4, 3), np.float32)}
    proto = model_zoo.onnx_model(nodes, weights, outputs={"noise": ("n", 4), "y": ("n", 3)})
    check = convert_model(inspect_model(model_zoo.save(proto, tmp_path / "r.onnx")), tmp_path / "out.onnx")
    (hop,) = check.hops
    assert (hop.compared, hop.uncompared) == (("y",), ("noise",))
    told = _notes(check)
    assert "'noise' was not compared with the source, because the model does not repeat itself there." in told
    assert "compared on random, ramp, impulse inputs" in told  # the other output was
    del proto.graph.output[1], proto.graph.node[2]
    check = convert_model(inspect_model(model_zoo.save(proto, tmp_path / "r.onnx")), tmp_path / "out.onnx")
    assert "compared on" not in _notes(check)
    assert "same numbers" not in _notes(check)


@pytest.mark.parametrize("rows", [1, "n"])
def test_outputs_whose_rows_follow_the_data_convert(tmp_path, rows):
    """'sel' has the shape [4, 3], but 10 entries were expected: with a batch of 1 as well as a free one."""
    import tensorflow as tf

    check = convert_model(inspect_model(model_zoo.onnx_nms(tmp_path / "nms.onnx", rows)), tmp_path / "out.onnx")
    assert check.max_rel_diff == 0

    class Places(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
        def serve(self, x):
            return {"at": tf.where(x > 0)}

    module = Places()
    tf.saved_model.save(module, str(tmp_path / "where"), signatures={"serving_default": module.serve})
    convert_model(inspect_model(tmp_path / "where"), tmp_path / "where.onnx")
    x = np.float32([[1, -1, 0, 2], [-1, -1, -1, 3]])
    np.testing.assert_array_equal(model_zoo.run_onnx(tmp_path / "where.onnx", {"x": x})["at"], np.argwhere(x > 0))


def test_a_row_at_the_threshold_of_a_selection_is_chance(tmp_path, monkeypatch):
    """Rounding puts it on either side; the other inputs must still agree."""
    from workbench.export import convert as tested

    nodes = [
        onnx.helper.make_node("Greater", ["x", "zero"], ["above"]),
        onnx.helper.make_node("NonZero", ["above"], ["y"]),
    ]
    proto = model_zoo.onnx_model(nodes, {"zero": np.float32(0.25)}, outputs={"y": (2, "found")})
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    model = inspect_model(model_zoo.save(proto, tmp_path / "where.onnx"))
    assert model.outputs[0].ragged_axis == 1

    below = onnx.numpy_helper.from_array(np.nextafter(np.float32(0.25), np.float32(0)), "zero")
    # the conversion compares with a threshold that is lower in its last digit
    monkeypatch.setattr(tested, "_check", lambda proto, name: proto.graph.initializer[0].CopyFrom(below))
    x = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    x[0, 0] = 0.25
    check = convert_model(model, tmp_path / "out.onnx", Samples("edge", {"x": x}))
    (hop,) = check.hops
    assert hop.ill_conditioned == ("real",)
    assert set(hop.inputs) == {"real", "random", "ramp", "impulse"}
