"""What outputs do when a model is opened: repeat themselves or not, hold NaN, follow the data, copy an input."""

from __future__ import annotations

import itertools
from dataclasses import replace

import model_zoo
import numpy as np
import pytest
from onnx import helper

from workbench.errors import InputError
from workbench.models.behaviour import behaviour
from workbench.models.describe import output_notes
from workbench.models.inspection import inspect_model, probed
from workbench.records import Model, Probe, TensorSpec

INPUT = TensorSpec("x", "float32", (None, 4))


def model(*outputs: str) -> Model:
    specs = tuple(TensorSpec(name, "float32", (None, 4)) for name in outputs)
    return Model("m", "m", "onnx", (INPUT,), specs, 1, 1, "d")


def test_random_numbers_are_seen():
    draw = np.random.default_rng(0)
    run = lambda feeds: {"o": feeds["x"] + draw.random(feeds["x"].shape), "y": feeds["x"] * 2}  # noqa: E731
    assert behaviour(model("o", "y"), run, 2).varying == {"o": "two runs on the same input differ"}


def test_rounding_is_not_taken_for_random_numbers():
    signs = itertools.cycle([1, -1])
    run = lambda feeds: {"o": feeds["x"] * (1 + 1e-7 * next(signs))}  # noqa: E731
    assert behaviour(model("o"), run, 2).varying == {}


def test_a_state_is_seen_though_two_runs_in_a_row_are_alike():
    """The answer depends on whether another input came before."""
    seen = []

    def run(feeds):
        seen.append(feeds["x"])
        return {"o": feeds["x"] * len({each.tobytes() for each in seen})}

    assert behaviour(model("o"), run, 1).varying == {"o": "a run on the same input differs after runs on others"}


def test_numbers_drawn_at_opening_are_seen():
    seeds = itertools.count()

    def opened():
        weights = np.random.default_rng(next(seeds)).random(4)
        return lambda feeds: {"o": feeds["x"] * weights}

    first = opened()
    assert behaviour(model("o"), first, 1).varying == {}
    found = behaviour(model("o"), first, 1, opened)
    assert found.varying == {"o": "the model opened a second time gives other values for the same input"}


def test_not_finite_and_copied_outputs_are_named():
    run = lambda feeds: {  # noqa: E731
        "nan": feeds["x"] * np.nan, "inf": np.where(feeds["x"] > 0, np.inf, 0), "copy": feeds["x"][:, None], "y": feeds["x"] + 1
    }  # fmt: skip
    found = behaviour(model("nan", "inf", "copy", "y"), run, 3)
    assert found.not_finite["nan"] == "NaN for 5 of 5 generated inputs"
    assert found.not_finite["inf"].startswith("infinite for ")
    assert set(found.not_finite) == {"nan", "inf"}
    assert found.copies == {"copy": "x"}
    assert found.varying == {}  # NaN is the same as NaN here: it repeats itself


def test_a_model_that_refuses_some_values_is_judged_by_the_others():
    def run(feeds):
        if (feeds["x"][0] > 0).all():
            raise InputError("not these")
        return {"o": feeds["x"]}

    assert behaviour(model("o"), run, 1).copies == {"o": "x"}


@pytest.mark.parametrize("sizes", [(1, 2, 3), (1,)])
def test_an_output_whose_size_follows_the_values_is_ragged(sizes):
    given = replace(INPUT, shape=(None if len(sizes) > 1 else 1, 4))
    known = replace(model("at", "o"), inputs=(given,))
    found = probed(known, lambda feeds: {"at": np.argwhere(feeds["x"] > 0), "o": feeds["x"]})
    at, other = found.outputs
    assert (at.ragged_axis, at.batch_axis, at.shape[0]) == (0, None, None)
    assert (other.ragged_axis, other.batch_axis) == (None, 0)
    turned = probed(known, lambda feeds: {"at": np.argwhere(feeds["x"] > 0).T, "o": feeds["x"]})
    assert turned.outputs[0].ragged_axis == 1


def test_padded_rows_keep_their_batch():
    def run(feeds):
        most = max(1, int((feeds["x"] > 0).sum(axis=1).max()))
        return {"o": np.zeros((len(feeds["x"]), most, 4), np.float32)}

    (spec,) = probed(model("o"), run).outputs
    assert (spec.batch_axis, spec.ragged_axis) == (0, 1)


