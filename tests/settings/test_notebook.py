"""The parameters cell is what papermill reads, and a parameter that the notebook does not have is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from workbench.errors import InputError
from workbench.settings.experiment import Experiment
from workbench.settings.notebook import check_injected, parameters_cell
from workbench.settings.table import RUN_SETTINGS, SETTINGS

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "workbench.ipynb"


def test_papermill_lists_every_setting_with_type_default_and_help() -> None:
    tool = Path(sys.executable).with_name("papermill")
    done = subprocess.run([tool, "--help-notebook", NOTEBOOK], capture_output=True, text=True, check=True)
    reported = " ".join(done.stdout.split())
    for setting in (SETTINGS | RUN_SETTINGS).values():
        default = setting.parameter(setting.default)
        text = f'"{default}"' if isinstance(default, str) else repr(default)
        assert f"{setting.name}: {setting.annotation} (default {text}) {setting.help}" in reported


def test_values_replace_defaults_and_can_be_run() -> None:
    values = {"model": 'it\'s "odd"\n#', "threads": 2, "tf32": False}
    cell, found = parameters_cell(values, ["model", "threads", "tf32"]), {}
    exec(cell, {}, found)
    assert {name: found[name] for name in values} == values
    assert len(cell.splitlines()) == 1 + 3


def test_variables_of_a_notebook_make_an_experiment() -> None:
    namespace = {
        "batches": "1,8",
        "threads": 1,
        "unrelated": object(),
        "In": ["", "x = 1", "# Parameters\nbatches = 1"],
    }
    assert Experiment.of(namespace) == Experiment(batches="1,8")


@pytest.mark.parametrize("cell", ["# Parameters\nbathces = 1\n", "\n# Parameters\nmodel = 'x'\nbathces: str = '1'\n"])
def test_an_injected_parameter_that_does_not_exist_is_named(cell: str) -> None:
    with pytest.raises(InputError, match=r"There is no parameter 'bathces'. Did you mean 'batches'"):
        Experiment.of({"In": ["", "a = 1", cell]})
    check_injected(["bathces = 1"])  # a cell of a person may define what it likes


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-p", "bathces", "1"), "There is no parameter 'bathces'. Did you mean 'batches'"),
        (("-p", "threads", "many"), "'threads' must be a whole number from 1 to 1024; found \"many\"."),
        (("-p", "remeasure", "perhaps"), "'remeasure' must be true or false; found \"perhaps\"."),
        (
            ("-p", "minutes", "0"),
            "'minutes' must be a number above 0 and at most 43200, or empty for no time limit; found 0.",
        ),
    ],
)
def test_papermill_alone_ends_in_one_sentence(
    tmp_path: Path, store_root: Path, words: tuple[str, ...], says: str
) -> None:
    tool = Path(sys.executable).with_name("papermill")
    command = [tool, NOTEBOOK, tmp_path / "out.ipynb", "-k", "python3", "--cwd", tmp_path, "--no-progress-bar", *words]
    env = os.environ | {"WORKBENCH_STORE": str(store_root)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode != 0
    assert f"InputError: {says}" in done.stderr
    failed = [cell for cell in nbformat.read(tmp_path / "out.ipynb", as_version=4).cells if cell.get("outputs")]
    errors = [output for cell in failed for output in cell.outputs if output.output_type == "error"]
    assert len(errors) == 1
    assert errors[0].traceback == [f"InputError: {errors[0].evalue}"]
