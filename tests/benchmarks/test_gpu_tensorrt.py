"""The benchmark of TensorRT where there is no GPU: its command line, its tables from recorded rows, and the model that it makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from gpu_tensorrt_tables import sections  # noqa: E402
from models import mobilenetv2  # noqa: E402


def test_it_lists_its_parts_without_a_gpu():
    script = str(BENCHMARKS / "gpu_tensorrt.py")
    help_text = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True).stdout
    for part in ("rows", "device", "launch", "host", "energy", "levels", "cache", "builds", "layers"):
        assert f"``{part}``" in help_text


def test_tables_are_made_from_recorded_rows():
    rows = [json.loads(line) for line in (BENCHMARKS / "gpu_tensorrt.jsonl").read_text().splitlines()]
    several = [
        {"part": "builds", "model": "another", "batch": 64, "ms": ms, "build_s": 50.0, "date": "2026-12-02"}
        for ms in (1.8, 1.9, 2.7)
    ]
    made = {section.title: section for section in sections([*rows, *several])}
    assert len(made["TensorRT 8.6 and ONNX Runtime CUDA"].rows) > 20
    builds = made["TensorRT 8.6: several builds of one model"]
    assert builds.measured[0] == "2026-12-01 to 2026-12-02"
    assert builds.rows[-1] == ("another", "64", "3", "1.8000, 1.9000, 2.7000", "1.500", "50, 50, 50")


def test_mobilenetv2_has_its_published_size(tmp_path):
    """3.5 million parameters, of which folding the batch normalization removes some."""
    model = onnx.load(mobilenetv2(tmp_path / "mobilenetv2.onnx"))
    onnx.checker.check_model(model)
    assert 3.45e6 < sum(int(np.prod(weight.dims)) for weight in model.graph.initializer) < 3.52e6
    assert sum(node.op_type == "Conv" for node in model.graph.node) == 52
