"""Backends of other packages: the example, installed; and packages that are broken in every way."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import recorded

import workbench
from workbench import backends
from workbench.backends.states import states
from workbench.cli import main
from workbench.errors import InputError
from workbench.plan.rows import rows_of
from workbench.records import Status
from workbench.runs.cohorts import default_baseline
from workbench.runs.layer_pass import can_profile
from workbench.settings.experiment import Experiment

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "onnx_reference_backend"


def run(code: list[str], site: Path) -> subprocess.CompletedProcess:
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    env = os.environ | {"PYTHONPATH": path}
    return subprocess.run([sys.executable, *code], env=env, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder for PYTHONPATH with the wheel of the example, as pip installs it."""
    folder = tmp_path_factory.mktemp("site")
    code = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=EXAMPLE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as wheel:
        wheel.extractall(folder)
    return folder


LISTED = """
import sys
from workbench import backends
from workbench.cli import main
from workbench.panel.controls import choices
from workbench.settings.experiment import Experiment
assert "onnxref" in backends.addresses(), backends.broken()
assert backends.names()[-1] == "onnxref"
(choice,) = [each for each in choices() if each.address == "onnxref"]
print(choice.title, "|", choice.explanation, "|", choice.here.ok)
backends.check("onnxref")
print([spec.label for spec in Experiment(backends="onnxref", precisions="fp32").variants()])
sys.exit(main(["doctor", "--store", sys.argv[1]]))
"""


def test_panel_command_line_and_doctor_find_an_installed_backend(installed, tmp_path):
    done = run(["-c", LISTED, str(tmp_path)], installed)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    about = "the ONNX package's reference evaluator, operator by operator in NumPy"
    assert lines[:2] == [f"ONNX reference | {about} | True", "['onnxref fp32']"]
    assert "  ONNX reference      ready" in lines


def test_the_example_is_short():
    (module,) = EXAMPLE.glob("*.py")
    assert len(module.read_text(encoding="utf-8").splitlines()) <= 50


@pytest.mark.long
def test_the_example_passes_the_contract_suite_as_it_is(installed):
    suite = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/backends/test_backends.py"]
    done = run([*suite, "-k", "onnxref"], installed)
    assert done.returncode == 0, done.stdout[-4000:]
    last = done.stdout.splitlines()[-1]
    assert int(last.split(" passed")[0].split()[-1]) >= 20, last


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Installs packages with the module and the entry points given, and forgets them afterwards."""

    def forget():
        backends._plugins.cache_clear()
        backends.names.cache_clear()

    def install(package: str, code: str, *points: str) -> None:
        sys.modules.pop(package, None)  # of an earlier test
        importlib.invalidate_caches()
        (tmp_path / f"{package}.py").write_text(code)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join(["[workbench.backends]", *points]))
        forget()

    monkeypatch.syspath_prepend(str(tmp_path))
    yield install
    monkeypatch.undo()
    forget()


GOOD = """
from workbench.backends.base import BaseBackend
class Backend(BaseBackend):
    name = "good"
    title = "Good"
    distributions = ("good",)
    imports = ("json",)
    def build(self, source, spec, into, progress): ...
    def open(self, engine, record): ...
