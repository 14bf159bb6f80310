"""Sensitivity to INT8: quantize each layer alone, or all but one, and measure the effect on the outputs.

Runs in a child process. There are two questions: *alone* (one unit in INT8, all others in FP32) and *left_out* (all in INT8 but
one unit). Each takes a file, an engine and a pass over the samples for each unit. Kinds of operations come first, because
there are few. With a time limit, units are ordered by a single pass over the quantized model's inner values, the worst first,
and those not tried are listed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workbench.data.samples import Samples
from workbench.errors import WorkbenchError, brief
from workbench.export.divergence import onnx_values
from workbench.models.onnx_file import inputs_of
from workbench.precision.mixed import Quantizer, Unit
from workbench.records import Accuracy, Calibration, EngineRecord, Precision
from workbench.search.mixed_precision.trial import Judge, TrialSetup, judge_by, lost, named, quality, sqnr_db
from workbench.system.measuring_lock import hold_lock

DIVERGED_DB = 10.0
"""An inner value whose signal is less than this above the difference has diverged: 10 dB is a difference of a third."""
INNER_SAMPLES = 8
CHUNK = 48
FP16_MAX = 65504.0
ALONE, LEFT_OUT = "alone", "left out"


@dataclass(frozen=True)
class Damage:
    """The effect of INT8 in one unit or in all units of a kind; for ``left_out``, of INT8 in all other units."""

    what: str  # the node's name, or the kind of operation
    op: str
    way: str  # ALONE or LEFT_OUT
    units: int  # 1, or how many of that kind
    place: int  # in the graph's order; that of the first unit of a kind
    depth: float  # the same as a share of the graph, 0 to 1
    sqnr_db: float | None  # of the outputs against FP32's: higher is better; None: they are equal
    quality: float  # the task's metric, or the share that agrees with FP32
    weight_elements: int
    lost: float = 0.0  # the loss of quality against FP32; above 0 is worse


@dataclass(frozen=True)
class Inner:
    """One inner value of the quantized model compared with FP32's."""

    node: str
    op: str
    place: int
    sqnr_db: float | None  # None: equal


@dataclass(frozen=True)
class Sensitivity:
    """The results of a sensitivity analysis."""

    samples: int
    metric: str  # the name of the quality
    fp32_quality: float
    int8_quality: float  # of all units in INT8
    kinds: tuple[Damage, ...]
    units: tuple[Damage, ...]
    inner: tuple[Inner, ...]  # in the graph's order
    diverges_at: str  # the first node whose value has diverged; "": none
    untried: tuple[str, ...]  # units that were not tried within the time limit
    seconds: float
    refused: tuple[str, ...] = ()  # units that the quantizer failed on, with its error

    def ranked(self, way: str = ALONE) -> tuple[Damage, ...]:
        """Units by damage, the worst first: by the noise of the outputs, which is finer than a metric."""
        return tuple(sorted((u for u in self.units if u.way == way), key=_worst_first))


def _worst_first(damage: Damage) -> tuple[float, float]:
    return (float("inf") if damage.sqnr_db is None else damage.sqnr_db, -damage.lost)


class TrialOutcome(NamedTuple):
    """The result of one choice of units."""

    sqnr_db: float  # of the outputs against FP32's
    scored: Accuracy
    size_bytes: int  # of the file

    @property
    def quality(self) -> float:
        return quality(self.scored)


class Prober:
    """Evaluates choices of units on some samples: writes, builds, runs and judges. Each choice is evaluated once."""

    def __init__(
        self, quantizer: Quantizer, setup: TrialSetup, fp32: EngineRecord, samples: Samples, judge: Judge
    ) -> None:
        self._quantizer, self._setup, self._judge = quantizer, setup, judge
        self.samples = samples
        self.reference = setup.run(fp32, samples)
        self.fp32 = judge(self.reference, self.reference, samples)
        self.fp32_quality = quality(self.fp32)
        self._known: dict[frozenset[str], TrialOutcome] = {}

    def tried(self, units: Iterable[Unit]) -> TrialOutcome:
        """Evaluate the model with these units in INT8.

        Raises:
            ExportError, BuildError, RunError: this choice cannot be written, built or run.
        """
        chosen = tuple(units)
        key = frozenset(unit.name for unit in chosen)
        if key not in self._known:
            with hold_lock("trying layers in INT8", alone=False, waiting=self._setup.say):
                self._known[key] = self._tried(chosen)
        return self._known[key]

    def _tried(self, units: Sequence[Unit]) -> TrialOutcome:
        path = self._quantizer.write(self._setup.folder / "probe.onnx", units)
        record = self._setup.built(path, Precision.INT8, "probe")
        outputs = self._setup.run(record, self.samples)
        scored = self._judge(outputs, self.reference, self.samples)
        return TrialOutcome(sqnr_db(outputs, self.reference), scored, path.stat().st_size)


@dataclass(frozen=True, eq=False)
class Study:
    """A calibrated model with the outputs of FP32, the input of every analysis of its precision."""

    quantizer: Quantizer
    setup: TrialSetup
    fp32: EngineRecord
    seen: Prober  # on the samples that a search uses
    unseen: Prober  # on other samples, for the final judgement
    metric: str  # the name of the quality


