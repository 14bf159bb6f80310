"""Environments: probed and kept, named in addresses, asked, and refused in one sentence where they cannot be used."""

import json
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_onnx
from onnx import TensorProto, helper

import workbench
from workbench import backends
from workbench.cli.entry import main
from workbench.environments import adding, registry
from workbench.environments.start import NEEDS, variables
from workbench.errors import InputError
from workbench.plan.rows import rows_of as plan
from workbench.records import EngineSpec, Model, Precision, Region, Status, TensorSpec, split_address
from workbench.settings.experiment import Experiment
from workbench.store import Store

UV = Path(sys.executable).with_name("uv")


pytestmark = pytest.mark.usefixtures("own_configuration")


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def saying(path, **facts):
    """A program that answers as an interpreter does that has these facts."""
    usual = {"version": [3, 11, 2], "architecture": platform.machine(), "packages": dict.fromkeys(NEEDS, "9.0")}
    return script(path, f"cat <<'END'\n{json.dumps(usual | facts)}\nEND")


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("tensorrt", ("tensorrt", "", "")),
        ("onnxruntime:cuda", ("onnxruntime", "cuda", "")),
        ("tensorrt@trt8", ("tensorrt", "", "trt8")),
        ("onnxruntime:cuda@old", ("onnxruntime", "cuda", "old")),
    ],
)
def test_an_address_is_read_and_written(address, parts):
    backend, mode, environment = split_address(address)
    assert (backend, mode, environment) == parts
    spec = EngineSpec(backend, Precision.FP32, mode, environment=environment)
    assert spec.address == address
    assert spec.label == f"{address} fp32"


def test_an_environment_is_added_reported_and_forgotten(capsys):
    assert main(["environment", "add", "same", sys.executable]) == 0
    assert "onnxruntime@same" in capsys.readouterr().out
    assert "onnxruntime@same" in backends.in_environments()
    (found,) = registry.known().values()
    assert found.packages["numpy"] == np.__version__
    assert (found.version, found.architecture) == (platform.python_version(), platform.machine())
    assert main(["environment", "list"]) == 0
    assert main(["environment", "check", "same"]) == 0
    assert main(["environment", "remove", "same"]) == 0
    assert registry.known() == {}
    assert main(["environment", "check", "same"]) == 2
    assert "There is no environment 'same'. Add it: workbench environment add same" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "absent", "There is no program"),
        (lambda folder: script(folder / "python", "exit 3"), "does not behave as Python does"),
        (lambda folder: script(folder / "python", "echo hello"), "does not behave as Python does"),
        (
            lambda folder: saying(folder / "python", version=[3, 8, 10]),
            r"is Python 3\.8\.10, and a worker needs 3\.11 or later",
        ),
        (lambda folder: saying(folder / "python", architecture="riscv64"), "is built for riscv64, and this machine is"),
        (
            lambda folder: saying(folder / "python", packages={"numpy": "1.26.4"}),
            "lacks what a worker needs: cattrs, cloudpickle",
        ),
        (
            lambda folder: saying(folder / "python", packages=dict.fromkeys(NEEDS, "9.0") | {"numpy": "1.24.1"}),
            r"has NumPy 1\.24\.1, and a worker needs 1\.26 or later",
        ),
        (lambda folder: saying(folder / "python"), "cannot be used: it did not answer"),
    ],
)
def test_an_interpreter_that_cannot_run_workers_is_refused_in_one_sentence(tmp_path, make, message):
    with pytest.raises(InputError, match=message) as caught:
        adding.add("other", make(tmp_path))
    assert "\n" not in caught.value.message
    assert registry.known() == {}


def test_another_machine_s_program_is_refused(tmp_path):
    program = tmp_path / "python"
    program.write_bytes(b"\x7fELF" + bytes(60))
    program.chmod(0o755)
    with pytest.raises(InputError, match="it is built for another machine or system"):
        adding.add("other", program)


@pytest.mark.parametrize("name", ["", "Old", "a b", "@x", "-x"])
def test_a_name_must_fit_into_an_address(name):
    with pytest.raises(InputError, match="An environment's name is of small letters"):
        adding.add(name, sys.executable)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("onnxruntime@nowhere", "There is no environment 'nowhere'"),
        ("onnxruntime@", "'onnxruntime@' ends where a name is missing"),
        ("nothing@same", "Unknown backend 'nothing'"),
    ],
)
def test_an_address_that_names_nothing_is_refused(address, message):
    with pytest.raises(InputError, match=message):
        backends.check(address)


def test_what_runs_here_only_says_so():
    adding.add("same", sys.executable)
    with pytest.raises(InputError, match="Leave out '@same'"):
        backends.check("onnxruntime@same", here=True)


MODEL = Model("m.onnx", "m", "onnx", (TensorSpec("x", "float32", (None, 3, 16, 16)),), (), 4, 16, "0" * 64)


