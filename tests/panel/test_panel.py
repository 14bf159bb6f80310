"""The panel without a browser: real controls, real runs of a small ONNX model."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest
from small_model import small_onnx

from workbench import backends
from workbench.compare.comparison import digits
from workbench.errors import InputError
from workbench.experiment import Experiment
from workbench.panel import export, tables
from workbench.panel import view as panel_view
from workbench.panel.estimate import Estimate
from workbench.panel.panel import Panel
from workbench.panel.parts import NOTHING_YET
from workbench.panel.planned import Planned
from workbench.panel.show import is_interactive, show
from workbench.panel.source import MAX_UPLOAD_BYTES, save_upload
from workbench.records import EngineSpec, Failure, Model, Precision, Result, Status, TensorSpec
from workbench.runs.sources import Opened
from workbench.settings_table.table import SETTINGS
from workbench.store import Store

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_onnx(tmp_path_factory.mktemp("model") / "small.onnx")


@pytest.fixture
def experiment(model: str) -> Experiment:
    return Experiment(
        model=model,
        data="random",
        backends=("onnxruntime",),
        precisions=("fp32",),
        batches=(1, 2),
        measure_s=0.06,
        max_measure_s=0.06,
        rounds=6,
        seed=7,
    )


@pytest.fixture
def panel(experiment: Experiment, store: Store) -> Panel:
    return Panel(experiment, store=store)


def control(panel: Panel, name: str):
    return panel._form.control[name]


def states(panel: Panel) -> set[Status]:
    return {row.status for row in panel._lines.results.values()}


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
    panel._form.precisions["int8"].value = True
    assert panel.experiment.batches == (4, 16)
    assert panel.experiment.precisions == ("fp32", "int8")
    assert "-r batches 4,16" in panel._export.commands.value
    assert "batches=(4, 16)" in panel._export.commands.value


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("batches", [], "&#x27;batches&#x27; is empty. Give at least one value."),
        (
            "build_options",
            "<b>",
            "&#x27;build_options&#x27; are names of letters, digits and _ . = -; found &quot;&lt;b&gt;&quot;. Separate several by commas.",
        ),
        ("rounds", 0, "&#x27;rounds&#x27; must be a whole number from 1 to 10000; found 0. Choose for example 12."),
        ("threads", 0, "&#x27;threads&#x27; must be a whole number from 1 to 1024; found 0. Choose for example 2."),
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
    panel._form.backends["onnxruntime"].value = False
    assert "&#x27;backends&#x27; is empty" in panel._out.problem.value
    panel._form.backends["onnxruntime"].value = True
    panel._form.model.path.value = " "
    assert "Model: no path was given." in panel._out.problem.value


def test_a_backend_that_does_not_exist_is_named(experiment: Experiment, store: Store) -> None:
    panel = Panel(Experiment(backends=("onnxruntime", HOSTILE)), store=store)
    assert "There is no backend" in panel._out.message.value
    assert "<img" not in panel._out.message.value
    assert panel.experiment.backends == ("onnxruntime",)


def test_load_shows_the_model_and_what_is_possible(panel: Panel) -> None:
    panel._form.backends["tensorflow"].value = True
    assert "Load the model" in panel._out.plan.value
    panel.load()
    panel.wait(60)
    for fact in ("small", "x: float32 [? × 4] (dynamic axis: 0)", "y: float32 [? × 3]", "<td>12</td>"):
        assert fact in panel._facts.value
    assert "<b>1 variant</b> to build, 2 rows to measure: 0.1 s of timed calls" in panel._out.plan.value
    assert "<b>tensorflow fp32</b>: TensorFlow cannot run an ONNX model" in panel._out.plan.value
    panel._form.model.path.value = "other.onnx"
    assert panel._facts.value == ""


def test_a_hostile_path_is_shown_as_text(panel: Panel) -> None:
    panel._form.model.path.value = HOSTILE
    panel.load()
    panel.wait(60)
    shown = panel._out.message.value
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown
    assert "<img" not in shown + panel._export.commands.value
    assert "Traceback" not in shown


def test_what_comes_from_outside_is_escaped() -> None:
    tensor = TensorSpec(HOSTILE, "float32", (None, 2))
    model = Model(HOSTILE, HOSTILE, "onnx", (tensor,), (tensor,), 1, 1, "0", HOSTILE, (HOSTILE,))
    spec = EngineSpec("onnxruntime", Precision.FP32, mode=HOSTILE)
    failure = Failure(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    rows = [Result(spec, 1, status, failure=failure) for status in Status]
    shown = [
        panel_view.model_facts(model),
        *map(tables.row, rows),
        *(tables.run_row(row, HOSTILE, HOSTILE) for row in rows),
        tables.log_text(HOSTILE),
        panel_view.not_possible(rows),
        panel_view.failures(rows),
        panel_view.commands(Experiment(model=HOSTILE, data=HOSTILE)),
        panel_view.state(HOSTILE, HOSTILE, 1.0),
        export.copyable(HOSTILE, HOSTILE),
        export.download(HOSTILE, "text/csv", b"x"),
        panel_view.message(HOSTILE),
    ]
    for html in shown:
        assert "&lt;img" in html
        assert "<img" not in html


def test_voilas_page_draws_every_icon_without_the_internet() -> None:
    folder = Path(panel_view.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    named = set(sum(re.findall(r'icon ?= ?"([a-z-]+)"(?: if .*? else "([a-z-]*)")?', code), ())) - {""}
    template = (folder / "voila" / "index.html.j2").read_text(encoding="utf-8")
    assert {"play", "repeat", "caret-down", "check"} <= named
    assert named | {"upload"} <= set(re.findall(r'^  "([a-z-]+)": "M', template, re.MULTILINE))


def test_benchmark_fills_rows_and_draws(panel: Panel, capsys: pytest.CaptureFixture[str]) -> None:
    panel.display_results()
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
    table = panel._compare.table.value
    assert table.count('data-status="done"') == 2
    assert "baseline" in table
    assert digits(panel.results.rows[0].timing.median_s * 1e3) in table
    assert "fp32" in table
    assert "2 done." in panel._out.message.value
    assert "<b>0 variants</b> to build (1 is in the store), up to 2 rows to measure" in panel._out.plan.value
    panel._out.again.value = True
    assert "(1 is in the store), 2 rows to measure" in panel._out.plan.value
    (shown,) = (box.children[0] for box in panel._compare.plots.children)
    assert shown.figure.axes[0].get_title(loc="left") == "batch 1"
    assert not control(panel, "batches").disabled
    assert panel._out.cancel.disabled
    panel.display_results()
    assert NOTHING_YET not in capsys.readouterr().out
    control(panel, "threads").value = 2
    assert "The controls have changed since" in panel._out.outdated.value
    assert "<b>1 variant</b> to build, 2 rows to measure" in panel._out.plan.value
    control(panel, "threads").value = 1
    assert panel._out.outdated.value == ""


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
    assert "concurrency 1,2" in panel._export.commands.value
    panel.benchmark()
    panel.wait(120)
    assert "Callers at once" in panel._compare.load.value
    assert [loop.concurrency for loop in panel.results.rows[0].load.closed] == [1, 2]
    assert "load" in [name for _, name in panel._compare.figure.options]


def test_build_builds_and_measures_nothing(panel: Panel) -> None:
    panel.build()
    panel.wait(60)
    assert panel.results is not None
    assert states(panel) == {Status.BUILT}
    assert panel.results.measured == ()
    assert panel._compare.plots.children == ()


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

    assert asyncio.run(life()) < 1.5  # nobody called wait(), and no callback blocked
    assert states(panel) == {Status.DONE}


def test_settings_without_effect_are_gray_with_the_reason(panel: Panel) -> None:
    hints = panel._form._hints
    assert not control(panel, "optimization_level").disabled
    assert control(panel, "workspace_mib").disabled
    assert "ONNX Runtime: " + backends.get("onnxruntime").without["workspace"] in hints["workspace_mib"].value
    assert control(panel, "calibration").disabled
    assert "only INT8 and FP8 are calibrated" in hints["calibration"].value
    panel._form.precisions["int8"].value = True
    assert not control(panel, "calibration").disabled
    assert "How the ranges of activations are chosen" in hints["calibration"].value
    panel._form.backends["tensorflow"].value = True
    panel._form.backends["onnxruntime"].value = False
    assert control(panel, "optimization_level").disabled


def test_every_setting_has_a_control_with_its_help(panel: Panel) -> None:
    separate = {"model", "data", "backends", "precisions"}
    assert set(panel._form.control) | separate == set(SETTINGS)
    for name in panel._form.control:
        assert SETTINGS[name].help[1:] in unescape(panel._form._hints[name].value) or control(panel, name).disabled, (
            name
        )


def test_several_values_of_a_setting_are_chips_and_variants(panel: Panel) -> None:
    levels = control(panel, "optimization_level")
    assert levels.value == [-1]
    assert [chip.description for chip in levels.chips.values()] == ["default", "0", "1", "2", "3"]
    levels.chips[0].value = True
    levels.other.value = "5, default"
    assert levels.value == [-1, 0, 5]
    assert panel.experiment.optimization_level == (-1, 0, 5)
    assert [label for label, _ in control(panel, "baseline").options] == [
        "automatic", "onnxruntime fp32", "onnxruntime fp32 level 0", "onnxruntime fp32 level 5",
    ]  # fmt: skip
    assert "-r optimization_level -1,0,5" in panel._export.commands.value
    assert "<b>3 variants</b> asked for" in panel._out.plan.value
    levels.other.value = "many"
    assert "found &quot;many&quot;" in panel._out.problem.value


def test_a_setting_that_no_chosen_backend_has_says_so_and_multiplies_nothing(panel: Panel) -> None:
    assert control(panel, "workspace_mib").disabled
    control(panel, "workspace_mib").value = [0, 16, 64]
    assert [label for label, _ in control(panel, "baseline").options] == ["automatic", "onnxruntime fp32"]
    panel._form.backends["openvino"].value = True
    assert not control(panel, "optimization_level").disabled
    hint = unescape(panel._form._hints["optimization_level"].value)
    assert "; no effect on OpenVINO (OpenVINO has no such levels)" in hint
    assert "no effect" not in panel._form._hints["threads"].value


def test_a_file_of_nodes_is_read_when_the_run_begins(panel: Panel, tmp_path: Path) -> None:
    file = tmp_path / "keep.txt"
    control(panel, "keep").value = str(file)
    assert "could not be read" in panel._out.problem.value
    file.write_text("Gemm\n")
    control(panel, "keep").value = str(file) + " "
    assert panel._out.problem.value == ""
    panel.build()
    panel.wait(60)
    file.write_text("Conv\n")
    assert panel.ran.keep == ("Gemm",)


def test_a_backend_that_is_not_installed_is_gray_with_the_fix(
    experiment: Experiment, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.backends.openvino.find_spec", lambda _: None)
    panel = Panel(Experiment(backends=("onnxruntime", "openvino")), store=store)
    box = panel._form.backends["openvino"]
    assert box.disabled
    assert not box.value
    values = [getattr(widget, "value", "") for widget in _descendants(panel.widget) if widget.has_trait("value")]
    texts = [value for value in values if isinstance(value, str)]
    assert any("not available: the package &#x27;openvino&#x27; is not installed" in text for text in texts)
    assert any("pip install openvino" in text for text in texts)


def _descendants(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _descendants(child)


def test_the_baseline_offers_the_variants(panel: Panel) -> None:
    panel._form.precisions["int8"].value = True
    offered = [value for _, value in control(panel, "baseline").options]
    assert offered == ["", "onnxruntime fp32", "onnxruntime int8"]
    control(panel, "baseline").value = "onnxruntime int8"
    assert panel.experiment.baseline == "onnxruntime int8"
    panel._form.precisions["int8"].value = False
    assert panel.experiment.baseline == ""


def test_signatures_of_a_saved_model_are_offered(panel: Panel, model: str) -> None:
    tensor = TensorSpec("x", "float32", (None, 2))
    found = Model(model, "m", "saved_model", (tensor,), (tensor,), 1, 1, "0", "b", ("a", "b"))
    panel._show_model((model, "", "", ""), Opened(found))
    assert control(panel, "signature").options == ("a", "b")
    assert control(panel, "signature").layout.display is None
    assert panel.experiment.signature == "b"
    assert "signature b" in panel._facts.value
    assert not panel._work.busy  # the form's own change loads nothing


def test_another_model_is_not_asked_for_the_signature_of_the_one_before(
    panel: Panel, model: str, tmp_path: Path
) -> None:
    tensor = TensorSpec("x", "float32", (None, 2))
    found = Model(model, "m", "saved_model", (tensor,), (tensor,), 1, 1, "0", "serve", ("serve",))
    panel._show_model((model, "", "", ""), Opened(found))
    assert panel.experiment.signature == "serve"
    panel._form.model.kind.value = "path"
    panel._form.model.path.value = str(tmp_path / "other.keras")
    assert panel.experiment.signature == ""
    control(panel, "signature").value = "typed"  # before the path, by a person
    panel._form.model.path.value = str(tmp_path / "another")
    assert panel.experiment.signature == "typed"


def test_tensors_of_a_frozen_graph_can_be_typed(panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = control(panel, "signature")
    assert tensors.layout.display == "none"
    panel._form.model.kind.value = "path"
    panel._form.model.path.value = str(tmp_path / "net.pb")
    assert (tensors.layout.display, tensors.description) == (None, "Tensors")
    loads: list[str] = []
    monkeypatch.setattr(panel, "load", lambda: loads.append(panel.experiment.signature))
    tensors.value = "a:0 -> b:0"
    assert loads == ["a:0 -> b:0"]
    tensors.value = ""
    tensor = TensorSpec("x", "float32", (None, 2))
    found = Model(panel.experiment.model, "net", "frozen_graph", (tensor,), (tensor,), 1, 1, "0", "x:0 -> y:0")
    panel._show_model((found.path, "", "", ""), Opened(found))
    assert tensors.placeholder == "x:0 -> y:0"  # what was chosen, where nothing was said
    assert panel.experiment.signature == ""


def test_uploads_are_kept_by_digest_under_a_safe_name(tmp_path: Path) -> None:
    file = {"name": "../../<b>.onnx", "content": memoryview(b"abc")}
    path = Path(save_upload([file], tmp_path, (".onnx",)))
    assert path.read_bytes() == b"abc"
    assert path.parent.parent == tmp_path
    assert path.name == "-b-.onnx"
    for files, sentence in (
        ([], "No file was uploaded yet."),
        ([{"name": "x.pkl", "content": b""}], "The uploaded file is 'x.pkl'. Choose a file that ends in .onnx."),
        ([{"name": "x.onnx", "content": bytes(MAX_UPLOAD_BYTES + 1)}], "above the limit of 9.00 MiB"),
    ):
        with pytest.raises(InputError) as caught:
            save_upload(files, tmp_path, (".onnx",))
        assert sentence in caught.value.message


def test_an_uploaded_model_is_used(panel: Panel, model: str) -> None:
    panel._form.model.kind.value = "upload"
    assert "No file was uploaded yet" in panel._out.problem.value
    file = {
        "name": "mine.onnx",
        "type": "",
        "size": 1,
        "last_modified": datetime.now(UTC),
        "content": Path(model).read_bytes(),
    }
    panel._form.model.upload.value = (file,)
    assert panel._out.problem.value == ""
    assert Path(panel.experiment.model).read_bytes() == Path(model).read_bytes()


def test_who_is_at_the_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_interactive()  # no notebook at all
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5.8")
    assert is_interactive()
    monkeypatch.setenv("WORKBENCH_HEADLESS", "1")
    assert not is_interactive()


def test_show_without_a_person_prints_a_line_per_step(
    experiment: Experiment, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Experiment(**{**experiment.parameters(), "backends": "tensorflow,onnxruntime"})
    view = show(asked, store=str(store.root))
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("onnxruntime fp32: built in ") for line in lines) == 1
    assert sum(line.startswith("onnxruntime fp32 @") and "samples/s" in line for line in lines) == 2
    assert lines[-1].startswith("done: built 1 (reused 0), measured 2 (reused 0), scored 1")
    assert not any("TensorFlow cannot run" in line or "round" in line for line in lines)
    view.display_results()
    for part in ("model", "not possible", "failures", "work", "repeat"):
        view.display(part)
    assert NOTHING_YET not in capsys.readouterr().out


def test_settings_of_gpus_are_gray_while_nothing_runs_on_one(panel: Panel) -> None:
    for name in ("tf32", "cuda_graph", "streams"):
        assert control(panel, name).disabled
        assert "none of the chosen backends runs on a GPU" in panel._form._hints[name].value


def test_a_protocol_decides_region_and_time(panel: Panel) -> None:
    assert not control(panel, "region").disabled
    control(panel, "protocol").value = "trtexec-11"
    for name in ("region", "measure_s", "within", "max_measure_s", "until", "cuda_graph"):
        assert control(panel, name).disabled
        assert "trtexec-11 decides this" in panel._form._hints[name].value
    control(panel, "protocol").value = ""
    assert not control(panel, "region").disabled
    assert not control(panel, "measure_s").disabled


def test_the_plan_counts_what_is_measured_under_load() -> None:
    def told(**asked: object) -> str:
        planned = Planned((), (), (), (), measured=2, surely=True, before=Estimate(0, 0, 0, 0))
        return panel_view.plan(planned, Experiment(**asked))  # type: ignore[arg-type]

    assert "under load" not in told()
    assert ", and 6.0 s under load" in told(concurrency=(1, 2, 4), measure_s=1.0)
    searched = told(concurrency=(1, 2), rate="auto", measure_s=1.0)
    assert ", and 4.0 s under load and a search for the highest rate of each." in searched
