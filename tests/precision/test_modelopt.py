"""The boundary to ModelOpt: what is asked of another environment's python, and what becomes of its answers.

ModelOpt itself is several GB with PyTorch and is not run here; a program in its place notes how it was called.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from small_onnx import tower

from workbench.backends.tensorrt.backend import BACKEND
from workbench.backends.tensorrt.flavours import RTX
from workbench.data.samples import Samples
from workbench.errors import ExportError, InputError
from workbench.precision.modelopt import FIX, SETTING, available
from workbench.precision.rewrite import rewrite
from workbench.precision.selection import Selection
from workbench.records import Calibration, EngineSpec, Precision

STANDS_IN = """#!{python}
import json, shutil, sys
words = sys.argv[1:]
json.dump(words, open({notes!r}, "w"))
{body}
"""
COPIES = 'shutil.copyfile(words[words.index("--onnx_path") + 1], words[words.index("--output_path") + 1])'


@pytest.fixture
def environment(tmp_path, monkeypatch):
    def make(body):
        program, notes = tmp_path / "python", tmp_path / "words.json"
        program.write_text(STANDS_IN.format(python=sys.executable, notes=str(notes), body=body), encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setenv(SETTING, str(program))
        return notes

    return make


def asked(folder, form, samples=None, selection=None):
    source = tower(folder / "model.onnx", 2, width=8).path
    return source, rewrite(
        source, form, folder / "made.onnx", calibration=samples, method=Calibration.MINMAX, progress=lambda _: None,
        selection=selection or Selection(),
    )  # fmt: skip


X = Samples("s", {"x": np.ones((5, 8), np.float32)})


@pytest.mark.parametrize(
    ("form", "samples", "selection", "wanted"),
    [
        ("fp16-modelopt", None, None, ["-m", "modelopt.onnx.autocast", "--low_precision_type", "fp16", "--keep_io_types"]),
        ("fp8-modelopt", X, None, ["-m", "modelopt.onnx.quantization", "--quantize_mode", "fp8"]),
        (
            "int8-modelopt", X, Selection(quantize=("MatMul",), keep=("dense_1", "Tanh")),
            ["--op_types_to_quantize", "MatMul", "--op_types_to_exclude", "Tanh", "--nodes_to_exclude", "dense_1"],
        ),
    ],
)  # fmt: skip
def test_its_command_line_is_called_with_what_was_asked(tmp_path, environment, form, samples, selection, wanted):
    notes = environment(COPIES)
    source, done = asked(tmp_path, form, samples, selection)
    words = json.loads(notes.read_text(encoding="utf-8"))
    assert " ".join(wanted) in " ".join(words)
    assert words[words.index("--onnx_path") + 1] == str(source)
    assert any(word.startswith("--calibration_data") for word in words) == (samples is not None)
    assert done == {"form": form, "by": "ModelOpt", "samples": 5 if samples else 0}
    assert (tmp_path / "made.onnx").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('sys.exit("AssertionError: no CUDA device")', "ModelOpt ended with status 1: AssertionError: no CUDA device"),
        ("print('done')", "ModelOpt wrote no file: done"),
        ('open(words[words.index("--output_path") + 1], "w").write("x")', "The fp16-modelopt form of the model is not valid"),
    ],
)  # fmt: skip
def test_what_it_says_last_is_reported_and_nothing_is_left(tmp_path, environment, body, says):
    environment(body)
    with pytest.raises(ExportError, match=says):
        asked(tmp_path, "fp16-modelopt")
    assert not (tmp_path / "made.onnx").exists()


def test_without_its_environment_it_is_gray_with_the_line_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.delenv(SETTING, raising=False)
    assert available().reason.endswith("WORKBENCH_MODELOPT_PYTHON does not name its python")
    assert available().fix == FIX
    with pytest.raises(InputError, match="does not name its python"):
        asked(tmp_path, "fp16-modelopt")
    monkeypatch.setenv(SETTING, str(tmp_path / "nothing"))
    assert "which is not a program" in available().reason


@pytest.mark.skipif(not RTX.installed, reason="TensorRT for RTX is not installed")
def test_tensorrt_offers_it_where_it_is(environment, monkeypatch):
    spec = EngineSpec("tensorrt", Precision.FP16, "rtx", method="modelopt")
    source = EngineSpec("tensorrt", Precision.INT8, "rtx", method="modelopt")
    monkeypatch.delenv(SETTING, raising=False)
    from workbench.records import Model

    model = Model("m", "m", "onnx", (), (), 1, 1, "d")
    assert not BACKEND.supports(spec, model)
    environment(COPIES)
    assert BACKEND.supports(spec, model)
    assert BACKEND.source(source, model) == "onnx:int8-modelopt"
