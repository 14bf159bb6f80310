"""OpenVINO models in INT8 by NNCF's post-training quantization, with control of accuracy where it is asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from workbench.choices.methods import CONTROL
from workbench.errors import BuildError, during, optional

if TYPE_CHECKING:
    import numpy as np

    from workbench.data.samples import Samples

MAX_DROP = 0.01
"""Share of answers that may be others than the FP32 model's before NNCF turns layers back: one in a hundred."""
FEWEST = 20
"""Calibration samples that are split into those that calibrate and those that control."""


def quantized(
    model: Any, samples: Samples, way: str, progress: Callable[[str], None], inputs: Sequence[str]
) -> tuple[Any, str]:
    """An ``openvino.Model`` in INT8, and what to tell of it. ``inputs`` names its inputs in its own order.

    Plain, all samples choose the ranges. With control, the first half does, and the other half is answered by the model in
    FP32 and in INT8: where more than one answer in a hundred differs, NNCF turns the layers back that matter most. No labels
    are needed, and no test sample is seen.

    Raises:
        BuildError: NNCF failed, or there are too few samples to split.
        MissingPackageError: NNCF is absent or broken.
    """
    nncf = optional("nncf", 'pip install "inference-workbench[nncf]"')
    nncf.set_log_level(logging.ERROR)
    if way != CONTROL:
        progress(f"NNCF: quantize with {samples.count} samples")
        with during("quantize", "the model by NNCF", BuildError):
            data = nncf.Dataset(_feeds(samples, inputs))
            return nncf.quantize(model, data, subset_size=samples.count), ""
    if samples.count < FEWEST:
        raise BuildError(
            f"Control of accuracy splits the calibration samples, and there are {samples.count}. Set 'calibration_samples' to "
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
        )
    return found, f"controlled on {second.count} calibration samples: at most {MAX_DROP:.0%} of answers may change"


def _feeds(samples: Samples, inputs: Sequence[str]) -> list[list[np.ndarray]]:
    """One sample after another, the inputs by position: OpenVINO does not keep all names."""
    each = (samples.feeds(number, 1) for number in range(samples.count))
    return [[feeds[name] for name in inputs] for feeds in each]


def _answers(model: Any, feeds: Iterable[list[np.ndarray]]) -> dict[str, np.ndarray]:
    """All outputs of a model, compiled or not, by place, one feed after another."""
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
    """What NNCF asks a model for: the share of answers that are the FP32 model's."""

    def share(model: Any, data: Iterable[Any]) -> tuple[float, None]:
        from workbench.accuracy.score import score

        return score("", _answers(model, data), wanted, None).agreement, None

    return share
