"""The shape of the project: imports, packages, pins and what the README promises."""

import ast
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import workbench
from workbench.cuda import gpu
from workbench.settings.engines import ON_CPU, ON_GPU

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEAVY = {
    "IPython", "ai_edge_litert", "cattrs", "ipywidgets", "keras", "matplotlib", "numpy", "onnx", "onnxruntime", "openvino", "pandas",
    "papermill", "scipy", "sklearn", "tensorflow", "tensorrt", "tensorrt_rtx", "tf2onnx",
}  # fmt: skip
needs_make = pytest.mark.skipif(
    not (ROOT / ".venv" / ".ready").exists() or not shutil.which("make"),
    reason="the tests do not run from make's .venv",
)


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_workbench_loads_nothing_heavy():
    loaded = python("import sys, workbench; print(*{name.partition('.')[0] for name in sys.modules})").split()
    assert not HEAVY & set(loaded)


def test_importing_the_workbench_takes_under_300_ms():
    code = "import time; t = time.perf_counter(); import workbench; print(time.perf_counter() - t)"
    assert min(float(python(code)) for _ in range(3)) < 0.3


@pytest.mark.parametrize("name", workbench.__all__)
def test_every_public_name_is_there(name):
    assert getattr(workbench, name) is not None
    assert name in dir(workbench)


def test_an_unknown_name_lists_those_that_exist():
    with pytest.raises(AttributeError, match=r"has no attribute 'Experimant'; it has: .*Experiment"):
        workbench.Experimant  # noqa: B018


def test_imports_go_one_way():
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert ", 0 broken" in done.stdout


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def test_only_the_panel_imports_ipywidgets_and_backends_never_each_other():
    for path in (ROOT / "workbench").rglob("*.py"):
        names = imported(path)
        if path.parent.name != "panel":
            assert not any(name.split(".")[0] == "ipywidgets" for name in names), path
        if path.parent.parent.name == "backends":
            others = {name for name in names if name.startswith("workbench.backends.")}
            allowed = ("workbench.backends.base.", f"workbench.backends.{path.parent.name}.")
            assert all(f"{name}.".startswith(allowed) for name in others), path


ABOUT_PACKAGES = {"version_of", "versions_of", "is_package", "find_spec", "optional", "version"}
"""Functions that take the name of a Python package, which may be that of a backend as well."""


def names_of_backends(path: Path) -> set[str]:
    """Names and addresses of backends that a file holds as text, other than as the name of a package, and imports of their folders."""
    from workbench import backends

    tree = ast.parse(path.read_text(encoding="utf-8"))
    packages = {
        id(each)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "id", getattr(call.func, "attr", "")) in ABOUT_PACKAGES
        for each in call.args
    }
    for constant in tree.body:  # PEAK_LIBRARIES = ("numpy", "onnxruntime")
        if isinstance(constant, ast.Assign) and getattr(constant.targets[0], "id", "").endswith("LIBRARIES"):
            packages |= {id(node) for node in ast.walk(constant.value)}
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in packages
    }
    folders = tuple(f"workbench.backends.{name}" for name in backends.own())
    named = {text for text in texts if text.partition(":")[0] in backends.own()}
    return named | {name for name in imported(path) if name.startswith(folders)}


def test_nothing_outside_the_backends_knows_one_by_its_name():
    """What the core has to know of a backend is a field of it. The one exception is a setting's default, which names what to compare."""
    found = {}
    for path in sorted((ROOT / "workbench").rglob("*.py")):
        inside = path.relative_to(ROOT / "workbench")
        if inside.parts[0] != "backends" and (names := names_of_backends(path)):
            found[str(inside)] = names
    assert found == {"settings/engines.py": {*ON_CPU, *ON_GPU}}


def test_names_of_backends_are_seen_wherever_they_stand(tmp_path):
    (tmp_path / "core.py").write_text(
        "from workbench.backends.tensorrt.options import TARGETS\n"
        "if spec.backend == 'tftrt' or spec.label in ('openvino:gpu', 'openvino is fast'):\n"
        "    version = version_of('onnxruntime') + platform.version('onnxruntime')\n"
        "PEAK_LIBRARIES = ('openvino',)\n"
    )
    assert names_of_backends(tmp_path / "core.py") == {"workbench.backends.tensorrt.options", "tftrt", "openvino:gpu"}


def requirements(lines: list[str]) -> dict[str, Requirement]:
    parsed = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): one for one in parsed}


