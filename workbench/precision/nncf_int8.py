"""Quantize OpenVINO models to INT8 by NNCF's post-training quantization, optionally with accuracy control."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from workbench.data.samples import Samples
from workbench.errors import BuildError, during, optional
from workbench.records.methods import CONTROL

if TYPE_CHECKING:
    import numpy as np

MAX_DROP = 0.01
"""Share of outputs that may differ from the FP32 model's before NNCF reverts layers: one in a hundred."""
FEWEST = 20
"""The fewest calibration samples that are split into calibration and control."""


def quantized(
    model: Any,
    samples: Samples,
    way: str,
    progress: Callable[[str], None],
    inputs: Sequence[str],
    *,
    seven_bits: bool = False,
) -> tuple[Any, str]:
    """Return an ``openvino.Model`` in INT8, and a note about it. ``inputs`` names its inputs in the model's order. ``seven_bits`` gives
    weights one bit less, so that products do not saturate on CPUs without VNNI.

    In the plain method, all samples choose the ranges. With control, the first half does, and the FP32 and INT8 models are compared
    on the other half: if more than one output in a hundred differs, NNCF reverts the most sensitive layers. No labels are
    needed, and test samples are not used.

    Raises:
        BuildError: NNCF failed, or there are too few samples to split.
        MissingPackageError: NNCF is not installed, or its import fails.
    """
    nncf = optional("nncf", 'pip install "inference-workbench[nncf]"')
    nncf.set_log_level(logging.ERROR)
    advanced = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE if seven_bits else None)
    if way != CONTROL:
        progress(f"NNCF: quantize with {samples.count} samples")
        with during("quantize", "the model by NNCF", BuildError):
            data = nncf.Dataset(_feeds(samples, inputs))
            return nncf.quantize(model, data, subset_size=samples.count, advanced_parameters=advanced), ""
    if samples.count < FEWEST:
        raise BuildError(
            f"Accuracy control splits the calibration samples, and there are only {samples.count}. Set 'calibration_samples' to "
            f"{FEWEST} or more."
        )
    half = samples.count // 2
    first, second = samples.take(slice(half)), samples.take(slice(half, None))
    progress(f"NNCF: quantize with {half} samples and control on {second.count}")
    with during("quantize", "the model by NNCF", BuildError):
        found = nncf.quantize_with_accuracy_control(
            model,
            nncf.Dataset(_feeds(first, inputs)),
            nncf.Dataset(_feeds(second, inputs)),
            _agreement(_answers(model, _feeds(second, inputs))),
            max_drop=MAX_DROP,
            subset_size=half,
            advanced_quantization_parameters=advanced,
        )
    return found, f"controlled on {second.count} calibration samples: at most {MAX_DROP:.0%} of outputs may change"


def _feeds(samples: Samples, inputs: Sequence[str]) -> list[list[np.ndarray]]:
    """One sample after another, the inputs by position: OpenVINO does not keep all names."""
    each = (samples.feeds(number, 1) for number in range(samples.count))
    return [[feeds[name] for name in inputs] for feeds in each]


def _answers(model: Any, feeds: Iterable[list[np.ndarray]]) -> dict[str, np.ndarray]:
    """All outputs of a model, compiled or not, by position, over all feeds."""
    import numpy as np
    import openvino

    run = model
    if isinstance(model, openvino.Model):
        run = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = [[each.copy() for each in run(feed).values()] for feed in feeds]
    return {
        str(place): np.concatenate([np.atleast_1d(each) for each in parts])
        for place, parts in enumerate(zip(*found, strict=True))
    }


def _agreement(wanted: dict[str, np.ndarray]) -> Callable[[Any, Iterable[Any]], tuple[float, None]]:
    """The validation function for NNCF: the share of outputs that agree with the FP32 model's."""

    def share(model: Any, data: Iterable[Any]) -> tuple[float, None]:
        from workbench.accuracy.score import score

        return score("", _answers(model, data), wanted, None).agreement, None

    return share
