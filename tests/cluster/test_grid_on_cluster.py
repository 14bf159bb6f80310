"""A grid of reports whose runs are carried out by real workers."""

from __future__ import annotations

import json
from pathlib import Path

import clusters
import jsonschema
import pytest
from small_runs import write_dense

import workbench
from workbench.cli import main
from workbench.cli.answer import schema

pytestmark = [pytest.mark.slow, pytest.mark.long]
GRID = """
models: {small: dense.onnx, copy: copy.onnx}
common: {data: data.npz, backends: onnxruntime, batches: "1,2", calibration: minmax, calibration_samples: 20, measure_s: 0.06, max_measure_s: 0.06, rounds: 6}
settings: {exact: {precisions: fp32}, both: {precisions: "fp32,int8"}}
"""
ROWS = {"exact": 2, "both": 4}


def test_a_grid_is_carried_out_by_workers_and_continues(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = write_dense(tmp_path)
    (place / "copy.onnx").write_bytes((place / "dense.onnx").read_bytes())
    (place / "grid.yaml").write_text(GRID, encoding="utf-8")
    with clusters.Cluster(place / "machines", 2, labels=["cpu"]) as cluster:
        where = ["--cluster", cluster.address, "--cluster-label", "cpu", "--cohort", "1"]
        words = [
            "grid",
            str(place / "grid.yaml"),
            "--output",
            str(place / "out"),
            "--store",
            str(place / "store"),
            "--json",
        ]
        assert main([*words, *where[:3], "gpu:H200"]) == 1
        refused = json.loads(capsys.readouterr().out)["reports"]
        assert all("has the label 'gpu:H200'" in each["error"] for each in refused)
        assert main([*words, *where]) == 0
        found = json.loads(capsys.readouterr().out)
        assert main([*words, *where]) == 0
        again = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, schema("grid"), cls=jsonschema.Draft202012Validator)
    reports = [(each["model"], each["group"], each["state"]) for each in found["reports"]]
    assert reports == [(model, group, "done") for model in ("small", "copy") for group in ("exact", "both")]
    index = (place / "out" / "index.html").read_text(encoding="utf-8")
    for each in found["reports"]:
        results = workbench.read(each["notebook"])
        assert len(results.rows) == ROWS[each["group"]]
        assert all(row.timing and row.worker and row.worker.name in {"w0", "w1"} for row in results.rows)
        assert not results.compare().refused
        assert Path(each["report"]).name in index
        assert "Measured on a cluster" in Path(each["report"]).read_text(encoding="utf-8")
    assert all(each["reused"] for each in again["reports"])