class StudySamples(NamedTuple):
    """Samples of a study: to calibrate with, to search with, and other ones for the final judgement."""

    calibration: Samples
    seen: Samples
    unseen: Samples


def study_of(
    setup: TrialSetup, source: Path, samples: StudySamples, method: Calibration, judge: Judge | None = None
) -> Study:
    """Prepare and calibrate the FP32 ONNX file ``source`` and run FP32 over the samples to search and to judge with.

    Raises:
        InputError, ExportError: the model cannot be quantized, or the metric does not fit it.
    """
    judge = judge or judge_by()
    with hold_lock("preparing a model for INT8", alone=False, waiting=setup.say):
        setup.say("FP32")
        fp32 = setup.built(source, Precision.FP32, "fp32")
        quantizer = Quantizer(source, samples.calibration, method, setup.folder, setup.say)
        probers = [Prober(quantizer, setup, fp32, part, judge) for part in (samples.seen, samples.unseen)]
    return Study(quantizer, setup, fp32, probers[0], probers[1], named(probers[0].fp32))


def sensitivity(
    study: Study, *, limit_s: float, ways: Sequence[str] = (ALONE,), say: Callable[[str], None]
) -> Sensitivity:
    """Damage by kind of operation and by unit with weights, the inner values of the model with all units in INT8, and the first
    value that has diverged.

    Args:
        study: the model, and the samples to judge with.
        limit_s: seconds after which no new unit is tried. Units that were not tried are listed.
        ways: ALONE, LEFT_OUT or both.
        say: called with a description of each step.

    """
    began = time.monotonic()
    analysis = _Analysis(study, tuple(ways), say)
    say("all units in INT8")
    whole = study.seen.tried(study.quantizer.units)
    inner = analysis.inner()
    kinds = analysis.kinds()
    units, untried = analysis.units(inner, began, limit_s)
    first = next((each for each in inner if each.sqnr_db is not None and each.sqnr_db < DIVERGED_DB), None)
    return Sensitivity(
        samples=study.seen.samples.count,
        metric=study.metric,
        fp32_quality=study.seen.fp32_quality,
        int8_quality=whole.quality,
        kinds=tuple(kinds),
        units=tuple(sorted(units, key=lambda each: (each.way, each.place))),
        inner=inner,
        diverges_at=first.node if first else "",
        untried=tuple(untried),
        seconds=time.monotonic() - began,
        refused=tuple(analysis.refused),
    )


class _Analysis:
    """The parts of one sensitivity analysis, and what could not be tried."""

    def __init__(self, study: Study, ways: tuple[str, ...], say: Callable[[str], None]) -> None:
        self._study, self._ways, self._say = study, ways, say
        self._every = study.quantizer.units
        self.refused = [f"{op}: the quantizer fails on it in this graph" for op in study.quantizer.refused]

    def inner(self) -> tuple[Inner, ...]:
        """The inner values of the model with all units in INT8."""
        try:
            return inner_values(self._study.quantizer, self._study.seen.samples, self._study.setup.folder)
        except Exception as cause:  # a graph that is not optimized may have operations that the optimizer would remove
            self.refused.append(f"inner values could not be compared: {brief(cause, 200)}")
            return ()

    def kinds(self) -> list[Damage]:
        """The damage of each kind of operation."""
        found: list[Damage] = []
        for op in dict.fromkeys(unit.op for unit in self._every):
            for way in self._ways:
                self._say(f"{op} {way}")
                found += self._damage(op, [unit for unit in self._every if unit.op == op], way)
        return found

    def units(self, inner: Sequence[Inner], began: float, limit_s: float) -> tuple[list[Damage], list[str]]:
        """The damage of each unit with weights, and the units that were not tried within the limit; the noisiest come first."""
        noise = {each.node: each.sqnr_db for each in inner if each.sqnr_db is not None}
        weighted = [unit for unit in self._every if unit.weighted]
        ordered = sorted(weighted, key=lambda unit: (noise.get(unit.name, 999.0), unit.place))
        found: list[Damage] = []
        for number, unit in enumerate(ordered):
            spent = time.monotonic() - began
            if spent > limit_s:
                return found, [each.name for each in ordered[number:]]
            left = f", about {spent / number * (len(ordered) - number):.0f} s left" if number else ""
            self._say(f"unit {number + 1} of {len(ordered)}{left}")
            for way in self._ways:
                found += self._damage(unit.name, [unit], way)
        return found, []

    def _damage(self, what: str, units: Sequence[Unit], way: str) -> list[Damage]:
        """The damage of INT8 in these units, or in all others; empty where that cannot be tried."""
        chosen = units if way == ALONE else [unit for unit in self._every if unit not in units]
        try:
            found = self._study.seen.tried(chosen)
        except WorkbenchError as error:
            self.refused.append(f"{what} {way}: {error.message}")
            return []
        place = min(unit.place for unit in units)
        return [
            Damage(
                what=what,
                op=units[0].op,
                way=way,
                units=len(units),
                place=place,
                depth=place / max(1, len(self._study.quantizer.order)),
                sqnr_db=_finite(found.sqnr_db),
                quality=found.quality,
                weight_elements=sum(unit.weight_elements for unit in units),
                lost=lost(found.scored),
            )
        ]


