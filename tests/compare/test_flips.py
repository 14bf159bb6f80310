"""The samples to which two engines answer otherwise: found again in the store, whatever way the data were opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import model_zoo
import numpy as np
import pytest
from onnx import helper
from PIL import Image

from workbench.compare.flips import Flip, Flips, flips
from workbench.panel.tables import gallery
from workbench.runs.pipeline import run
from workbench.runs.sources import data_of
from workbench.settings.experiment import Experiment
from workbench.store import Store

RNG = np.random.default_rng(0)
CLASSES = ("cat", "dog", "owl")
QUICK = {"backends": "onnxruntime", "batches": "1", "measure_s": 0.02, "max_measure_s": 0.02, "rounds": 2}


def table(folder: Path, labels: np.ndarray) -> dict[str, str]:
    """A model of four features and three classes, and its data with nothing set aside for calibration."""
    model = model_zoo.save(model_zoo.onnx_dense(), folder / "dense.onnx")
    np.savez(folder / "data.npz", x=RNG.standard_normal((60, 4)).astype(np.float32), y=labels)
    return {"model": str(model), "data": str(folder / "data.npz")}


def images(folder: Path) -> dict[str, str]:
    """A model that takes the mean of each channel as the score of a class, and a folder of images."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    graph = model_zoo.onnx_model(
        nodes, inputs={"x": ("n", 3, 8, 8)}, outputs={"y": ("n", 3)}, weights={"w": np.eye(3, dtype=np.float32)}
    )
    for name in CLASSES:
        (folder / "set" / name).mkdir(parents=True)
        for number in range(4):
            pixels = RNG.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "set" / name / f"{number}.png")
    return {"model": str(model_zoo.save(graph, folder / "mean.onnx")), "data": str(folder / "set")}


@pytest.mark.long
def test_answers_are_found_where_a_method_was_calibrated_and_images_were_scaled(tmp_path: Path, store: Store):
    asked = Experiment(
        **images(tmp_path), **QUICK, precisions="fp32,int8-entropy", calibration_samples=8, pixels="-1..1"
    )
    results = run(asked, store=store)

    found = flips(results, asked, results.rows[0], results.rows[1], store)

    assert found.samples == 4
    right = [round(row.accuracy.value * found.samples) for row in results.rows]
    assert found.second_right - found.first_right == right[1] - right[0]
    assert all(flip.first != flip.second for flip in found.shown)


def test_classes_have_names_where_the_data_have_some(tmp_path: Path, store: Store):
    asked = Experiment(**images(tmp_path), **QUICK, precisions="fp32", calibration_samples=2)
    results = run(asked, store=store)
    (row,) = results.rows
    assert {part.name for part in row.accuracy.by} == set(CLASSES)
    assert run(asked, store=store).rows[0].accuracy == row.accuracy  # the score is from the store
    data = data_of(asked, results.model)
    shown = Flip(0, *map(data.class_name, (1, 1, 2)), 0.75, 0.5, {"x": data.test.inputs["x"][0]})
    page = gallery(Flips(1, "y", 1, 1, 0, (shown,)), "one", "other")
    assert "right: <b>dog</b>" in page
    assert "other: <b>owl</b> ✕" in page


def test_answers_are_found_where_labels_are_not_classes(tmp_path: Path, store: Store):
    asked = Experiment(**table(tmp_path, RNG.standard_normal((60, 2))), **QUICK, precisions="fp32")
    results = run(asked, store=store, metric=lambda outputs, labels: outputs["y"][:, 0] - labels[:, 0])
    named = replace(results.rows[0], accuracy=replace(results.rows[0].accuracy, metric="f1"))

    for row in (results.rows[0], named):
        found = flips(results, asked, row, row, store)
        assert (found.samples, found.changed, found.first_right) == (60, 0, None)
