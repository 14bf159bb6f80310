"""The time limit of a run: how it is given, and what cannot be one."""

from __future__ import annotations

import pytest

from workbench.errors import InputError
from workbench.settings.commands import papermill_command, python_call
from workbench.settings.experiment import Experiment
from workbench.settings.options import UsageExit
from workbench.settings.table import RUN_SETTINGS, SETTINGS
from workbench.settings.time_limit import limit_s


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(5, 300), ("5", 300), (" 2.5 ", 150), (0.1, 6), ("", None), (None, None), (43_200, 2_592_000)],
)
def test_minutes_come_as_numbers_or_text(given, seconds) -> None:
    assert limit_s(given) == seconds


@pytest.mark.parametrize("given", [0, -1, "0", "five", "5 min", True, float("nan"), "inf", 43_201, [5]])
def test_what_is_no_number_of_minutes_is_refused(given) -> None:
    with pytest.raises(
        InputError, match=r"'minutes' must be a number above 0 and at most 43200, or empty for no time limit"
    ):
        limit_s(given)


def test_it_belongs_to_the_run_so_that_no_key_depends_on_it() -> None:
    assert "minutes" in RUN_SETTINGS
    assert "minutes" not in SETTINGS


@pytest.mark.parametrize("command", ["run", "report", "grid"])
def test_commands_refuse_it_before_any_work(command, tmp_path, monkeypatch, capsys) -> None:
    from workbench.cli import main

    monkeypatch.chdir(tmp_path)
    grid = tmp_path / "grid.yaml"
    grid.write_text("models: [demo]\nsettings: {quick: {rounds: 6}}\n")
    words = [str(grid)] if command == "grid" else []
    try:
        status = main([command, *words, "--minutes", "soon"])
    except UsageExit as error:
        status = error.code
    assert status == 2
    assert "'minutes' must be a number above 0" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [grid]


def test_commands_to_copy_have_it() -> None:
    experiment = Experiment(threads=1)
    assert " -r minutes 5" in papermill_command(experiment, minutes="5")
    assert "minutes" not in papermill_command(experiment)
    assert python_call(experiment, minutes="5").endswith("(), minutes=5)")
    assert "minutes" not in python_call(experiment)
