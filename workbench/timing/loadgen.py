"""Run MLPerf LoadGen on an open engine: LoadGen schedules the queries, takes the times and judges the run.

Results are unofficial: they are not submitted, runs are shortened, and accuracy runs and audits are left out. LoadGen is the package
``mlcommons-loadgen`` of MLCommons; its rules are those of the ``mlperf.conf`` inside it.
"""

from __future__ import annotations

import json
import queue
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workbench.data.samples import Samples, load_samples
from workbench.errors import RunError, brief, optional
from workbench.protocols import AVAILABLE, Availability, Caller, Callers, unavailable
from workbench.records import LoadGenRun, LoadPlan
from workbench.system.machine import is_package, version_of
from workbench.timing import load

MODULE, PACKAGE = "mlperf_loadgen", "mlcommons-loadgen"
FIX = 'pip install "inference-workbench[loadgen]"'
RULES_S = 600
"""``*.min_duration`` of mlperf.conf, in seconds."""
RULES_QUERIES = {"SingleStream": 100, "Offline": 24_576, "Server": 100}
"""Fewest queries (Offline: samples): LoadGen's own default, and for Offline the value of mlperf.conf for most models."""
MOST_SAMPLES, MOST_BYTES = 1024, 2**28
MARGIN = 1.3
"""LoadGen creates its queries beforehand from an expected speed; with too low a speed it would run out of queries."""
QUEUE_LIMITS = 10
"""A Server run ends early if more queries wait than arrive in this many latency limits (server_max_async_queries)."""


def here() -> Availability:
    return AVAILABLE if is_package(MODULE) else unavailable(f"the package '{PACKAGE}' is not installed", FIX)


def refusal(scenario: str, batch: int) -> str:
    """The reason why a scenario is not run at a batch size; "": it is run."""
    if scenario == "SingleStream" and batch > 1:
        return "SingleStream sends one sample at a time, so only the batch 1 is run."
    return ""


def run(
    callers_of: Callable[[int], Callers], samples: Path, batch: int, plan: LoadPlan, rate: float = 0.0
) -> LoadGenRun:
    """Run the plan's scenario once, host to host, on samples in memory.

    SingleStream: LoadGen's own thread runs each sample. Offline: all samples arrive at once and are run in batches. Server: samples
    arrive at ``rate`` per second; a free caller takes up to a batch of the waiting samples. Batches are always full: missing
    samples are repeats of the others.

    Raises:
        MissingPackageError: LoadGen is not installed.
        RunError: the engine failed.
    """
    lg: Any = optional(MODULE, FIX)
    stream_threads = callers_of(1 if plan.scenario == "SingleStream" else plan.callers)
    system = System(lg, load_samples(samples), batch, stream_threads.each)
    settings = _test_settings(lg, plan, batch, rate, system.tried())
    with tempfile.TemporaryDirectory() as folder:
        system.answer(settings, folder)
        summary = (Path(folder) / "mlperf_log_summary.txt").read_text(encoding="utf-8", errors="replace")
        detail = (Path(folder) / "mlperf_log_detail.txt").read_text(encoding="utf-8", errors="replace")
    figures, valid, reasons = read_summary(summary)
    seconds, queries = plan.loadgen_s, plan.loadgen_queries
    server = f", {rate:g} queries/s within {plan.limit_s * 1e3:g} ms at p{plan.percent:g}"
    more = server if plan.scenario == "Server" else ""
    return LoadGenRun(
        scenario=plan.scenario,
        version=version_of(PACKAGE),
        valid=valid,
        figures=figures,
        reasons=(*reasons, *_errors(detail)),
        settings=f"at least {seconds:g} s and {queries} queries{more}; {shortened(plan.scenario, seconds, queries)}",
        summary=summary,
        how=f"{len(stream_threads.each)} at once, {stream_threads.note}; batch {batch}",
    )


def _test_settings(lg: Any, plan: LoadPlan, batch: int, rate: float, speed: float) -> Any:
    """LoadGen's settings for a plan; ``speed`` are the calls per second of all callers together."""
    settings = lg.TestSettings()
    settings.scenario = getattr(lg.TestScenario, plan.scenario)
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = round(plan.loadgen_s * 1e3)
    settings.min_query_count = plan.loadgen_queries
    settings.qsl_rng_seed = settings.sample_index_rng_seed = settings.schedule_rng_seed = plan.seed
    settings.single_stream_expected_latency_ns = max(1, int(1e9 / (speed * MARGIN)))
    settings.offline_expected_qps = speed * batch * MARGIN
    settings.server_target_qps = rate
    settings.server_target_latency_ns = int(plan.limit_s * 1e9)
    settings.server_target_latency_percentile = plan.percent / 100
    settings.server_max_async_queries = max(100, round(rate * plan.limit_s * QUEUE_LIMITS))
    return settings


def shortened(scenario: str, seconds: float, queries: int) -> str:
    """A sentence that compares the length of a run with MLPerf's rules."""
    least = RULES_QUERIES[scenario]
    if seconds >= RULES_S and queries >= least:
        return "as long as MLPerf's rules require"
    return f"shortened: MLPerf's rules require {RULES_S} s" + (f" and {least:,} queries" if queries < least else "")


