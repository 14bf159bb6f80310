"""Load tests are kept beside the run that was deployed, and are tables and figures of its report."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import recorded
import recorded_load

from workbench import cli
from workbench.display.plots.served import served_data
from workbench.panel.sections import show_group
from workbench.records import LoadPlan, ServedLoad, from_json, to_json
from workbench.records.served import Split, SplitRound
from workbench.runs.archive import remember
from workbench.runs.open_run import open_run
from workbench.runs.served import keep_served, served_of
from workbench.runs.timings import keep_timing
from workbench.runs.travel import export_run, import_run
from workbench.settings.experiment import Experiment
from workbench.store import Store

RUN = "20261130T120000Z-5dc417"


def one(**changes) -> ServedLoad:
    """A load test of the row "onnxruntime fp32 @1"."""
    rounds = tuple(SplitRound(n, 1e-3, 3e-3 + n * 1e-5, 9e-3, 2e-3, 1e-3) for n in range(6))
    plan = LoadPlan(concurrency=(4,))
    load = replace(recorded_load.load(1, ((4, 300.0),)), engine_key="", plan=plan)
    made = ServedLoad(
        "wide", "onnxruntime fp32", 1, "http", True, Split(4, rounds), load, None, "triton 2.51.0", RUN, 1
    )
    return replace(made, **{"machine": recorded.MACHINE.label} | changes)


@pytest.fixture
def kept(store) -> Store:
    """A store with a run of two rows."""
    rows = [
        recorded.measured(label, 1, median_ms=ms) for label, ms in (("tensorflow fp32", 2.0), ("onnxruntime fp32", 1.0))
    ]
    rows = [replace(row, timing=keep_timing(store, f"key{number}", row.timing)) for number, row in enumerate(rows)]
    remember(store, RUN, replace(recorded.results(rows), run=RUN), Experiment(model="/somewhere/model.onnx"))
    return store


class Asked:
    ran, place = Experiment(), ""


def test_a_record_survives_json() -> None:
    assert from_json(ServedLoad, json.loads(json.dumps(to_json(one())))) == one()


def test_a_kept_load_test_is_in_the_results_of_its_run_and_of_no_other(kept) -> None:
    keep_served((one(), one(batching=False), one(run="20261130T120000Z-aaaaaa")), kept)
    found = open_run("5dc417", kept)
    assert [each.batching for each in found.served] == [True, False]
    assert found.under_load
    assert len(served_of("20261130T120000Z-aaaaaa", kept)) == 1


@pytest.mark.long
def test_the_report_has_its_tables_and_its_figure_beside_what_was_measured_in_process(kept) -> None:
    assert not open_run("5dc417", kept).under_load
    keep_served((one(machine="another machine"),), kept)
    results = open_run("5dc417", kept)
    titles = [table.title.partition(",")[0] for table in results.load() if table.rows]
    assert titles == ["Served", "Served: clients at once"]
    parts = next(table for table in results.load() if table.title.startswith("Served,"))
    assert [row["part"] for row in parts.rows] == ["in process", "server overhead", "queueing", "whole request"]
    assert any("the run measured a median of 1" in note for note in parts.notes)
    assert any("another machine" in note for note in parts.notes)
    assert "served" in results.figures()
    (line,) = served_data(results)
    assert [part.name for part in line.parts] == ["in process", "server overhead", "queueing, 4 clients"]
    shown = show_group("speed", results, Asked())
    page = "".join(each._repr_html_() or "" for each in shown if hasattr(each, "_repr_html_"))
    assert "server overhead" in page


def test_the_file_of_a_run_holds_its_load_tests(kept, tmp_path) -> None:
    keep_served((one(),), kept)
    export_run("5dc417", tmp_path / "run.wbrun", kept)
    other = Store(tmp_path / "other").prepare()
    assert import_run(tmp_path / "run.wbrun", other).results.served == (one(),)
    assert open_run("5dc417", other).served == (one(),)


def test_text_of_another_machine_stays_on_one_line() -> None:
    assert "\n" not in one(machine="a\nb").machine


@pytest.mark.long
def test_the_command_keeps_what_it_measured(triton, wide, tmp_path, capsys) -> None:
    words = [
        "--rounds",
        "2",
        "--block-s",
        "0.05",
        "--clients",
        "2",
        "--batching",
        "on",
        "--store",
        str(tmp_path / "store"),
    ]
    assert cli.main(["loadtest", str(wide), *words, "--quiet"]) == 0
    run = json.loads((wide / "deployment.json").read_text())["run"]
    (found,) = served_of(run, Store(tmp_path / "store"))
    assert (found.row, found.batch, found.split.clients) == ("onnxruntime fp32 @4", 4, 2)
