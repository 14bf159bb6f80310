"""The section Deploy of the page Export: a measured row becomes a folder, and what cannot be is one sentence."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from workbench.deploy.folder import read
from workbench.panel import widgets
from workbench.panel.deploy import DeploySection
from workbench.panel.panel import Panel

pytestmark = pytest.mark.long


@pytest.fixture
def section(panel: Panel) -> DeploySection:
    """Of a panel with results."""
    panel.benchmark()
    panel.wait(120)
    return panel._run.export.deploy


def test_without_results_nothing_can_be_deployed(panel: Panel) -> None:
    section = panel._run.export.deploy
    assert section.make.disabled
    section.deploy()
    assert not section.state.value


def test_a_row_is_deployed_and_the_commands_are_of_its_folder(section: DeploySection, tmp_path: Path) -> None:
    assert section.row.options == ("onnxruntime fp32 @1", "onnxruntime fp32 @2")
    assert section.row.value == "onnxruntime fp32 @1"
    section.row.value = "onnxruntime fp32 @2"
    assert section.folder.value == "deployment-onnxruntime-fp32-2"
    place = tmp_path / "with spaces"
    section.folder.value = str(place)
    section.row.value = "onnxruntime fp32 @1"
    assert section.folder.value == str(place)  # what was typed stays
    section.deploy()
    assert section.make.disabled
    section.wait(120)
    assert "it gives the same answers as the engine that was measured" in section.state.value
    made = read(place)
    assert (made.variant, made.batch) == ("onnxruntime fp32", 1)
    assert section.served.value == str(place)
    commands = [unescape(each) for each in re.findall(r"<code>(.*?)</code>", section.state.value, re.DOTALL)]
    assert [words for words in ("selftest.py", " serve ", " loadtest ", " monitor ") if words in "\n".join(commands)] == [
        "selftest.py", " serve ", " loadtest ", " monitor ",
    ]  # fmt: skip
    assert all(f"'{place}" in each for each in commands)
    section.deploy()  # the same folder again
    section.wait(120)
    assert "is not empty" in section.state.value
    assert not section.make.disabled


def test_a_folder_must_be_given(section: DeploySection) -> None:
    section.folder.value = " "
    section.deploy()
    assert "No folder was given" in section.state.value


def test_only_a_deployment_is_watched_and_what_was_watched_ends(section: DeploySection, tmp_path: Path) -> None:
    section.served.value = str(tmp_path)
    section.watch_now()
    assert "is not a deployment" in section.seen.value
    assert section.shown.children == ()
    section.folder.value = str(tmp_path / "made")
    section.deploy()
    section.wait(120)
    section.port.value = 1
    section.watch_now()
    (monitor,) = section.shown.children
    assert "Prometheus at port 1 cannot be reached" in monitor.alerts.value
    section.watch_now()
    (second,) = section.shown.children
    assert monitor._stopped.is_set()
    assert not second._stopped.is_set()
    widgets.close(section.shown)  # as a panel that is made again closes the one before it
    assert second._stopped.is_set()
