"""Runs that outlive a panel: found again, ended row by row, tried again; and what the pages make of their results."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import ipywidgets
import numpy as np
import pytest

from workbench.jobs import job as jobs
from workbench.panel import history
from workbench.panel.export import TABLES, caption, table_as
from workbench.panel.fields import Chips
from workbench.panel.figures import Mark, canvas, marks_of
from workbench.panel.panel import NOTEBOOK, Panel
from workbench.panel.source import completions
from workbench.panel.view import copyable
from workbench.records import Status
from workbench.runs import archive
from workbench.settings.experiment import Experiment
from workbench.settings.table import SETTINGS
from workbench.store import Store
from workbench.system.measuring_lock import hold_lock


@pytest.fixture
def experiment(model: str) -> Experiment:
    return Experiment(
        model=model, data="random", backends="onnxruntime", precisions="fp32", batches=(1, 2), measure_s=0.06, rounds=6
    )


def states(panel: Panel) -> dict[str, Status]:
    return {name: row.status for name, row in panel._run.lines.results.items()}


def until(panel: Panel, true) -> None:
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        panel.wait(0.05)
    assert true()


@pytest.mark.long
def test_another_panel_finds_the_run_that_goes_on_and_either_can_end_it(
    experiment: Experiment, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NOTEBOOK, "work/a.ipynb")
    first = Panel(experiment, store=store)
    first._controls.control["measure_s"].value = 60.0  # not what the notebook was made with
    first.benchmark()
    until(first, lambda: Status.MEASURING in states(first).values())
    second = Panel(experiment, store=store)  # a restarted kernel
    until(second, lambda: Status.MEASURING in states(second).values())
    assert second.experiment.measure_s == 60.0
    assert second._run.job.name == first._run.job.name
    monkeypatch.setenv(NOTEBOOK, "work/b.ipynb")
    assert not Panel(experiment, store=store)._work.busy  # another notebook with other settings
    second._run.lines._lines["onnxruntime fp32 @1"].button.click()
    second.cancel()
    for panel in (first, second):
        panel.wait(30)
        assert set(states(panel).values()) == {Status.CANCELLED}
        assert not panel._out.run.disabled


def test_the_panel_says_who_is_before_it_and_how_long_the_wait_is(experiment: Experiment, store: Store) -> None:
    panel = Panel(experiment, store=store)
    with hold_lock("measuring net.onnx at batch 8", alone=True, expected_s=1000):
        assert "No results yet. Press Run" in panel._run.compare.table.value
        panel.benchmark()
        until(panel, lambda: "before you, expected wait about 1" in panel._out.state.value)
        assert "A run is going on. Its results appear here when it has ended" in panel._run.compare.table.value
        assert "measuring net.onnx at batch 8 since " in panel._out.state.value
    panel.cancel()
    panel.wait(60)


@pytest.mark.long
def test_a_row_is_tried_again_alone_and_results_are_found_later(experiment: Experiment, store: Store) -> None:
    panel = Panel(experiment, store=store)
    panel._controls.control["measure_s"].value = 1.2
    panel.benchmark()
    until(panel, lambda: len(panel._run.lines.results) == 2)
    for name in ("onnxruntime fp32 @1", "onnxruntime fp32 @2"):
        panel._run.lines._lines[name].button.click()
        assert panel._run.lines._lines[name].button.disabled  # at once, however long the row takes to end
    panel.wait(60)
    assert set(states(panel).values()) == {Status.CANCELLED}
    button = panel._run.lines._lines["onnxruntime fp32 @2"].button
    assert (button.description, button.disabled) == ("Retry", False)
    button.click()
    panel.wait(60)
    assert states(panel) == {"onnxruntime fp32 @1": Status.CANCELLED, "onnxruntime fp32 @2": Status.DONE}
    panel._history.refresh()
    newest, cancelled = panel._history.choice.options
    assert " · done in " in newest
    assert " · fastest: no row shown to be faster @2 · " in newest
    assert " · small.onnx · cancelled · onnxruntime · " in cancelled
    panel._history.choice.value = (newest,)
    assert "Batch 2: Keep the baseline " in panel._history.about.value
    assert '<th scope="row">Samples</th>' in panel._history.about.value
    again = Panel(panel.ran, store=store)  # the same settings, another day
    again.wait(30)
    assert again.results == panel.results
    assert "1 done" in again._out.message.value
    assert len(again._history.choice.options) == 2
    again._history.filter.value = "no such run"
    assert again._history.choice.options == ()


@pytest.mark.long
def test_a_function_of_the_notebook_scores_in_the_process_of_the_run(
    experiment: Experiment, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NOTEBOOK, "work/a.ipynb")
    right = 0.25  # goes along

    def quarters(outputs, labels):
        import numpy as np

        return np.full(len(labels), right) if set(outputs) == {"y"} else np.zeros(len(labels))

    samples = np.random.default_rng(0).random((64, 4), np.float32)
    live = {"data": (samples, np.linspace(0, 1, 64)), "metric": quarters}  # labels that are no classes
    panel = Panel(replace(experiment, batches=(1,)), store=store, **live)
    assert panel._controls.control["metric"].disabled
    assert "the function &#39;quarters&#39; scores instead" in panel._controls._hints["metric"].value
    assert "batches=(1,)" in panel._run.export.commands.value
    assert ", metric=quarters)" in panel._run.export.commands.value
    panel.benchmark()
    panel.wait(90)
    score = panel.results.rows[0].accuracy
    assert (score.metric, score.value, score.samples) == ("quarters", 0.25, 64)
    assert "quarters 0.25" in panel._run.compare.table.value
    (job,) = jobs.all_jobs(store)
    # its process ends a moment after its last event, and a job that runs is watched
    until(panel, lambda: not job.running)
    plain = Panel(panel.ran, store=store)  # the cell was edited
    assert not plain._work.busy  # without the function it is another experiment
    again = Panel(panel.ran, store=store, metric=quarters)
    again.wait(30)
    assert again.results == panel.results
    assert again._out.outdated.value == ""
    assert archive.scored_by(store, job.run) == job.asked.metric  # the run's own process calls it the same
    right = 0.5  # the function of the edited cell has the same name
    assert not Panel(panel.ran, store=store, metric=quarters)._work.busy
    plain._open(job)
    plain.wait(30)
    other = "These results were scored by a function &#39;quarters&#39;, and this panel was given none."
    assert other in plain._out.outdated.value
    (row,) = panel.results.rows
    plain._run.lines.put(replace(row, status=Status.CANCELLED))
    plain._on_row(row.row)  # Retry
    assert not plain._work.busy
    assert other in plain._out.message.value


def test_a_function_that_cannot_leave_the_notebook_is_named(experiment: Experiment, store: Store) -> None:
    lock = threading.Lock()

    def guarded(outputs, labels):
        with lock:
            return labels

    panel = Panel(experiment, store=store, metric=guarded)
    panel.benchmark()
    panel.wait(30)
    assert "The metric &#39;guarded&#39; cannot be sent to the process that measures" in panel._out.message.value
    assert jobs.all_jobs(store) == ()
    assert Panel(experiment, store=store, metric="mae").experiment.metric == "mae"  # a name is a parameter


def test_what_was_ended_from_outside_is_said_and_can_be_tried_again(experiment: Experiment, store: Store) -> None:
    import psutil

    panel = Panel(experiment, store=store)
    panel._controls.control["measure_s"].value = 60.0
    panel.benchmark()
    until(panel, lambda: Status.MEASURING in states(panel).values())
    folder = str(panel._run.job.folder)
    for process in psutil.process_iter(["cmdline"]):
        if folder in (process.info["cmdline"] or []):
            process.kill()
    panel.wait(30)
    assert "ended from outside" in panel._out.message.value
    assert set(states(panel).values()) == {Status.CANCELLED}
    assert "was ended before this row was done" in panel._run.lines._lines["onnxruntime fp32 @1"]._text.value


@pytest.mark.long
def test_pages_show_results_and_make_files_of_them(experiment: Experiment, store: Store) -> None:
    panel = Panel(experiment, store=store)
    panel.benchmark()
    panel.wait(90)
    page = panel._run.compare
    assert "wb-baseline" in page.table.value  # the one variant is the baseline, which does not win
    page.latency.slider.value = page.latency.slider.min
    page.latency.slider.value = 10**page.latency.slider.min
    page.latency.on.value = True
    assert "No row keeps these limits" in page.said.value
    assert page.table.value.count("✕ out: p50 is") == 2
    page.latency.on.value = False
    page.table.heads["Median ms"].click()
    fastest, other = sorted(panel.results.rows, key=lambda row: row.timing.median_s)
    assert page.table.value.index(f"@{fastest.batch}") < page.table.value.index(f"@{other.batch}")
    page.first.value, page.second.value = "onnxruntime fp32 @1", "onnxruntime fp32 @2"
    page.differ()
    page.side.wait(30)
    assert "<b>0</b> of 256 samples get another class" in page.gallery.value
    assert "fp32" in panel._run.layers.shown.value
    tables = {kind: table_as(kind, page, caption(panel.results)) for kind in TABLES}
    assert tables["csv"].splitlines()[0].startswith("variant,batch,device,status,p50 ms")
    # in the order of the page, which is sorted
    assert tables["markdown"].splitlines()[2].startswith(f"| onnxruntime fp32 | {fastest.batch} | ")
    assert r"\toprule" "\nvariant & batch & p50 ms & speed-up" in tables["latex"]
    assert f"baseline: {panel.results.baseline}" in tables["latex"]
    assert tables["latex"].count(r" \\") == 3
    for what, kind, start in (
        ("latency", "svg", b"<?xml"),
        ("throughput", "pdf", b"%PDF"),
        ("latency", "png", b"\x89PNG"),
    ):
        from workbench.panel.figures import saved

        assert saved(what, kind, panel.results).startswith(start)
    from workbench.display.plots.figures import figures

    shown = canvas(figures(panel.results)["throughput"], marks_of("throughput", panel.results))
    (ax,) = shown.figure.axes
    (line,) = (line for line in ax.lines if len(line.get_xdata()) == 2)
    x, y = float(line.get_xdata()[1]), float(line.get_ydata()[1])
    assert ax.format_coord(x, y).startswith("onnxruntime fp32: ")
    assert ax.format_coord(x, y).endswith("at batch 2")
    assert ax.format_coord(1.4, y / 3) == ""


def test_workspaces_are_chips_with_a_name_for_the_default() -> None:
    control = Chips(SETTINGS["workspace_mib"], "tip", (0,))
    assert [chip.description for chip in control.chips.values()] == ["default", "16", "256", "1024", "4096"]
    control.value = [0, 100]  # of a notebook: kept as it is
    assert [size for size, chip in control.chips.items() if chip.value] == [0, 100]
    control.other.value = "default, 64"
    assert control.value == [0, 64, 100]
    control.disabled = True
    assert control.other.disabled
    assert all(chip.disabled for chip in control.chips.values())


def test_batches_are_chips_and_others_are_typed() -> None:
    control = Chips(SETTINGS["batches"], "tip", (1, 24))
    assert [size for size, chip in control.chips.items() if chip.value] == [1, 24]
    control.chips[8].value = True
    assert control.value == [1, 8, 24]
    control.other.value = "4, 512"
    assert control.value == [1, 4, 8, 24, 512]
    assert control.other.value == ""
    control.chips[24].value = False
    control.other.value = "many"
    assert control.value == [1, 4, 8, 512, "many"]
    assert control.other.value == "many"
    control.value = [2]
    assert [size for size, chip in control.chips.items() if chip.value] == [2]
    assert control.other.value == ""


def test_paths_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets").mkdir()
    for name in ("net.onnx", "net.txt", ".net.onnx", "other.onnx"):
        (tmp_path / name).touch()
    assert completions(f"{tmp_path}/ne", (".onnx",)) == (f"{tmp_path}/net.onnx", f"{tmp_path}/nets/")
    assert completions(f"{tmp_path}/.n", (".onnx",)) == (f"{tmp_path}/.net.onnx",)
    assert completions(f"{tmp_path}/none/x", (".onnx",)) == ()
    monkeypatch.chdir(tmp_path)
    assert completions("o", (".onnx",)) == ("other.onnx",)


def test_what_is_copied_is_text() -> None:
    html = copyable("In a terminal", "<img src=x onerror=alert(1)>")
    assert "<img" not in html
    assert "&lt;img" in html
    assert Mark(1, 2, "x").text == "x"


def test_a_saved_notebook_has_absolute_paths_and_shows_the_same_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = store.root / "jobs" / "20260101T000000.000000Z-abcdef"
    folder.mkdir(parents=True)
    asked = jobs.Asked(Experiment(model="net.onnx", threads=2).parameters())
    (folder / jobs.ASKED).write_text(json.dumps(asdict(asked)))
    (folder / jobs.RESULTS).write_text("{}")
    saved = Experiment(model=str(tmp_path / "net.onnx"), threads=2)
    assert history.to_show(store, saved, "").folder == folder
    assert history.to_show(store, replace(saved, threads=1), "") is None
    assert history.to_show(store, saved, "", metric="quarters") is None


def test_a_run_of_another_version_is_left_out(store: Store) -> None:
    folder = store.root / "jobs" / "20250101T000000.000000Z-abcdef"
    folder.mkdir(parents=True)
    (folder / jobs.ASKED).write_text('{"parameters": {"no_such_field": 1}}')
    (job,) = jobs.all_jobs(store)
    assert history.line(job, None) == ""
    assert history.to_show(store, Experiment(), "") is None


@pytest.mark.long
def test_every_widget_has_a_state_after_further_runs(experiment: Experiment, store: Store) -> None:
    """A page that is reloaded asks each of them, and shows none where one of them raises."""
    panel = Panel(experiment, store=store)
    for _ in range(2):
        panel.benchmark()
        panel.wait(120)
        for name in panel._run.compare.plots.drawn:
            panel._run.compare.plots.figure.value = name
    panel.benchmark()
    panel.wait(120)
    for widget in list(ipywidgets.widgets.widget._instances.values()):
        assert widget.get_state() is not None
