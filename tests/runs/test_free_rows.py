"""Outputs whose rows follow the data, of models that run at batches of 2 or 4 only: timed, and compared with the source model."""

from __future__ import annotations

from pathlib import Path

import model_zoo
import numpy as np
import pytest
from onnx import TensorProto, helper

from workbench.records import Results
from workbench.runs.pipeline import run
from workbench.settings.experiment import Experiment
from workbench.store import Store

CANDIDATES = 12
CONSTANTS = {
    "most": np.array([4], np.int64),
    "overlap": np.array([0.4], np.float32),
    "least": np.array([0.6], np.float32),
    "first": np.array([0], np.int64),
    "third": np.array([2], np.int64),
    "last": np.array([3], np.int64),
    "one": np.array([1], np.int64),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store")).prepare()


def detector(path: Path, images: int | str, *outputs: str, pairs: bool = False) -> Path:
    """Boxes behind NonMaxSuppression: ``chosen`` [rows, 3], ``corners`` [rows, 4], ``image`` [rows].

    With ``pairs`` the batch is free in the file, and only even ones run.
    """

    def node(kind, inputs, output, **more):
        return helper.make_node(kind, inputs, [output], name=output, **more)

    constants = dict(CONSTANTS)
    nodes = [node("Sigmoid", ["scores"], "likely")]
    if pairs:
        constants["shape"] = np.array([-1, 2, CANDIDATES, 4], np.int64)
        constants["back"] = np.array([0, CANDIDATES, 4], np.int64)
        constants["flat"] = np.array([-1, CANDIDATES, 4], np.int64)
        nodes += [node("Reshape", ["boxes", "shape"], "paired"), node("Reshape", ["paired", "flat"], "all_boxes")]
    boxes = "all_boxes" if pairs else "boxes"
    nodes += [
        node("NonMaxSuppression", [boxes, "likely", "most", "overlap", "least"], "chosen"),
        node("Slice", ["chosen", "first", "one", "one"], "image_column"),
        node("Squeeze", ["image_column", "one"], "image"),
        node("Slice", ["chosen", "third", "last", "one"], "place_column"),
        node("Concat", ["image_column", "place_column"], "where", axis=1),
        node("GatherND", [boxes, "where"], "corners"),
    ]
    proto = model_zoo.onnx_model(
        nodes,
        constants,
        inputs={"boxes": (images, CANDIDATES, 4), "scores": (images, 2, CANDIDATES)},
        outputs={name: {"chosen": ("rows", 3), "corners": ("rows", 4), "image": ("rows",)}[name] for name in outputs},
    )
    for value in proto.graph.output:
        value.type.tensor_type.elem_type = TensorProto.FLOAT if value.name == "corners" else TensorProto.INT64
    return model_zoo.save(proto, path)


def pictures(count: int) -> dict[str, np.ndarray]:
    """Some samples have no box at all."""
    rng = np.random.default_rng(5)
    low = rng.uniform(0, 1, (count, CANDIDATES, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.5, low.shape)], axis=-1).astype(np.float32)
    scores = rng.normal(-0.5, 1.5, (count, 2, CANDIDATES)).astype(np.float32)
    scores[::5] = -4
    return {"boxes": boxes, "scores": scores}


def ran(model: Path, data: dict[str, np.ndarray], store: Store, batches: str, **asked) -> Results:
    np.savez(model.with_suffix(".npz"), **data)
    quick = {"measure_s": 0.02, "max_measure_s": 0.02, "rounds": 2, "precisions": "fp32", "calibration_samples": 20}
    quick |= {"model": str(model), "data": str(model.with_suffix(".npz")), "backends": "onnxruntime,openvino"}
    return run(Experiment(batches=batches, **(quick | asked)), store=store)


def compared(results: Results) -> list[tuple[str, int, float, int, int]]:
    return [
        (row.spec.backend, row.batch, row.accuracy.agreement, row.accuracy.samples, row.accuracy.together)
        for row in results.rows
        if row.timing is not None and row.accuracy is not None
    ]


@pytest.mark.long
@pytest.mark.parametrize(
    ("batch", "outputs", "counted"),
    [(2, ("chosen",), (21, 1)), (4, ("corners", "image"), (21, 1)), (4, ("corners",), (6, 4))],
)
def test_a_detector_with_a_fixed_batch_is_compared(tmp_path, shared, batch, outputs, counted):
    """Timed but not scored before: a sample had to have a call of its own."""
    path = detector(tmp_path / "detector.onnx", batch, *outputs)
    results = ran(path, pictures(21), shared, str(batch))
    assert compared(results) == [("onnxruntime", batch, 1, *counted), ("openvino", batch, 1, *counted)]
    reported = (
        f"by the batch index in column 0 of '{outputs[-1]}'" if counted[1] == 1 else "all rows of a batch are compared"
    )
    assert any(reported in note for note in results.notes)


@pytest.mark.long
def test_places_of_nonzero_values_at_a_fixed_batch(tmp_path, shared):
    """NonZero gives its places as columns, [axes, places]."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["r"])]
    nodes.append(helper.make_node("NonZero", ["r"], ["places"]))
    rng = np.random.default_rng(6)
    weights = {"w": rng.normal(size=(4, 6)).astype(np.float32)}
    proto = model_zoo.onnx_model(nodes, weights, inputs={"x": (4, 4)}, outputs={"places": (2, "found")})
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    path = model_zoo.save(proto, tmp_path / "places.onnx")
    results = ran(path, {"x": rng.normal(size=(21, 4)).astype(np.float32)}, shared, "4")
    assert compared(results) == [("onnxruntime", 4, 1, 21, 1), ("openvino", 4, 1, 21, 1)]


@pytest.mark.long
def test_a_detector_that_runs_at_even_batches_only(tmp_path, shared):
    """OpenVINO runs it at a batch of 1 as well, with other results: that an engine runs is no proof."""
    path = detector(tmp_path / "even.onnx", "n", "chosen", "corners", pairs=True)
    assert compared(ran(path, pictures(21), shared, "2,4")) == [
        (backend, batch, 1, 21, 1) for backend in ("onnxruntime", "openvino") for batch in (2, 4)
    ]