BACKEND = Backend()
"""
OTHER = GOOD.replace("good", "other")
BROKEN = [
    ("absent", "import not_there", "absent = {}:BACKEND",
     "cannot be imported (ModuleNotFoundError: No module named 'not_there')"),
    ("ends", "import sys; sys.exit(3)", "ends = {}:BACKEND", "cannot be imported (SystemExit: 3)"),
    ("nothing", "", "nothing = {}:BACKEND",
     "cannot be imported (AttributeError: module 'pkg_nothing' has no attribute 'BACKEND')"),
    ("abstract", GOOD.replace("    def open(self, engine, record): ...\n", ""), "abstract = {}:BACKEND",
     "cannot be imported (TypeError: Can't instantiate abstract class Backend with"),
    ("kind", GOOD, "kind = {}:Backend", "names the class Backend, not an object of it"),
    ("partly", "class B: name = 'partly'; title = 'B'\nBACKEND = B()", "partly = {}:BACKEND",
     "lacks build, builders, builds_in, check_files, "),
    ("renamed", OTHER, "renamed = {}:BACKEND", "has the name 'other', but its entry point is 'renamed'"),
    ("modeless", GOOD.replace("good", "modeless") + "BACKEND.modes = {'x': 'x'}", "modeless = {}:BACKEND",
     "has no plain mode ('')"),
    ("unsure", GOOD.replace("good", "unsure") + "Backend.status = lambda self, mode='': 1 / 0", "unsure = {}:BACKEND",
     "raises an error in 'status' (ZeroDivisionError: division by zero)"),
    ("Upper", GOOD, "Upper = {}:BACKEND", "has a name that is not made of lower-case letters, digits and underscores"),
    ("openvino", GOOD, "openvino = {}:BACKEND", "has the name of a backend of the workbench itself"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "code", "point", "reason"), BROKEN, ids=[name for name, *_ in BROKEN])
def test_a_broken_one_is_named_in_a_sentence_and_leaves_the_others_alone(packages, name, code, point, reason):
    packages(f"pkg_{name.lower()}", code, point.format(f"pkg_{name.lower()}"))
    packages("pkg_good", GOOD, "good = pkg_good:BACKEND")
    assert backends.names() == (*sorted(backends.own(), key=lambda each: (each != "tensorflow", each)), "good")
    (sentence,) = backends.broken().values()
    assert sentence.startswith(
        f"The backend '{name}' of the package 'pkg_{name.lower()} 1.0' cannot be used: it {reason}"
    )
    assert sentence.endswith(". Update the package, or uninstall it.")
    assert "\n" not in sentence
    if name not in backends.own():
        with pytest.raises(InputError) as caught:
            backends.check(name)
        assert str(caught.value).startswith(sentence)
        with pytest.raises(InputError, match="cannot be used"):
            backends.get(name)


def test_results_of_a_backend_that_is_gone_are_still_read():
    row = recorded.measured("gone fp32", 8)
    assert row.spec.backend == "gone"
    assert backends.title("gone") == "gone"
    assert default_baseline([row]) == "gone fp32"
    assert can_profile(row).reason == "does not report layers here: no installed package has the backend 'gone'"
    with pytest.raises(
        InputError, match="'gone fp32 @8' does not report layers here: no installed package has the backend 'gone'"
    ):
        workbench.layers(row)


def test_one_that_raises_costs_its_own_rows_only(packages):
    packages("pkg_good", GOOD + "Backend.supports = lambda self, spec, model: 1 / 0", "good = pkg_good:BACKEND")
    asked = Experiment(backends="onnxruntime,good", precisions="fp32", batches="1")
    rows = rows_of(asked, recorded.results([recorded.measured("onnxruntime fp32", 1)]).model)
    assert [row.status for row in rows] == [Status.PLANNED, Status.UNSUPPORTED]
    assert rows[1].failure.message == (
        "the backend raised an error when its support for this variant was checked (ZeroDivisionError: division by zero); "
        "update the package that provides it"
    )


def test_two_packages_with_one_backend_are_both_named(packages):
    packages("pkg_one", GOOD, "good = pkg_one:BACKEND")
    packages("pkg_two", GOOD, "good = pkg_two:BACKEND")
    assert backends.broken() == {
        "good": "The backend 'good' of the package 'pkg_one 1.0' and of 'pkg_two 1.0' cannot be used: it is in several packages at once. "
        "Update the package, or uninstall it."
    }


def test_the_doctor_lists_broken_ones(packages, tmp_path, capsys):
    packages("pkg_absent", "import not_there", "absent = pkg_absent:BACKEND")
    assert states()[-1].title == "absent"
    assert main(["doctor", "--store", str(tmp_path / "store")]) == 0
    assert (
        "  absent              not ready: The backend 'absent' of the package 'pkg_absent 1.0' cannot be used: it cannot be"
        in (capsys.readouterr().out)
    )
