"""Messages go through the logger ``workbench``, and only an entry point shows them."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from workbench.errors import InputError
from workbench.system import logs


def test_a_program_that_asks_for_no_messages_gets_none() -> None:
    code = "import logging, workbench; logging.getLogger('workbench.runs').error('a message')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_messages_from_a_level_on_are_handed_over_once_each(monkeypatch) -> None:
    monkeypatch.delenv(logs.VARIABLE, raising=False)
    found: list[str] = []
    log = logging.getLogger("workbench.runs.anything")
    with logs.shown(found.append):
        for _ in range(2):  # an engine that serves several batches
            log.info("built")
        log.debug("a detail")
        log.warning("%s failed", "int8")
        assert logs.environment() == {logs.VARIABLE: "info"}
    log.error("after the end")
    assert found == ["built", "int8 failed"]
    assert logs.environment() == {}


@pytest.mark.parametrize(
    ("asked", "variable", "level"),
    [
        ({}, "", logging.INFO),
        ({}, "Debug", logging.DEBUG),
        ({"verbose": True}, "error", logging.DEBUG),
        ({"quiet": True}, "debug", logging.WARNING),
    ],
)
def test_options_go_before_the_variable(asked, variable, level, monkeypatch) -> None:
    monkeypatch.setenv(logs.VARIABLE, variable)
    assert logs.level(**asked) == level


def test_a_level_that_does_not_exist_is_one_sentence(monkeypatch) -> None:
    monkeypatch.setenv(logs.VARIABLE, "loud")
    with pytest.raises(InputError, match=r"WORKBENCH_LOG is 'loud'. Set it to one of: debug, info, warning, error."):
        logs.level()
