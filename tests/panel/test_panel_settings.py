"""The panel's settings and the choice of a model."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import pytest
from panels import control
from uploading import upload

from workbench import backends
from workbench.panel.checks import labelled
from workbench.panel.fields import Fold
from workbench.panel.panel import Panel
from workbench.records import Model, TensorSpec
from workbench.runs.sources import Opened
from workbench.settings.experiment import Experiment
from workbench.settings.table import SETTINGS
from workbench.store import Store
from workbench.system.machine import is_package


def test_settings_without_effect_are_gray_with_the_reason(panel: Panel) -> None:
    hints = panel._controls._hints
    assert not control(panel, "optimization_level").disabled
    assert control(panel, "workspace_mib").disabled
    assert "ONNX Runtime: " + backends.get("onnxruntime").without["workspace"] in hints["workspace_mib"].value
    assert control(panel, "calibration").disabled
    assert "only INT8 and FP8 are calibrated" in hints["calibration"].value
    panel._controls.precisions["int8"].value = True
    assert not control(panel, "calibration").disabled
    assert "How the ranges of activations are chosen" in hints["calibration"].value
    panel._controls.backends["tensorflow"].value = True
    panel._controls.backends["onnxruntime"].value = False
    assert control(panel, "optimization_level").disabled


def test_every_setting_has_a_control_with_its_help(panel: Panel) -> None:
    separate = {"model", "data", "backends", "precisions"}
    assert set(panel._controls.control) | separate == set(SETTINGS)
    for name in panel._controls.control:
        assert (
            labelled(SETTINGS[name].help[1:]) in unescape(panel._controls._hints[name].value)
            or control(panel, name).disabled
        ), name


def test_several_values_of_a_setting_are_chips_and_variants(panel: Panel) -> None:
    levels = control(panel, "optimization_level")
    assert levels.value == [-1]
    assert [chip.description for chip in levels.chips.values()] == ["default", "0", "1", "2", "3"]
    levels.chips[0].value = True
    levels.other.value = "5, default"
    assert levels.value == [-1, 0, 5]
    assert panel.experiment.optimization_level == (-1, 0, 5)
    assert [label for label, _ in control(panel, "baseline").options] == [
        "automatic", "onnxruntime fp32", "onnxruntime fp32 level 0", "onnxruntime fp32 level 5",
    ]  # fmt: skip
    assert "-r optimization_level -1,0,5" in panel._run.export.commands.value
    assert "<b>3 variants</b> requested" in panel._out.plan.value
    levels.other.value = "many"
    assert "found &#34;many&#34;" in panel._out.problem.value


def test_a_setting_that_no_chosen_backend_has_says_so_and_multiplies_nothing(panel: Panel) -> None:
    assert control(panel, "workspace_mib").disabled
    control(panel, "workspace_mib").value = [0, 16, 64]
    assert [label for label, _ in control(panel, "baseline").options] == ["automatic", "onnxruntime fp32"]
    panel._controls.backends["openvino"].value = True
    assert not control(panel, "optimization_level").disabled
    hint = unescape(panel._controls._hints["optimization_level"].value)
    assert "; no effect on OpenVINO (OpenVINO has no such levels)" in hint
    assert "no effect" not in panel._controls._hints["threads"].value


def test_a_file_of_nodes_is_read_when_the_run_begins(panel: Panel, tmp_path: Path) -> None:
    file = tmp_path / "keep.txt"
    control(panel, "keep").value = str(file)
    assert "could not be read" in panel._out.problem.value
    file.write_text("Gemm\n")
    control(panel, "keep").value = str(file) + " "
    assert panel._out.problem.value == ""
    panel.build()
    panel.wait(60)
    file.write_text("Conv\n")
    assert panel.ran.keep == ("Gemm",)


def test_a_backend_that_is_not_installed_is_gray_with_the_fix(
    experiment: Experiment, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.backends.base.is_package", lambda name: name != "openvino" and is_package(name))
    panel = Panel(Experiment(backends=("onnxruntime", "openvino")), store=store)
    box = panel._controls.backends["openvino"]
    assert box.disabled
    assert not box.value
    values = [getattr(widget, "value", "") for widget in _descendants(panel.widget) if widget.has_trait("value")]
    texts = [value for value in values if isinstance(value, str)]
    assert any("not available: the package &#39;openvino&#39; is not installed" in text for text in texts)
    assert any("pip install openvino" in text for text in texts)


def _descendants(widget):
    if isinstance(widget, Fold):
        widget.button.value = True
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _descendants(child)


def test_the_baseline_offers_the_variants(panel: Panel) -> None:
    panel._controls.precisions["int8"].value = True
    offered = [value for _, value in control(panel, "baseline").options]
    assert offered == ["", "onnxruntime fp32", "onnxruntime int8"]
    control(panel, "baseline").value = "onnxruntime int8"
    assert panel.experiment.baseline == "onnxruntime int8"
    panel._controls.precisions["int8"].value = False
    assert panel.experiment.baseline == ""


def test_signatures_of_a_saved_model_are_offered(panel: Panel, model: str) -> None:
    tensor = TensorSpec("x", "float32", (None, 2))
    found = Model(model, "m", "saved_model", (tensor,), (tensor,), 1, 1, "0", "b", ("a", "b"))
    panel._show_model((model, "", "", ""), Opened(found))
    assert control(panel, "signature").options == ("a", "b")
    assert control(panel, "signature").layout.display is None
    assert panel.experiment.signature == "b"
    assert "signature b" in panel._model.facts.value
    assert not panel._work.busy  # the form's own change loads nothing


def test_another_model_is_not_asked_for_the_signature_of_the_one_before(
    panel: Panel, model: str, tmp_path: Path
) -> None:
    tensor = TensorSpec("x", "float32", (None, 2))
    found = Model(model, "m", "saved_model", (tensor,), (tensor,), 1, 1, "0", "serve", ("serve",))
    panel._show_model((model, "", "", ""), Opened(found))
    assert panel.experiment.signature == "serve"
    panel._controls.model.kind.value = "path"
    panel._controls.model.path.value = str(tmp_path / "other.keras")
    assert panel.experiment.signature == ""
    control(panel, "signature").value = "typed"  # before the path, by a person
    panel._controls.model.path.value = str(tmp_path / "another")
    assert panel.experiment.signature == "typed"


def test_tensors_of_a_frozen_graph_can_be_typed(panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = control(panel, "signature")
    assert tensors.layout.display == "none"
    panel._controls.model.kind.value = "path"
    panel._controls.model.path.value = str(tmp_path / "net.pb")
    assert (tensors.layout.display, tensors.description) == (None, "Tensors")
    loads: list[str] = []
    monkeypatch.setattr(panel, "_start", lambda *_, **__: loads.append(panel.experiment.signature))
    tensors.value = "a:0 -> b:0"
    assert loads == ["a:0 -> b:0"]
    tensors.value = ""
    tensor = TensorSpec("x", "float32", (None, 2))
    found = Model(panel.experiment.model, "net", "frozen_graph", (tensor,), (tensor,), 1, 1, "0", "x:0 -> y:0")
    panel._show_model((found.path, "", "", ""), Opened(found))
    assert tensors.placeholder == "x:0 -> y:0"  # what was chosen, where nothing was said
    assert panel.experiment.signature == ""


def test_an_uploaded_model_is_used(panel: Panel, model: str) -> None:
    panel._controls.model.kind.value = "upload"
    assert "no file was uploaded yet" in panel._out.problem.value
    upload(panel._controls.model.upload, "mine.onnx", Path(model).read_bytes())
    assert panel._out.problem.value == ""
    assert Path(panel.experiment.model).read_bytes() == Path(model).read_bytes()


def test_a_file_on_the_server_is_chosen(panel: Panel, model: str, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    (folder / "inner").mkdir(parents=True)
    (folder / "net.onnx").write_bytes(Path(model).read_bytes())
    (folder / "notes.txt").write_text("", encoding="utf-8")
    (folder / "saved").mkdir()
    (folder / "saved" / "saved_model.pb").write_bytes(b"")
    source = panel._controls.model
    source.kind.value, source.path.value = "path", str(folder / "inner")
    source.browse.click()
    assert source.files.list.options == ("../",)
    source.files.list.value = "../"
    assert source.files.list.options == ("../", "inner/", "saved/", "net.onnx")
    source.files.list.value = "net.onnx"
    assert source.path.value == str(folder / "net.onnx")
    assert source.files.layout.display == "none"
    source.browse.click()
    source.files.list.value = "saved/"  # a SavedModel is one thing
    assert panel.experiment.model == str(folder / "saved")


def test_a_folder_of_images_on_the_server_is_chosen(panel: Panel, tmp_path: Path) -> None:
    (tmp_path / "mine" / "pictures" / "cat").mkdir(parents=True)
    source = panel._controls.data
    source.kind.value, source.path.value = "path", str(tmp_path / "mine")
    source.browse.click()
    assert source.files.list.options == ("Use this folder", "../", "pictures/")
    source.files.list.value = "pictures/"
    assert source.files.list.options == ("Use this folder", "../", "cat/")
    source.files.list.value = "Use this folder"
    assert source.path.value == str(tmp_path / "mine" / "pictures")
    assert source.files.layout.display == "none"


def test_data_on_the_server_are_looked_for_beside_the_model(panel: Panel, tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(b"")
    (tmp_path / "mine.npz").write_bytes(b"")
    model, data = panel._controls.model, panel._controls.data
    model.kind.value, model.path.value = "path", str(tmp_path / "mine.onnx")
    data.kind.value = "path"
    data.browse.click()
    assert data.files.folder == tmp_path
    assert "mine.npz" in data.files.list.options


def test_settings_of_gpus_are_gray_while_nothing_runs_on_one(panel: Panel) -> None:
    for name in ("tf32", "cuda_graph", "streams"):
        assert control(panel, name).disabled
        assert "none of the chosen backends runs on a GPU" in panel._controls._hints[name].value


def test_a_protocol_decides_region_and_time(panel: Panel) -> None:
    assert not control(panel, "region").disabled
    control(panel, "protocol").value = "trtexec-11"
    for name in ("region", "measure_s", "within", "max_measure_s", "until", "cuda_graph"):
        assert control(panel, name).disabled
        assert "determined by the protocol trtexec-11" in panel._controls._hints[name].value
    control(panel, "protocol").value = ""
    assert not control(panel, "region").disabled
    assert not control(panel, "measure_s").disabled
