"""Records of time per layer: the times of each layer of an engine, from a separate pass, and its source nodes."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

WEIGHTS, CONVERT, LAYOUT, OTHER = "weights", "convert", "layout", "other"
KINDS = (WEIGHTS, CONVERT, LAYOUT, OTHER)
"""Kinds of layers: computing with weights; converting number formats (quantize, dequantize, cast); moving data without changes;
others."""


@dataclass(frozen=True)
class LayerTime:
    """One layer of an engine, with the library's names, and its time in every profiled call."""

    name: str
    op: str  # "Conv", "QLinearConv", "Reorder" ...
    kind: str  # one of KINDS
    precision: str = ""  # the format that it computes in: "fp32", "int8" ...; "" where it is not known
    times_ns: tuple[int, ...] = ()  # one entry per profiled call
    inputs: str = ""  # as text, such as "uint8 8×28×28×16"; "" where they are not known
    outputs: str = ""
    origin: tuple[str, ...] = ()  # nodes of the source graph that it computes
    scope: str = ""  # the layer of the user's model that most of these nodes belong to, by its name in theirs
    flops: int | None = None  # of one call, from the source graph's shapes; a multiply-add counts as two
    weight_elements: int = 0
    tactic: str = ""  # the kernel that was chosen, where the library names it

    @property
    def median_s(self) -> float:
        """Median seconds of one call; 0.0 where it was not timed."""
        return median(self.times_ns) * 1e-9 if self.times_ns else 0.0


class CallTimes:
    """Nanoseconds of layers, call by call. A layer missing from a call counts as 0 ns; one listed twice is summed."""

    def __init__(self) -> None:
        self._times: dict[str, list[int]] = {}
        self._calls = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers in the order of their first occurrence."""
        return tuple(self._times)

    def clear(self) -> None:
        self._times, self._calls = {}, 0

    def add(self, name: str, ns: int) -> None:
        times = self._times.setdefault(name, [])
        times += [0] * (self._calls + 1 - len(times))
        times[self._calls] += ns

    def next_call(self) -> None:
        self._calls += 1

    def of(self, name: str) -> tuple[int, ...]:
        """Nanoseconds of a layer, one entry for each completed call."""
        times = self._times[name]
        return tuple((times + [0] * self._calls)[: self._calls])


@dataclass(frozen=True)
class LayerProfile:
    """The layers of one engine at one batch size, in the order in which they run.

    Profiling slows calls down: ``plain_ns`` are calls of the same engine in the same process without profiling, made just before.
    """

    engine_key: str
    label: str  # of the variant, such as "onnxruntime int8"
    batch: int
    layers: tuple[LayerTime, ...]
    profiled_ns: tuple[int, ...]  # whole calls while profiling
    plain_ns: tuple[int, ...]  # whole calls without profiling
    basis: str  # source of the times
    samples: str  # description of the inputs
    measured_at: str  # UTC, ISO 8601
    lost: tuple[str, ...] = ()  # nodes of the source graph that no layer names: folded, or fused without a trace

    @property
    def profiled_s(self) -> float:
        return median(self.profiled_ns) * 1e-9

    @property
    def plain_s(self) -> float:
        return median(self.plain_ns) * 1e-9

    @property
    def layers_s(self) -> float:
        """Seconds in all layers together: the median over the profiled calls of the sum."""
        sums = [sum(times) for times in zip(*(each.times_ns for each in self.layers), strict=True)]
        return median(sums) * 1e-9 if sums else 0.0

    @property
    def overhead(self) -> float:
        """Time that profiling adds to a call, as a share of a plain call: 0.1 is 10 % slower. Below 0 is noise."""
        return self.profiled_s / self.plain_s - 1

    def share(self, kind: str) -> float:
        """Share of the layers' time spent in layers of this kind, 0 to 1."""
        total = sum(each.median_s for each in self.layers)
        return sum(each.median_s for each in self.layers if each.kind == kind) / total if total else 0.0
