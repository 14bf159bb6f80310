"""Whether any variant of an experiment finds ranges on calibration samples."""

from __future__ import annotations

from workbench import backends
from workbench.precision.rewrite import CALIBRATED_FORMS
from workbench.records import EngineSpec, Model
from workbench.settings.experiment import Experiment

CALIBRATED = "+calibration"
"""Ends the name of a form whose backend quantizes by itself, on samples beside it."""


def calibrates(experiment: Experiment, model: Model) -> bool:
    """Whether some samples have to be set aside for this experiment.

    A file that is quantized already needs none, nor does a variant that its backend does not take, nor one whose ranges are
    found in every call. Whether a library is installed here does not count: the same experiment is to test on the same samples
    on every machine.
    """
    return any(_calibrated(spec, model) for spec in experiment.variants())


def _calibrated(spec: EngineSpec, model: Model) -> bool:
    backend = backends.get(spec.backend)
    if not backends.of(spec).supports(spec, model) or model.quantized == spec.asked:
        return False
    form = backend.source(spec, model)
    if form.startswith("onnx:") and model.exportable:
        return False
    return form.endswith(CALIBRATED) or form.removeprefix("onnx:") in CALIBRATED_FORMS
