"""Conversions, each compared with its source in numbers; and what cannot be converted says so and leaves nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import model_zoo
import numpy as np
import pytest

from workbench.data import Samples, dataset, digits
from workbench.errors import ExportError, InputError, StoreError
from workbench.export import OPSET, TOLERANCE, onnx_from_onnx, onnx_from_saved_model, saved_model_from_keras
from workbench.models import inspect_model
from workbench.records import ExportCheck


def convert(path: Path, into: Path, signature: str = "", samples: Samples | None = None) -> ExportCheck:
    model = inspect_model(path, signature)
    source = path
    if model.format == "keras":
        source = into.with_suffix("")
        saved_model_from_keras(path, source)
    test = samples or dataset("random", model, 0, 0, demo=False).test
    return onnx_from_saved_model(source, model, test, samples is not None, into, lambda _: None)


def shapes(path: Path) -> dict[str, list[str | int]]:
    import onnx

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
    check = onnx_from_saved_model(demo_folder / "saved_model", model, test, True, into, phases.append)
    wanted = keras.models.load_model(demo_folder / "demo.keras").predict(test.inputs["image"], verbose=0)
    found = model_zoo.run_onnx(into, {"image": test.inputs["image"]})["output_0"]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert (check.opset, check.batches, check.real_samples) == (OPSET, (1, 7), True)
    assert 0 <= check.max_rel_diff < 1e-5
    assert check.tolerance == TOLERANCE
    assert shapes(into) == {"image": ["batch", 28, 28, 1], "output_0": ["batch", 10]}
    assert phases == ["converting to ONNX", "comparing the ONNX file with its source"]


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


def test_the_asked_signature_is_the_one_converted(tmp_path):
    folder = model_zoo.saved_model(tmp_path / "several")
    for signature, wanted in (("score", [[12, 16]]), ("half", [[0.5, 0.5]])):
        into = tmp_path / f"{signature}.onnx"
        convert(folder, into, signature)
        x = np.ones((1, 4 if signature == "score" else 2), np.float32)
        assert model_zoo.run_onnx(into, {"x": x})["y"].tolist() == wanted


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
        "flat": lambda x: tf.reshape(x, (-1,)),
    }
    return model_zoo.saved_model_of(folder / name, functions[name], None, 4)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("unsupported", "has no form for: BesselI0, Lgamma"),
        ("random", "does not compute what the model computes: the largest difference is"),
        ("flat", "every output must begin with the batch axis"),
    ],
)
def test_what_cannot_be_converted_says_so_and_leaves_nothing(tmp_path, name, says):
    with pytest.raises(ExportError) as error:
        convert(failing(name, tmp_path), tmp_path / "out.onnx")
    assert says in error.value.message
    assert len(error.value.message) < 700
    assert "\n" not in error.value.message
    assert left_over(tmp_path) == []


def test_a_wrong_conversion_is_caught_by_its_numbers(tmp_path, demo_folder):
    """The check is worth something: weights changed behind its back make it fail."""
    path = model_zoo.keras_mlp(tmp_path / "mlp.keras")
    model = inspect_model(path)
    other = tmp_path / "other.keras"
    import keras

    changed = keras.models.load_model(path)
    changed.layers[0].kernel.assign(changed.layers[0].kernel * 1.01)
    changed.save(other)
    saved_model_from_keras(path, tmp_path / "right")
    saved_model_from_keras(other, tmp_path / "wrong")
    from workbench import export

    samples = dataset("random", model, 0, 0, demo=False).test
    into = tmp_path / "mlp.onnx"
    onnx_from_saved_model(tmp_path / "right", model, samples, False, into, lambda _: None)
    with pytest.raises(ExportError, match="does not compute what the model computes"):
        export._compare(tmp_path / "wrong", "serving_default", model, samples, False, into)


def test_differences_count_infinities_and_missing_numbers():
    from workbench.export import _difference

    a = np.array([[1.0, np.inf, np.nan, -4.0]], np.float32)
    assert _difference("y", a, a.copy()) == (0.0, 4.0)
    assert _difference("y", a, np.array([[1.5, np.inf, np.nan, -4.0]], np.float32)) == (0.5, 4.0)
    for wrong in ([1.0, 1.0, np.nan, -4.0], [1.0, np.inf, 0.0, -4.0], [np.nan, np.inf, np.nan, -4.0]):
        assert _difference("y", a, np.array([wrong], np.float32))[0] == np.inf


def test_a_failed_keras_export_leaves_no_folder(tmp_path):
    path = tmp_path / "broken.keras"
    path.write_bytes(b"junk")
    with pytest.raises(InputError):
        saved_model_from_keras(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path, demo_folder):
    (tmp_path / "file").write_text("x")
    model = inspect_model(model_zoo.save(model_zoo.onnx_dense(), tmp_path / "dense.onnx"))
    with pytest.raises(StoreError, match="Could not write to"):
        onnx_from_onnx(model, tmp_path / "file" / "model.onnx")


def test_an_onnx_file_is_brought_into_one_form(tmp_path):
    """Weights from constants and from a file beside it, all in one file; old inputs gone; axes named; same numbers."""
    import onnx

    proto = model_zoo.onnx_dense(constants=True)
    source, into = model_zoo.save(proto, tmp_path / "constants.onnx"), tmp_path / "out.onnx"
    onnx_from_onnx(inspect_model(source), into)
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
    onnx_from_onnx(inspect_model(folder / "model.onnx"), into)
    (folder / "w.data").unlink()
    assert (model_zoo.run_onnx(into, {"x": x})["y"] == model_zoo.run_onnx(source, {"x": x})["y"]).all()
    assert shapes(into) == {"x": ["batch", 4], "y": ["batch", 3]}
