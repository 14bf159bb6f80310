"""Lesson 4 reads its answers from a run that was recorded on a GPU, and goes on without one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import recorded

import workbench
from workbench.lessons import converted, recorded_run, row_of
from workbench.report.document import document
from workbench.runs.archive import remember, runs
from workbench.runs.timings import keep_timing
from workbench.runs.travel import export_run, import_run
from workbench.settings.experiment import Experiment
from workbench.store import Store

LESSON = Path(__file__).resolve().parents[2] / "notebooks" / "lessons" / "04_tensorrt.ipynb"
RUN = "20261130T120000Z-5dc417"
MS = {"tftrt fp16": 4.2, "tensorrt fp32": 0.6, "tensorrt fp16": 0.2, "tensorrt int8": 0.26}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A run as `workbench history --export` writes it, of TF-TRT in an environment beside TensorRT."""
    store, rows = Store(tmp_path / "there").prepare(), []
    for label, milliseconds in MS.items():
        of = recorded.spec(label, environment="tf214" if "tftrt" in label else "")
        row = recorded.on_gpu(label, median_ms=milliseconds, spec=of)
        note = "1 TensorRT engine with 237 of 239 nodes; left to TensorFlow: Cast" if "tftrt" in label else ""
        timing = keep_timing(store, f"{label}-1".replace(" ", ""), replace(row.timing, engine_key=row.engine.key))
        rows.append(replace(row, timing=timing, engine=replace(row.engine, note=note)))
    results = replace(recorded.results(rows, baseline="tensorrt fp32"), run=RUN)
    remember(store, RUN, results, Experiment(model="mobilenetv2.keras", backends="tftrt@tf214,tensorrt"))
    return export_run(RUN, tmp_path / "tftrt_h200.wbrun", store).path


def printed(capsys: pytest.CaptureFixture[str], **parameters: object) -> str:
    """What the cells from the story of TF-TRT on print."""
    cells = [cell for cell in json.loads(LESSON.read_text())["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    start = next(place for place, source in enumerate(sources) if "import recorded_run" in source)
    names = {"workbench": workbench, "display": print}
    exec(sources[0], names)
    names |= parameters
    exec("from workbench.lessons import readiness", names)
    for source in sources[start:]:
        exec(source, names)
    return capsys.readouterr().out


def test_every_question_is_answered_from_the_recorded_run(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORKBENCH_STORE", str(tmp_path / "here"))
    answers = {"question_1": 99.0, "question_2": "slower", "question_3": 21, "question_4": "faster"}
    said = printed(capsys, recorded=str(file), **answers)
    assert "imported: measured on AMD EPYC" in said
    assert "You predicted 99.0; this run says 99.16. Your prediction held." in said
    assert "1 TRTEngineOp with 237 of 239 nodes." in said
    assert "TF-TRT against TensorRT, FP16?\n→ You predicted slower; this run says slower. Your prediction held." in said
    assert "tftrt@tf214 fp16 against tensorrt fp16, batch 1: ×0.04" in said
    assert "You predicted 21; this run says 2" in said
    assert "Of the plain call: copying in 0.006 ms" in said
    assert "INT8 against FP16?" in said
    assert "You predicted faster; this run says slower. Your prediction failed." in said
    assert "Why isn't it faster? tensorrt int8, batch 1" in said
    assert "this machine has none" not in said  # it was measured on another one
    assert [run.imported != "" for run in runs(Store())] == [True]


def test_without_a_recorded_run_the_lesson_says_so_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORKBENCH_STORE", str(tmp_path / "here"))
    said = printed(capsys, recorded=str(tmp_path / "nothing.wbrun"))
    assert "There is no recorded run" in said
    assert "→" not in said


def test_the_run_that_comes_with_the_lesson_answers_what_it_holds(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORKBENCH_STORE", str(tmp_path / "here"))
    said = printed(capsys, question_1=50, question_2="slower", question_3=8, question_4="cannot tell")
    assert "imported: measured on Intel(R) Xeon(R) Processor, 16 cores, 126 GiB, NVIDIA H200, driver 580.159.04" in said
    assert "1 TRTEngineOp with 34 of 34 nodes." in said
    assert "tftrt@tf214 fp16 against tensorrt fp16, batch 1: ×0.126 [0.072, 0.181], slower." in said
    assert "0.738 ms against 0.096 ms, host-to-host." in said
    assert said.count("Your prediction held.") == 3
    assert said.count("Your prediction failed.") == 1  # the share of nodes
    assert "tensorrt int8 against tensorrt fp16, batch 1: ×0.999" in said
    assert "not clearly faster than tensorrt fp16" in said
    assert "layers that are as fast in FP16" in said


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("digits_h200", 18),
        ("lite0_h200", 12),
        ("resnet50_h200", 6),
        ("mobilenetv2_h200", 12),
        ("mobilenetv2_energy_h200", 6),
    ],
)
def test_runs_of_a_gpu_become_a_report_on_any_machine(name, rows, tmp_path):
    here = Store(tmp_path / "here").prepare()
    results = import_run(LESSON.parent / "data" / f"{name}.wbrun", here).results
    assert len(results.rows) == rows
    judged = results.compare("onnxruntime:cuda fp32").rows
    best = {row.result.spec.label: row for row in judged if row.result.batch == 64}
    assert best["tensorrt fp16"].speedup > 3
    page = document(results)
    assert {row["engine"]["library"] for row in page["rows"] if row["engine"]} == {"TensorRT", "ONNX Runtime"}


def test_recorded_runs_say_why_int8_is_slow_and_how_much_builds_differ(tmp_path):
    here = Store(tmp_path / "here").prepare()
    layers, builds = (
        import_run(LESSON.parent / "data" / f"{name}_h200.wbrun", here).results
        for name in ("mobilenetv2_layers", "resnet50_builds")
    )
    why = str(layers.why_not_faster())
    assert "tensorrt int8, batch 1: ×0.81" in why
    assert "43 of 57 groups of layers take as long in FP16" in why
    assert len(builds.rows) == 6
    assert "Fastest build of tensorrt fp16 over all its batches: build 2" in builds.builds().text()


def test_rows_are_found_whatever_their_environment(file, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_STORE", str(tmp_path / "here"))
    found = recorded_run(str(file))
    assert row_of(found, "tftrt", "fp16").spec.address == "tftrt@tf214"
    assert row_of(found, "tftrt", "int8") is None
    assert row_of(found, "tftrt", "fp16", 8) is None
    assert row_of(None, "tftrt", "fp16") is None
    assert converted(row_of(found, "tftrt", "fp16")) == (1, 237, 239)
    assert converted(row_of(found, "tensorrt", "fp16")) is None
