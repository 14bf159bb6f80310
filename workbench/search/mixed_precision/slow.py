"""Units of a mixed model that take longer in INT8 than in FP32, according to the backend's profiler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.backends import get
from workbench.graph.provenance import attributed, plain, source_graph
from workbench.precision.mixed import Unit
from workbench.protocols import Profiler
from workbench.records import EngineRecord, Precision
from workbench.search.mixed_precision.sensitivity import Study
from workbench.timing import benchmark

if TYPE_CHECKING:
    import numpy as np

SLOWER = 1.05
"""A layer that takes this many times as long in INT8 is left in FP32."""
PROFILED_CALLS = 12


def slow_units(study: Study, units: Sequence[Unit], feeds: Mapping[str, np.ndarray]) -> list[Unit]:
    """The ``units``, all in INT8, that take longer than in FP32, including conversions; the worst first."""
    fp32 = _layer_seconds(study, study.fp32, study.quantizer.prepared, feeds)
    path = study.quantizer.write(study.setup.folder / "slow.onnx", units)
    mixed = _layer_seconds(study, study.setup.built(path, Precision.INT8, "slow"), path, feeds)
    lost = []
    for unit in units:
        before = sum(fp32.get(plain(name), 0.0) for name in unit.nodes)
        after = sum(mixed.get(plain(name), 0.0) for name in unit.nodes)
        if before and after > SLOWER * before:
            lost.append((after - before, unit))
    return [unit for _, unit in sorted(lost, key=lambda pair: -pair[0])]


def _layer_seconds(study: Study, record: EngineRecord, onnx: Path, feeds: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Median seconds by plain node name; the time of a layer that stands for several nodes is divided evenly. Empty if the
    backend cannot time layers.
    """
    backend = get(record.spec.backend)
    if not isinstance(backend, Profiler) or not backend.profiles(record.spec):
        return {}
    with backend.profiled(study.setup.folder / record.key, record) as session:
        call = session.stage(feeds)
        benchmark.warm_up(call, 0.1)
        session.begin()
        for _ in range(PROFILED_CALLS):
            call()
            session.collect()
        timings = session.end()
    layers, _ = attributed(timings.layers, source_graph(onnx), timings.words)
    found: dict[str, float] = {}
    for layer in layers:
        for name in layer.origin:
            found[plain(name)] = found.get(plain(name), 0.0) + layer.median_s / len(layer.origin)
    return found
