"""The layer table of an engine, from the real builder; and of what has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

import workbench
from workbench.errors import InputError
from workbench.store import Store


def test_the_layers_of_an_engine_with_the_format_they_compute_in(store_root):
    pytest.importorskip("tensorrt_rtx")
    store = Store(store_root)
    asked = workbench.Experiment(backends="tensorrt:rtx,onnxruntime", precisions="fp16,fp32", batches=1)
    rows = {row.spec.label: row for row in workbench.run(asked, store=store, only="build").rows}
    table = workbench.layers(rows["tensorrt:rtx fp16"], store)
    convolutions = table[table["type"] == "CONVOLUTION"]
    assert list(convolutions["precision"]) == ["fp16"] * 5
    assert convolutions["outputs"].str.contains("fp16 ").all()
    assert convolutions["from"].str.len().min() > 0
    assert "strongly typed network" in table.attrs["basis"]
    with pytest.raises(
        InputError, match=r"'onnxruntime fp32 @1' tells no layers. Choose a row of the backend 'tensorrt'"
    ):
        workbench.layers(rows["onnxruntime fp32"], store)
    with pytest.raises(InputError, match="was not built"):
        workbench.layers(replace(rows["tensorrt:rtx fp32"], engine=None), store)
