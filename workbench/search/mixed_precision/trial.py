"""Evaluate a candidate model: build it from an ONNX file, run it over samples, judge it against FP32, and time it interleaved.

Runs in a child process, one engine after another: a search tries dozens, and a process for each would take minutes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.accuracy.agreement import EVERY, Comparable
from workbench.accuracy.by_sample import of_all_samples
from workbench.accuracy.metrics import Metric
from workbench.accuracy.score import score, usable_labels
from workbench.backends import get
from workbench.data.samples import Samples
from workbench.measure.interleave import Rounds, Taken, interleave
from workbench.measure.verdict import Judged, between, judged, laps_of
from workbench.protocols import Session, Source
from workbench.records import Accuracy, Block, EngineRecord, EngineSpec, Precision, TensorSpec, Verdict
from workbench.system.measuring_lock import hold_lock
from workbench.timing import benchmark

Outputs = Mapping[str, np.ndarray]
Judge = Callable[[Outputs, Outputs, Samples], Accuracy]
"""Scores outputs; the arguments are the outputs, FP32's outputs and the samples."""


@dataclass(frozen=True)
class TrialSetup:
    """The backend, the model and the settings with which engines are tried."""

    backend: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    folder: Path
    batch: int = 1
    threads: int = 1
    together: bool = False  # the model does not take a batch of 1
    say: Callable[[str], None] = lambda _: None
    """Called with a sentence while the measuring lock is waited for."""

    def built(self, onnx: Path, precision: Precision, name: str) -> EngineRecord:
        """Build an engine from a file into ``folder/name``; return its record, with precision and size.

        Raises:
            BuildError: it cannot be built; the backend may raise other errors.
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

    def run(self, record: EngineRecord, samples: Samples) -> dict[str, np.ndarray]:
        """Run every sample once; outputs by name, samples first (:func:`workbench.accuracy.by_sample.of_all_samples`)."""
        count, together = samples.count, self.together
        with self.open(record) as session:
            return of_all_samples(session.run, samples.feeds, count, self.batch, self.outputs, together=together)


def sqnr_db(outputs: Outputs, reference: Outputs) -> float:
    """Signal to quantization noise of all float outputs together, in decibels: 20 · log10(|reference| / |difference|).

    Each output is first scaled by its own power, so that outputs with large numbers do not dominate. Infinity if the outputs are
    equal; minus infinity if a value is not finite where the reference is.

    >>> import numpy as np
    >>> round(sqnr_db({"y": np.array([1.1, 2.0])}, {"y": np.array([1.0, 2.0])}), 1)
    27.0
    """
    noise = signal = 0.0
    for name, theirs in reference.items():
        # skip integers, text, and outputs whose number of rows depends on the data
        if theirs.dtype.kind != "f" or outputs[name].dtype.kind != "f":
            continue
        ours = outputs[name].astype(np.float64)
        wanted = theirs.astype(np.float64)
        finite = np.isfinite(wanted)
        if not np.isfinite(ours[finite]).all():
            return -float("inf")
        size = float(np.square(wanted[finite]).sum())
        if size:
            signal += 1.0
            noise += float(np.square(ours[finite] - wanted[finite]).sum()) / size
    return 10 * float(np.log10(signal / noise)) if noise and signal else float("inf")


def judge_by(metric: Metric | None = None, output: str = "", comparable: Comparable = EVERY) -> Judge:
    """A judge that scores as a run does (:func:`workbench.accuracy.score.score`), FP32's outputs being the source's."""

    def judge(outputs: Outputs, reference: Outputs, samples: Samples) -> Accuracy:
        labels = samples.labels if samples.truth is None else samples.truth
        suits = usable_labels(reference, samples.count, metric, output, comparable.varying)
        how = (labels, metric) if suits else (None, None)
        return score("", outputs, reference, *how, output, losses=False, comparable=comparable)

    return judge


def quality(scored: Accuracy) -> float:
    """The metric if the samples have suitable labels, otherwise the agreement with FP32."""
    return scored.agreement if scored.value is None else scored.value


def lost(scored: Accuracy) -> float:
    """The loss of quality against FP32; above 0 is worse."""
    return 1 - scored.agreement if scored.value is None or scored.loss is None else scored.loss


def named(scored: Accuracy) -> str:
    """The name of the quality that :func:`quality` returns."""
    if scored.value is None:
        return "agreement with FP32"
    return "accuracy" if scored.metric == "top-1" else scored.metric


@dataclass(frozen=True)
class Speed:
    """The speed-up of an engine against the first one, with the verdict of :func:`workbench.measure.verdict.judged`."""

    ratio: float  # of the times; of the typical calls if there are too few rounds for an interval
    low: float | None  # of the interval that the verdict rests on; None: too few rounds for one
    high: float | None
    median_s: float
    word: Verdict = Verdict.CANNOT_TELL

    def __str__(self) -> str:
        """``×1.52 [1.48, 1.56] faster``."""
        ends = "" if self.low is None or self.high is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"×{self.ratio:.2f}{ends} {self.word}"


def race(
    setup: TrialSetup,
    records: Sequence[EngineRecord],
    feeds: Mapping[str, np.ndarray],
    *,
    launches: int = 4,
    rounds: int = 5,
    block_s: float = 0.02,
) -> list[Speed]:
    """Time engines interleaved, in a new random order in each round, and compare all of them with the first.

    All engines are opened again for every launch, because two openings of one engine differ in their memory layout. The verdict
    is that of the report, over launches and with the error shared among the engines. All engines are in this one process, which
    is fair for one thread, since no thread pool of one engine is busy while another is timed.
    """
    blocks: list[list[Block]] = [[] for _ in records]
    for launch in range(launches):
        for taken in _launch(setup, records, feeds, Rounds(rounds, 0, launch, launch * rounds), block_s):
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
    setup: TrialSetup, records: Sequence[EngineRecord], feeds: Mapping[str, np.ndarray], rounds: Rounds, block_s: float
) -> Iterator[Taken[benchmark.BlockTimes]]:
    """The rounds of one launch, for which all engines are opened and closed."""
    with hold_lock("timing mixed models", alone=True, waiting=setup.say) as lock, ExitStack() as stack:
        calls = [stack.enter_context(setup.open(record)).stage(feeds) for record in records]
        for call in calls:
            benchmark.warm_up(call, 0.05)

        def block(place: int) -> tuple[benchmark.BlockTimes, bool]:
            times = lock.undisturbed(lambda: benchmark.timed_block(calls[place], block_s, min_calls=2))
            return times, times.quiet

        yield from interleave(len(calls), rounds, block)


def _speed(one: Judged, typical_s: float, first_s: float) -> Speed:
    ratio = first_s / typical_s if one.speedup is None else one.speedup
    return Speed(ratio, one.low, one.high, typical_s, one.verdict)
