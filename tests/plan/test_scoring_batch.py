"""How many samples are scored in a call."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.plan.scoring import CALL_BYTES, TOGETHER, scoring_batch
from workbench.records import EngineSpec, Model, Precision, Probe, TensorSpec

SPEC = EngineSpec("onnxruntime", Precision.FP32)


@pytest.fixture
def model() -> Model:
    return Model(
        path="m.onnx", name="m", format="onnx", parameters=1, size_bytes=1, digest="0", probe=Probe(worked=(1, 7)),
        inputs=(TensorSpec("x", "float32", (None, 8)),), outputs=(TensorSpec("y", "float32", (None, 10)),),
    )  # fmt: skip


def test_samples_are_scored_together_where_only_single_ones_are_timed(model: Model) -> None:
    assert scoring_batch(model, SPEC, (1,), 32) == TOGETHER
    assert scoring_batch(model, SPEC, (1, 64), 32) == 64
    assert scoring_batch(model, SPEC, (1,), CALL_BYTES // 4) == 3  # outputs take some bytes too
    assert scoring_batch(model, SPEC, (1,), CALL_BYTES * 2) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"probe": None},
        {"probe": Probe(worked=(1,))},
        {"probe": Probe(worked=(1, 7), mixed=("y",))},
        {"probe": Probe(worked=(1, 2), failed=((7, "no"),))},
        {"inputs": (TensorSpec("x", "float32", (2, 8)),)},
        {"outputs": (TensorSpec("y", "float32", (None, None, 10)),)},
        {"outputs": (TensorSpec("y", "float32", (None, 4), ragged_axis=0),)},
    ],
)
def test_the_batch_is_the_requested_one_where_another_may_change_an_answer_or_its_size_is_not_known(
    model: Model, changes: dict
) -> None:
    assert scoring_batch(replace(model, **changes), SPEC, (1, 2), 32) == 2


@pytest.mark.parametrize(
    "changes",
    [{"batch": 1}, {"precision": Precision.INT8, "method": "dynamic"}, {"backend": "tensorrt"}],
)
def test_an_engine_is_scored_within_what_it_was_built_for(model: Model, changes: dict) -> None:
    assert scoring_batch(model, replace(SPEC, **changes), (1,), 32) == 1
