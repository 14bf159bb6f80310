"""Time per layer, in a separate pass: one worker for each engine, while nothing else runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from workbench import backends
from workbench.errors import Cancelled, InputError, WorkbenchError
from workbench.protocols import Availability, Profiler, unavailable
from workbench.records import CPU, EngineRecord, LayerProfile, Result, from_json, to_json
from workbench.store import Store, key_of
from workbench.system.machine import this_machine
from workbench.system.measuring_lock import hold_lock
from workbench.workers.worker import NO_GPU, Worker, thread_env

KIND = "layers"
SECONDS = 1.5
VERSION = 2
"""Version of the timing and attribution of layers: raise it when earlier profiles would differ."""


def can_profile(result: Result) -> Availability:
    """Whether the layers of a row's engine can be timed here; if not, why."""
    if result.engine is None:
        return unavailable("was not built")
    if not result.engine.runnable:
        return unavailable("was built and cannot run here")
    if result.spec.backend not in backends.names():
        return unavailable(f"does not report layers here: no installed package has the backend '{result.spec.backend}'")
    backend = backends.get(result.spec.backend)
    if not isinstance(backend, Profiler):
        return unavailable(f"does not report layers: {backend.title} has no profiler with a Python interface")
    answers = backends.of(result.spec)
    able = answers.profiles(result.spec) if isinstance(answers, Profiler) else backend.profiles(result.spec)
    return able or unavailable(f"does not report layers: {able.reason}", able.fix)


def profile(
    result: Result,
    store: Store,
    *,
    samples: Path | None = None,
    again: bool = False,
    say: Callable[[str], None] = print,
    waiting: Callable[[str], None] | None = None,
    seconds: float = SECONDS,
    cancel: threading.Event | None = None,
) -> LayerProfile:
    """The layers of one row's engine at its batch: from the store, or timed now in a separate process (about 3 s).

    ``samples`` is a file of :func:`workbench.data.samples.save_samples`; without it inputs are made up, which dense layers do not
    mind. ``again`` times even what the store has. ``seconds`` is for how long calls are made, at most, with the profiler and
    without it. ``waiting`` is called with a sentence where another process measures; by default ``say`` is.

    Raises:
        InputError: its library does not report times of layers.
        RunError, WorkerError: it could not be run.
    """
    able = can_profile(result)
    if not able or result.engine is None:
        raise InputError(f"'{result.row}' {able.reason}.")
    key = _key(result.engine, result.batch)
    known = None if again else store.record(KIND, key, LayerProfile)
    if known is None:
        with _worker(result.engine, store, cancel) as worker:
            worker.call("hello", modules=list(backends.get(result.engine.spec.backend).imports))
            asked = {
                "engine": str(store.path("engine", result.engine.key)),
                "record": to_json(result.engine),
                "batch": result.batch,
                "origin": str(origin_of(result.engine, store)) if result.engine.origin else "",
                "samples": str(samples) if samples else None,
            }
            with hold_lock("timing layers", alone=True, cancel=cancel, waiting=waiting or say) as lock:
                found = lock.undisturbed(lambda: worker.call("profile", progress=say, seconds=seconds, **asked))
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
    waiting: Callable[[str], None] | None = None,
    cancel: threading.Event | None = None,
) -> tuple[LayerProfile, ...]:
    """The layers of every row that was measured and whose library reports them; one that fails is reported and left out."""
    found = []
    for result in rows:
        if result.timing is None or not can_profile(result):
            continue
        if cancel is not None and cancel.is_set():
            raise Cancelled("Stopped on request.")
        try:
            found.append(profile(result, store, samples=samples, say=say, waiting=waiting, cancel=cancel))
        except Cancelled:
            raise
        except WorkbenchError as error:
            say(f"{result.row}: no times per layer ({error.message})")
    return tuple(found)


def origin_of(engine: EngineRecord, store: Store) -> Path:
    """The path of the prepared model that the engine was built from; it may have been removed."""
    return store.root / engine.origin  # an absolute path stays one


def _key(engine: EngineRecord, batch: int) -> str:
    """The inputs are not part of the key: the time of a layer hardly depends on them, and the profile names them."""
    return key_of(
        engine=engine.key,
        batch=batch,
        origin=[engine.origin, *engine.model_layers],
        version=VERSION,
        machine=to_json(this_machine()),
    )


def _worker(engine: EngineRecord, store: Store, cancel: threading.Event | None) -> Worker:
    env = store.cache_env | thread_env(engine.spec.threads) | (NO_GPU if engine.device == CPU else {})
    writable = store.kept_by(engine.device)
    log, environment = store.log_path(f"{engine.spec.label} layers"), engine.spec.environment
    return Worker(log, env=env, cancel=cancel, writable=writable, environment=environment)