def test_fewer_rows_than_samples_are_reported():
    """Rows used to become 0 a sample, and nothing could be scored."""

    def run(feeds):
        if len(feeds["x"]) % 2:
            raise InputError("an even number, please")
        return {"o": 2 * feeds["x"].reshape(-1, 8)}

    found = probed(model("o"), run)
    (spec,) = found.outputs
    assert (spec.batch_axis, spec.rows, spec.samples_per_row) == (0, 1, 2)
    assert list(output_notes(found)) == [
        (
            "The output 'o' has one row for every 2 samples. Samples/s and the number of samples count input samples, not these rows. "
            "Each of these samples is scored with the row that they share."
        )
    ]


def test_more_rows_than_samples_are_reported():
    found = probed(model("o"), lambda feeds: {"o": feeds["x"].repeat(10, axis=0)})
    assert list(output_notes(found)) == [
        (
            "The output 'o' has 10 rows for each sample along axis 0. Samples/s and the number of samples count input samples, not "
            "these rows."
        )
    ]


def test_notes_name_what_is_random_or_not_finite():
    probe = Probe((1,), (), {"noise": "two runs on the same input differ"}, {"o": "NaN for 5 of 5 generated inputs"})
    assert list(output_notes(replace(model("noise", "o"), probe=probe))) == [
        (
            "The output 'noise' is random, or depends on a state: two runs on the same input differ. It is not compared with the source model "
            "after the conversion, and not used for agreement or accuracy."
        ),
        "The output 'o' is not finite: NaN for 5 of 5 generated inputs.",
    ]


def random_onnx(path, **attributes):
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["r"], name="noise", **attributes),
        helper.make_node("Add", ["x", "r"], ["o"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    weights = {"w": np.eye(4, dtype=np.float32)[:, :3].copy()}
    proto = model_zoo.onnx_model(nodes, weights, inputs={"x": ("n", 4)}, outputs={"o": ("n", 4), "y": ("n", 3)})
    return model_zoo.save(proto, path)


@pytest.mark.parametrize("attributes", [{}, {"seed": 3.0}])
def test_an_onnx_file_that_draws_numbers_says_where(tmp_path, attributes):
    found = inspect_model(random_onnx(tmp_path / "random.onnx", **attributes))
    assert set(found.varying) == {"o"}
    assert found.notes == ("The output 'o' depends on random numbers: RandomNormalLike 'noise' draws them.",)


def test_a_keras_model_that_draws_numbers_is_seen(tmp_path):
    import tensorflow as tf

    class Sampling(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
        def serve(self, x):
            return {"mean": x * 2, "sample": x + tf.random.normal(tf.shape(x), seed=5)}

    module = Sampling()
    tf.saved_model.save(module, str(tmp_path / "vae"), signatures={"serving_default": module.serve})
    found = inspect_model(tmp_path / "vae")
    assert set(found.varying) == {"sample"}


def test_a_saved_model_whose_rows_follow_the_data_is_seen(tmp_path):
    import tensorflow as tf

    class Places(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
        def serve(self, x):
            return {"at": tf.where(x > 0), "y": x * 2}

    module = Places()
    tf.saved_model.save(module, str(tmp_path / "where"), signatures={"serving_default": module.serve})
    found = {spec.name: spec for spec in inspect_model(tmp_path / "where").outputs}
    assert (found["at"].ragged_axis, found["y"].ragged_axis) == (0, None)


@pytest.mark.parametrize("images", [1, "n"])
def test_selected_boxes_follow_the_data(tmp_path, images):
    (spec,) = inspect_model(model_zoo.onnx_nms(tmp_path / "nms.onnx", images)).outputs
    assert (spec.ragged_axis, spec.batch_axis) == (0, None)


def test_a_copied_input_is_reported(tmp_path):
    nodes = [helper.make_node("Reshape", ["x", "s"], ["copy"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = {"w": np.eye(4, dtype=np.float32)[:, :3].copy(), "s": np.array([-1, 2, 2])}
    proto = model_zoo.onnx_model(nodes, weights, outputs={"copy": ("n", 2, 2), "y": ("n", 3)})
    found = inspect_model(model_zoo.save(proto, tmp_path / "copy.onnx"))
    assert [spec.unreached for spec in found.outputs] == ["it is a copy of the input 'x'", ""]
    assert list(output_notes(found)) == [
        "The agreement of the output 'copy' has no meaning: it is a copy of the input 'x'."
    ]
