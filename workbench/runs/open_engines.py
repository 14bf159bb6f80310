"""The open workers of a run: one process per engine, as many as there is room for, ended when they fail."""

from __future__ import annotations

import random
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench import backends
from workbench.cuda import gpu
from workbench.errors import Cancelled, WorkbenchError, writing
from workbench.records import CPU, EngineRecord, Status, to_json
from workbench.runs.cohorts import taken
from workbench.runs.exclusive import Exclusive
from workbench.runs.run_rows import RunRows
from workbench.settings.experiment import Experiment
from workbench.store import Store
from workbench.system.machine import usable_cores
from workbench.system.memory import free_bytes
from workbench.workers.fork_server import ForkServer
from workbench.workers.worker import NO_GPU, QUIET_ENV, Worker, held_to, thread_env

SHARE = 0.5
"""Of the memory that is free, so much may be taken by workers: other programs need some, and engines take more as they run."""
USUAL_BYTES = 512 * 2**20
"""Where so much for each engine would be more than that, what each takes at its largest batch is looked at."""
COHORT = 48
"""Engines at most: every one has a turn in every round, and a round should not take more than a few seconds."""
FORKED_FROM = 4
"""So many engines of one library, and its import is made once for all of them."""


def _forks(engine: EngineRecord) -> bool:
    """Whether its worker may be forked: the process that it is forked from is of this Python and sees no GPU."""
    return engine.device == CPU and not engine.spec.environment


