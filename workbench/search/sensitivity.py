"""Which layers cannot bear INT8: each is quantized alone, or left out alone, and what that does to the outputs is measured.

Runs in a child process. Two questions with two costs: *alone* (one unit in INT8, all others FP32) takes a file, an engine and
a pass over the samples for each unit; *spared* (all in INT8 but one unit) takes the same again. Kinds of operations come
first, because there are few. With a limit of time, the units that look worst in a single pass over the quantized
model's inner values come first, and what was not tried is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.export.divergence import onnx_values
from workbench.precision.mixed import Quantizer, Unit
from workbench.records import Accuracy, Calibration, EngineRecord, Precision
from workbench.search.trial import Bench, Judge, judge_by, lost, named, quality, run_all, sqnr_db
from workbench.system.turns import turn

if TYPE_CHECKING:
    import numpy as np

    from workbench.data.samples import Samples

DIVERGED_DB = 10.0
"""An inner value whose signal is less than this above the difference has come apart: 10 dB is a difference of a third."""
INNER_SAMPLES = 8
CHUNK = 48
FP16_MAX = 65504.0
ALONE, SPARED = "alone", "spared"


@dataclass(frozen=True)
class Damage:
    """What INT8 in one unit, or in all units of one kind, does; or, where it was ``spared``, what INT8 in all others does."""

    what: str  # the node's name, or the kind of operation
    op: str
    way: str  # ALONE or SPARED
    units: int  # 1, or how many of that kind
    place: int  # in the graph's order; that of the first unit of a kind
    depth: float  # the same as a share of the graph, 0 to 1
    sqnr_db: float | None  # of the outputs against FP32's: higher is better; None: they are equal
    quality: float  # the task's metric, or the share that agrees with FP32
    weight_elements: int
    lost: float = 0.0  # how much worse than FP32's that is, whichever way is better


@dataclass(frozen=True)
class Inner:
    """One inner value of the quantized model against FP32's: at which node, and how far apart."""

    node: str
    op: str
    place: int
    sqnr_db: float | None  # None: equal


@dataclass(frozen=True)
class Sensitivity:
    """All that was found, on how many samples, and at what cost."""

    samples: int
    metric: str  # what ``quality`` is
    fp32_quality: float
    int8_quality: float  # of all units in INT8
    int8_sqnr_db: float | None
    kinds: tuple[Damage, ...]
    units: tuple[Damage, ...]
    inner: tuple[Inner, ...]  # in the graph's order
    diverges_at: str  # the first node whose value has come apart; "": none
    untried: tuple[str, ...]  # units that the limit of time left out
    seconds: float
    refused: tuple[str, ...] = ()  # units that the quantizer fails on, with what it said

    def ranked(self, way: str = ALONE) -> tuple[Damage, ...]:
        """Units by damage, the worst first: by the outputs' noise, which tells more than a metric that seldom flips."""
        return tuple(sorted((u for u in self.units if u.way == way), key=_worst_first))


def _worst_first(damage: Damage) -> tuple[float, float]:
    return (float("inf") if damage.sqnr_db is None else damage.sqnr_db, -damage.lost)


class Outcome(NamedTuple):
    """What one choice of units came to."""

    sqnr_db: float  # of the outputs against FP32's
    scored: Accuracy
    size_bytes: int  # of the file

    @property
    def quality(self) -> float:
        return quality(self.scored)


