"""Time per layer, in a pass of its own: one worker for each engine, with nothing else running beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from workbench import backends
from workbench.errors import Cancelled, InputError, WorkbenchError
from workbench.protocols import Availability, Profiler, no
from workbench.records import CPU, EngineRecord, LayerProfile, Result, from_json, to_json
from workbench.store import Store, key_of
from workbench.system.machine import this_machine
from workbench.system.turns import turn
from workbench.workers.worker import NO_GPU, Worker, thread_env

KIND = "layers"
SECONDS = 1.5
VERSION = 2
"""Of how layers are timed and attributed: raise it when profiles of before would differ."""


def can_profile(result: Result) -> Availability:
    """Whether the layers of a row's engine can be timed here; if not, why."""
    if result.engine is None:
        return no("was not built")
    backend = backends.get(result.spec.backend)
    if not result.engine.runnable:
        return no("was built and cannot run here")
    if not isinstance(backend, Profiler):
        return no(f"tells no layers: {backend.title} has no profiler that Python can ask")
    able = backend.profiles(result.spec)
    return able or no(f"tells no layers: {able.reason}", able.fix)


def profile(
    result: Result,
    store: Store,
    *,
    samples: Path | None = None,
    again: bool = False,
    say: Callable[[str], None] = print,
    seconds: float = SECONDS,
) -> LayerProfile:
    """The layers of one row's engine at its batch: from the store, or timed now in a process of its own (about 3 s).

    ``samples`` is a file of :func:`workbench.data.samples.save_samples`; without it inputs are made up, which dense layers do not
    mind. ``again`` times even what the store has. ``seconds`` is for how long calls are made, at most, with the profiler and
    without it.

    Raises:
        InputError: its library tells no times of layers.
        RunError, WorkerError: it could not be run.
    """
    able = can_profile(result)
    if not able or result.engine is None:
        raise InputError(f"'{result.row}' {able.reason}.")
    key = _key(result.engine, result.batch)
    known = None if again else store.record(KIND, key, LayerProfile)
    if known is None:
        with _worker(result.engine, store) as worker:
            found = _measured(worker, result.engine, result.batch, store, samples, say, seconds)
        store.put(KIND, key, found)
        known = from_json(LayerProfile, found)
    return known


def known(result: Result, store: Store) -> LayerProfile | None:
    """The layers of one row's engine at its batch, where they were timed before; costs nothing."""
    return store.record(KIND, _key(result.engine, result.batch), LayerProfile) if result.engine else None


def profile_all(
    rows: Iterable[Result],
    store: Store,
    *,
    samples: Path | None,
    say: Callable[[str], None],
    cancel: threading.Event | None = None,
) -> tuple[LayerProfile, ...]:
    """The layers of every row that was measured and whose library tells them; one that fails is told and left out."""
    found = []
    for result in rows:
        if result.timing is None or not can_profile(result):
            continue
        if cancel is not None and cancel.is_set():
            raise Cancelled("Stopped on request.")
        try:
            found.append(profile(result, store, samples=samples, say=say))
        except Cancelled:
            raise
        except WorkbenchError as error:
            say(f"{result.row}: no times per layer ({error.message})")
    return tuple(found)


def origin_of(engine: EngineRecord, store: Store) -> Path:
    """Where the prepared form lies that the engine was built from; it need not be there any more."""
    return store.root / engine.origin  # an absolute path stays one


def _key(engine: EngineRecord, batch: int) -> str:
    """Whatever was fed: what a layer takes hardly depends on it, and the profile says what it was."""
    return key_of(
        engine=engine.key,
        batch=batch,
        origin=[engine.origin, *engine.model_layers],
        version=VERSION,
        machine=to_json(this_machine()),
    )


def _worker(engine: EngineRecord, store: Store) -> Worker:
    env = store.cache_env | thread_env(engine.spec.threads) | (NO_GPU if engine.device == CPU else {})
    writable = store.kept_by(engine.device)
    return Worker(store.log_path(f"{engine.spec.label} layers"), env=env, writable=writable)


def _measured(
    worker: Worker,
    engine: EngineRecord,
    batch: int,
    store: Store,
    samples: Path | None,
    say: Callable[[str], None],
    seconds: float,
) -> object:
    worker.call("hello", modules=list(backends.get(engine.spec.backend).imports))
    with turn("timing layers", alone=True, waiting=say):
        found: object = worker.call(
            "profile",
            progress=say,
            engine=str(store.path("engine", engine.key)),
            record=to_json(engine),
            batch=batch,
            origin=str(origin_of(engine, store)) if engine.origin else "",
            samples=str(samples) if samples else None,
            seconds=seconds,
        )
    return found
