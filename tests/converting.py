"""A model to ONNX, as a run brings it there, but in this process."""

from __future__ import annotations

from pathlib import Path

from workbench.data.samples import Samples
from workbench.export.convert import export, saved_model_of
from workbench.records import ExportCheck, Model


def convert_model(model: Model, into: Path, samples: Samples | None = None) -> ExportCheck:
    source = None
    if model.is_tensorflow:
        source = Path(model.path)
        if not model.signed:
            source = into.with_name("as_saved_model")
            saved_model_of(model, source)
    return export(model, source, samples, into, lambda _: None)