class Prober:
    """Tries choices of units on some samples: writes, builds, runs and judges. Each choice is tried once."""

    def __init__(self, quantizer: Quantizer, bench: Bench, fp32: EngineRecord, samples: Samples, judge: Judge) -> None:
        self._quantizer, self._bench, self._judge = quantizer, bench, judge
        self.samples = samples
        with bench.open(fp32) as session:
            self.reference = run_all(session, samples, bench.batch, bench.outputs)
        self.fp32 = judge(self.reference, self.reference, samples)
        self.fp32_quality = quality(self.fp32)
        self._known: dict[frozenset[str], Outcome] = {}

    def tried(self, units: Iterable[Unit]) -> Outcome:
        """The model with these units in INT8.

        Raises:
            ExportError, BuildError, RunError: this choice cannot be written, built or run.
        """
        chosen = tuple(units)
        key = frozenset(unit.name for unit in chosen)
        if key not in self._known:
            with turn("trying layers in INT8", alone=False):
                self._known[key] = self._tried(chosen)
        return self._known[key]

    def _tried(self, units: Sequence[Unit]) -> Outcome:
        path = self._quantizer.write(self._bench.folder / "probe.onnx", units)
        record = self._bench.built(path, Precision.INT8, "probe")
        with self._bench.open(record) as session:
            outputs = run_all(session, self.samples, self._bench.batch, self._bench.outputs)
        scored = self._judge(outputs, self.reference, self.samples)
        return Outcome(sqnr_db(outputs, self.reference), scored, path.stat().st_size)


@dataclass(frozen=True, eq=False)
class Study:
    """One model, calibrated, with FP32's answers: what all questions about its precision begin with."""

    quantizer: Quantizer
    bench: Bench
    fp32: EngineRecord
    seen: Prober  # on the samples that a search may look at
    unseen: Prober  # on others, for its last word
    metric: str  # what qualities are, in words


def study_of(
    bench: Bench,
    source: Path,
    calibration: Samples,
    seen: Samples,
    unseen: Samples,
    *,
    method: str,
    say: Callable[[str], None],
    judge: Judge | None = None,
) -> Study:
    """Prepare and calibrate the FP32 ONNX file ``source`` and run FP32 over both sets of samples.

    Raises:
        InputError, ExportError: it cannot be quantized, or the metric does not suit it.
    """
    judge = judge or judge_by()
    with turn("preparing a model for INT8", alone=False):
        say("FP32")
        fp32 = bench.built(source, Precision.FP32, "fp32")
        quantizer = Quantizer(source, calibration, Calibration(method), bench.folder, say)
        probers = [Prober(quantizer, bench, fp32, samples, judge) for samples in (seen, unseen)]
    return Study(quantizer, bench, fp32, probers[0], probers[1], named(probers[0].fp32))


def sensitivity(
    study: Study, *, limit_s: float, ways: Sequence[str] = (ALONE,), say: Callable[[str], None]
) -> Sensitivity:
    """Damage by kind of operation and by unit with weights, the inner values of the whole in INT8, and the first that has
    come apart.

    Args:
        study: the model, and the samples to judge with.
        limit_s: no new unit is begun after so many seconds. What was not tried is told.
        ways: ALONE, SPARED or both.
        say: told of each step.

    """
    from workbench.errors import WorkbenchError, brief

    began = time.monotonic()
    quantizer, prober = study.quantizer, study.seen
    every, refused = quantizer.units, [f"{op}: the quantizer fails on it in this graph" for op in quantizer.refused]
    say("all units in INT8")
    whole = prober.tried(every)
    try:
        inner = inner_values(quantizer, prober.samples, study.bench.folder)
    except Exception as cause:  # graphs as they stand run operations that optimized ones do without
        inner = ()
        refused.append(f"inner values could not be compared: {brief(cause, 200)}")
    total = max(1, len(quantizer.order))
    kinds: list[Damage] = []
    for op in dict.fromkeys(unit.op for unit in every):
        same = [unit for unit in every if unit.op == op]
        for way in ways:
            chosen = same if way == ALONE else [unit for unit in every if unit.op != op]
            try:
                say(f"{op} {way}")
                kinds.append(_damage(op, op, way, same, prober.tried(chosen), total))
            except WorkbenchError as error:
                refused.append(f"{op} {way}: {error.message}")
    noise = {each.node: each.sqnr_db for each in inner}
    weighted = [unit for unit in every if unit.weighted]
    ordered = sorted(
        weighted, key=lambda unit: (value if (value := noise.get(unit.name)) is not None else 999.0, unit.place)
    )
    units: list[Damage] = []
    untried: list[str] = []
    for number, unit in enumerate(ordered):
        if time.monotonic() - began > limit_s:
            untried += [each.name for each in ordered[number:]]
            break
        spent = time.monotonic() - began
        left = f", about {spent / number * (len(ordered) - number):.0f} s left" if number else ""
        say(f"unit {number + 1} of {len(ordered)}{left}")
        for way in ways:
            chosen = [unit] if way == ALONE else [each for each in every if each is not unit]
            try:
                units.append(_damage(unit.name, unit.op, way, [unit], prober.tried(chosen), total))
            except WorkbenchError as error:
                refused.append(f"{unit.name} {way}: {error.message}")
    first = next((each for each in inner if each.sqnr_db is not None and each.sqnr_db < DIVERGED_DB), None)
    return Sensitivity(
        samples=prober.samples.count,
        metric=study.metric,
        fp32_quality=prober.fp32_quality,
        int8_quality=whole.quality,
        int8_sqnr_db=_finite(whole.sqnr_db),
        kinds=tuple(kinds),
        units=tuple(sorted(units, key=lambda each: (each.way, each.place))),
        inner=inner,
        diverges_at=first.node if first else "",
        untried=tuple(untried),
        seconds=time.monotonic() - began,
        refused=tuple(refused),
    )


