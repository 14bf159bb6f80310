"""Fixed sizes that look like an export's example are reported with the option that changes them."""

from __future__ import annotations

import model_zoo
import numpy as np
import pytest
from onnx import TensorProto, helper

from workbench.models.inspection import inspect_model
from workbench.models.placeholder import placeholder_notes
from workbench.records import Model, TensorSpec
from workbench.settings.shapes import parse_shapes


def _noted(spec: TensorSpec, form: str = "onnx", given: tuple[str, ...] = ()) -> tuple[str, ...]:
    return placeholder_notes(Model("", "m", form, (spec,), (), 0, 0, ""), given)


@pytest.mark.parametrize(
    ("spec", "option"),
    [
        (TensorSpec("x", "float32", (1, 1, 1, 3)), "x:?x224x224x3"),
        (TensorSpec("x", "float32", (None, 3, 1, 1)), "x:?x3x224x224"),
        (TensorSpec("ids", "int64", (1, 8)), "ids:?x1..8..128"),
        (TensorSpec("input_ids", "int32", (None, 8)), "input_ids:?x1..8..128"),
        (TensorSpec("tokens", "int64", (1, 1)), "tokens:?x1..64..128"),
        (TensorSpec("sound", "float32", (1, 1, 64)), "sound:?x1..64..128x64"),
    ],
)
def test_an_example_of_an_export_is_reported(spec, option):
    (note,) = _noted(spec)
    assert note.endswith(f'--input-shapes "{option}"')
    assert parse_shapes(option)  # what is advised is accepted
    assert _noted(spec, given=(spec.name,)) == ()
    assert _noted(spec, "keras") == ()


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("x", "float32", (None, 28, 28, 1)),
        TensorSpec("x", "float32", (1, 3, 224, 224)),
        TensorSpec("x", "float32", (None, 1, 1, 16)),
        TensorSpec("age", "int64", (None, 1)),
        TensorSpec("features", "int64", (None, 8)),
        TensorSpec("x", "float32", (1, 4)),
        TensorSpec("ids", "int64", (1, 128)),
        TensorSpec("rate", "int64", (), None),
    ],
    ids=str,
)
def test_ordinary_shapes_are_not(spec):
    assert _noted(spec) == ()


def test_it_is_among_the_notes_of_the_model(tmp_path):
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["v"]),
        helper.make_node("ReduceMean", ["v"], ["y"], axes=[1], keepdims=0),
    ]
    table = {"table": np.ones((20, 3), "f4")}
    proto = model_zoo.onnx_model(nodes, table, inputs={"ids": (1, 8)}, outputs={"y": (1, 3)}, dtype=TensorProto.INT64)
    path = model_zoo.save(proto, tmp_path / "ids.onnx")
    assert "looks like the example that the model was exported with" in inspect_model(path).notes[0]
    assert inspect_model(path, input_shapes="ids:?x4..8..16").notes == ()
