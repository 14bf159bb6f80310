"""The layer table of an engine, from the real builder; and of what has none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import recorded

import workbench
from workbench.errors import InputError
from workbench.panel.parts import PARTS
from workbench.records.layers import LayerProfile, LayerTime
from workbench.store import Store


@pytest.mark.long
def test_the_layers_of_an_engine_with_the_format_they_compute_in(store_root):
    pytest.importorskip("tensorrt_rtx")
    store = Store(store_root)
    asked = workbench.Experiment(backends="tensorrt:rtx,litert", precisions="fp16,fp32", batches=1)
    rows = {row.spec.label: row for row in workbench.run(asked, store=store, only="build").rows}
    table = workbench.layers(rows["tensorrt:rtx fp16"], store)
    convolutions = table[table["type"] == "CONVOLUTION"]
    assert list(convolutions["precision"]) == ["fp16"] * 5
    assert convolutions["outputs"].str.contains("fp16 ").all()
    assert convolutions["from"].str.len().min() > 0
    assert "strongly typed network" in table.attrs["basis"]
    with pytest.raises(
        InputError,
        match=r"'litert fp32 @1' does not report layers: LiteRT has no profiler with a Python interface. Choose a row of",
    ):
        workbench.layers(rows["litert fp32"], store)
    with pytest.raises(InputError, match="was not built"):
        workbench.layers(replace(rows["tensorrt:rtx fp32"], engine=None), store)


@pytest.mark.long
def test_the_layers_of_a_measured_engine_with_the_time_of_each(store_root):
    store = Store(store_root)
    asked = workbench.Experiment(
        backends="onnxruntime", precisions="fp32", batches=4, measure_s=0.1, rounds=2, layers=True
    )
    results = workbench.run(asked, store=store)
    assert [(each.label, each.batch) for each in results.layer_profiles] == [("onnxruntime fp32", 4)]
    for found, row in zip(results.layer_profiles, results.rows, strict=True):
        nodes = [name for layer in found.layers for name in layer.origin]
        assert len(nodes) == len(set(nodes)) == 18  # every node of the demo's graph, in one layer each
        assert found.lost == ()
        assert found.samples == "test samples"
        weighted = [layer for layer in found.layers if layer.kind == "weights"]
        assert [layer.precision for layer in weighted] == ["fp32"] * 6
        names = ["conv2d", "conv2d_1", "conv2d_2", "conv2d_3", "conv2d_4", "digit"]  # Keras' own
        assert [layer.scope for layer in weighted] == names
        assert 0 < found.layers_s <= found.profiled_s
        table = workbench.layers(row, store)
        assert list(table["from"]) == [", ".join(layer.origin) for layer in found.layers]
        assert table["share %"].sum() == pytest.approx(100)
        assert table.sort_values("ms").iloc[-1]["kind"] == "weights"
        assert table["GFLOP/s"].max() > 1
    (row,) = results.rows
    elsewhere = replace(row, batch=2)
    with pytest.raises(InputError, match=r"were not timed yet. Run the experiment with 'layers' set to true"):
        workbench.layers(elsewhere, store)
    assert list(workbench.layers(elsewhere, store, measure=True)["type"]) == list(workbench.layers(row, store)["type"])
    before = len(list(store.path("layers", "").iterdir()))
    again = workbench.run(asked, store=store)
    assert again.layer_profiles == results.layer_profiles  # from the store, to the last digit
    assert len(list(store.path("layers", "").iterdir())) == before


def recorded_profile(label: str, precision: str) -> LayerProfile:
    layer = LayerTime("conv", "Conv", "weights", precision, (50_000,) * 3, origin=("Conv__1",), scope="conv")
    return LayerProfile(
        f"key-{label}", label, 8, (layer,), (60_000,) * 3, (55_000,) * 3, "a profiler", "samples", "now"
    )


def test_the_notebooks_part_shows_them_or_says_how_to_get_them():
    names = [f"onnxruntime {name}" for name in ("fp32", "int8")]
    without = recorded.results([recorded.measured(name, 8) for name in names], baseline=names[0])
    profiles = tuple(recorded_profile(name, name.split()[1]) for name in names)
    (shown,) = PARTS["layers"](replace(without, layer_profiles=profiles), None)
    assert "<script" not in shown.data
    assert shown.data.count("<img ") == 3  # two engines, and the two side by side
    assert "onnxruntime fp32 → onnxruntime int8, batch 8" in shown.data
    (nothing,) = PARTS["layers"](without, None)
    assert "set &#39;layers&#39; to true" in nothing.data
