"""A model to ONNX and to a lower precision, as a run converts it, but in this process; and checks of what comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import model_zoo
import numpy as np
import onnx
import pytest

from workbench.data.samples import Samples
from workbench.data.synthetic import generated
from workbench.errors import InputError
from workbench.export.convert import export, saved_model_of
from workbench.models import formats
from workbench.models.inspection import inspect_model
from workbench.precision.rewrite import rewrite
from workbench.records import Calibration, ExportCheck, Model


def convert_model(model: Model, into: Path, samples: Samples | None = None) -> ExportCheck:
    source = None
    if model.is_tensorflow:
        source = Path(model.path)
        if not model.signed:
            source = into.with_name("as_saved_model")
            saved_model_of(model, source)
    return export(model, source, samples, into, lambda _: None)


def convert(path: Path, into: Path, signature: str = "", samples: Samples | None = None, **options: str) -> ExportCheck:
    return convert_model(inspect_model(path, signature, **options), into, samples)


def runs_alike(model: Model, tmp_path: Path) -> None:
    """The source and its ONNX form give the same outputs under the same names."""
    check = convert_model(model, tmp_path / "out.onnx")
    feeds = generated(model.inputs, "random", 3, seed=5).feeds(0, model.fixed_batch or 3)
    source = formats.get(model.format).open(Path(model.path), model)(feeds)
    found = model_zoo.run_onnx(tmp_path / "out.onnx", feeds)
    assert sorted(found) == sorted(spec.name for spec in model.outputs)
    for name, array in source.items():
        np.testing.assert_allclose(found[name], array, atol=1e-4)
    assert check.max_rel_diff < 1e-4


def one_sentence(error: pytest.ExceptionInfo[InputError]) -> str:
    """The message, after checking that it is for people: short, on one line, and without a traceback."""
    text = error.value.message
    assert len(text) < 700
    assert "\n" not in text
    assert "Traceback" not in text
    return text


def rewritten(source: Path, form: str, into: Path, calibration=None, method=Calibration.MINMAX) -> dict[str, Any]:
    done = rewrite(source, form, into, calibration=calibration, method=method, progress=lambda _: None)
    assert json.loads(json.dumps(done)) == done
    return done


def notes_of(check: ExportCheck) -> str:
    from workbench.models.describe import export_notes

    return " ".join(export_notes(check))


def shapes(path: Path) -> dict[str, list[str | int]]:
    graph = onnx.load(path).graph
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }


def left_over(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.suffix == ".onnx" or p.name.startswith("."))
