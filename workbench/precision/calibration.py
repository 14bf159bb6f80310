"""Which range of values an activation has, found by running calibration samples through the model."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ExportError, during
from workbench.records import Calibration

if TYPE_CHECKING:
    from workbench.data.samples import Samples

PERCENTILE = 99.99
BINS = 2048
"""Bins of the histogram of a tensor's values. The library's own 128 would make entropy the same as min-max: it then has
128 bins to put into 128 levels and nothing to choose."""
LEVELS = 128

_CHUNK = 32  # samples run at once: bounds memory


def find_ranges(
    path: Path,
    ops: Iterable[str],
    samples: Samples,
    method: Calibration,
    into: Path,
    *,
    symmetric: bool,
    progress: Callable[[str], None],
) -> None:
    """Choose the range of every activation around the operations ``ops``; write them as the quantizer reads them.

    Always a first pass for minimum and maximum. The histogram methods take a second one, whose histograms span the full
    range from the start. (Begun on a first chunk alone they would grow with every larger value: one outlier makes a
    hundred thousand bins, and the search for the threshold takes hours.)
    """
    from onnxruntime.quantization.calibrate import CalibrationMethod, save_tensors_data

    ops = list(ops)
    progress(f"calibrating with {samples.count} samples")
    extremes = _calibrator(path, ops, CalibrationMethod.MinMax, {})
    _collect(extremes, samples)
    found = extremes.compute_data()
    if method != Calibration.MINMAX:
        progress(f"calibrating with {samples.count} samples: {method}")
        options = {"symmetric": symmetric, "num_bins": BINS, "num_quantized_bins": LEVELS, "percentile": PERCENTILE}
        calibrator = _calibrator(path, ops, library_method(method), options)
        _span(calibrator, found)
        _collect(calibrator, samples)
        with contextlib.redirect_stdout(io.StringIO()), during("choose ranges by", method, ExportError):
            found = calibrator.compute_data()
    save_tensors_data(found, into)


def extremes(path: Path, samples: Samples, scratch: Path) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of every float tensor of the main graph over the samples, by the tensor's name."""
    from onnxruntime.quantization.calibrate import CalibrationMethod

    calibrator = _calibrator(path, [], CalibrationMethod.MinMax, {}, scratch)
    _collect(calibrator, samples)
    ranges = {name: data.range_value for name, data in calibrator.compute_data().items()}
    return {name: (float(low.min()), float(high.max())) for name, (low, high) in ranges.items()}


def library_method(method: Calibration) -> Any:
    from onnxruntime.quantization.calibrate import CalibrationMethod

    names = {
        Calibration.MINMAX: "MinMax",
        Calibration.ENTROPY: "Entropy",
        Calibration.PERCENTILE: "Percentile",
        Calibration.DISTRIBUTION: "Distribution",
    }
    return CalibrationMethod[names[method]]


def unsigned_options(method: Calibration) -> dict[str, Any]:
    """What the quantizer has to be told for unsigned activations.

    It takes a ReLU away, because a range that begins at 0 does its work. One by distribution begins far below: without its ReLUs
    the demo would answer one in ten right.
    """
    return {"QDQKeepRemovableActivations": method == Calibration.DISTRIBUTION}


def _calibrator(path: Path, ops: list[str], method: Any, options: dict[str, Any], scratch: Path | None = None) -> Any:
    from onnxruntime.quantization.calibrate import create_calibrator

    with during("prepare", "the calibration", ExportError):
        return create_calibrator(
            path,
            ops,
            augmented_model_path=str((scratch or path.parent) / f"calibrate-{method.name}.onnx"),
            calibrate_method=method,
            extra_options=options,
        )


def _span(calibrator: Any, extremes: Any) -> None:
    import numpy as np

    calibrator.collector = collector_class()(
        method=calibrator.method,
        symmetric=calibrator.symmetric,
        num_bins=calibrator.num_bins,
        num_quantized_bins=calibrator.num_quantized_bins,
        percentile=calibrator.percentile,
        scenario=calibrator.scenario,
    )
    ends = {}
    for name, data in extremes.items():
        low, high = data.range_value
        if name in calibrator.tensors_to_calibrate:
            ends[name] = np.array([low.item(), 0, high.item()], dtype=low.dtype)
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator.collector.collect(ends)


