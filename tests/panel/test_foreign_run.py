"""A run of another machine in the panel: its backends and environments need not exist here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import recorded

from workbench.panel.panel import Panel
from workbench.runs.archive import remember, runs
from workbench.runs.timings import keep_timing
from workbench.runs.travel import export_run, import_run
from workbench.settings.experiment import Experiment
from workbench.store import Store

RUN = "20261130T120000Z-5dc417"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A run of TF-TRT in an environment, and of TensorRT."""
    there, rows = Store(tmp_path / "there").prepare(), []
    for label, milliseconds in {"tftrt fp16": 4.2, "tensorrt fp32": 0.6, "tensorrt fp16": 0.2}.items():
        spec = recorded.spec(label, environment="tf214" if "tftrt" in label else "")
        row = recorded.on_gpu(label, median_ms=milliseconds, spec=spec)
        timing = keep_timing(there, f"{label}-1".replace(" ", ""), replace(row.timing, engine_key=row.engine.key))
        rows.append(replace(row, timing=timing))
    results = replace(recorded.results(rows, baseline="tensorrt fp32"), run=RUN)
    remember(there, RUN, results, Experiment(model="mobilenetv2.keras", backends="tftrt@tf214,tensorrt"))
    return export_run(RUN, tmp_path / "there.wbrun", there).path


def test_it_is_shown_although_none_of_its_backends_is_here(file: Path, store: Store) -> None:
    import_run(file, store)
    panel = Panel(Experiment(data="random", backends="onnxruntime"), store=store)
    panel.show_run(next(run for run in runs(store) if run.name == RUN))
    panel.wait(60)
    assert panel._run.compare.table.value.count('data-status="done"') == 3
    assert "tftrt@tf214 fp16" in panel._run.compare.table.value
    assert "tensorrt fp16 is 3.0" in panel._out.message.value
    assert '<div class="wb-message wb-warn" role="status">This run was imported' in panel._run.compare.said.value
    said = "None of the requested backends is available here (tftrt@tf214, tensorrt). Choose others"
    assert said in panel._controls._wrong["backends"].value
    assert "To run it here, first change: Model, Backends." in panel._out.problem.value
    assert "wb-message" not in panel._out.problem.value
    assert panel._out.run.disabled
    panel._controls.backends["onnxruntime"].value = True
    assert "wb-bad" in panel._out.problem.value
    assert "There is nothing at &#39;mobilenetv2.keras&#39;" in panel._out.problem.value
    panel._controls.model.kind.value = "demo"
    assert panel._out.problem.value == ""
