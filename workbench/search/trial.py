"""Trying a model out: an ONNX file is built by a backend, run over samples, judged against the FP32 model, and timed in turns.

Runs in a child process, one engine after another: for searches that try dozens, where a process for each would take minutes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.accuracy.by_sample import of_all_samples
from workbench.accuracy.metrics import Metric
from workbench.accuracy.score import score
from workbench.backends import get
from workbench.measure.interleave import Rounds, Taken, interleave
from workbench.protocols import Session, Source
from workbench.records import Accuracy, Block, EngineRecord, EngineSpec, Precision, TensorSpec, Verdict
from workbench.system.turns import turn
from workbench.timing import benchmark
from workbench.timing.verdict import Judged, between, judged, laps_of

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
        labels = samples.labels if samples.truth is None else samples.truth
        return score("", found, reference, labels, metric, output, losses=False)

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
    """How much faster than the first engine another one is, with the verdict of :func:`workbench.timing.verdict.judged`."""

    ratio: float  # of times; by the typical calls where there were too few rounds for an interval
    low: float | None  # of the interval that the verdict rests on; None: too few rounds for one
    high: float | None
    median_s: float
    word: Verdict = Verdict.CANNOT_TELL

    def __str__(self) -> str:
        """``×1.52 [1.48, 1.56] faster``."""
        ends = "" if self.low is None or self.high is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"×{self.ratio:.2f}{ends} {self.word}"


def race(
    bench: Bench,
    records: Sequence[EngineRecord],
    feeds: Mapping[str, np.ndarray],
    *,
    launches: int = 4,
    rounds: int = 5,
    block_s: float = 0.02,
) -> list[Speed]:
    """Time engines in turn, in a new random order each round, and compare all of them with the first.

    For every launch all engines are opened again, because two openings of one engine differ by where their memory comes to lie.
    The verdict is the report's own, over launches and shared among the engines. All of it happens in this one process, which is
    fair for one thread: no pool of one engine spins beside another.
    """
    import numpy as np

    blocks: list[list[Block]] = [[] for _ in records]
    for launch in range(launches):
        for taken in _launch(bench, records, feeds, Rounds(rounds, 0, launch, launch * rounds), block_s):
            times = taken.value
            blocks[taken.variant].append(
                Block(
                    samples_ns=times.samples_ns,
                    cpu_s=times.cpu_s,
                    wall_s=times.wall_s,
                    around=times.around,
                    launch=taken.launch,
                    **taken.where,
                )
            )
    typical = [float(np.median([block.typical_ns() for block in own])) * 1e-9 for own in blocks]
    laps = [laps_of(own) for own in blocks]
    found = judged([between(own, laps[0]) for own in laps[1:]])
    first = Speed(1.0, 1.0, 1.0, typical[0], Verdict.BASELINE)
    return [first, *(_speed(one, own, typical[0]) for one, own in zip(found, typical[1:], strict=True))]


def _launch(
    bench: Bench, records: Sequence[EngineRecord], feeds: Mapping[str, np.ndarray], rounds: Rounds, block_s: float
) -> Iterator[Taken[benchmark.BlockTimes]]:
    """The rounds of one launch: all engines are opened for it and closed after it."""
    with turn("timing mixed models", alone=True), ExitStack() as stack:
        calls = [stack.enter_context(bench.open(record)).stage(feeds) for record in records]
        for call in calls:
            benchmark.warm_up(call, 0.05)

        def block(place: int) -> tuple[benchmark.BlockTimes, bool]:
            times = benchmark.timed_block(calls[place], block_s, min_calls=2)
            return times, times.quiet

        yield from interleave(len(calls), rounds, block)


def _speed(one: Judged, typical_s: float, first_s: float) -> Speed:
    ratio = first_s / typical_s if one.speedup is None else one.speedup
    return Speed(ratio, one.low, one.high, typical_s, one.verdict)
