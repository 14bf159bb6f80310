"""Samples are set aside for calibration only where a variant needs them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from workbench.errors import InputError
from workbench.plan.calibrates import calibrates
from workbench.records import Model, TensorSpec
from workbench.runs.sources import data_of
from workbench.settings.experiment import Experiment

SPECS = ((TensorSpec("x", "float32", (None, 4)),), (TensorSpec("o", "float32", (None, 2)),))
FLOAT = Model("m", "m", "onnx", *SPECS, 1, 1, "d")
QUANTIZED = replace(FLOAT, quantized="int8", quantized_how="Q and DQ")
TFLITE = replace(QUANTIZED, format="tflite")
KERAS = replace(FLOAT, format="keras")


@pytest.mark.parametrize(("model", "backends", "precisions", "wanted"), [
    (FLOAT, "onnxruntime", "fp32", False),
    (FLOAT, "onnxruntime", "fp32,int8", True),
    (FLOAT, "onnxruntime", "int8-entropy", True),
    (FLOAT, "onnxruntime", "int8-dynamic,int8-weights,fp16", False),
    (FLOAT, "openvino", "int8-nncf", True),
    (FLOAT, "tensorflow", "int8", False),  # TensorFlow does not build it
    (FLOAT, "litert", "int8", False),  # nor does LiteRT of an ONNX file
    (KERAS, "litert", "int8", True),
    (KERAS, "litert", "int8-dynamic", False),
    (replace(KERAS, exportable="'s' holds text"), "onnxruntime", "int8", False),
    (QUANTIZED, "onnxruntime,openvino", "int8", False),
    (TFLITE, "litert", "int8", False),
    (TFLITE, "litert,onnxruntime,openvino", "fp32,int8", False),
])  # fmt: skip
def test_what_calibrates(model, backends, precisions, wanted):
    assert calibrates(Experiment(backends=backends, precisions=precisions), model) == wanted


def test_a_quantized_file_is_tested_on_every_row(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.eye(4, dtype=np.float32))
    asked = Experiment(data=str(tmp_path / "d.npz"), backends="litert", precisions="int8", calibration_samples=200)
    found = data_of(asked, TFLITE)
    assert (found.calibration, found.test.count) == (None, 4)
    with pytest.raises(InputError, match="has 4 rows, but 'calibration_samples' is 200"):
        data_of(asked, KERAS)
