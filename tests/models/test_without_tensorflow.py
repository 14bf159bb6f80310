"""What only TensorFlow does is refused in one sentence where it is not installed, before a process is started."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
import recorded

from workbench import backends
from workbench.errors import MissingPackageError
from workbench.models import formats
from workbench.runs.reading import demo_model, read_model

FIX = r"needs TensorFlow, and the package 'tf2onnx' is not installed: pip install \"inference-workbench\[tensorflow\]\", or "


class NoWorker:
    def call(self, name, task, **arguments):
        raise AssertionError(f"a process was started for {task}")


@pytest.fixture
def without(monkeypatch):
    """Hide one package of the extra."""
    find = importlib.util.find_spec
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "tf2onnx" else find(name))


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("m.keras", "Keras file"),
        ("m.h5", "Keras file"),
        ("m.pb", "TensorFlow frozen graph"),
        ("m", "TensorFlow SavedModel"),
    ],
)
def test_a_model_that_tensorflow_opens_is_refused(name, title, without, store, tmp_path):
    place = tmp_path / name
    if "." not in name:
        place.mkdir()
        place /= "saved_model.pb"
    place.write_bytes(b"any content")
    with pytest.raises(MissingPackageError, match=rf"^The {title} '.*{name}' {FIX}convert the model to ONNX"):
        read_model(store, NoWorker(), str(tmp_path / name))


def test_the_demo_is_refused(without, store):
    with pytest.raises(MissingPackageError, match=f"^The demo model {FIX}name a model of your own"):
        demo_model(store, NoWorker(), print)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_other_formats_are_read(kind, without):
    formats.check_reader(kind, "model")


def test_with_tensorflow_nothing_is_refused():
    formats.check_reader("keras", "model.keras")


def test_litert_needs_it_for_its_converter_and_not_for_files_of_its_own(monkeypatch):
    litert, spec = backends.get("litert"), recorded.spec("litert fp32")
    lite = replace(recorded.model(), format="tflite")
    assert litert.supports(spec, recorded.model())
    monkeypatch.setattr("workbench.backends.litert.backend.find_spec", lambda _: None)
    able = litert.supports(spec, recorded.model())
    assert "its converter is a part of TensorFlow" in able.reason
    assert able.fix == 'pip install "inference-workbench[tensorflow]"'
    assert litert.supports(spec, lite)
