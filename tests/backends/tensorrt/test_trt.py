"""What the flavours of TensorRT share: loading one, its logger, failed calls, causes in plain words."""

import subprocess
import sys
from pathlib import Path

import pytest

from workbench.backends.tensorrt import flavours
from workbench.backends.tensorrt.causes import CAUSES, LONGEST, explain
from workbench.backends.tensorrt.flavours import FLAVOURS, FULL, RTX, checked, library, made
from workbench.errors import BuildError, RunError

ROOT = Path(__file__).resolve().parents[3]
needs_rtx = pytest.mark.skipif(not RTX.installed, reason=RTX.installed.reason)


def python(code: str, path: Path | None = None) -> str:
    """What a fresh process prints, with a folder first on its path."""
    first = f"import sys; sys.path.insert(0, {str(path)!r});" if path else ""
    done = subprocess.run([sys.executable, "-c", first + code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


def test_modes_and_flavours_are_the_same():
    assert {mode: flavour.module for mode, flavour in FLAVOURS.items()} == {
        "": "tensorrt",
        "rtx": "tensorrt_rtx",
        "lean": "tensorrt_lean",
    }


LOAD = """
from workbench.errors import WorkbenchError
from workbench.backends.tensorrt.flavours import FULL, library
try:
    library(FULL)
except WorkbenchError as error:
    print(type(error).__name__, error)
"""


def test_a_flavour_that_is_absent_names_the_line_that_installs_it():
    if FULL.installed:
        pytest.skip("the full library is installed")
    assert FULL.installed.reason == "the package 'tensorrt' is not installed"
    said = python(LOAD)
    assert said.startswith("MissingPackageError This needs TensorRT, which did not import")
    assert said.endswith("To install it: pip install tensorrt")


def test_a_flavour_whose_shared_library_is_missing_is_not_called_absent(tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.11: cannot open shared object file')")
    assert "libnvinfer.so.11: cannot open" in python(LOAD, tmp_path)


@needs_rtx
def test_there_is_one_logger_and_it_is_emptied():
    module, log = library(RTX)
    module.Runtime(log).deserialize_cuda_engine(b"junk" * 100)
    assert any("magicTag" in line for line in log.errors())
    again, same = library(RTX)
    assert (again, same) == (module, log)
    assert log.lines == []


@needs_rtx
def test_one_logger_serves_all_that_is_made():
    """A second logger would be ignored, with a warning."""
    module, log = library(RTX)
    builders = [module.Builder(log) for _ in range(3)]
    assert not any("differs from one already registered" in line for line in log.warnings())
    assert len(builders) == 3


class LayerTimings:
    """Stands where a logger does, with lines that a library has been seen to write."""

    def __init__(self, *errors):
        self.lines = [("ERROR", error) for error in errors]

    def errors(self):
        return [text for _, text in self.lines]

    def text(self):
        return "\n".join(self.errors())


@pytest.mark.parametrize("value", [None, False, -1])
def test_a_failed_call_becomes_an_error_with_its_cause_and_log(value):
    log = LayerTimings("Tactic Selection: no tactics to implement the operation within workspace limit.")
    with pytest.raises(BuildError) as caught:
        checked(value, "It could not be built", log)
    assert str(caught.value) == (
        "It could not be built: the workspace limit is too small for a layer; "
        "raise 'workspace_mib', or leave it at 0 for automatic."
    )
    assert "Tactic Selection" in caught.value.log


@pytest.mark.parametrize("value", [True, 0, 1, "", b""])
def test_a_call_that_did_not_fail_gives_its_value(value):
    assert checked(value, "never said", LayerTimings()) is value


def test_a_constructor_that_gave_no_object_is_translated():
    def maker():
        raise TypeError("pybind11::init(): factory function returned nullptr")

    log = LayerTimings("CUDA initialization failure with error: 100")
    with pytest.raises(
        RunError, match=r"^It could not start: no NVIDIA GPU is visible to this process; look at CUDA_VIS"
    ):
        made(maker, "It could not start", log, RunError)


def test_other_type_errors_pass():
    def maker():
        raise TypeError("an int is needed")

    with pytest.raises(TypeError, match="an int is needed"):
        made(maker, "It could not start", LayerTimings())


def test_a_flag_is_asked_of_the_library_and_no_number_is_known():
    class Ten:
        class NetworkDefinitionCreationFlag:
            STRONGLY_TYPED = 1

    class Later:
        class NetworkDefinitionCreationFlag:
            pass

    assert flavours.network_flags(Ten) == 2
    assert flavours.network_flags(Later) == 0


SEEN = [
    (
        (
            "Error Code 1: Serialization (The engine plan file is not compatible with this version of TensorRT, expecting "
            "library version 10.8.0.43 got 10.3.0.26, please rebuild.)"
        ),
        "the engine was built with TensorRT 10.3.0.26 and this is 10.8.0.43; build the engine again here",
    ),
    (
        "The engine plan file is generated on an incompatible device, expecting compute 8.6 got compute 8.9, please rebuild.",
        "the engine was built for compute capability 8.9 and this GPU has 8.6; build the engine again here",
    ),
    (
        "Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed.",
        "the file is not an engine of this library, or is one of another version; build the engine again here",
    ),
    (
        'creator && "Plugin not found, are the plugin name, version, and namespace correct?"',
        "the model has a custom operator that needs a plugin; replace the operator, or use another backend",
    ),
    (
        "Unsupported ONNX data type: STRING (8)",
        "the model has tensors of the type STRING, which TensorRT does not know; take them out of the model",
    ),
    (
        "ElementWiseOperation SUM must have same input types. But they are of types Float and Half.",
        "two formats meet in one operator, and TensorRT casts nothing by itself; put a Cast between them",
    ),
    (
        "Cannot compile for target(s) sm86, because the model contains HW-specific datatypes: fp8_e4m3",
        "the GPU generation sm86 cannot compute in fp8_e4m3; name only targets that can, such as target=SM89 for FP8",
    ),
    (
        "Cannot compile operation 'dense/MatMul' for Turing (SM75): FP32 GEMM is not supported.",
        "the GPU generation SM75 has no FP32 GEMM here; leave out target=SM75, or use FP16",
    ),
    (
        "Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[/a/Conv]}.)",
        (
            "no kernel was found for {ForeignNode[/a/Conv]}: a type, a shape or the memory rules all out; "
            "raise the workspace, or leave the layer in a higher precision"
        ),
    ),
    (
        "Following input tensors' dimensions are not specified: a, b",
        "the sizes of some inputs were not given (a, b); give every input of the model",
    ),
]


@pytest.mark.parametrize(("error", "plain"), SEEN)
def test_causes_in_plain_words(error, plain):
    assert explain([error]) == plain
    assert explain([error.upper()]).split("; ")[1] == plain.split("; ")[1]  # without regard to case


def test_every_cause_can_be_said():
    """A phrase with fewer groups than its sentence has places would fail just when it is needed."""
    import re

    for cause in CAUSES:
        groups = re.compile(cause.phrase).groups
        assert cause.plain.format(*["?"] * groups)
        assert cause.plain[0] == cause.plain[0].lower() or cause.plain.startswith("INT8")
        assert not cause.plain.endswith(".")
        assert cause.do


def test_what_follows_from_an_error_does_not_hide_it():
    said = explain(
        [
            "Error Code 1: Cuda Runtime (In catchCudaError (cudaError 35: CUDA driver version is insufficient))",
            "Invalid optimization profiles for input tensors x, please ensure that the optimization profiles satisfy",
            "Parameter check failed, condition: profile->isValid().",
        ]
    )
    assert said == "the sizes for 'x' are not in the order smallest, usual, largest; order them so"


def test_an_old_driver_and_none_have_the_same_number():
    error = ["CUDA initialization failure with error: 35"]
    assert "older than this TensorRT needs" in explain(error, driver=True)
    assert "has no NVIDIA driver" in explain(error, driver=False)


def test_an_unknown_message_is_quoted_shortly():
    assert explain([]) == "the library gave no reason"
    assert explain(["first\nthing.", "second thing"]) == "first thing"
    assert len(explain(["x" * 999])) == LONGEST
