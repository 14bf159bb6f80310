"""Determine the value ranges of activations by running calibration samples through the model."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from workbench.data.samples import Samples
from workbench.errors import ExportError, during
from workbench.records import Calibration

PERCENTILE = 99.99
BINS = 2048
"""Bins of the histogram of a tensor's values. With the library's default of 128, entropy would equal min-max, because it would map
128 bins to 128 levels without a choice."""
LEVELS = 128

RANGES = "ranges.json"
_CHUNK = 32  # samples run at once: bounds memory


def save_ranges(
    path: Path,
    ops: Iterable[str],
    samples: Samples,
    method: Calibration,
    *,
    symmetric: bool,
    progress: Callable[[str], None],
) -> None:
    """Write the range of every activation around the operations ``ops`` to :data:`RANGES` in the folder of the file.

    The first pass finds minimum and maximum. The histogram methods need a second pass, whose histograms span the full range from
    the start. (Histograms that begin with the first chunk would grow with every larger value: one outlier would create a
    hundred thousand bins, and the search for the threshold would take hours.)
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
    save_tensors_data(found, path.parent / RANGES)


def extremes(path: Path, samples: Samples, scratch: Path) -> dict[str, tuple[float, float]]:
    """The smallest and largest value over the samples of every float tensor in the main graph, by tensor name."""
    from onnxruntime.quantization.calibrate import CalibrationMethod

    calibrator = _calibrator(path, [], CalibrationMethod.MinMax, {}, scratch)
    _collect(calibrator, samples)
    ranges = {name: data.range_value for name, data in calibrator.compute_data().items()}
    return {name: (float(low.min()), float(high.max())) for name, (low, high) in ranges.items()}


def library_method(method: Calibration) -> Any:
    from onnxruntime.quantization.calibrate import CalibrationMethod

    return next(each for each in CalibrationMethod if each.name.lower() == method)


def unsigned_options(method: Calibration) -> dict[str, Any]:
    """Options of the quantizer for unsigned activations.

    It removes a ReLU if the range of its output begins at 0. A range by distribution begins far below 0: without its ReLUs the
    accuracy of the demo would be that of guessing.
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
    """The library's histogram collector, with its entropy search in array operations.

    The thresholds are the same to the last bit, but take 0.1 s instead of 1 s for a tensor: the original adds bins one by one
    in Python.
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
    """A copy of ``counts``, and a function that merges it into ``levels`` and spreads it out again over the bins that are not
    empty, with integer counts and nothing beyond the last complete level, as in the library.
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
    """Run all samples in chunks, each collected separately: the library stacks the feeds of one call, and a last, shorter chunk
    would not fit.
    """
    fixed = fixed_rows(calibrator.infer_session, samples)
    size = fixed if isinstance(fixed, int) else _CHUNK
    with contextlib.redirect_stdout(io.StringIO()), during("run", "the calibration samples", ExportError):
        for start in range(0, samples.count, size):
            rows = size if isinstance(fixed, int) else min(size, samples.count - start)
            feeds = iter([samples.feeds(start, rows), None])
            calibrator.collect_data(SimpleNamespace(get_next=feeds.__next__))


def fixed_rows(session: Any, samples: Samples) -> Any:
    """The batch of an ONNX Runtime session: a number if it is fixed, else the name of its axis."""
    return next(
        (i.shape[max(0, samples.axes.get(i.name, 0))] for i in session.get_inputs() if i.name in samples.inputs), 1
    )


@contextlib.contextmanager
def less_logged(level: int) -> Iterator[None]:
    """Suppress log messages up to ``level``, and restore the level of the root logger, which the library's quantizers set."""
    before, root = logging.root.manager.disable, logging.root.level
    logging.disable(level)
    try:
        yield
    finally:
        logging.disable(before)
        logging.root.setLevel(root)


def ranges_of(values: Any) -> dict[str, tuple[float, float]]:
    """The range that each of the library's methods chooses for the values of one tensor, an array of any shape: "minmax",
    "entropy", "percentile" and "distribution".

    The last method is made for 8-bit floats, whose scale it derives from mean and standard deviation. For integers it keeps the
    whole histogram, which is symmetric around zero.
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
