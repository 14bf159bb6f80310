"""The peaks of this machine: measured once in a separate worker, and kept in the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from workbench.plan.measuring import peaks_key
from workbench.plan.subject import Platform
from workbench.records import Peaks, from_json
from workbench.store import Store
from workbench.workers.worker import NO_GPU, Worker, held_to, thread_env


def machine_peaks(
    store: Store,
    threads: int,
    *,
    cores: Sequence[int] = (),
    cancel: threading.Event | None = None,
    again: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Peaks:
    """What the CPU can do at most with ``threads`` threads on these cores; about five seconds the first time. What was
    measured beside another program is measured again; with ``again`` everything is.

    Raises:
        WorkerError, RunError: the loops could not be run.
        Cancelled: ``cancel`` was set.
    """
    key = peaks_key(threads, cores, Platform.here())
    known = None if again else store.record("peaks", key, Peaks)
    if known is None or known.disturbed:
        env = NO_GPU | thread_env(threads) | held_to(cores)
        with Worker(store.log_path("peaks"), env=env, cancel=cancel, writable=()) as worker:
            found = worker.call("peaks", threads=threads, progress=lambda phase: say(f"peaks of the machine: {phase}"))
        store.put("peaks", key, found)
        known = from_json(Peaks, found)
    return known