@functools.cache
def collector_class() -> Any:
    """The library's histogram collector with its entropy search in array operations.

    Same thresholds to the last bit, but 0.1 s instead of 1 s a tensor: the original adds bins one by one in Python.
    """
    import numpy as np
    from onnxruntime.quantization.calibrate import HistogramCollector, entropy
    from onnxruntime.quantization.quant_utils import smooth_distribution

    class Collector(HistogramCollector):  # type: ignore[misc]
        def get_entropy_threshold(self, histogram: Any, num_quantized_bins: int) -> tuple[Any, Any]:
            counts, edges, low, high = histogram[:4]
            middle = counts.size // 2
            total = np.concatenate([[0], np.cumsum(counts)])
            divergence, ends = [], []
            for half in range(num_quantized_bins // 2, middle + 1):
                start, end = middle - half, min(middle + half + 1, counts.size)
                ends.append((edges[start], edges[end]))
                reference, candidate = _distributions(counts[start:end], num_quantized_bins)
                reference[0] += total[start]
                reference[-1] += total[-1] - total[end]
                p, q = smooth_distribution(reference), smooth_distribution(candidate(reference != 0))
                divergence.append(np.inf if p is None or q is None else entropy(p, q))
            left, right = ends[int(np.argmin(divergence))]
            return max(left, low), min(right, high)

    return Collector


def _distributions(counts: Any, levels: int) -> tuple[Any, Callable[[Any], Any]]:
    """A copy of ``counts``, and what it looks like after merging into ``levels`` and spreading out again over the bins
    that are not empty; whole counts, and nothing beyond the last whole level, as the library has it.
    """
    import numpy as np

    width = counts.size // levels
    whole = width * levels
    merged = counts[:whole].reshape(levels, width).sum(axis=1)
    merged[-1] += counts[whole:].sum()

    def candidate(filled: Any) -> Any:
        used = filled[:whole].reshape(levels, width).sum(axis=1)
        level = np.divide(merged, used, out=np.zeros(levels), where=used != 0).astype(np.int64)
        return np.concatenate([np.repeat(level, width), np.zeros(counts.size - whole, np.int64)])

    return counts.copy(), candidate


def _collect(calibrator: Any, samples: Samples) -> None:
    """Run all samples in chunks. Each is collected by itself: the library stacks what it gets in one go, and a last,
    shorter chunk would not fit.
    """
    fixed = fixed_rows(calibrator.infer_session, samples)
    size = fixed if isinstance(fixed, int) else _CHUNK
    with contextlib.redirect_stdout(io.StringIO()), during("run", "the calibration samples", ExportError):
        for start in range(0, samples.count, size):
            rows = size if isinstance(fixed, int) else min(size, samples.count - start)
            calibrator.collect_data(_Once([samples.feeds(start, rows)]))


def fixed_rows(session: Any, samples: Samples) -> Any:
    """The batch that a session of ONNX Runtime takes: a number where it is fixed, else the name of its axis."""
    return next(
        (i.shape[max(0, samples.axes.get(i.name, 0))] for i in session.get_inputs() if i.name in samples.inputs), 1
    )


class _Once:
    """What the library calls a data reader: hands out each feed and then ``None``."""

    def __init__(self, feeds: Iterable[dict[str, Any]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def ranges_of(values: Any) -> dict[str, tuple[float, float]]:
    """The range that each way of the library's chooses for the values of one tensor, an array of any shape: "minmax",
    "entropy", "percentile" and "distribution".

    The last one is made for 8-bit floats, whose scale it takes from mean and standard deviation. To integers it leaves the whole
    histogram, which reaches as far below zero as above.
    """
    import numpy as np

    flat = np.asarray(values, np.float32).ravel()
    found = {str(Calibration.MINMAX): (float(flat.min()), float(flat.max()))}
    for way in ("entropy", "percentile", "distribution"):
        collector = collector_class()(
            method=way,
            symmetric=False,
            num_bins=BINS,
            num_quantized_bins=LEVELS,
            percentile=PERCENTILE,
            scenario="same",
        )
        with contextlib.redirect_stdout(io.StringIO()):
            collector.collect({"values": [flat]})
            result = collector.compute_collection_result()["values"]
        low, high = result.range_value if way == "distribution" else result[:2]
        found[way] = (float(low), float(high))
    return found
