"""Searches for mixed precision judge outputs as a run does: random outputs and rows without a sample are left out."""

from __future__ import annotations

import model_zoo
import numpy as np
import pytest
from onnx import helper

import workbench
from workbench.accuracy.agreement import Comparable
from workbench.accuracy.by_sample import ragged
from workbench.accuracy.truth import LabelKind, Truth
from workbench.data.samples import Samples
from workbench.search.mixed_precision.trial import judge_by

X = np.arange(12, dtype=np.float32).reshape(6, 2)
CLASSES = np.array([0, 1, 0, 1, 0, 1])


def samples(labels: np.ndarray | None = None) -> Samples:
    truth = None if labels is None else Truth(LabelKind.CLASSES, labels)
    return Samples("test", {"x": X}, labels, truth=truth)


def test_outputs_that_the_model_does_not_repeat_are_left_out():
    reference, found = {"y": X, "noise": X}, {"y": X, "noise": -X}
    assert judge_by()(found, reference, samples()).agreement == 0
    assert judge_by(comparable=Comparable({"noise": "two runs differ"}))(found, reference, samples()).agreement == 1


def test_rows_of_whole_batches_are_compared_and_labels_left_to_other_outputs():
    calls = {"rows": ragged([np.ones((3, 4)), np.zeros((1, 4)), np.ones((0, 4))])}
    alone = judge_by()(calls, calls, samples(CLASSES))
    assert (alone.agreement, alone.samples, alone.value) == (1, 3, None)
    right = {"scores": np.eye(2)[CLASSES]}
    assert judge_by()(calls | right, calls | right, samples(CLASSES)).value == 1


@pytest.mark.slow
def test_a_model_with_a_random_output_is_searched_by_its_others(tmp_path):
    """The agreement with FP32 was that of the random output: 0 %, whatever was quantized."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="dense"),
        helper.make_node("RandomNormalLike", ["y"], ["noise"], name="draw"),
    ]
    weights = {"w": np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)}
    outputs = {"y": ("n", 3), "noise": ("n", 3)}
    path = model_zoo.save(model_zoo.onnx_model(nodes, weights, outputs=outputs), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(2).normal(size=(60, 4)).astype(np.float32))
    asked = workbench.Experiment(
        model=str(path), data=str(tmp_path / "d.npz"), calibration="minmax", calibration_samples=20, batches=4
    )
    found = workbench.layer_sensitivity(asked, store=tmp_path / "store", samples=20, limit_s=20)
    assert (found.metric, found.fp32_quality) == ("agreement with FP32", 1)
