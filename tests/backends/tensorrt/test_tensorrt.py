"""The backend's modes: what each says of itself, here and where there is a GPU."""

from dataclasses import replace

import pytest

from workbench import backends
from workbench.backends.tensorrt import backend as tensorrt
from workbench.backends.tensorrt.backend import NO_GPU, TensorRT
from workbench.backends.tensorrt.flavours import FULL, LEAN, RTX, Flavour
from workbench.protocols import AVAILABLE, unavailable
from workbench.records import EngineSpec, Model, Precision, Region, TensorSpec
from workbench.settings.experiment import Experiment
from workbench.system.machine import this_machine

BACKEND = TensorRT()
SPEC = EngineSpec("tensorrt", Precision.FP32, batches=(1, 4))
MODEL = Model("m.onnx", "m", "onnx", (TensorSpec("x", "float32", (None, 4)),), (), 4, 16, "0" * 64)


@pytest.fixture
def here(monkeypatch):
    """Pretend which packages and which GPU are there."""

    def pretend(*flavours, gpu=""):
        names = {one.module for one in flavours}
        monkeypatch.setattr("workbench.backends.tensorrt.flavours.is_package", lambda name: name in names)
        found = replace(this_machine(), gpu=gpu)
        monkeypatch.setattr(tensorrt, "this_machine", lambda: found)

    return pretend


def test_each_mode_needs_its_own_library(here):
    for flavour in (FULL, RTX, LEAN):
        here(flavour)
        assert [mode for mode in BACKEND.modes if BACKEND.status(mode)] == [flavour.mode]
    here()
    assert BACKEND.status("rtx").reason == "the package 'tensorrt-rtx-cu13' is not installed"
    assert BACKEND.status("rtx").fix == 'pip install "inference-workbench[rtx]"'


@pytest.mark.parametrize(
    ("mode", "flavours", "gpu", "reason"),
    [
        ("", [RTX], "", "the package 'tensorrt' is not installed"),
        ("", [FULL], "", "TensorRT builds on the GPU that it builds for, and this machine has none"),
        ("rtx", [FULL], "some", "the package 'tensorrt-rtx-cu13' is not installed"),
        ("lean", [FULL], "some", "the package 'tensorrt-lean' is not installed"),
        ("lean", [LEAN], "", "TensorRT lean runtime runs on NVIDIA GPUs, and this machine has none"),
    ],
)
def test_a_mode_that_cannot_be_built_says_why_and_what_to_do(here, mode, flavours, gpu, reason):
    here(*flavours, gpu=gpu)
    able = BACKEND.supports(replace(SPEC, mode=mode), MODEL)
    assert able.reason == reason
    assert able.fix


@pytest.mark.parametrize(
    ("mode", "flavours", "gpu"),
    [("", [FULL], "a"), ("rtx", [RTX], ""), ("lean", [FULL, LEAN], "a"), ("lean", [LEAN], "a")],
)
def test_a_mode_that_can_be_built_is_offered(here, mode, flavours, gpu):
    here(*flavours, gpu=gpu)
    assert BACKEND.supports(replace(SPEC, mode=mode), MODEL)


@pytest.mark.parametrize(
    ("changes", "model", "reason"),
    [
        ({"precision": Precision.INT8, "method": "dynamic"}, MODEL, "takes neither DynamicQuantizeLinear nor integer"),
        ({"precision": Precision.FP16, "method": "weights"}, MODEL, "networks are strongly typed"),
        ({"precision": Precision.FP8, "build_options": ("target=SM86",)}, MODEL, "the target SM86 has no FP8"),
        ({"optimization_level": 6}, MODEL, "TensorRT's optimization levels are 0 to 5"),
        ({"build_options": ("version-compatible",)}, MODEL, "it has no lean runtime to put into the engine"),
        (
            {},
            replace(MODEL, inputs=(TensorSpec("x", "float64", (None, 4)),)),
            "TensorRT takes the FP64 input 'x' for FP32 without a word",
        ),
    ],
)
def test_a_variant_that_cannot_be_built_says_why(here, changes, model, reason):
    here(RTX)
    assert reason in BACKEND.supports(replace(SPEC, mode="rtx", **changes), model).reason


def test_a_model_that_is_bf16_already_is_built_as_it_is(here):
    here(RTX)
    spec, held = replace(SPEC, mode="rtx", precision=Precision.BF16), replace(MODEL, quantized="bf16")
    assert BACKEND.supports(spec, held)
    assert (BACKEND.source(spec, held), BACKEND.source(spec, MODEL)) == ("onnx:fp32", "onnx:bf16")


def test_it_is_measured_where_there_is_a_gpu(here, monkeypatch):
    here(RTX)
    assert BACKEND.measures(SPEC, Region.COMPUTE).reason == NO_GPU
    here(RTX, gpu="some")
    monkeypatch.setattr("workbench.cuda.gpu.here", lambda: unavailable("the package 'pycuda' is not installed"))
    assert "pycuda" in BACKEND.measures(SPEC, Region.COMPUTE).reason
    monkeypatch.setattr("workbench.cuda.gpu.here", lambda: AVAILABLE)
    assert "in flight" in BACKEND.measures(replace(SPEC, streams=2), Region.DEVICE).reason
    for region in Region:
        assert BACKEND.measures(SPEC, region)
    assert "without its weights" in BACKEND.measures(replace(SPEC, build_options=("strip-plan",)), Region.DEVICE).reason


def test_the_lean_mode_builds_what_the_lean_runtime_opens():
    assert tensorrt._completed(replace(SPEC, mode="lean")).build_options == ("version-compatible",)
    assert tensorrt._completed(SPEC).build_options == ()
    assert tensorrt._builder(replace(SPEC, mode="lean")) == FULL


def test_engines_of_all_flavours_are_kept_apart_by_version():
    assert {"tensorrt", "tensorrt-rtx-cu13", "tensorrt-lean"} <= set(BACKEND.distributions)


def test_the_default_experiment_has_tensorrt_where_it_can_run():
    assert ("tensorrt:rtx" in Experiment().backends) == bool(this_machine().gpu)
    assert "tensorrt:rtx" in Experiment(backends="default,tensorrt:rtx").backends


def test_a_flavour_knows_its_version():
    assert Flavour("", "numpy", "NumPy", ("numpy",), "").version[0] >= 2
    assert Flavour("", "absent", "Absent", ("absent-package",), "").version == ()


def test_each_mode_is_opened_with_its_own_library_in_memory():
    """The time of opening leaves out the import, and no mode imports another's library, which may be absent or broken."""
    for flavour in (FULL, RTX, LEAN):
        assert backends.modules(replace(SPEC, mode=flavour.mode)) == ["numpy", "ml_dtypes", flavour.module]
    assert backends.modules(EngineSpec("onnxruntime", Precision.FP32, "cuda")) == ["onnxruntime", "numpy"]
