"""Models and data that live in a notebook: kept as files, by content, and run like any others."""

from __future__ import annotations

import importlib
import itertools
import re
import threading

import model_zoo
import numpy as np
import pytest

import workbench
from workbench.accuracy.metrics import top_k
from workbench.data.samples import Samples
from workbench.data.splits import drawn
from workbench.errors import InputError
from workbench.models.live import identity, kept_data, packed, unpacked
from workbench.records import Status
from workbench.runs.archive import runs

X = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
Y = np.arange(30) % 3


def batches():
    for start in range(0, 30, 7):
        yield X[start : start + 7], Y[start : start + 7]


@pytest.mark.parametrize(
    "data", [{"x": X, "y": Y}, (X, Y), batches(), [{"x": X[:9], "y": Y[:9]}, {"x": X[9:], "y": Y[9:]}]]
)
def test_data_of_any_form_become_the_same_file(store, data):
    with np.load(kept_data(data, store)) as file:
        np.testing.assert_array_equal(file["x"], X)
        np.testing.assert_array_equal(file["y"], Y)
    assert kept_data((X, Y), store) == kept_data({"y": Y, "x": X}, store)


CELL = """
def by(values): return values * {factor}
def score(outputs, labels):
    kept = [label for label in labels if label > 0]
    return by(len(kept))
"""


def cell(file: str, factor: int = 2):
    """The function that a notebook's cell defines, in the kernel that calls the cell so."""
    names = {"__name__": "__main__"}
    exec(compile("\n" * len(file) + CELL.format(factor=factor), file, "exec"), names)
    return names["score"]


def test_a_function_is_known_again_by_its_content():
    name = identity(cell("/tmp/ipykernel_1/1.py"))
    assert re.fullmatch(r"score [0-9a-f]{8}", name)
    assert identity(cell("/tmp/ipykernel_22/22.py")) == name  # the same cell after a restart
    assert identity(unpacked(packed(cell("/tmp/ipykernel_1/1.py")))) == name  # and in the process of a run
    assert identity(cell("/tmp/ipykernel_1/1.py", factor=3)) != name  # what it calls has changed
    assert identity(top_k(3)) != identity(top_k(4))
    assert identity(None) == identity("auto") == ""
    lock = threading.Lock()
    assert identity(lambda outputs, labels: lock) == "lambda"  # cannot be handed over


def test_a_function_of_a_module_is_known_by_the_modules_content(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "own_metric_of_a_test.py"
    path.write_text("def score(outputs, labels): return labels\n")
    function = importlib.import_module(path.stem).score
    name = identity(function)
    assert identity(function) == name
    path.write_text("def score(outputs, labels): return labels * 2\n")
    assert identity(function) != name  # which is what another process would import


def test_a_dataset_of_tensorflow_is_taken(store):
    import tensorflow as tf

    with np.load(kept_data(tf.data.Dataset.from_tensor_slices((X, Y)).batch(8), store)) as file:
        assert (file["x"].shape, file["y"].shape) == ((30, 4), (30,))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (iter(()), "gave no batches"),
        (7, "found int"),
        ([{"x": X}, {"z": X}], "have different inputs"),
        ([X, X[:, :2]], "whose shapes differ"),
        ([(X, Y, Y)], "found 3 parts without names"),
        ([((X, X), Y)], "found 2 parts without names"),
        (([X, X], Y), "found 2 parts without names"),
        (({"x": X}, {"cls": Y, "val": Y}), "found a dictionary with cls, val"),
        (itertools.repeat({"x": X[:1]}), "did not end within 100,000 batches"),
    ],
)
def test_data_that_do_not_fit_together_are_named(store, data, says):
    with pytest.raises(InputError, match=says):
        kept_data(data, store)


@pytest.mark.parametrize("own", ["lambda", "layer", "function"])
def test_a_live_model_with_code_of_its_own_is_kept_as_a_saved_model(store, own):
    """A file that came from elsewhere with such code is refused; the notebook's own model has run it already."""
    import keras

    from workbench.models.inspection import inspect_model
    from workbench.models.live import kept_model

    class Swish(keras.layers.Layer):
        def call(self, x):
            return x * keras.ops.sigmoid(x)

    def double(x):
        return x * 2

    layers = {
        "lambda": keras.layers.Lambda(double),
        "layer": Swish(),
        "function": keras.layers.Activation(double),
    }
    path = kept_model(keras.Sequential([keras.Input((4,)), layers[own], keras.layers.Dense(2)]), store)
    assert path.is_dir()
    assert inspect_model(path).probe.free
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.long
def test_a_live_model_and_a_generator_go_all_the_way(store, tmp_path):
    import keras

    live = keras.models.load_model(model_zoo.keras_mlp(tmp_path / "m.keras"))
    experiment = workbench.Experiment(
        backends="tensorflow,onnxruntime", precisions="fp32,int8", batches="1,4", measure_s=0.06, max_measure_s=0.06, rounds=6,
        calibration="minmax", calibration_samples=10,
    )  # fmt: skip
    results = workbench.run(experiment, model=live, data=batches(), store=store, metric="f1")
    done = {row.spec.label for row in results.rows if row.status == Status.DONE}
    assert done == {"tensorflow fp32", "onnxruntime fp32", "onnxruntime int8"}
    assert "20 samples" in results.data
    assert all((row.accuracy.labelled, row.accuracy.metric) == (True, "f1") for row in results.measured)
    (kept,) = runs(store)
    assert kept.parameters["metric"] == "f1"  # a name is one of the experiment's settings
    (spec,) = results.model.inputs
    chosen, _ = drawn(len(X), 10, Y)
    rest = np.setdiff1d(np.arange(len(X)), chosen)
    assert results.tested_digest == Samples("", {spec.name: X[rest]}, Y[rest]).digest
    assert results.calibrated_digest == Samples("", {spec.name: X[chosen]}, Y[chosen]).digest


def test_the_panel_takes_both(store):
    import keras

    from workbench.panel.panel import Panel

    live = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    panel = Panel(model=live, data=(X, Y), store=store)
    assert panel.experiment.model.startswith(str(store.root / "models"))
    assert panel.experiment.data.endswith(".npz")