class System:
    """LoadGen's system under test and its query sample library: callers of one engine, and samples in memory."""

    def __init__(self, lg: Any, samples: Samples, batch: int, callers: Sequence[Caller]) -> None:
        self._lg, self._samples, self._batch, self._callers = lg, samples, batch, callers
        self._feeds: dict[int, Any] = {}
        self._waiting: queue.SimpleQueue[list[tuple[int, int]] | None] = queue.SimpleQueue()
        self._error: BaseException | None = None

    def tried(self) -> float:
        """Calls per second of all callers together, over a fifth of a second, after a first call of each."""
        feeds = self._samples.feeds(0, self._batch)
        for caller in self._callers:
            caller.run(feeds)
        calls = [lambda run=caller.run: run(feeds) for caller in self._callers]
        found = load.closed_block(self._callers, calls, 0.2)
        return max(found.calls / found.wall_s, 0.01)

    def answer(self, settings: Any, folder: str) -> None:
        """Run LoadGen with its logs in ``folder``.

        Raises:
            RunError: a call of the engine failed; later queries got empty results, so that LoadGen ended.
        """
        lg = self._lg
        logs = lg.LogSettings()
        logs.enable_trace = False
        logs.log_output.outdir = folder
        logs.log_output.copy_summary_to_stdout = False
        single = settings.scenario == lg.TestScenario.SingleStream
        size = self._samples.count
        system = lg.ConstructFastSUT(self._answer_now if single else self._pass_on, lambda: None)
        library = lg.ConstructQSL(size, self._in_memory(), self._load, self._unload)
        threads = [] if single else [threading.Thread(target=self._serve, args=(each,)) for each in self._callers]
        for thread in threads:
            thread.start()
        try:
            lg.StartTestWithLogSettings(system, library, settings, logs, "")
        finally:
            for _ in threads:
                self._waiting.put(None)
            for thread in threads:
                thread.join()
            lg.DestroyQSL(library)
            lg.DestroyFastSUT(system)
        if self._error:
            raise RunError(f"The engine failed under LoadGen: {brief(self._error)}") from self._error

    def _in_memory(self) -> int:
        each = sum(array.nbytes for array in self._samples.feeds(0, 1).values())
        return max(1, min(self._samples.count, MOST_SAMPLES, MOST_BYTES // max(1, each)))

    def _load(self, numbers: list[int]) -> None:
        self._feeds = {number: self._samples.feeds(number, 1) for number in numbers} if self._batch == 1 else {}

    def _unload(self, _numbers: list[int]) -> None:
        self._feeds = {}

    def _answer_now(self, names: list[int], numbers: list[int]) -> None:
        self._run(self._callers[0], list(zip(names, numbers, strict=True)))

    def _pass_on(self, names: list[int], numbers: list[int]) -> None:
        waiting = list(zip(names, numbers, strict=True))
        for start in range(0, len(waiting), self._batch):
            self._waiting.put(waiting[start : start + self._batch])

    def _serve(self, caller: Caller) -> None:
        """In a thread: run waiting samples, up to a batch at a time."""
        try:
            caller.enter()
        except BaseException as cause:
            self._error = cause
        while (taken := self._waiting.get()) is not None:
            while len(taken) < self._batch:
                try:
                    more = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if more is None or len(taken) + len(more) > self._batch:
                    self._waiting.put(more)
                    break
                taken = taken + more
            self._run(caller, taken)
        caller.leave()

    def _run(self, caller: Caller, taken: list[tuple[int, int]]) -> None:
        if self._error is None:
            try:
                caller.run(self._feeds[taken[0][1]] if self._batch == 1 else self._gathered(taken))
            except BaseException as cause:  # an exception inside LoadGen, which is C++, would end the process
                self._error = cause
        response = self._lg.QuerySampleResponse
        self._lg.QuerySamplesComplete([response(name, 0, 0) for name, _ in taken])

    def _gathered(self, taken: list[tuple[int, int]]) -> dict[str, Any]:
        numbers = [number for _, number in taken]
        return self._samples.feeds_of([numbers[place % len(numbers)] for place in range(self._batch)])


def read_summary(text: str) -> tuple[dict[str, str], bool, tuple[str, ...]]:
    """Parse LoadGen's summary file: figures by name, whether the run is valid, and the reasons if it is not."""
    figures: dict[str, str] = {}
    reasons: list[str] = []
    advice = False
    for line in text.splitlines():
        name, colon, value = (part.strip() for part in line.partition(":"))
        inner = line.startswith(" ")
        if not inner:
            invalid = figures.get("Result is") == "INVALID"
            advice = name == "Recommendations" or (invalid and name == "Early Stopping Result")
        if advice and inner:
            if line.strip().startswith("*"):
                reasons.append(line.strip(" *"))
            elif reasons:
                reasons[-1] += f" {line.strip()}"
        elif colon and value:
            figures[name] = value
            if value.upper() == "NO":
                reasons.append(f"{name}: no")
    return figures, figures.get("Result is") == "VALID", tuple(reasons)


def _errors(detail: str) -> list[str]:
    """The entries of the detailed log that are marked as errors."""
    found = []
    for line in detail.splitlines():
        if line.startswith(":::MLLOG") and '"is_error": true' in line:
            entry = json.loads(line.removeprefix(":::MLLOG "))
            found.append(f"{entry['key']}: {brief(Exception(str(entry['value'])), 200)}")
    return list(dict.fromkeys(found))
