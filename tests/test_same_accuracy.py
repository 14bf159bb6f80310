"""The accuracy of one model on one data set is the same number in every format and through every backend: that of NumPy.

The model is run in NumPy in 64-bit floats. Samples whose two largest values lie close together are left out, so that rounding
changes no answer and the shares must be equal to the last digit.
"""

from __future__ import annotations

from pathlib import Path

import model_zoo
import numpy as np
import pytest
from onnx import helper

from workbench import backends
from workbench.records import Status
from workbench.runs.pipeline import run
from workbench.settings.experiment import Experiment
from workbench.store import Store

CLASSES, MARGIN = 5, 0.05
FORMATS = ("keras", "saved_model", "frozen_graph", "tflite", "onnx")


def forward(x: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """Two dense layers with a ReLU between them, and a softmax."""
    first, bias, second, last = (each.astype(np.float64) for each in weights)
    values = np.maximum(x.astype(np.float64) @ first + bias, 0) @ second + last
    shifted = np.exp(values - values.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """One model in five formats, samples with a clear answer, labels of which a third are wrong, and the accuracy by NumPy."""
    import keras

    folder = tmp_path_factory.mktemp("formats")
    rng = np.random.default_rng(7)
    shapes = ((6, 16), (16,), (16, CLASSES), (CLASSES,))
    weights = [rng.normal(0, 1, shape).astype(np.float32) for shape in shapes]
    network = keras.Sequential([
        keras.Input((6,), name="x"), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(CLASSES, activation="softmax"),
    ])  # fmt: skip
    network.set_weights(weights)
    x = rng.normal(0, 1, (600, 6)).astype(np.float32)
    sorted_values = np.sort(forward(x, weights), axis=1)
    x = x[sorted_values[:, -1] - sorted_values[:, -2] > MARGIN][:301]
    right = forward(x, weights).argmax(axis=1)
    y = np.where(rng.uniform(size=len(x)) < 1 / 3, rng.integers(0, CLASSES, len(x)), right)
    np.savez(folder / "data.npz", x=x, y=y)
    return {form: written(form, folder, network, weights) for form in FORMATS}, folder, float((right == y).mean())


def written(form: str, folder: Path, network, weights) -> Path:
    import tensorflow as tf

    if form == "keras":
        network.save(folder / "m.keras")
        return folder / "m.keras"
    if form == "onnx":
        names = ("w1", "b1", "w2", "b2")
        nodes = [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["z"]),
            helper.make_node("Softmax", ["z"], ["y"], axis=1),
        ]
        stored = dict(zip(names, weights, strict=True))
        proto = model_zoo.onnx_model(nodes, stored, inputs={"x": ("n", 6)}, outputs={"y": ("n", CLASSES)})
        return model_zoo.save(proto, folder / "m.onnx")
    into = folder / "saved_model"
    if not into.exists():
        network.export(into, verbose=False)
    if form == "saved_model":
        return into
    if form == "tflite":
        (folder / "m.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(into)).convert())
        return folder / "m.tflite"
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    loaded = tf.saved_model.load(str(into))  # kept, or its variables are gone
    frozen = convert_variables_to_constants_v2(loaded.signatures["serving_default"])
    (folder / "m.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())
    return folder / "m.pb"


@pytest.mark.long
@pytest.mark.parametrize("form", FORMATS)
def test_every_backend_is_right_as_often_as_numpy(kit, form, tmp_path):
    paths, folder, wanted = kit
    here = [
        name for name in backends.addresses() if backends.get(name.partition(":")[0]).status(name.partition(":")[2])
    ]
    experiment = Experiment(
        model=str(paths[form]), data=str(folder / "data.npz"), backends=",".join(here), precisions="fp32", batches="8",
        measure_s=0.02, max_measure_s=0.02, rounds=2,
    )  # fmt: skip
    results = run(experiment, store=Store(tmp_path / "store"))
    rows = [row for row in results.rows if row.status != Status.UNSUPPORTED]
    assert [row.failure.message for row in rows if row.status == Status.FAILED] == []
    # TensorRT's engines are built without a GPU and run nowhere here; the file that they were built from is scored
    assert {row.row for row in rows if row.engine.runnable} == {row.row for row in rows if row.status == Status.DONE}
    scored = {row.row: row.accuracy for row in rows if row.accuracy}
    assert set(scored) >= {row.row for row in rows if row.engine.runnable}
    assert {name: accuracy.value for name, accuracy in scored.items()} == dict.fromkeys(scored, wanted)
    assert {accuracy.agreement for accuracy in scored.values()} == {1.0}
    assert {accuracy.samples for accuracy in scored.values()} == {301}
    runs = {name.partition(" ")[0].partition(":")[0] for name in scored}
    assert runs >= {"onnxruntime", "openvino"} | ({"tensorflow"} if form not in ("tflite", "onnx") else set())
