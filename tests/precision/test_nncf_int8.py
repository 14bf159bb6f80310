"""NNCF on a real network: the demo through the contract suite; here its arguments and its reports."""

from __future__ import annotations

import numpy as np
import pytest
from small_onnx import convolution

from workbench.backends.openvino.backend import BACKEND
from workbench.data.samples import Samples
from workbench.errors import BuildError
from workbench.precision.nncf_int8 import quantized
from workbench.records import EngineSpec, Precision
from workbench.records.methods import CONTROL, NNCF

pytest.importorskip("nncf")
IMAGES = np.random.default_rng(0).random((24, 3, 16, 16), dtype=np.float32)


@pytest.fixture
def network(tmp_path):
    import openvino

    return openvino.Core().read_model(str(convolution(tmp_path / "conv.onnx").path))


@pytest.mark.parametrize("way", [NNCF, CONTROL])
def test_layers_are_quantized_unless_control_finds_that_they_change_too_many_answers(network, way):
    """Of noise, the largest of eight channels changes somewhere in nearly every image: control turns the layer back."""
    found, note = quantized(network, Samples("s", {"x": IMAGES}), way, lambda _: None, ["x"])
    kinds = {op.get_type_name() for op in found.get_ops()}
    assert ("FakeQuantize" in kinds) == (way == NNCF)
    assert note == ("controlled on 12 calibration samples: at most 1% of outputs may change" if way == CONTROL else "")


def test_control_needs_samples_to_split(network):
    with pytest.raises(BuildError, match=r"there are only 8. Set 'calibration_samples' to 20 or more"):
        quantized(network, Samples("s", {"x": IMAGES[:8]}), CONTROL, lambda _: None, ["x"])


def test_without_nncf_it_says_what_to_install(monkeypatch):
    from importlib.util import find_spec

    monkeypatch.setattr(
        "workbench.backends.openvino.backend.find_spec", lambda name: None if name == "nncf" else find_spec(name)
    )
    able = BACKEND.supports(EngineSpec("openvino", Precision.INT8, method=NNCF), None)
    assert (able.reason, able.fix) == ("the package 'nncf' is not installed", 'pip install "inference-workbench[nncf]"')
    assert BACKEND.supports(EngineSpec("openvino", Precision.INT8), None)


@pytest.mark.parametrize("way", [NNCF, CONTROL])
def test_weights_of_7_bits_do_not_saturate(tmp_path, way):
    """Of large weights and activations, the output was off by a third of its largest value on CPUs without VNNI."""
    import model_zoo
    import openvino
    from onnx import helper

    draw = np.random.default_rng(0)
    weights = {"first": draw.uniform(0.9, 1, (8, 16, 3, 3)), "second": draw.uniform(0.9, 1, (8, 8, 3, 3))}
    nodes = [helper.make_node("Conv", ["x", "first"], ["h"]), helper.make_node("Conv", ["h", "second"], ["y"])]
    proto = model_zoo.onnx_model(
        nodes,
        {name: array.astype(np.float32) for name, array in weights.items()},
        inputs={"x": ("n", 16, 8, 8)},
        outputs={"y": ("n", 8, 4, 4)},
    )
    path, core = model_zoo.save(proto, tmp_path / "m.onnx"), openvino.Core()
    x = draw.uniform(0.9, 1, (30, 16, 8, 8)).astype(np.float32)

    def outputs(model) -> np.ndarray:
        return next(iter(core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x).values()))

    wanted = outputs(core.read_model(str(path)))
    samples = Samples("s", {"x": x})
    found, _ = quantized(core.read_model(str(path)), samples, way, lambda _: None, ["x"], seven_bits=True)
    assert np.abs(outputs(found) - wanted).max() < 0.01 * wanted.max()