CPU_EXTRAS = ("tensorflow", "app", "litert", "openvino", "text", "loadgen", "serving")


@pytest.mark.parametrize(
    ("file", "extras", "left_out"),
    [
        ("environment.yml", CPU_EXTRAS, set()),
        # onnxruntime-gpu brings the same module, and the two overwrite each other's files
        ("environment-gpu.yml", (*CPU_EXTRAS, "rtx", "gpu"), {"onnxruntime"}),
    ],
)
def test_conda_offers_what_pyproject_does(file, extras, left_out):
    lists = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["dependencies"]
    pip = next(entry["pip"] for entry in lists if isinstance(entry, dict))
    offered = requirements(
        [entry for entry in (*lists, *pip) if isinstance(entry, str) and entry != "pip" and not entry.startswith("--")]
    )
    python_range = offered.pop("python").specifier
    assert python_range == requirements([f"python{PROJECT['project']['requires-python']}"])["python"].specifier
    wanted = requirements(
        [dependency for extra in extras for dependency in EXTRAS[extra]] + PROJECT["project"]["dependencies"]
    )
    wanted = {name: one for name, one in wanted.items() if name not in left_out}
    assert {name: (one.specifier, one.marker) for name, one in offered.items()} == {
        name: (one.specifier, one.marker) for name, one in wanted.items()
    }
    assert "--editable ." in pip


