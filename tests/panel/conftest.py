"""A panel on a small ONNX model."""

from __future__ import annotations

import pytest
from small_model import small_onnx

from workbench.panel.panel import Panel
from workbench.settings.experiment import Experiment
from workbench.store import Store


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_onnx(tmp_path_factory.mktemp("model") / "small.onnx")


@pytest.fixture
def experiment(model: str) -> Experiment:
    return Experiment(
        model=model,
        data="random",
        backends=("onnxruntime",),
        precisions=("fp32",),
        batches=(1, 2),
        measure_s=0.06,
        max_measure_s=0.06,
        rounds=6,
        seed=7,
    )


@pytest.fixture
def panel(experiment: Experiment, store: Store) -> Panel:
    return Panel(experiment, store=store)
