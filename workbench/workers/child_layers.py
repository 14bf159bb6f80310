"""The part of a worker process that looks inside engines and models; loaded by ``workbench.workers.child``."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.engines.provenance import SourceGraph, attributed, source_graph, with_layer_names
from workbench.errors import RunError, during
from workbench.protocols import Profiler, Progress
from workbench.records import EngineRecord, LayerProfile, from_json, to_json
from workbench.timing import benchmark

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workbench.search.sensitivity import Sensitivity, Study

CALLS = 30
SECONDS = 1.5
"""Profiled calls at most, and for how long at most; three calls at least."""
WARM_UP_S = 0.2


def profile(
    progress: Progress,
    engine: str,
    record: dict[str, Any],
    batch: int,
    origin: str = "",
    samples: str | None = None,
    seconds: float = SECONDS,
) -> Any:
    """Time every layer of an engine: first whole calls without the library's profiler, then calls with it."""
    from workbench.backends import get
    from workbench.data.samples import load_samples
    from workbench.data.synthetic import generated

    what = from_json(EngineRecord, record)
    backend = get(what.spec.backend)
    if not isinstance(backend, Profiler):
        raise RunError(f"{backend.title} does not tell what a layer takes.")
    data = load_samples(Path(samples)) if samples else generated(what.inputs, "random", batch)
    feeds = data.feeds(0, batch)
    progress(f"{what.spec.label}: timing whole calls")
    with during("profile", what.spec.label, RunError):
        with backend.open(Path(engine), what) as session:
            plain = _timed(session.stage(feeds), lambda: None, seconds)
        progress(f"{what.spec.label}: timing its layers")
        with backend.profiled(Path(engine), what) as profiled:
            call = profiled.stage(feeds)
            benchmark.warm_up(call, WARM_UP_S)
            profiled.begin()
            slow = _timed(call, profiled.collect, seconds, warm=False)
            told = profiled.end()
    if not told.layers:
        raise RunError(f"The profiler of {backend.title} told no layers of {what.spec.label}.")
    graph = _graph(origin, what)
    layers, lost = attributed(told.layers, graph, told.words, batch)
    layers = with_layer_names(layers, what.model_layers)
    return to_json(
        LayerProfile(
            engine_key=what.key,
            label=what.spec.label,
            batch=batch,
            layers=layers,
            profiled_ns=tuple(slow),
            plain_ns=tuple(plain),
            basis=told.basis,
            samples="test samples" if samples else "made-up inputs",
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            lost=lost,
        )
    )


def _timed(call: Callable[[], object], after: Callable[[], None], seconds: float, *, warm: bool = True) -> list[int]:
    """Nanoseconds of call after call, up to ``CALLS`` of them; ``after`` is called after each, outside the clock."""
    if warm:
        benchmark.warm_up(call, WARM_UP_S)
    found: list[int] = []
    until = time.perf_counter() + seconds
    while len(found) < 3 or (len(found) < CALLS and time.perf_counter() < until):
        start = time.perf_counter_ns()
        call()
        found.append(time.perf_counter_ns() - start)
        after()
    return found


def _graph(origin: str, record: EngineRecord) -> SourceGraph:
    """The ONNX graph that the engine was built from; without nodes where it was built from something else."""
    path = Path(origin)
    if path.suffix != ".onnx" or not path.is_file():
        return SourceGraph(())
    return source_graph(path, record.inputs)


def scan(progress: Progress, source: str, samples: str, batch: int) -> Any:
    """The ranges of all inner tensors over real samples."""
    from workbench.data.samples import load_samples
    from workbench.search.sensitivity import scan as look

    progress("running real samples through the graph")
    with during("run", "the samples", RunError):
        return to_json(look(Path(source), load_samples(Path(samples)), batch))


def sensitivity(progress: Progress, *, seconds: float, ways: Sequence[str], **asked: Any) -> Any:
    """How much INT8 harms by layer: :class:`workbench.search.sensitivity.Sensitivity` as JSON."""
    return to_json(_probed(_study(progress, **asked), seconds, progress, ways))


def repair(progress: Progress, *, budget: dict[str, Any], min_size: float, seconds: float, **asked: Any) -> Any:
    """The fastest mixed model within a budget: :class:`workbench.search.found.Repair` as JSON."""
    from workbench.choices.budget import Budget
    from workbench.search.repair import Search

    study = _study(progress, **asked)
    found = _probed(study, seconds, progress)
    search = Search(study, budget=Budget(**budget), min_size=min_size, limit_s=seconds, say=progress)
    return to_json(search.run(found))


def _study(
    progress: Progress,
    *,
    source: str,
    inputs: list[Any],
    outputs: list[Any],
    calibration: str,
    seen: str,
    unseen: str,
    method: str,
    backend: str,
    threads: int,
    batch: int,
    folder: str,
    metric: str,
    output: str,
) -> Study:
    from workbench.accuracy.metrics import metric_of
    from workbench.data.samples import load_samples
    from workbench.records import TensorSpec
    from workbench.search.sensitivity import study_of
    from workbench.search.trial import Bench, judge_by

    specs = [tuple(from_json(TensorSpec, one) for one in many) for many in (inputs, outputs)]
    bench = Bench(backend, specs[0], specs[1], Path(folder), batch=batch, threads=threads)
    samples = [load_samples(Path(each)) for each in (calibration, seen, unseen)]
    judge = judge_by(metric_of(metric), output)
    return study_of(bench, Path(source), *samples, method=method, say=progress, judge=judge)


def _probed(study: Study, seconds: float, progress: Progress, ways: Sequence[str] = ("alone",)) -> Sensitivity:
    from workbench.search.sensitivity import sensitivity as probe

    return probe(study, limit_s=seconds, ways=ways, say=progress)


TASKS = (profile, scan, sensitivity, repair)
