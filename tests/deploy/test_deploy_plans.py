"""What of TensorRT is deployed, and that its runner says why it cannot run without a GPU. What runs on a GPU is in tests/gpu."""

from __future__ import annotations

import ctypes
import runpy
from dataclasses import replace
from pathlib import Path

import deployed
import pytest
import recorded

from workbench import backends
from workbench.backends.base import Deployable
from workbench.deploy.source import requirement
from workbench.records import EngineRecord
from workbench.system.machine import this_machine

TENSORRT = backends.get("tensorrt")


def record() -> EngineRecord:
    """An engine of TensorRT."""
    return recorded.engine(recorded.spec("tensorrt fp16"), library="TensorRT", library_version="8.6.0 (bindings 8.6.1)")


def test_a_plan_is_deployed_with_its_outputs_types_and_what_it_is_bound_to(tmp_path) -> None:
    assert isinstance(TENSORRT, Deployable)
    parts = TENSORRT.deployed(tmp_path, record(), deployed.wide_onnx(tmp_path / "wide.onnx"), tmp_path / "scratch")
    assert parts.files == {"engine.plan": tmp_path / "engine.plan"}
    assert parts.options == {"file": "engine.plan", "module": "tensorrt", "outputs": {"y": "float32"}}
    assert parts.bound.startswith("TensorRT 8.6.0 (bindings 8.6.1) built it for the GPU")
    assert 'platform: "tensorrt_plan"' in parts.container


def test_pip_is_asked_for_the_version_of_the_library(monkeypatch) -> None:
    versions = {"tensorrt-rtx-cu13": "1.7.0", "tensorrt-cu12": "8.6.0"}
    monkeypatch.setattr("workbench.deploy.source.version_of", lambda name: versions.get(name, ""))
    assert requirement(record()) == "tensorrt-cu12==8.6.0"  # of several of one library's
    versions.clear()
    assert requirement(record()) == "tensorrt==8.6.0"


@pytest.mark.parametrize(
    ("option", "why"), [("weight-streaming", "are streamed"), ("version-compatible", "code for the CPU")]
)
def test_plans_that_the_runner_does_not_run_are_refused(option, why) -> None:
    found = TENSORRT.deploys(replace(record().spec, build_options=(option,)))
    assert not found
    assert why in found.reason


@pytest.mark.skipif(bool(this_machine().gpu), reason="this machine has a GPU")
def test_without_a_gpu_it_is_refused_and_the_runner_says_why(tmp_path) -> None:
    assert "this machine has none" in TENSORRT.deploys(record().spec).reason
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        open_model = runpy.run_path(str(Path(TENSORRT.runner)))["open_model"]
        with pytest.raises(RuntimeError, match="there is no NVIDIA driver"):
            open_model(tmp_path, {"file": "engine.plan", "module": "math", "outputs": {}})
