"""Trying a model out: an ONNX file is built by a backend, run over samples, judged against the FP32 model, and timed in turns.

Runs in a child process, one engine after another: for searches that try dozens, where a process for each would take minutes.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.accuracy.by_sample import of_all_samples
from workbench.accuracy.score import score
from workbench.backends import get
from workbench.choices.metrics import Metric
from workbench.protocols import Session, Source
from workbench.records import Accuracy, EngineRecord, EngineSpec, Precision, TensorSpec
from workbench.statistics import estimates
from workbench.system.turns import turn
from workbench.timing import benchmark

if TYPE_CHECKING:
    import numpy as np

    from workbench.data.samples import Samples

Outputs = Mapping[str, "np.ndarray"]
Judge = Callable[[Outputs, Outputs, "Samples"], Accuracy]
"""How right outputs are, given FP32's and the samples, in this order."""


@dataclass(frozen=True)
class Bench:
    """Where and how engines are tried: which backend, with how many threads, in which batches, for which model."""

    backend: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    folder: Path
    batch: int = 1
    threads: int = 1

    def built(self, onnx: Path, precision: Precision, name: str) -> EngineRecord:
        """Build an engine from a file into ``folder/name``; its record says what it became and how large it is.

        Raises:
            BuildError and what else the backend raises.
        """
        name_, _, mode = self.backend.partition(":")
        spec = EngineSpec(name_, precision, mode=mode, threads=self.threads, batches=(self.batch,))
        into = self.folder / name
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
        made = get(name_).build(Source(onnx, self.inputs, self.outputs), spec, into, lambda _: None)
        return EngineRecord(
            spec=spec,
            key=name,
            library=made.library,
            library_version=made.library_version,
            realized=made.realized,
            size_bytes=onnx.stat().st_size,
            build_s=0.0,
            inputs=self.inputs,
        )

    def open(self, record: EngineRecord) -> Session:
        return get(record.spec.backend).open(self.folder / record.key, record)


def run_all(session: Session, samples: Samples, batch: int, outputs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    """Every sample once; outputs by name with the sample as their first axis: :func:`workbench.accuracy.by_sample.of_all_samples`."""
    return of_all_samples(session.run, samples.feeds, samples.count, batch, outputs)


def sqnr_db(found: Outputs, reference: Outputs) -> float:
    """Signal to quantization noise of all float outputs together, in decibels: 20 · log10(|reference| / |difference|).

    Each output is first scaled by its own size, so that one with large numbers does not drown the others. Infinity where
    nothing differs; minus infinity where a value is not finite that is so in the reference.
    """
    import numpy as np

    noise = signal = 0.0
    for name, theirs in reference.items():
        # left out: integers, text, and outputs whose number of rows follows the data
        if theirs.dtype.kind != "f" or found[name].dtype.kind != "f":
            continue
        ours = found[name].astype(np.float64)
        wanted = theirs.astype(np.float64)
        finite = np.isfinite(wanted)
        if not np.isfinite(ours[finite]).all():
            return -float("inf")
        size = float(np.square(wanted[finite]).sum())
        if size:
            signal += 1.0
            noise += float(np.square(ours[finite] - wanted[finite]).sum()) / size
    return 10 * float(np.log10(signal / noise)) if noise and signal else float("inf")


def judge_by(metric: Metric | None = None, output: str = "") -> Judge:
    """Scores as every run gives them (:func:`workbench.accuracy.score.score`), FP32's outputs being the source's."""

    def judge(found: Outputs, reference: Outputs, samples: Samples) -> Accuracy:
        return score("", found, reference, samples.labels, metric, output)

    return judge


def quality(scored: Accuracy) -> float:
    """The metric where the samples have labels that fit, else the share that agrees with FP32."""
    return scored.agreement if scored.value is None else scored.value


def lost(scored: Accuracy) -> float:
    """How much worse than FP32's the quality is, whichever way is better: above 0 is worse."""
    return 1 - scored.agreement if scored.value is None or scored.loss is None else scored.loss


def named(scored: Accuracy) -> str:
    """What :func:`quality` measures, in words."""
    if scored.value is None:
        return "agreement with FP32"
    return "accuracy" if scored.metric == "top-1" else scored.metric


@dataclass(frozen=True)
class Speed:
    """How much faster than the first engine another one is: its ratio of times, with a 95 % interval over laps."""

    ratio: float
    low: float
    high: float
    median_s: float

    @property
    def word(self) -> str:
        return "faster" if self.low > 1 else "slower" if self.high < 1 else "cannot tell"


def race(
    bench: Bench,
    records: Sequence[EngineRecord],
    feeds: Mapping[str, np.ndarray],
    *,
    laps: int = 4,
    rounds: int = 4,
    block_s: float = 0.02,
) -> list[Speed]:
    """Time engines in turns, in a new random order each round; ratios are those to the first, within a round.

    For every lap all engines are opened anew, because two openings of one engine differ by where their memory comes to lie; a
    lap counts as the median of its rounds, and the interval is over laps, as in :mod:`workbench.timing.verdict` over launches. All
    of it happens in this one process, which is fair for one thread: no pool of one engine spins beside another.
    """
    import numpy as np

    found: list[list[float]] = [[] for _ in records]
    medians: list[list[float]] = [[] for _ in records]
    for lap in range(laps):
        times = _lap(bench, records, feeds, rounds, block_s, lap)
        for place, own in enumerate(times):
            ratios = [first / mine for first, mine in zip(times[0], own, strict=True)]
            found[place].append(float(np.log(np.median(ratios))))
            medians[place] += own
    return [_speed(logs, float(np.median(own))) for logs, own in zip(found, medians, strict=True)]


def _lap(
    bench: Bench,
    records: Sequence[EngineRecord],
    feeds: Mapping[str, np.ndarray],
    rounds: int,
    block_s: float,
    seed: int,
) -> list[list[float]]:
    """For each engine the median seconds of a call in every round."""
    import numpy as np

    medians: list[list[float]] = [[] for _ in records]
    with turn("timing mixed models", alone=True), ExitStack() as stack:
        calls = [stack.enter_context(bench.open(record)).stage(feeds) for record in records]
        for call in calls:
            benchmark.warm_up(call, 0.05)
        for _, places in benchmark.order(len(calls), rounds, seed):
            for place in places:
                times = benchmark.timed_block(calls[place], block_s, min_calls=2).samples_ns
                medians[place].append(float(np.median(times)) * 1e-9)
    return medians


def _speed(logs: Sequence[float], median_s: float) -> Speed:
    center = estimates.trimmed_center(logs)
    half = center.half_width(1 - estimates.CONFIDENCE)
    ratio, low, high = (math.exp(center.mean + side * half) for side in (0, -1, 1))
    return Speed(ratio, low, high, median_s)
