"""Small runs with real engines, and deployments of them, for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from workbench.records import Results
from workbench.runs.archive import remember
from workbench.runs.pipeline import run
from workbench.runs.whole import KIND
from workbench.settings.experiment import Experiment
from workbench.store import Store

VARIANT = "onnxruntime fp32"
WIDTH = 512


def wide_onnx(path: Path) -> Path:
    """A product of matrices of 1 MiB and a softmax: 512 numbers in, 512 classes out."""
    draw = np.random.default_rng(0)
    weights = onnx.numpy_helper.from_array(draw.normal(size=(WIDTH, WIDTH)).astype(np.float32), "w")
    shape = ["n", WIDTH]
    values = {name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x", "y")}
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"]),
        onnx.helper.make_node("Softmax", ["h"], ["y"], axis=1),
    ]
    graph = onnx.helper.make_graph(nodes, "wide", [values["x"]], [values["y"]], [weights])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def samples(path: Path, width: int = WIDTH, classes: int = WIDTH) -> Path:
    """40 samples with labels."""
    draw = np.random.default_rng(1)
    np.savez(path, x=draw.normal(size=(40, width)).astype(np.float32), y=draw.integers(0, classes, 40))
    return path


def measured(folder: Path, store: Path, **asked: object) -> Results:
    """Run the wide model by ONNX Runtime at batches 1 and 4, and keep the run in ``store``."""
    settings = {"backends": "onnxruntime", "precisions": "fp32", "batches": "1,4", "calibration_samples": 4} | asked
    short = {"measure_s": 0.1, "max_measure_s": 0.1, "rounds": 6}
    model, data = wide_onnx(folder / "wide.onnx"), samples(folder / "wide.npz")
    return run(Experiment(model=str(model), data=str(data), **settings, **short), store=store)


def keep_as_worse(results: Results, store: Store, name: str = "worse") -> None:
    """Keep the run again as one whose FP32 engine loses half of the right answers."""
    rows = []
    for row in results.rows:
        score = row.accuracy
        assert score is not None
        worse = replace(score, value=0.4, loss=0.5, loss_low=0.4, loss_high=0.6, agreement=0.5)
        rows.append(replace(row, accuracy=worse))
    found = replace(results, rows=tuple(rows), run=name)
    store.used |= set(store.facts(KIND, results.run)["about"]["used"])
    remember(store, name, found, Experiment(budget="0.5 points"))
