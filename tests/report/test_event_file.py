"""The kernel of a headless notebook reports by a file beside what its cells print."""

from __future__ import annotations

import jsonschema
import pytest
import recorded

from workbench.cli.answer import as_json, schema
from workbench.records import Event, Progress
from workbench.report import event_file
from workbench.report.document import document
from workbench.report.event_file import Follower, reporting
from workbench.system import progress


def test_events_and_results_come_through_the_file_and_messages_through_the_cell(tmp_path, monkeypatch, capsys) -> None:
    found: list[Event] = []
    follower = Follower(tmp_path / "events.jsonl", found.append)
    monkeypatch.setenv(event_file.VARIABLE, str(follower.path))
    results = recorded.sweep()
    with follower, reporting() as reporter:
        reporter.message("built")
        reporter.event(Event("x\ny", results.rows[0], rows=("a",), progress=Progress("measure", 1, 2, "rounds", 3.0)))
        reporter.end(results)
    assert capsys.readouterr().out == "built\n"
    assert [(event.text, event.progress) for event in found] == [
        ("x y", Progress("measure", 1, 2, "rounds", 3.0)),
        ("", Progress("draw tables and figures")),
    ]
    assert follower.results == document(results)


def test_a_line_that_is_not_whole_yet_waits(tmp_path) -> None:
    found: list[Event] = []
    place = tmp_path / "events.jsonl"
    with Follower(place, found.append), place.open("a") as file:
        file.write('{"event": {"text": "half')
    assert found == []


def test_without_the_file_a_line_is_printed_after_a_silence(monkeypatch, capsys) -> None:
    monkeypatch.delenv(event_file.VARIABLE, raising=False)
    monkeypatch.setattr(progress, "SILENT_S", 0.05)
    monkeypatch.setattr(progress, "TICK_S", 0.01)
    printed = ""
    with reporting() as reporter:
        reporter.event(Event("waiting for ann", progress=Progress("measure")))
        while "waiting for ann" not in printed:
            printed += capsys.readouterr().out
        reporter.message("built")
        reporter.end(recorded.sweep())
    printed += capsys.readouterr().out
    assert "built\n" in printed
    assert "\r" not in printed


@pytest.mark.parametrize("results", [recorded.sweep(), recorded.results([recorded.failed("openvino bf16")])])
def test_the_document_of_any_results_is_of_the_schema(results) -> None:
    whole = {"schema": "workbench/run/1", **document(results)}
    jsonschema.validate(whole, schema("run"))
    assert as_json("run", document(results)).startswith('{\n  "schema": "workbench/run/1"')
