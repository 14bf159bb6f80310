"""The wheel in an environment without TensorFlow: ONNX models are inspected, run and reported with ONNX Runtime alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import model_zoo
import pytest

from workbench import __version__

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
SHORT = "--backends onnxruntime --precisions fp32 --batches 1 --measure-s 0.05 --max-measure-s 0.05 --rounds 6 --data random"
# without handlers of tf2onnx, and files that are copied into a deployment, where a server imports them
IMPORTS = """
import importlib, pkgutil, sys, workbench
skipped = ("workbench.export.handlers.", "workbench.deploy.files.", "workbench.conformance.known")
for module in pkgutil.walk_packages(workbench.__path__, "workbench."):
    if not module.name.startswith(skipped) and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(workbench.__file__, *({"tensorflow", "keras", "tf2onnx"} & set(sys.modules)))
"""
PANEL = """
import workbench
print(type(workbench.Panel(workbench.Experiment(model="dense.onnx"))).__name__)
"""
pytestmark = pytest.mark.long

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, without extras, at the versions of the lock file."""
    place = tmp_path_factory.mktemp("wheel")
    tools = Path(sys.executable).parent
    subprocess.run([tools / "hatchling", "build", "--target", "wheel", "--directory", place], cwd=ROOT, check=True)
    (wheel,) = place.glob("*.whl")
    subprocess.run([tools / "uv", "venv", "--quiet", "--python", sys.executable, place / "env"], check=True)
    python = place / "env" / "bin" / "python"
    install = [
        tools / "uv",
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "--constraints",
        ROOT / "requirements.lock",
    ]
    subprocess.run([*install, wheel], check=True)
    return place / "env"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the repository with an ONNX model."""
    place = tmp_path_factory.mktemp("elsewhere")
    model_zoo.save(model_zoo.onnx_dense(), place / "dense.onnx")
    return place


@pytest.fixture
def run(environment: Path, folder: Path) -> Run:
    """A function that runs a program of the environment in the folder."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env |= {"WORKBENCH_STORE": str(folder / "store"), "IPYTHONDIR": str(folder / "ipython")}

    def ran(program: str, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [environment / "bin" / program, *words]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return ran


def test_the_wheel_has_the_version_and_no_tensorflow(run):
    assert run("workbench", "--version").stdout.strip() == __version__
    packages = json.loads(run("workbench", "doctor", "--json").stdout)["packages"]
    assert packages["onnxruntime"]
    assert not any(packages[name] for name in ("tensorflow", "tensorflow-cpu", "keras", "tf2onnx"))


def test_modules_import_from_the_wheel_without_tensorflow(run, environment):
    (found,) = run("python", "-c", IMPORTS).stdout.splitlines()
    assert found.startswith(str(environment / "lib"))
    assert " " not in found


def test_the_panel_is_made(run):
    assert run("python", "-W", "ignore", "-c", PANEL).stdout.strip() == "Panel"


def test_an_onnx_model_is_inspected_and_reported(run, folder):
    found = json.loads(run("workbench", "inspect", "dense.onnx", "--json").stdout)
    assert (found["model"]["format"], found["problem"]) == ("onnx", "")
    words = ["report", "--model", "dense.onnx", *SHORT.split(), "--output", "out.html", "--json"]
    rows = json.loads(run("workbench", *words).stdout)["results"]["rows"]
    assert [(row["row"], row["status"]) for row in rows] == [("onnxruntime fp32 @1", "done")]
    assert "onnxruntime fp32" in (folder / "out.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("model", "subject"), [("mine.keras", "The Keras file 'mine.keras'"), ("demo", "The demo model")]
)
def test_what_only_tensorflow_opens_is_refused_in_one_sentence(model, subject, run, folder):
    (folder / "mine.keras").write_bytes(b"any content")
    said = run("workbench", "run", "--model", model, *SHORT.split(), status=1).stderr.splitlines()[-1]
    assert said.startswith(
        f"workbench: {subject} needs TensorFlow, and the package 'tensorflow' is not installed: pip install "
    )


def test_notebooks_and_the_template_of_the_panel_are_installed(run, environment, folder):
    run("workbench", "notebook", "mine.ipynb")
    assert (folder / "mine.ipynb").read_bytes() == (ROOT / "notebooks" / "workbench.ipynb").read_bytes()
    assert (environment / "share" / "jupyter" / "voila" / "templates" / "workbench").is_dir()


def test_the_fix_of_the_message_is_an_extra():
    assert {"keras", "tensorflow", "tf2onnx"} == {line.partition(">")[0] for line in EXTRAS["tensorflow"]}
