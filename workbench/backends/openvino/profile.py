"""Read OpenVINO's performance counters: the time of every primitive in the last call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from workbench.graph.provenance import kind_of
from workbench.models.openvino_tensors import Names, by_place
from workbench.models.operators import format_of
from workbench.protocols import Closing, LayerTimings
from workbench.records.layers import CallTimes, LayerTime

if TYPE_CHECKING:
    import numpy as np

BASIS = "OpenVINO's performance counters: wall time of each primitive, in whole microseconds"


class ProfiledOpenVino(Closing):
    """A request of a model that was compiled with ``PERF_COUNT``; the counters are read after each call."""

    def __init__(self, compiled: Any, names: Names) -> None:
        self._compiled, self._names, self._request = compiled, names, compiled.create_infer_request()
        self._times = CallTimes()
        self._types: dict[str, tuple[str, str]] = {}

    def close(self) -> None:
        del self._request, self._compiled

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        request, given = self._request, by_place(self._names, self._compiled, feeds)
        return lambda: request.infer(given)

    def begin(self) -> None:
        self._times.clear()
        self._types = {}

    def collect(self) -> None:
        for each in self._request.get_profiling_info():
            if not _ran(each):
                continue
            self._times.add(each.node_name, round(each.real_time.total_seconds() * 1e9))
            self._types.setdefault(each.node_name, (each.node_type, each.exec_type))
        self._times.next_call()

    def end(self) -> LayerTimings:
        known = {node.get_friendly_name(): node.get_rt_info() for node in self._compiled.get_runtime_model().get_ops()}
        words = {
            name: tuple(filter(None, known[name]["originalLayersNames"].value.split(",")))
            for name in self._times.names
            if name in known
        }
        layers = tuple(self._layer(name, known.get(name)) for name in self._times.names)
        return LayerTimings(layers, words, BASIS)

    def _layer(self, name: str, facts: Any) -> LayerTime:
        op, primitive = self._types[name]
        precision = facts["runtimePrecision"].value if facts else primitive.rpartition("_")[2]
        return LayerTime(
            name=name,
            op=op,
            kind=kind_of(op),
            precision=format_of(precision),
            times_ns=self._times.of(name),
            outputs=facts["outputPrecisions"].value if facts else "",
        )


def _ran(info: Any) -> bool:
    """Whether a counter belongs to a primitive that ran. A primitive that took less than a microsecond is reported as not run, as
    are inputs, views and primitives that were fused into another one, which have no implementation name.
    """
    return bool(
        info.status.name == "EXECUTED"
        or (info.status.name == "NOT_RUN" and not info.exec_type.startswith(("undef", "unknown")))
    )
