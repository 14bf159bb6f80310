"""NNCF on a real network: the demo through the contract suite; here what is asked of it and what is told."""

from __future__ import annotations

import numpy as np
import pytest
from small_onnx import convolution

from workbench.backends.openvino import BACKEND
from workbench.choices.methods import CONTROL, NNCF
from workbench.data.samples import Samples
from workbench.errors import BuildError
from workbench.precision.nncf_int8 import quantized
from workbench.records import EngineSpec, Precision

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
    assert note == ("controlled on 12 calibration samples: at most 1% of answers may change" if way == CONTROL else "")


def test_control_needs_samples_to_split(network):
    with pytest.raises(BuildError, match=r"there are 8. Set 'calibration_samples' to 20 or more"):
        quantized(network, Samples("s", {"x": IMAGES[:8]}), CONTROL, lambda _: None, ["x"])


def test_without_nncf_it_says_what_to_install(monkeypatch):
    from importlib.util import find_spec

    monkeypatch.setattr(
        "workbench.backends.openvino.find_spec", lambda name: None if name == "nncf" else find_spec(name)
    )
    able = BACKEND.supports(EngineSpec("openvino", Precision.INT8, method=NNCF), None)
    assert (able.reason, able.fix) == ("the package 'nncf' is not installed", 'pip install "inference-workbench[nncf]"')
    assert BACKEND.supports(EngineSpec("openvino", Precision.INT8), None)
