"""Conversions, each compared with its source in numbers; and what cannot be converted says so and leaves nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import model_zoo
import numpy as np
import onnx
import pytest
from converting import convert, convert_model, left_over, notes_of, shapes

from workbench.data.dataset import digits
from workbench.data.synthetic import generated
from workbench.errors import ExportError
from workbench.export.convert import export
from workbench.export.hops import TOLERANCE
from workbench.export.routes import OPSET
from workbench.models.inspection import inspect_model


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
    for weight, sure, reported in ((0.0, 0, 1), (1.0, 80, 1), (1.0, 0, 0)):
        net = model_zoo.onnx_model(
            [make("MatMul", ["x", "w"], ["z"]), make("Add", ["z", "b"], ["l"]), make("Softmax", ["l"], ["y"])],
            {"w": np.arange(12, dtype=np.float32).reshape(4, 3) * weight / 8, "b": np.float32([sure, 0, -5])},
        )
        check = convert(model_zoo.save(net, tmp_path / "net.onnx"), tmp_path / "out.onnx")
        assert check.hops[-1].constant == ("y",) * reported
        assert sum("The comparison shows little: y did not depend" in note for note in export_notes(check)) == reported


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
    whole = sys.modules["workbench.export.hops"].generated

    def spy(inputs, kind, batch, *, which):
        samples = whole(inputs, kind, batch, which=which)
        made.append((kind, samples.inputs["x"].shape[1]))
        return samples

    monkeypatch.setattr("workbench.export.hops.generated", spy)
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
    assert "'y' was not compared with the source" in notes_of(check)


def test_an_output_with_several_rows_per_sample_is_known_as_such(tmp_path):
    import tensorflow as tf

    folder = model_zoo.saved_model_of(tmp_path / "flat", lambda x: tf.reshape(x, (-1,)), None, 4)
    model = inspect_model(folder)
    assert (model.outputs[0].batch_axis, model.outputs[0].rows) == (0, 4)
    convert_model(model, tmp_path / "flat.onnx")
    x = np.ones((5, 4), np.float32)
    assert model_zoo.run_onnx(tmp_path / "flat.onnx", {"x": x})["y"].shape == (20,)


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
    assert (check.batches, check.repairs) == ((1, 7), ("sizes of x overridden as requested",))
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
        (samples, "Neither the given data nor generated inputs could be run."),
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
    assert check.repairs[0] == "1 calls of functions inside the file inlined"
    graph = onnx.load(tmp_path / "out.onnx").graph
    assert [node.op_type for node in graph.node] == ["MatMul", last.op_type]
    assert check.max_rel_diff == 0
    x = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(
        model_zoo.run_onnx(tmp_path / "out.onnx", {"x": x})["y"], 1.9545 if domains else -2, atol=1e-4
    )


@pytest.mark.long
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
    """What deepcopy does by default, if a class does not define it."""
    import copy

    made = type(graph).__new__(type(graph))
    memo[id(graph)] = made
    made.__dict__.update({name: copy.deepcopy(value, memo) for name, value in graph.__dict__.items()})
    return made