def test_the_files_for_conda_are_those_that_the_script_writes():
    script = [sys.executable, "scripts/conda.py", "--check"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_lock_pins_every_dependency_and_names_no_address():
    pins = {}
    for line in LOCK:
        assert "://" not in line
        assert "@" not in line
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+( ; .+)?", line), line
        name, _, version = line.partition(" ;")[0].partition("==")
        pins.setdefault(canonicalize_name(name), []).append(version)
    pins["tensorflow"] = pins["tensorflow-cpu"]  # the Makefile chooses the wheel
    lists = (
        PROJECT["project"]["dependencies"],
        *(EXTRAS[name] for name in (*CPU_EXTRAS, "nncf", "rtx", "cluster", "mlflow", "docs", "dev")),
    )
    for name, one in requirements([line for lines in lists for line in lines]).items():
        assert name in pins, name
        assert any(one.specifier.contains(version) for version in pins[name]), name
    assert "uv" in pins


def test_the_second_lock_file_has_the_oldest_tensorflow_and_the_lowest_bounds_allow_it():
    lines = (ROOT / "requirements-oldest.lock").read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    pins["tensorflow"] = pins["tensorflow-cpu"]
    wanted = requirements([*PROJECT["project"]["dependencies"], *EXTRAS["tensorflow"], *EXTRAS["litert"]])
    assert [name for name, one in wanted.items() if not one.specifier.contains(pins[name])] == []
    (oldest,) = (each.version for each in wanted["tensorflow"].specifier if each.operator == ">=")
    assert pins["tensorflow"].startswith(f"{oldest}.")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.skipif(bool(gpu.here()), reason="there is a GPU")
def test_gpu_tests_that_are_asked_for_by_name_are_skipped_without_a_gpu():
    command = [sys.executable, "-m", "pytest", "-qq", "-p", "no:xdist", "-p", "no:cacheprovider", "tests/gpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("sss")
    assert not set(done.stdout.splitlines()[0].split()[0]) - {"s"}
    assert gpu.here().reason in done.stdout


def test_readme_is_short():
    assert len(README.split()) <= 1000


def test_readme_speaks_of_every_backend_and_its_pictures_exist():
    from workbench import backends

    for name in backends.own():
        for mode in backends.get(name).modes:
            assert f"`{name}:{mode}`" in README or (not mode and f"`{name}`" in README)
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).stat().st_size > 10_000, picture


@pytest.fixture
def own_model(demo_folder, store_root, tmp_path, monkeypatch):
    """A folder with the files that the README's own-model example names."""
    import numpy as np

    from workbench.data.dataset import digits

    test = digits()[2].take(slice(0, 400))
    shutil.copyfile(demo_folder / "demo.keras", tmp_path / "my_model.keras")
    np.savez(tmp_path / "my_data.npz", x=test.inputs["image"], y=test.labels)
    monkeypatch.setenv("WORKBENCH_STORE", str(store_root))
    return tmp_path


@pytest.mark.long
def test_readmes_terminal_example_runs(own_model):
    example = next(block for block in blocks("sh") if "my_model.keras" in block)
    lines = [line for line in example.replace("\\\n", " ").splitlines() if line.strip()]
    assert len(lines) == 2
    for line in lines:
        command = line.replace(".venv/bin/python", sys.executable)
        if " report " in command:
            command += " --measure-s 0.1 --max-measure-s 0.1 --rounds 6"
        done = subprocess.run(command, shell=True, cwd=own_model, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "openvino int8" in done.stdout
    assert (own_model / "reports" / "workbench.html").stat().st_size > 100_000


@pytest.mark.long
def test_readmes_python_example_runs(own_model):
    example = next(block for block in blocks("python") if "my_model.keras" in block)
    before = "import numpy as np\nfile = np.load('my_data.npz'); images, labels = file['x'], file['y']\n"
    short = example.replace('batches="1,16"', 'batches="1,16", measure_s=0.1, max_measure_s=0.1, rounds=6')
    after = "\nassert len(results.measured) == 6, results.rows\nassert len(results.figures()) == 6\n"
    done = subprocess.run(
        [sys.executable, "-c", before + short + after], cwd=own_model, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_make_target_that_readme_names_exists():
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    assert {"report", "test", "lab", "doctor"} <= named
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.long
@needs_make
@pytest.mark.slow
def test_make_report_leaves_one_file_that_needs_no_other(tmp_path, store_root):
    html = tmp_path / "out.html"
    arguments = (
        f"--store {store_root} --output {html} --backends onnxruntime --precisions fp32 --batches 1 --measure-s 0.1"
    )
    done = subprocess.run(
        ["make", "report", f"ARGS={arguments}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "onnxruntime fp32" in done.stdout
    assert str(html) in done.stdout
    text = html.read_text(encoding="utf-8")
    assert "<script" not in text
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)


@needs_make
def test_make_doctor_lists_every_backend():
    done = subprocess.run(["make", "doctor"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for title in ("TensorFlow", "LiteRT", "ONNX Runtime", "OpenVINO", "TensorRT", "TF-TRT"):
        assert re.search(rf"^  {title} +(ready|not ready: )", done.stdout, re.MULTILINE), title


@needs_make
def test_make_lab_opens_the_notebook(tmp_path):
    options = "--no-browser --allow-root --ip=127.0.0.1 --port=0 --IdentityProvider.token=test"
    env = os.environ | {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    log = tmp_path / "lab.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["make", "lab", f"ARGS={options}"], cwd=ROOT, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        found = None
        for _ in range(300):
            found = re.search(rb"http://127\.0\.0\.1:\d+/lab", log.read_bytes())
            if found or server.poll() is not None:
                break
            time.sleep(0.2)
        assert found, log.read_text(encoding="utf-8", errors="replace")
        page = f"{found[0].decode()}/tree/workbench.ipynb?token=test"
        with urllib.request.urlopen(page, timeout=20) as answer:
            assert answer.status == 200
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=20)


def test_the_version_has_one_source_and_every_page_that_names_it_agrees():
    assert PROJECT["project"]["dynamic"] == ["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[([\d.]+)\] - (\d{4}-\d\d-\d\d)$", changes, re.MULTILINE)
    assert re.findall(r"^## .*", changes, re.MULTILINE)[0] == "## [Unreleased]"
    assert releases[0] == (workbench.__version__, str(citation["date-released"]))
    assert citation["version"] == workbench.__version__
    assert [date for _, date in releases] == sorted((date for _, date in releases), reverse=True)


def test_every_section_of_the_changelog_has_a_title_of_the_format():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    titles = set(re.findall(r"^### (.*)", changes, re.MULTILINE))
    assert titles <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_jobs_of_the_workflow_run_targets_of_make_on_every_supported_python():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    for target in (word for command in commands for word in re.findall(r"^make (\w+)", command)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert {"make lint", "make docs", "make wheel", "make test"} <= set(commands)
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["project"]["requires-python"]).groups()
    versions = [f"3.{minor}" for minor in range(int(low), int(high))]
    assert jobs["tests"]["strategy"]["matrix"]["python-version"] == versions


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem
)
def test_every_form_of_an_issue_asks_for_what_doctor_says(form):
    fields = yaml.safe_load(form.read_text(encoding="utf-8"))["body"]
    assert any('The output of "workbench doctor"' in field["attributes"]["label"] for field in fields)


def test_ci_runs_what_fails_fast_first_and_all_tests_last():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    made = [line for line in lines if line.startswith("make ")]
    assert made[:3] == ["make lint", "make docs", "make wheel"]
    assert made[-1] == "make test"
    assert "-m long" in made[-2]
