"""The panel without a browser: real controls, real runs of a small ONNX model."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest
from panels import control

from workbench import backends
from workbench.compare.formats import digits
from workbench.panel import tables
from workbench.panel import view as panel_view
from workbench.panel.export import table_as
from workbench.panel.panel import Panel
from workbench.panel.parts import NOTHING_YET, PLOTS
from workbench.panel.planned import Planned
from workbench.panel.plots import Plots
from workbench.panel.show import is_interactive, show
from workbench.records import EngineSpec, Failure, Model, Precision, Progress, Result, Status, TensorSpec
from workbench.runs.history import Estimate
from workbench.settings.experiment import Experiment
from workbench.store import Store

HOSTILE = "<img src=x onerror=alert(1)>"


def states(panel: Panel) -> set[Status]:
    return {row.status for row in panel._run.lines.results.values()}


def test_controls_say_what_the_experiment_says(store: Store, model: str) -> None:
    every_field_changed = Experiment(
        model=model,
        data="digits",
        backends=("onnxruntime", "tensorflow:xla"),
        precisions=("fp32", "int8"),
        batches=(2, 4),
        threads=2,
        shapes="fixed",
        calibration="minmax",
        calibration_samples=20,
        optimization_level=(0, 1),
        workspace_mib=(0, 64),
        region="compute",
        measure_s=0.5,
        max_measure_s=0.5,
        rounds=7,
        tf32=False,
        cuda_graph=True,
        streams=4,
        build_options=("refit", "strip"),
        protocol="trtexec-10",
        concurrency=(1, 2),
        rate="50,100",
        latency_limit_ms=20.0,
        latency_percentile=90.0,
        loadgen_s=1.0,
        loadgen_queries=200,
        baseline="onnxruntime fp32 level 1",
        seed=3,
        cores="0-1",
        clocks=True,
        roofline=True,
        layers=True,
    )
    for asked in (Experiment(), every_field_changed):
        addresses = [(name, *name.split(":")) for name in asked.backends]
        here = [name for name, backend, *mode in addresses if backends.get(backend).status(*mode)]
        panel = Panel(asked, store=store)
        assert set(panel.experiment.backends) == set(here)
        assert panel.experiment.changes() | {"backends": ""} == asked.changes() | {"backends": ""}


def test_changing_a_control_changes_the_experiment_and_the_commands(panel: Panel) -> None:
    control(panel, "batches").value = [16, 4]
    panel._controls.precisions["int8"].value = True
    assert panel.experiment.batches == (4, 16)
    assert panel.experiment.precisions == ("fp32", "int8")
    assert "-r batches 4,16" in panel._run.export.commands.value
    assert "batches=(4, 16)" in panel._run.export.commands.value


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("batches", [], "&#39;Batch sizes&#39; is empty. Give at least one value."),
        (
            "build_options",
            "<b>",
            "&#39;Build options&#39; are names of letters, digits and _ . = -; found &#34;&lt;b&gt;&#34;. Separate several by commas.",
        ),
        ("rounds", 0, "&#39;Rounds&#39; must be a whole number from 1 to 10000; found 0. Choose for example 12."),
        ("threads", 0, "&#39;Threads&#39; must be a whole number from 1 to 1024; found 0. Choose for example 2."),
    ],
)
def test_a_bad_value_is_one_sentence_and_stops_the_buttons(
    panel: Panel, name: str, value: object, sentence: str
) -> None:
    good = control(panel, name).value
    control(panel, name).value = value
    assert panel._out.problem.value == f'<div class="wb-message wb-bad" role="alert">{sentence}</div>'
    assert panel._out.build.disabled
    assert panel._out.run.disabled
    panel.benchmark()  # as a script might
    assert not panel._work.busy
    control(panel, name).value = good
    assert panel._out.problem.value == ""
    assert not panel._out.run.disabled


def test_no_backend_and_no_path_are_sentences_too(panel: Panel) -> None:
    panel._controls.backends["onnxruntime"].value = False
    assert "&#39;Backends&#39; is empty" in panel._out.problem.value
    panel._controls.backends["onnxruntime"].value = True
    panel._controls.model.path.value = " "
    assert "Model: no path was given." in panel._out.problem.value


def test_a_backend_that_does_not_exist_is_named(experiment: Experiment, store: Store) -> None:
    panel = Panel(Experiment(backends=("onnxruntime", HOSTILE)), store=store)
    assert "There is no backend" in panel._out.message.value
    assert "<img" not in panel._out.message.value
    assert panel.experiment.backends == ("onnxruntime",)


def test_load_shows_the_model_and_what_is_possible(panel: Panel) -> None:
    panel._controls.backends["tensorflow"].value = True
    assert "Load the model" in panel._out.plan.value
    panel.load()
    panel.wait(60)
    for fact in ("small", "x: float32 [? × 4] (dynamic axis: 0)", "y: float32 [? × 3]", "<td>12</td>"):
        assert fact in panel._model.facts.value
    assert "<b>1 variant</b> to build, 2 rows to measure: 0.1 s of timed calls" in panel._out.plan.value
    assert "<b>tensorflow fp32</b>: TensorFlow cannot run an ONNX model" in panel._out.plan.value
    panel._controls.model.path.value = "other.onnx"
    assert panel._model.facts.value == ""


def test_a_hostile_path_is_shown_as_text(panel: Panel) -> None:
    panel._controls.model.path.value = HOSTILE
    panel.load()
    panel.wait(60)
    shown = panel._out.message.value
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown
    assert "<img" not in shown + panel._run.export.commands.value
    assert "Traceback" not in shown


def test_what_comes_from_outside_is_escaped() -> None:
    tensor = TensorSpec(HOSTILE, "float32", (None, 2))
    model = Model(HOSTILE, HOSTILE, "onnx", (tensor,), (tensor,), 1, 1, "0", HOSTILE, (HOSTILE,))
    spec = EngineSpec("onnxruntime", Precision.FP32, mode=HOSTILE)
    failure = Failure(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    rows = [Result(spec, 1, status, failure=failure) for status in Status]
    shown = [
        panel_view.model_facts(model),
        *(tables.table([tables.Shown(row, remarks=(HOSTILE,), out=HOSTILE)]).grid(lines=True) for row in rows),
        *(tables.run_row(row, HOSTILE, HOSTILE) for row in rows),
        tables.log_text(HOSTILE),
        panel_view.not_possible(rows),
        panel_view.failures(rows),
        panel_view.commands(Experiment(model=HOSTILE, data=HOSTILE)),
        panel_view.state(HOSTILE, Progress(HOSTILE, 1, 2, HOSTILE), 1.0),
        panel_view.copyable(HOSTILE, HOSTILE),
        panel_view.download(HOSTILE, "text/csv", b"x"),
        panel_view.message(HOSTILE),
    ]
    for html in shown:
        assert "&lt;img" in html
        assert "<img" not in html


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (None, "<b>3 s</b> · a step</div>"),
        (Progress("measure"), "</span> · measure · a step</div>"),
        (
            Progress("measure", 4, 12, "rounds", 30.0),
            "</span> · measure · 4 of 12 rounds · about 30 s left · a step</div>",
        ),
    ],
)
def test_the_state_has_phase_count_and_remaining_time(found: Progress | None, shown: str) -> None:
    assert panel_view.state("a step", found, 3.2).endswith(shown)


@pytest.mark.parametrize(
    ("found", "shares", "now"),
    [
        (Progress("read the samples"), ["0%", "0%", "0%", "0%"], "Prepare"),
        (Progress("build engines", 1, 4, "engines"), ["100%", "25%", "0%", "0%"], "Build"),
        (Progress("start workers"), ["100%", "100%", "0%", "0%"], "Measure"),
        (Progress("measure 3 batches", 3, 12, "rounds"), ["100%", "100%", "25%", "0%"], "Measure"),
        (Progress("score", 1, 2, "engines"), ["100%", "100%", "100%", "50%"], "Score"),
    ],
)
def test_one_bar_has_a_part_for_each_phase(found: Progress, shares: list[str], now: str) -> None:
    html = panel_view.state("", found, 3.2)
    assert re.findall(r'style="width: (\d+%)"', html) == shares
    assert re.findall(r'wb-now"><i[^>]*></i>(\w+)<', html) == [now]


def test_voilas_page_draws_every_icon_without_the_internet() -> None:
    folder = Path(panel_view.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    named = set(sum(re.findall(r'icon ?= ?"([a-z-]+)"(?: if .*? else "([a-z-]*)")?', code), ())) - {""}
    template = (folder / "voila" / "index.html.j2").read_text(encoding="utf-8")
    assert {"play", "repeat", "caret-down", "check"} <= named
    assert named | {"upload"} <= set(re.findall(r'^  "([a-z-]+)": "M', template, re.MULTILINE))


def other_axes(plots: Plots) -> None:
    """The figure of two chosen numbers is drawn again when another is chosen."""
    plots.figure.value = "chosen"
    assert [axis.value for axis in plots.axes] == ["p50 ms", "engine MB"]
    plots.axes[1].value = "samples/s"
    (shown,) = (box.children[0] for name, box in plots._boxes.items() if name == "chosen")
    assert [shown.figure.axes[0].get_xlabel(), shown.figure.axes[0].get_ylabel()] == ["p50 ms", "samples/s"]


def test_benchmark_fills_rows_and_draws(panel: Panel, capsys: pytest.CaptureFixture[str]) -> None:
    panel.display("table")
    assert capsys.readouterr().out == NOTHING_YET + "\n"
    panel.benchmark()
    assert panel._work.busy
    assert panel._out.run.disabled
    assert not panel._out.cancel.disabled
    assert control(panel, "batches").disabled
    panel.benchmark()  # a second press while it runs starts nothing
    panel.wait(120)
    assert panel.results is not None
    assert [row.status for row in panel.results.rows] == [Status.DONE, Status.DONE]
    table = panel._run.compare.table.value
    assert table.count('data-status="done"') == 2
    assert "baseline" in table
    assert digits(panel.results.rows[0].timing.median_s * 1e3) in table
    assert "fp32" in table
    assert "2 done." in panel._out.message.value
    assert "<b>0 variants</b> to build (1 is in the store), 2 rows to take from the store" in panel._out.plan.value
    panel._out.again.value = True
    assert "(1 is in the store), 2 rows to measure" in panel._out.plan.value
    (shown,) = (box.children[0] for box in panel._run.compare.plots.row.children)
    assert shown.figure.axes[0].get_title(loc="left") == "batch 1"
    assert not control(panel, "batches").disabled
    assert panel._out.cancel.disabled
    for part in ("table", *PLOTS):
        panel.display(part)
    assert NOTHING_YET not in capsys.readouterr().out
    panel._run.compare.filter.value = "@2"
    assert panel._run.compare.table.value.count('data-status="done"') == 1
    assert "@1" not in panel._run.compare.said.value  # the sentence is about the rows that are shown
    panel._run.compare.filter.value = ""
    assert panel._run.compare.plots._order == ()
    panel._run.compare.table.heads["Median ms"].click()
    panel._run.compare.plots.drawing.wait(30)
    assert panel._run.compare.plots._order == ("onnxruntime fp32",)
    panel._run.compare.columns["p95 ms"].value = False
    assert "p95 ms" not in panel._run.compare.table.heads
    assert "p95 ms" not in table_as("latex", panel._run.compare)
    assert "p95 ms" in table_as("csv", panel._run.compare)
    other_axes(panel._run.compare.plots)
    control(panel, "threads").value = 2
    assert "The settings have changed since this run" in panel._out.outdated.value
    assert "<b>1 variant</b> to build, 2 rows to measure" in panel._out.plan.value
    control(panel, "threads").value = 1
    assert panel._out.outdated.value == ""


@pytest.mark.long
def test_load_is_shown_below_the_table(panel: Panel, model: str) -> None:
    assert control(panel, "loadgen_s").disabled
    assert control(panel, "latency_limit_ms").disabled
    control(panel, "rate").value = "500"
    control(panel, "protocol").value = "mlperf-singlestream"
    for name in ("latency_limit_ms", "latency_percentile", "loadgen_s", "loadgen_queries", "measure_s", "region"):
        assert not control(panel, name).disabled
    control(panel, "rate").value = control(panel, "protocol").value = ""
    control(panel, "batches").value = [1]
    control(panel, "concurrency").value = "1, 2"
    assert "concurrency 1,2" in panel._run.export.commands.value
    panel.benchmark()
    panel.wait(120)
    assert "Callers at once" in panel._run.compare.load.value
    assert [loop.concurrency for loop in panel.results.rows[0].load.closed] == [1, 2]
    assert "load" in [name for _, name in panel._run.compare.plots.figure.options]


def test_build_builds_and_measures_nothing(panel: Panel) -> None:
    panel.build()
    panel.wait(60)
    assert panel.results is not None
    assert states(panel) == {Status.BUILT}
    assert panel.results.measured == ()
    assert panel._run.compare.plots.row.children == ()


def test_cancel_ends_the_run_and_marks_its_rows(panel: Panel) -> None:
    control(panel, "measure_s").value = 60.0
    panel.benchmark()
    deadline = time.monotonic() + 60
    while Status.MEASURING not in states(panel) and time.monotonic() < deadline:
        panel.wait(0.1)
    assert Status.MEASURING in states(panel)
    asked = time.monotonic()
    panel.cancel()
    panel.wait(30)
    assert time.monotonic() - asked < 10
    assert not panel._work.busy
    assert Status.CANCELLED in states(panel)
    assert states(panel) <= {Status.CANCELLED, Status.DONE}
    assert "cancelled" in panel._out.message.value
    assert not panel._out.run.disabled


@pytest.mark.long
def test_the_event_loop_stays_free_and_the_reader_updates(panel: Panel) -> None:
    async def life() -> float:
        panel.benchmark()
        longest, before = 0.0, time.monotonic()
        until = before + 120
        while panel._work.busy and before < until:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            longest, before = max(longest, now - before), now
        return longest

    assert asyncio.run(life()) < 4  # wait() was not called, and no callback blocked
    assert states(panel) == {Status.DONE}


def test_who_is_at_the_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_interactive()  # no notebook at all
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5.8")
    assert is_interactive()
    monkeypatch.setenv("WORKBENCH_HEADLESS", "1")
    assert not is_interactive()


@pytest.mark.long
def test_show_without_a_person_prints_a_line_per_step(
    experiment: Experiment, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Experiment(**{**experiment.parameters(), "backends": "tensorflow,onnxruntime"})
    view = show(asked, store=str(store.root))
    printed = capsys.readouterr().out
    assert not re.search(r"[\r\x1b]", printed)
    lines = [line for line in printed.splitlines() if not line.startswith("… ")]  # those come after ten silent seconds
    assert sum(line.startswith("onnxruntime fp32: built in ") for line in lines) == 1
    assert sum(line.startswith("onnxruntime fp32 @") and "samples/s" in line for line in lines) == 2
    done, *headlines = lines[-3:]
    assert done.startswith("done: built 1 (reused 0), measured 2 (reused 0), scored 1")
    assert [line.partition(":")[0] for line in headlines] == ["Batch 1", "Batch 2"]
    assert not any("TensorFlow cannot run" in line or "round" in line for line in lines)
    for part in ("table", *PLOTS, "model", "not possible", "failures", "work", "repeat"):
        view.display(part)
    assert NOTHING_YET not in capsys.readouterr().out


def test_the_plan_counts_what_is_measured_under_load() -> None:
    def reported(**asked: object) -> str:
        planned = Planned((), (), (), (), measured=2, reused=0, surely=True, timed=(), before=Estimate(0, 0, 0, 0))
        return panel_view.plan(planned, Experiment(**asked))  # type: ignore[arg-type]

    assert "under load" not in reported()
    assert ", and 6.0 s under load" in reported(concurrency=(1, 2, 4), measure_s=1.0)
    searched = reported(concurrency=(1, 2), rate="auto", measure_s=1.0)
    assert ", and 4.0 s under load and a search for the highest rate of each;" in searched
