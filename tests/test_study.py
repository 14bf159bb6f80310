"""Questions about a model's precision from a notebook: asked of the demo, answered in a child process, kept in the store."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest

import workbench
from workbench.cli import main
from workbench.errors import InputError
from workbench.store import Store
from workbench.study import load_keep

ASKED = workbench.Experiment(calibration="minmax", calibration_samples=16, batches=16)


def test_the_demos_layers_by_damage_from_the_store_the_second_time(store_root):
    said = []
    found = workbench.layer_sensitivity(ASKED, store=store_root, samples=64, limit_s=30, say=said.append)
    assert found.samples == 64
    assert found.metric == "accuracy"
    assert found.fp32_quality > 0.9
    assert len(found.ranked()) == 6  # five convolutions and one dense layer
    assert any("unit 6 of 6" in text for text in said)
    said.clear()
    again = workbench.layer_sensitivity(ASKED, store=store_root, samples=64, limit_s=30, say=said.append)
    assert again == found
    assert not any("unit" in text for text in said)
    folders = [*Store(store_root).path("sensitivity", "").iterdir()]  # others may have asked before
    assert folders
    for folder in folders:
        assert [path.name for path in folder.iterdir()] == ["manifest.json"]  # no model that was tried is left


def test_the_values_inside_the_demo(store_root):
    table = workbench.value_ranges(ASKED, store=store_root, samples=16)
    assert len(table) == 18
    assert (table["not_finite"] == 0).all()
    assert table.set_index("op").loc["Softmax", "high"] <= 1
    assert set(table["doubts"]) == {""}


@pytest.mark.parametrize(
    ("asked", "backend", "reason"),
    [
        (workbench.Experiment(data="random"), "onnxruntime", "INT8 needs real samples to calibrate and to judge with"),
        (ASKED, "tensorflow", "found 'tensorflow'. Choose from: onnxruntime, openvino"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(store_root, asked, backend, reason):
    with pytest.raises(InputError, match=reason):
        workbench.mixed_precision(asked, store=store_root, backend=backend)


def test_the_command_line_repairs_a_model_or_says_that_it_cannot(store_root, tmp_path, capsys, monkeypatch):
    """The demo bears INT8 everywhere; which of its mixed models is fastest is the machine's affair."""
    monkeypatch.chdir(tmp_path)
    command = (
        "repair --calibration minmax --calibration-samples 16 --batches 16 --samples 64 --limit-s 20 --budget 0.05"
    )
    status = main([*command.split(), "--store", str(store_root), "--output", "keep.json"])
    shown = capsys.readouterr().out
    assert "accuracy: FP32 " in shown
    assert "layers by what INT8 in them alone does to the outputs, the worst first:" in shown
    assert shown.count(" (Conv): ") == 5
    assert "tried on onnxruntime, against FP32 in turns:" in shown
    assert "everything: quality " in shown
    if status == 0:
        names = load_keep(tmp_path / "keep.json")
        assert f"{len(names)} nodes stay in FP32; their names are in keep.json" in shown
        # the list alone makes the same model again, through the ordinary way
        again = workbench.Experiment(backends="onnxruntime", precisions="int8", calibration="minmax", keep=names)
        (row,) = workbench.run(again, store=Store(store_root), only="build").rows[:1]
        weighted = sum(name.startswith("Conv__") or "MatMul" in name for name in names)
        assert row.engine.realized.layers.get("fp32", 0) == weighted
        assert row.engine.realized.layers["int8"] == 6 - weighted
    else:
        assert status == 1
        assert "No answer: Within the budget and the size every model is slower than FP32 here" in shown
    assert main(["repair", "--store", str(store_root), "--backend", "tensorflow"]) == 2
    assert "found 'tensorflow'. Choose from: onnxruntime, openvino" in capsys.readouterr().err


def test_the_file_that_engines_are_built_from(store_root):
    fp32, int8 = (workbench.rewritten(ASKED, form, store=store_root) for form in ("fp32", "int8-u8"))
    ops = [{node.op_type for node in onnx.load(path).graph.node} for path in (fp32, int8)]
    assert "QuantizeLinear" in ops[1] - ops[0]
    asked = replace(ASKED, backends="onnxruntime", precisions="int8")
    (row,) = workbench.run(asked, store=Store(store_root), only="build").rows
    assert store_root / row.engine.origin == int8
    with pytest.raises(InputError, match=r"Unknown value 'int3' for 'form'\. Choose from: fp32, fp16, bf16, int8-u8"):
        workbench.rewritten(ASKED, "int3", store=store_root)
