"""Experiments of a second or two on a small model, and what came of them."""

from __future__ import annotations

from pathlib import Path

import model_zoo
import numpy as np

from workbench.records import Results, Status
from workbench.settings.experiment import Experiment


def write_dense(folder: Path) -> Path:
    """Write ``dense.onnx`` and 60 samples for it, ``data.npz``, whose labels are the model's own answers."""
    dense = model_zoo.save(model_zoo.onnx_dense(), folder / "dense.onnx")
    x = np.random.default_rng(0).uniform(-1, 1, (60, 4)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, y=model_zoo.run_onnx(dense, {"x": x})["y"].argmax(1))
    return folder


def ask(folder: Path, model: str = "dense", **changes) -> Experiment:
    """Two libraries, two precisions, two batches: eight rows."""
    asked = {
        "model": str(folder / f"{model}.onnx"),
        "data": str(folder / "data.npz"),
        "backends": "onnxruntime,openvino",
        "precisions": "fp32,int8",
        "batches": "1,2",
        "calibration": "minmax",
        "calibration_samples": 20,
        "rounds": 6,
    }
    return Experiment(**{**asked, **changes})


def statuses(results: Results) -> dict[str, Status]:
    return {row.row: row.status for row in results.rows}


def counts(results: Results) -> tuple[int, ...]:
    """Built, measured, scored; and the same from the store."""
    tally = results.tally
    return (
        *(tally.built, tally.measured, tally.scored),
        *(tally.reused_builds, tally.reused_timings, tally.reused_scores),
    )