def planned():
    here, there = plan(Experiment(backends="onnxruntime,onnxruntime@other", precisions="fp32", batches="1"), MODEL)
    assert here.status == Status.PLANNED  # the other rows go on
    return there


def test_an_interpreter_that_is_gone_costs_its_rows(tmp_path):
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    adding.add("other", sys.executable)
    registry.keep(replace(registry.named("other"), python=str(python)))
    python.unlink()
    there = planned()
    assert there.status == Status.UNSUPPORTED
    assert (
        f"the environment 'other' cannot be used: its interpreter {python} is not there any more"
        in there.failure.message
    )


def test_a_library_that_was_changed_costs_its_rows():
    adding.add("other", sys.executable)
    found = registry.named("other")
    registry.keep(replace(found, packages=found.packages | {"onnxruntime": "1.2.3"}))
    there = planned()
    assert there.status == Status.UNSUPPORTED
    assert "it has changed since it was added: onnxruntime was 1.2.3 and is " in there.failure.message
    assert "workbench environment add other" in there.failure.message


def test_a_backend_that_is_not_there_says_what_is_missing():
    adding.add("other", sys.executable)
    found = registry.named("other")
    registry.keep(replace(found, ready=(), unready={"onnxruntime": "the package 'onnxruntime' is not installed"}))
    assert "in the environment 'other': the package 'onnxruntime' is not installed" in planned().failure.message


def test_an_environment_answers_as_this_one_does():
    adding.add("same", sys.executable)
    here = EngineSpec("onnxruntime", Precision.FP16)
    there = replace(here, environment="same")
    assert backends.of(there).supports(there, MODEL) == backends.of(here).supports(here, MODEL)
    for region in Region:
        assert backends.of(there).measures(there, region) == backends.of(here).measures(here, region)
    assert backends.versions(there)[1:] == backends.versions(here)


def test_nothing_of_this_python_s_path_reaches_another(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("PYTHONHOME", "/elsewhere")
    found = variables({"OWN": "1"})
    assert [each.name for each in Path(found["PYTHONPATH"]).iterdir()] == ["workbench"]
    assert "PYTHONHOME" not in found
    assert found["OWN"] == "1"


def test_a_damaged_list_of_environments_says_what_to_do():
    adding.add("same", sys.executable)
    place = registry.config_folder() / registry.FILE
    place.write_text("{")
    assert main(["environment", "list"]) == 2


def compared(folder, environment, **more):
    """Results of one model here and in another environment."""
    image, result = ("x", TensorProto.FLOAT, (None, 3, 16, 16)), ("y", TensorProto.FLOAT, (None, 8, 16, 16))
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])
    weights = [small_onnx.weights("w", (8, 3, 3, 3))]
    # an opset that older libraries know too
    path = small_onnx.saved(folder / "m.onnx", [node], [image], [result], weights, opset=17)
    asked = Experiment(
        model=str(path), data="random", backends=f"onnxruntime,onnxruntime@{environment}", precisions="fp32", batches="2",
        rounds=6, measure_s=0.06, max_measure_s=0.06, baseline="onnxruntime fp32", **more,
    )  # fmt: skip
    return workbench.run(asked, store=Store(folder / "store"))


@pytest.mark.long
def test_one_report_compares_this_environment_with_another(tmp_path):
    adding.add("same", sys.executable)
    results = compared(tmp_path, "same")
    here, there = results.rows
    assert {here.status, there.status} == {Status.DONE}
    assert here.engine.key != there.engine.key
    assert here.timing.group == there.timing.group  # interleaved with each other
    assert there.accuracy.agreement == 1
    frame = results.table().frame()
    assert list(frame["variant"]) == ["onnxruntime fp32", "onnxruntime@same fp32"]
    assert any(note.startswith("@same: ONNX Runtime ") for note in results.notes)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """An environment with NumPy 1.26 and an ONNX Runtime of two years earlier; nothing else but what a worker needs."""
    folder = tmp_path_factory.mktemp("old")
    needed = [name for name in NEEDS if name != "numpy"]
    for command in (
        [UV, "venv", "-q", "--python", sys.executable, folder],
        [UV, "pip", "install", "-q", "--python", folder / "bin" / "python", "numpy==1.26.4", "onnxruntime==1.20.1", "onnx==1.17.0", *needed],
    ):  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no environment could be made: {done.stderr[-200:]}")
    return folder / "bin" / "python"


@pytest.mark.long
def test_did_the_upgrade_make_my_model_slower(tmp_path, old):
    """An older ONNX Runtime, Python packages of 2024 and no TensorFlow, compared with this environment."""
    added = adding.add("old", old)
    assert "tensorflow-cpu" not in added.packages
    results = compared(tmp_path, "old", layers=True)
    here, there = results.rows
    assert (here.status, there.status) == (Status.DONE, Status.DONE), there.failure
    assert there.engine.library_version == "1.20.1"
    assert there.accuracy.agreement == 1
    assert "@old: ONNX Runtime 1.20.1, in Python" in " ".join(results.notes)
    assert len(results.layer_profiles) == 2
