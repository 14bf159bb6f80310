"""What can be said of CUDA without a GPU; sessions on a real one are in ``tests/gpu``."""

import sys
import types
from pathlib import Path

import pytest

from workbench.cuda import gpu, graph
from workbench.errors import RunError
from workbench.records import Region
from workbench.settings.experiment import Experiment
from workbench.system import machine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def a_gpu(monkeypatch):
    """As on a machine with a driver and PyCUDA."""
    found = machine.this_machine()
    monkeypatch.setattr(gpu, "this_machine", lambda: types.SimpleNamespace(**{**vars(found), "gpu": "NVIDIA X"}))
    monkeypatch.setattr(gpu, "find_spec", lambda _: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_gpu_that_can_be_used_is_one(a_gpu):
    assert gpu.here()


@pytest.mark.parametrize("value", ["-1", ""])
def test_a_hidden_gpu_is_distinguished_from_none(a_gpu, monkeypatch, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert gpu.here().reason == "the variable CUDA_VISIBLE_DEVICES hides the GPU"


def test_a_missing_package_is_named_with_the_way_to_get_it(a_gpu, monkeypatch):
    monkeypatch.setattr(gpu, "find_spec", lambda _: None)
    assert gpu.here().reason == "the package 'pycuda' is not installed"
    assert "inference-workbench[gpu]" in gpu.here().fix


def test_without_a_gpu_that_is_the_reason(a_gpu, monkeypatch):
    monkeypatch.setattr(gpu, "this_machine", lambda: types.SimpleNamespace(gpu=""))
    assert "no NVIDIA GPU" in gpu.here().reason


def test_autoinit_is_refused_before_anything_is_touched(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda.autoinit", types.ModuleType("pycuda.autoinit"))
    with pytest.raises(RunError, match="Remove that import"):
        gpu.CudaSession(lambda _: None)


def test_a_pycuda_that_cannot_be_imported_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(RunError, match=r'pip install "inference-workbench\[gpu\]"'):
        gpu.CudaSession(lambda _: None)


def test_the_time_of_one_call_is_refused_where_several_are_in_flight():
    for streams, region, able in ((1, Region.DEVICE, True), (4, Region.DEVICE, False), (4, Region.COMPUTE, True)):
        (spec,) = Experiment(backends="onnxruntime:cuda", precisions="fp32", streams=streams).variants()
        assert bool(gpu.measures(spec, region)) == able


def test_without_cuda_python_there_is_no_graph_and_the_reason_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    assert graph.captured(lambda: None, 0) == (None, "the package 'cuda-python' is not installed")


def test_only_one_file_imports_pycuda():
    found = [path.name for path in (ROOT / "workbench").rglob("*.py") if "pycuda import" in path.read_text("utf-8")]
    assert found == ["gpu.py"]
