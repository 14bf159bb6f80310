"""What a backend inherits."""

from __future__ import annotations

import numpy as np
import pytest

from workbench import backends
from workbench.backends.base import BaseBackend, BaseSession
from workbench.protocols import ON_CPU, Backend, LoadSession
from workbench.records import EngineSpec, Model, Precision, Region
from workbench.settings.table import BACKEND_SETTINGS


class Minimal(BaseBackend):
    name = "minimal"
    title = "Minimal"
    distributions = ("minimal-package",)
    imports = ("json.decoder",)
    settings = {"threads": "threads"}
    without = {"workspace": "it needs none"}

    def build(self, source, spec, into, progress): ...

    def open(self, engine, record): ...


class Doubling(BaseSession):
    closed = False

    def run(self, feeds):
        return {"y": feeds["x"] * 2}

    def close(self):
        self.closed = True


def model(**more):
    known = {
        "path": "m.onnx",
        "name": "m",
        "format": "onnx",
        "inputs": (),
        "outputs": (),
        "parameters": 0,
        "size_bytes": 0,
    }
    return Model(**(known | {"digest": "d"} | more))


def test_two_methods_and_the_names_are_a_backend():
    backend = Minimal()
    assert isinstance(backend, Backend)
    assert backend.status()
    assert backend.problem()
    assert backend.supports(EngineSpec("minimal", Precision.FP32), model())
    refused = backend.supports(EngineSpec("minimal", Precision.INT8), model())
    assert (refused.reason, refused.fix) == ("Minimal does not build int8", "choose from fp32")
    assert [bool(backend.measures(EngineSpec("minimal", Precision.FP32), region)) for region in Region] == [
        region != Region.DEVICE for region in Region
    ]
    assert backend.source(EngineSpec("minimal", Precision.FP32), model()) == "onnx:fp32"
    assert backend.source(EngineSpec("minimal", Precision.INT8), model()) == "onnx:int8-u8"
    assert backend.reference_for(model()) is None


def test_a_backend_without_build_cannot_be_made():
    with pytest.raises(TypeError, match="abstract method"):
        type("Empty", (BaseBackend,), {"title": "Empty"})()


def test_reasons_for_settings_without_an_effect_are_completed():
    assert set(Minimal.without) == set(BACKEND_SETTINGS) - {"threads", "batches"}
    assert Minimal.without["workspace"] == "it needs none"
    assert Minimal.without["build_options"] == "Minimal has no build options by name"
    assert Minimal.without["tf32"] == ON_CPU["tf32"]


def test_an_absent_library_is_named_with_the_package_that_brings_it():
    absent = type("Absent", (Minimal,), {"imports": ("not_there.at_all",)})()
    assert absent.status().reason == "the package 'minimal-package' is not installed"
    assert absent.status().fix == "pip install minimal-package"


def test_what_is_staged_is_a_copy_and_the_session_is_closed_once_it_is_left():
    x = np.arange(3.0)
    with Doubling() as session:
        call = session.stage({"x": x})
        x[:] = 0
        assert call()["y"].tolist() == [0, 2, 4]
        assert not isinstance(session, LoadSession)  # one caller, unless it says otherwise
        assert not session.closed
    assert session.closed


def test_the_reference_runs_the_model_in_the_precision_in_which_it_is_stored():
    assert backends.reference(model(format="keras")) == ("tensorflow", Precision.FP32)
    assert backends.reference(model(format="tflite", quantized="int8")) == ("litert", Precision.INT8)
    assert backends.reference(model()) == ("onnxruntime", Precision.FP32)
    if backends.get("openvino").status():
        assert backends.reference(model(quantized="bf16")) == ("openvino", Precision.BF16)


def test_mixed_precision_is_searched_with_the_first_backend_that_can():
    assert backends.searching()[0] == "onnxruntime"