def _finite(decibels: float) -> float | None:
    """A value that JSON can hold: ``None`` for equal outputs, -999 for outputs that are not finite."""
    if decibels == float("inf"):
        return None
    return max(decibels, -999.0)


def inner_values(quantizer: Quantizer, samples: Samples, scratch: Path) -> tuple[Inner, ...]:
    """SQNR of the output of every unit, all units in INT8, against FP32: on a few samples, without graph optimization."""
    path = quantizer.write(scratch / "whole.onnx", quantizer.units)
    theirs, _ = onnx_values(quantizer.prepared)
    ours, known = onnx_values(path)
    feeds = samples.feeds(0, 1 if _fixed(quantizer.prepared) else min(INNER_SAMPLES, samples.count))
    found = []
    units = list(quantizer.units)
    for start in range(0, len(units), CHUNK):
        part = units[start : start + CHUNK]
        places = {unit.output: _after_int8(unit.output, known) for unit in part}
        places = {name: place for name, place in places.items() if place}
        wanted = theirs(list(places), feeds)
        got = ours(list(places.values()), feeds)
        for unit in part:
            place = places.get(unit.output)
            if place in got and unit.output in wanted and wanted[unit.output].dtype.kind == "f":
                pair = ({"": got[place].astype(np.float64)}, {"": wanted[unit.output]})
                found.append(Inner(unit.name, unit.op, unit.place, _finite(sqnr_db(*pair))))
    return tuple(found)


def _fixed(path: Path) -> bool:
    """Whether the model's batch is fixed."""
    import onnx

    dims = [v.type.tensor_type.shape.dim for v in inputs_of(onnx.load(path, load_external_data=False).graph)]
    return any(dim and dim[0].HasField("dim_value") for dim in dims)


def _after_int8(tensor: str, known: Collection[str]) -> str:
    """The name of a tensor's value after quantization, or its own name; "" if the quantizer removed both."""
    return next((name for name in (f"{tensor}_DequantizeLinear_Output", tensor) if name in known), "")


@dataclass(frozen=True)
class Range:
    """The values of one inner tensor of the FP32 model over real data."""

    node: str
    op: str
    tensor: str
    low: float
    high: float
    not_finite: int  # NaN or infinite values
    beyond_fp16: int  # finite values that FP16 turns into infinity
    stretch: float  # largest magnitude / its 99.9 % quantile: how much outliers widen an INT8 range

    @property
    def doubts(self) -> str:
        """Problems of the range as a sentence; "": none."""
        found = []
        if self.not_finite:
            found.append(f"{self.not_finite:,} values are NaN or infinite")
        if self.beyond_fp16:
            found.append(f"{self.beyond_fp16:,} values are beyond FP16's largest, 65504")
        if self.stretch > STRETCHED:
            found.append(
                f"outliers stretch its range {self.stretch:.0f} times: INT8 would have {255 / self.stretch:.0f} steps left"
            )
        return "; ".join(found)


STRETCHED = 8.0
"""At this stretch, five of eight bits are left for 99.9 % of the values."""


def scan(path: Path, samples: Samples, batch: int = 1) -> tuple[Range, ...]:
    """The range of every float inner tensor over all samples, with counts of values that are not finite or too large for FP16.

    Only extremes, counts and the largest quantile of any batch are kept, so that one pass suffices.
    """
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    values, _ = onnx_values(path)
    made = [(node.name or name, node.op_type, name) for node in graph.node for name in node.output if name]
    made = [each for each in made if each[1] not in ("Constant", "Shape")]
    stats: dict[str, list[Any]] = {}
    for start in range(0, len(made), CHUNK):
        part = [tensor for _, _, tensor in made[start : start + CHUNK]]
        for first in range(0, samples.count, batch):
            for name, array in values(part, samples.feeds(first, batch)).items():
                if array.dtype.kind == "f" and array.size:
                    _gather(stats.setdefault(name, [np.inf, -np.inf, 0, 0, 0.0]), array)
    found = []
    for node, op, tensor in made:
        if tensor in stats:
            low, high, bad, beyond, usual = stats[tensor]
            largest = max(abs(low), abs(high)) if low <= high else 0.0
            stretch = largest / usual if usual else 1.0
            found.append(Range(node, op, tensor, float(low), float(high), bad, beyond, float(stretch)))
    return tuple(found)


def _gather(entry: list[Any], array: np.ndarray) -> None:
    finite = np.isfinite(array)
    kept = array[finite].astype(np.float64)
    entry[2] += int((~finite).sum())
    if kept.size:
        sizes = np.abs(kept)
        entry[0], entry[1] = min(entry[0], kept.min()), max(entry[1], kept.max())
        entry[3] += int((sizes > FP16_MAX).sum())
        entry[4] = max(entry[4], float(np.quantile(sizes, 0.999)))
