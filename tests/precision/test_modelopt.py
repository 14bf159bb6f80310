"""The boundary to ModelOpt: which environment has it, what is asked of it, and what becomes of its answers.

ModelOpt itself is several GB with PyTorch and is not run here (``benchmarks/modelopt_files.py`` runs it); in the environment of these
tests a program takes its place and notes how it was called.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from small_onnx import tower

from workbench.backends.tensorrt.backend import BACKEND
from workbench.backends.tensorrt.flavours import RTX
from workbench.cli.entry import main
from workbench.data.samples import Samples
from workbench.environments import adding, registry
from workbench.errors import ExportError, InputError, StoreError
from workbench.plan.subject import Platform
from workbench.precision.modelopt import FIX, PACKAGE, available
from workbench.precision.rewrite import rewrite
from workbench.precision.selection import Selection
from workbench.records import Calibration, EngineSpec, Model, Precision

pytestmark = pytest.mark.usefixtures("own_configuration")

PYTHON = """#!/bin/sh
case "$*" in
    "-m modelopt."*) exec "{python}" "{program}" "$@" ;;
    *) PYTHONPATH="$PYTHONPATH:{packages}" exec "{python}" "$@" ;;
esac
"""
STANDS_IN = """
import json, shutil, sys
words = sys.argv[1:]
json.dump(words, open({notes!r}, "w"))
{body}
"""
COPIES = 'shutil.copyfile(words[words.index("--onnx_path") + 1], words[words.index("--output_path") + 1])'


def install(folder, version):
    """Another version of the distribution; no more of it is looked at."""
    kept = folder / "packages" / "nvidia_modelopt.dist-info"
    kept.mkdir(parents=True, exist_ok=True)
    kept.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {version}\n")


@pytest.fixture
def environment(tmp_path):
    """Adds an environment with a program in ModelOpt's place; the path of what it notes."""

    def make(body):
        python, program, notes = tmp_path / "python", tmp_path / "program.py", tmp_path / "words.json"
        program.write_text(STANDS_IN.format(notes=str(notes), body=body), encoding="utf-8")
        install(tmp_path, "0.47.0")
        python.write_text(PYTHON.format(python=sys.executable, program=program, packages=tmp_path / "packages"))
        python.chmod(0o755)
        adding.add("optimizer", python)
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


def test_without_an_environment_it_is_gray_with_the_line_that_makes_it(tmp_path):
    assert available().reason == "no environment had nvidia-modelopt when it was added"
    assert available().fix == FIX
    assert "workbench environment add modelopt modelopt/bin/python" in FIX
    with pytest.raises(
        InputError, match=r"no environment had nvidia-modelopt when it was added\. To install it: python3 -m venv"
    ):
        asked(tmp_path, "fp16-modelopt")


def test_it_is_taken_from_the_environment_that_has_it(tmp_path, environment, capsys):
    adding.add("plain", sys.executable)
    assert not available()
    assert Platform.here().modelopt == ""
    environment(COPIES)
    assert available()
    assert "nvidia-modelopt 0.47.0" in Platform.here().modelopt
    assert main(["environment", "list"]) == 0
    assert capsys.readouterr().out.count("rewrites models: nvidia-modelopt") == 1


def test_an_environment_that_cannot_be_used_is_one_sentence(tmp_path, environment):
    environment(COPIES)
    install(tmp_path, "0.48.0")
    with pytest.raises(
        InputError, match=r"nvidia-modelopt was 0.47.0 and is 0.48.0. Add it again: workbench environment add optimizer"
    ):
        asked(tmp_path, "fp16-modelopt")
    registry.keep(replace(registry.named("optimizer"), python=str(tmp_path / "gone")))
    assert "in the environment 'optimizer', whose" in available().reason
    with pytest.raises(InputError, match="is not there any more"):
        asked(tmp_path, "fp16-modelopt")
    adding.add("another", tmp_path / "python")
    assert available()  # that whose interpreter is gone comes first, and is passed over
    asked(tmp_path, "fp16-modelopt")


def test_a_list_of_environments_that_cannot_be_read_stops_only_what_needs_it(tmp_path, environment):
    environment(COPIES)
    (registry.config_folder() / registry.FILE).write_text("{")
    assert Platform.here().modelopt == ""
    with pytest.raises(StoreError, match=r"The list of environments in .* cannot be read"):
        asked(tmp_path, "fp16-modelopt")


@pytest.mark.skipif(not RTX.installed, reason="TensorRT for RTX is not installed")
def test_tensorrt_offers_it_where_it_is(environment):
    spec = EngineSpec("tensorrt", Precision.FP16, "rtx", method="modelopt")
    source = EngineSpec("tensorrt", Precision.INT8, "rtx", method="modelopt")
    model = Model("m", "m", "onnx", (), (), 1, 1, "d")
    assert not BACKEND.supports(spec, model)
    environment(COPIES)
    assert BACKEND.supports(spec, model)
    assert BACKEND.source(source, model) == "onnx:int8-modelopt"