class OpenEngines(Exclusive):
    """The open workers of one run."""

    family = 1
    """How many groups share one probability of a wrong verdict."""

    def __init__(
        self,
        run_rows: RunRows,
        experiment: Experiment,
        store: Store,
        samples: str = "",
        family: int = 1,
    ) -> None:
        self.run_rows, self.experiment, self.store, self.cancel = run_rows, experiment, store, run_rows.stop
        self.family = family
        self._samples = samples  # file of the samples that engines are tried with
        self._workers: dict[str, tuple[Worker, dict[str, Any]]] = {}
        self._fork_servers: dict[tuple[str, ...], ForkServer] = {}
        self._draw = random.Random(experiment.seed)  # noqa: S311 - an order of starting, not a secret

    @cached_property
    def outbox(self) -> Path:
        """The folder that workers write their answers to: the only one beside their temporary folder that they may write in.

        It lies in the store, so that what is kept can be moved, and is removed with the workers.
        """
        folder = self.store.root / "outbox" / f".{uuid.uuid4().hex}"
        with writing(folder):
            folder.mkdir(mode=0o700, parents=True)
        return folder

    def open_cohort(
        self, waiting: Sequence[EngineRecord], beside: Mapping[str, Sequence[EngineRecord]]
    ) -> list[EngineRecord]:
        """Open the first of the waiting engines, as many as there is room for; those that are left.

        ``beside`` names by engine key those that must be open with it. At least one engine is opened, however little memory
        there is. Libraries are imported side by side; engines are then opened one at a time.
        """
        left, tried, spent = list(waiting), set[str](), 0
        self._start_fork_server(left)
        limit = SHARE * free_bytes()
        crowded = len(left) * USUAL_BYTES > limit
        self.run_rows.phase("start workers")
        self.run_rows.say(f"starting {min(len(left), COHORT)} worker processes")
        while left and len(tried) < COHORT and spent <= limit:
            some: dict[str, EngineRecord] = {}
            while left and (not crowded or len(some) < usable_cores()) and len(tried) + len(some) < COHORT:
                engine = left.pop(0)
                some |= {one.key: one for one in (*beside.get(engine.key, ()), engine) if one.key not in tried}
            tried |= some.keys()
            spent += sum(self._open_some(some.values(), crowded=crowded))
            left = [engine for engine in left if engine.key not in tried]
        return left

    def relaunch(self, engines: Sequence[EngineRecord]) -> None:
        """End the workers of these engines and start new ones; one that fails ends as in :meth:`open_cohort`.

        Not forked ones: they would all have the layout in memory of the process that they are forked from, and a launch is to
        draw a new one.
        """
        self.run_rows.report_progress(f"starting {len(engines)} worker processes again")
        for engine in engines:
            self._workers.pop(engine.key)[0].kill()
        self._open_some(engines, crowded=False, forked=False)

    def _open_some(self, engines: Iterable[EngineRecord], *, crowded: bool, forked: bool = True) -> list[int]:
        """Start workers and open their engines; the bytes that each takes.

        In random order: the kernel hands out pages in the order in which they became free, so that the worker that starts
        second would get the same place in memory, good or bad, again and again.
        """
        engines = list(engines)
        started = self._start(self._draw.sample(engines, len(engines)), forked=forked)
        return [self._open(engine, worker, crowded) for engine, worker in started]

    def _start_fork_server(self, engines: Sequence[EngineRecord]) -> None:
        """Import once what many of these engines need."""
        of = [tuple(backends.modules(engine.spec)) for engine in engines if _forks(engine)]
        many = sorted({imports for imports in of if of.count(imports) >= FORKED_FROM} - set(self._fork_servers))
        env = QUIET_ENV | self.store.cache_env | NO_GPU | thread_env(self.experiment.threads)
        for imports in many:
            self._fork_servers[imports] = ForkServer(self.store.log_path("fork_server"), imports, env)
        for fork_server in self._fork_servers.values():
            fork_server.wait()

    def _start(self, engines: Iterable[EngineRecord], *, forked: bool) -> list[tuple[EngineRecord, Worker]]:
        started = []
        for engine in engines:
            modules, env, fork_server = backends.modules(engine.spec), self._env(engine), None
            if engine.device != CPU:
                modules += getattr(backends.get(engine.spec.backend), "session_imports", gpu.IMPORTS)
            elif forked and _forks(engine):
                fork_server = self._fork_servers.get(tuple(modules))
            worker = Worker(
                self.store.log_path(engine.spec.label),
                env=env,
                cancel=self.cancel,
                writable=(self.outbox, *self.store.kept_by(engine.device)),
                fork_server=fork_server,
                environment=engine.spec.environment,
            )
            self._workers[engine.key] = (worker, {})
            rows = tuple(row for row in self.run_rows.rows if row.engine and row.engine.key == engine.key)
            self.run_rows.logs_to(worker.log, rows)
            worker.send("hello", modules=modules)
            started.append((engine, worker))
        return started

    def _env(self, engine: EngineRecord) -> dict[str, str]:
        env = self.store.cache_env | thread_env(engine.spec.threads) | held_to(self.experiment.plan.cores)
        return env | NO_GPU if engine.device == CPU else env

    def _open(self, engine: EngineRecord, worker: Worker, crowded: bool) -> int:
        """Open one engine; the bytes that its worker takes."""
        try:
            opened = worker.receive("hello")
            fork_server = self._fork_servers.get(tuple(backends.modules(engine.spec))) if _forks(engine) else None
            if fork_server and worker.forked:
                opened["import_s"] = fork_server.import_s  # which its fork server did for it
            folder = str(self.store.path("engine", engine.key))
            opened |= worker.call("open_engine", engine=folder, record=to_json(engine))
            if crowded:
                worker.call("rehearse", samples=self._samples, batch=engine.spec.batch or max(engine.spec.batches))
        except Cancelled:
            raise
        except WorkbenchError as error:
            self.drop(engine.key, "open", error)
            return 0
        self._workers[engine.key] = (worker, opened)
        return taken(worker.process.pid) if crowded else 0

    def get(self, key: str) -> tuple[Worker, dict[str, Any]] | None:
        return self._workers.get(key)

    def drop(self, key: str, step: str, error: WorkbenchError) -> None:
        """End a worker that failed, and its rows with it."""
        worker, _ = self._workers.pop(key)
        worker.kill()
        rows = tuple(
            row for row in self.run_rows.rows if row.engine and row.engine.key == key and row.status != Status.DONE
        )
        self.run_rows.fail(rows, step, error)

    def clear(self) -> None:
        """End the workers, and keep what was imported for the next ones."""
        for worker, _ in self._workers.values():
            worker.process.kill()  # side by side: giving back the memory takes a while
        for worker, _ in self._workers.values():
            worker.kill()
        self._workers.clear()

    def close(self) -> None:
        self.clear()
        for fork_server in self._fork_servers.values():
            fork_server.close()
        self._fork_servers.clear()
        shutil.rmtree(self.outbox, ignore_errors=True)
        self.__dict__.pop("outbox")