def _damage(what: str, op: str, way: str, units: Sequence[Unit], found: Outcome, total: int) -> Damage:
    place = min(unit.place for unit in units)
    elements = sum(unit.weight_elements for unit in units)
    return Damage(
        what,
        op,
        way,
        len(units),
        place,
        place / total,
        _finite(found.sqnr_db),
        found.quality,
        elements,
        lost(found.scored),
    )


def _finite(decibels: float) -> float | None:
    """Infinity is no JSON: equal outputs have none, and outputs that are not finite have a very bad one."""
    if decibels == float("inf"):
        return None
    return max(decibels, -999.0)


def inner_values(quantizer: Quantizer, samples: Samples, scratch: Path) -> tuple[Inner, ...]:
    """SQNR of what every unit writes, all units in INT8, against the FP32 model: on a few samples, graphs run as they stand."""
    import numpy as np

    path = quantizer.write(scratch / "whole.onnx", quantizer.units)
    theirs, _ = onnx_values(quantizer.prepared)
    ours, known = onnx_values(path)
    feeds = (
        samples.feeds(0, min(INNER_SAMPLES, samples.count)) if not _fixed(quantizer.prepared) else samples.feeds(0, 1)
    )
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

    graph = onnx.load(path, load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    dims = [v.type.tensor_type.shape.dim for v in graph.input if v.name not in stored]
    return any(dim and dim[0].HasField("dim_value") for dim in dims)


def _after_int8(tensor: str, known: Iterable[str]) -> str:
    """The name of a tensor's value after it went through 8 bits, or its own; "" where the quantizer left neither."""
    names = set(known)
    return next((name for name in (f"{tensor}_DequantizeLinear_Output", tensor) if name in names), "")


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
    stretch: float  # largest size / the size that 99.9 % of the values stay below: what one outlier costs an INT8 range

    @property
    def doubts(self) -> str:
        """What is wrong with it, in words; "" where nothing is."""
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
"""A range that outliers stretch by so much leaves five of eight bits to the values that matter."""


def scan(path: Path, samples: Samples, batch: int = 1) -> tuple[Range, ...]:
    """Every inner tensor of floats over all samples: its range, what is not finite, what FP16 cannot hold, and outliers.

    Keeps nothing but extremes and counts, and of the sizes the largest quantile of any batch: that needs no second pass.
    """
    import numpy as np
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
    import numpy as np

    finite = np.isfinite(array)
    kept = array[finite].astype(np.float64)
    entry[2] += int((~finite).sum())
    if kept.size:
        sizes = np.abs(kept)
        entry[0], entry[1] = min(entry[0], kept.min()), max(entry[1], kept.max())
        entry[3] += int((sizes > FP16_MAX).sum())
        entry[4] = max(entry[4], float(np.quantile(sizes, 0.999)))
