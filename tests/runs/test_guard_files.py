"""The guard in a whole run: what runs here is scored as engines, what cannot run here as the file it was built from."""

from __future__ import annotations

import re
import warnings

import model_zoo
import numpy as np
import pytest
from onnx import helper
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from workbench.backends.tensorrt.flavours import RTX
from workbench.compare.advice import advice
from workbench.errors import InputError
from workbench.export.onnx_runner import BY_OPENVINO, UNOPTIMIZED
from workbench.records import Status
from workbench.runs.pipeline import run
from workbench.settings.experiment import Experiment
from workbench.store import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Real digits of 8 × 8 and a network trained on the first half of them, as ONNX; the same 60 rows calibrate and are tested."""
    into = tmp_path_factory.mktemp("digits")
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is good enough before it has converged
        network = MLPClassifier((32,), max_iter=60, random_state=0).fit(x[:900], y[:900])
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="hidden"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], name="last"),
    ]
    weights = {f"w{n + 1}": array.astype(np.float32) for n, array in enumerate(network.coefs_)}
    weights |= {f"b{n + 1}": array.astype(np.float32) for n, array in enumerate(network.intercepts_)}
    proto = model_zoo.onnx_model(nodes, weights, inputs={"x": ("batch", 64)}, outputs={"y": ("batch", 10)})
    model_zoo.save(proto, into / "digits.onnx")
    np.savez(into / "digits.npz", x=x[900:], y=y[900:], x_calibration=x[900:960])
    return into


def asked(folder, **changes):
    settings = {
        "backends": "onnxruntime,tensorrt:rtx", "precisions": "fp32,bf16,int8,int8-minmax,int8-dynamic", "batches": 1,
        "calibration_samples": 60, "measure_s": 0.06, "max_measure_s": 0.06, "rounds": 6, "budget": "5 points",
    } | changes  # fmt: skip
    return Experiment(model=str(folder / "digits.onnx"), data=str(folder / "digits.npz"), **settings)


@pytest.fixture(scope="module")
def results(folder):
    return run(asked(folder), store=Store(folder / "store"))


def test_every_row_is_scored_and_judged(results):
    frame = results.table().frame().set_index("variant")
    here = [row for row in results.rows if row.status == Status.DONE]
    assert len(here) == 4
    assert frame.loc["onnxruntime int8", "budget"] == "within"
    assert abs(frame.loc["onnxruntime int8-dynamic", "loss"]) < 5
    assert re.match(
        r"(fastest within 5 points at batch 1|none within 5 points at batch 1 is shown to be faster than the baseline): onnxruntime ",
        advice(results)[0],
    )
    assert "60 samples are also calibration samples and are not tested, 837 are tested" in results.data


def test_two_names_of_one_file_are_reported(results):
    frame = results.table().frame().set_index("variant")
    assert "the same file as int8: the method changed nothing" in frame.loc["onnxruntime int8-minmax", "note"]
    assert "the same file" not in frame.loc["onnxruntime int8", "note"]


@pytest.mark.skipif(not RTX.installed, reason="TensorRT for RTX is not installed")
def test_what_cannot_run_here_is_scored_by_its_file(results):
    rows = {row.spec.asked: row for row in results.rows if row.spec.backend == "tensorrt"}
    assert rows["fp32"].accuracy is None  # nothing was rewritten
    assert rows["int8"].accuracy.basis == UNOPTIMIZED
    assert rows["bf16"].accuracy.basis == BY_OPENVINO
    for name in ("int8", "bf16"):
        score = rows[name].accuracy
        assert score.engine_key == rows[name].engine.key
        assert score.samples == 837
        assert 0.8 < score.value <= 1
        assert rows[name].status == Status.BUILT
    notes = results.table().frame()["note"]
    assert notes.str.contains("scored by the rewritten file, run by OpenVINO").sum() == 1


def test_a_budget_is_judged_again_without_measuring(folder, results):
    again = run(asked(folder, budget="none"), store=Store(folder / "store"))
    assert (again.tally.measured, again.tally.scored) == (0, 0)
    assert set(again.table().frame()["budget"]) == {""}


def test_a_function_scores_the_same_outputs(folder, results):
    def confidence(outputs, labels):
        """How far the right class lies above the others."""
        scores = outputs["y"].copy()
        right = scores[np.arange(len(labels)), labels]
        scores[np.arange(len(labels)), labels] = -np.inf
        return right - scores.max(axis=1)

    only = {"backends": "onnxruntime", "precisions": "fp32,int8", "budget": "1 %"}
    found = run(asked(folder, **only), store=Store(folder / "store"), metric=confidence)
    fp32, int8 = (row.accuracy for row in found.rows)
    assert (fp32.metric, fp32.loss) == ("confidence", pytest.approx(0, abs=1e-5))
    assert fp32.value == fp32.source_value > 0
    assert int8.loss_low < int8.loss < int8.loss_high
    assert found.table().text().count("confidence") >= 2


def test_labels_that_do_not_suit_the_metric_are_refused_before_any_work(folder, results):
    with pytest.raises(
        InputError, match=r"'rmse' takes real values .* are class numbers\. Set 'metric' to one of: top-1"
    ):
        run(asked(folder, backends="onnxruntime", metric="rmse"), store=Store(folder / "store"))


def test_a_metric_that_does_not_suit_the_output_is_reported_once_and_costs_no_row(folder, results):
    only = {"backends": "onnxruntime", "precisions": "fp32,int8", "metric": "top-10"}  # of ten classes
    found = run(asked(folder, **only), store=Store(folder / "store"))
    assert [row.status for row in found.rows] == [Status.DONE] * 2
    assert [row.accuracy for row in found.rows] == [None] * 2
    assert len([text for text in found.warnings if text.startswith("No accuracy: 'top-10' needs scores of more")]) == 1
