"""The task of a worker process that profiles the layers of an engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.data.samples import load_samples
from workbench.data.synthetic import generated
from workbench.errors import RunError, during
from workbench.graph.provenance import SourceGraph, attributed, source_graph, with_layer_names
from workbench.protocols import Profiler, Progress
from workbench.records import EngineRecord, LayerProfile, from_json, to_json
from workbench.timing import benchmark

CALLS = 30
SECONDS = 1.5
"""Limits of a profile: calls and seconds. At least three calls are made."""
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

    what = from_json(EngineRecord, record)
    backend = get(what.spec.backend)
    if not isinstance(backend, Profiler):
        raise RunError(f"{backend.title} cannot time layers.")
    backend.check_files(Path(engine))
    data = load_samples(Path(samples)) if samples else generated(what.inputs, "random", batch)
    feeds = data.feeds(0, batch)
    with during("profile", what.spec.label, RunError):
        progress(f"{what.spec.label}: timing whole calls")
        with backend.open(Path(engine), what) as session:
            plain = _timed(session.stage(feeds), seconds)
        progress(f"{what.spec.label}: timing its layers")
        with backend.profiled(Path(engine), what) as profiled:
            slow = _timed(profiled.stage(feeds), seconds, profiled.begin, profiled.collect)
            timings = profiled.end()
    if not timings.layers:
        raise RunError(f"The profiler of {backend.title} reported no layers of {what.spec.label}.")
    path = Path(origin)  # of the ONNX file that it was built from, if it was built from one
    graph = source_graph(path, what.inputs, batch) if path.suffix == ".onnx" and path.is_file() else SourceGraph(())
    layers, lost = attributed(timings.layers, graph, timings.words, batch)
    layers = with_layer_names(layers, what.model_layers)
    return to_json(
        LayerProfile(
            engine_key=what.key,
            label=what.spec.label,
            batch=batch,
            layers=layers,
            profiled_ns=tuple(slow),
            plain_ns=tuple(plain),
            basis=timings.basis,
            samples="test samples" if samples else "made-up inputs",
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            lost=lost,
        )
    )


def _timed(
    call: Callable[[], object],
    seconds: float,
    begin: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> list[int]:
    """Nanoseconds of each call after a warm-up, of at most ``CALLS``; ``begin`` is called before them, and ``after`` after each, outside
    the timed region.
    """
    benchmark.warm_up(call, WARM_UP_S)
    begin()
    found: list[int] = []
    until = time.perf_counter() + seconds
    while len(found) < 3 or (len(found) < CALLS and time.perf_counter() < until):
        start = time.perf_counter_ns()
        call()
        found.append(time.perf_counter_ns() - start)
        after()
    return found


TASKS = (profile,)
