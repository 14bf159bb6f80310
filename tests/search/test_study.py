"""Questions about a model's precision from a notebook: asked of the demo, answered in a child process, kept in the store."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

import workbench
from workbench.cli import main
from workbench.errors import InputError
from workbench.settings.nodes import names_in
from workbench.store import Store

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


@pytest.mark.long
def test_the_command_line_repairs_a_model_or_says_that_it_cannot(store_root, tmp_path, capsys, monkeypatch):
    """The demo bears INT8 everywhere; which of its mixed models is fastest is the machine's affair."""
    monkeypatch.chdir(tmp_path)
    command = "repair --calibration minmax --calibration-samples 16 --batches 16 --samples 48 --limit-s 6 --budget 0.05"
    status = main([*command.split(), "--store", str(store_root), "--output", "keep.json"])
    shown = capsys.readouterr().out
    assert "accuracy: FP32 " in shown
    assert "layers by what INT8 in them alone does to the outputs, the worst first:" in shown
    assert shown.count(" (Conv): ") == 5
    assert "tried on onnxruntime, against FP32 in turns:" in shown
    assert "everything: quality " in shown
    if status == 0:
        names = names_in(tmp_path / "keep.json")
        assert f"{len(names)} nodes stay in FP32; their names are in keep.json" in shown
        # the list alone makes the same model again, through the ordinary way
        again = workbench.Experiment(backends="onnxruntime", precisions="int8", calibration="minmax", keep=names)
        (row,) = workbench.run(again, store=Store(store_root), only="build").rows[:1]
        weighted = sum(name.startswith("Conv__") or "MatMul" in name for name in names)
        assert row.engine.realized.layers.get("fp32", 0) == weighted
        assert row.engine.realized.layers["int8"] == 6 - weighted
    else:
        assert status == 1
        assert re.search(
            "No answer: None of .* is within the budget, small enough and not slower than FP32 here", shown
        )
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


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Bright and dark images in a folder for each, and a network that takes pixels from 0 to 255 and knows which is which."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, low, high in (("0", 0, 120), ("1", 136, 256)):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(40):
            pixels = rng.integers(low, high, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels, "L").save(folder / "images" / name / f"{number}.png")
    weights = np.stack([np.full(64, -1 / 64), np.full(64, 1 / 64)], axis=1).astype(np.float32)
    arrays = {"w": weights, "b": np.array([128, -128], np.float32), "shape": np.array([-1, 64], np.int64)}
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y"], "dense"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, ["b", 8, 8, 1])], [value("y", TensorProto.FLOAT, ["b", 2])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "bright.onnx"
    )
    return workbench.Experiment(
        model=folder / "bright.onnx", data=folder / "images", pixels="0..255", backends="onnxruntime", precisions="fp32,int8",
        batches=8, calibration="minmax", calibration_samples=16, measure_s=0.05, max_measure_s=0.05, rounds=6,
    )  # fmt: skip


@pytest.mark.long
def test_a_question_is_about_the_very_data_and_metric_of_a_run(pictures, store):
    """Pixels from 0 to 1 would all be dark."""
    rows = workbench.run(pictures, store=store).rows
    assert [row.accuracy.value for row in rows] == [1.0, 1.0]
    found = workbench.layer_sensitivity(replace(pictures, metric="f1"), store=store, samples=30, limit_s=5)
    assert (found.metric, found.fp32_quality, found.int8_quality) == ("f1", 1.0, 1.0)
    with pytest.raises(InputError, match=r"'score_output' names 'z'\. The model's outputs are: y"):
        workbench.layer_sensitivity(replace(pictures, score_output="z"), store=store, samples=30, limit_s=5)


@pytest.mark.long
def test_where_less_is_better_a_loss_is_a_rise(pictures, store, tmp_path):
    """Numbers for labels: the network's own outputs, so that FP32 has no error and INT8 some."""
    images = np.random.default_rng(1).uniform(0, 255, (60, 8, 8, 1)).astype(np.float32)
    mean = images.reshape(60, -1).mean(1)
    np.savez(tmp_path / "numbers.npz", x=images, y=np.stack([128 - mean, mean - 128], axis=1).astype(np.float32))
    asked = replace(pictures, data=tmp_path / "numbers.npz", metric="rmse", score_output="y")
    found = workbench.layer_sensitivity(asked, store=store, samples=20, limit_s=5)
    assert found.metric == "rmse"
    assert found.fp32_quality == pytest.approx(0, abs=1e-3)
    (dense,) = found.ranked()
    assert dense.quality > 0.01
    assert dense.lost == pytest.approx(dense.quality - found.fp32_quality)
    with pytest.raises(
        InputError, match=r"The budget is '0.5 points', and rmse is not a share. Give it as '1 %' or in the met"
    ):
        workbench.mixed_precision(asked, store=store, samples=20, limit_s=5)
    with pytest.raises(InputError, match="A repair needs a budget, and 'budget' is 'none'"):
        workbench.mixed_precision(asked, budget="none", store=store)


def test_a_file_of_names_is_what_keep_takes(tmp_path):
    (tmp_path / "keep.json").write_text('{"keep": ["conv1", "relu1"]}', encoding="utf-8")
    asked = workbench.Experiment(precisions="fp32,int8", keep=f"Gemm,{tmp_path / 'keep.json'}")
    assert [spec.keep for spec in asked.resolved().variants()[:2]] == [(), ("Gemm", "conv1", "relu1")]
    assert asked.changes()["keep"].endswith("keep.json")  # the commands name the file
    with pytest.raises(InputError, match=r"The list of nodes 'gone\.json' could not be read"):
        workbench.run(workbench.Experiment(keep="gone.json"), store=tmp_path)
