"""The open workers of a run: one process per engine, started side by side, ended when they fail."""

from __future__ import annotations

import random
import threading
from typing import Any

from workbench import backends, cuda
from workbench.board import Board
from workbench.errors import Cancelled, WorkbenchError
from workbench.experiment import Experiment
from workbench.records import CPU, EngineRecord, Status, TensorSpec, to_json
from workbench.store import Store
from workbench.worker import NO_GPU, Worker, thread_env


class Bench:
    """The open workers of one run."""

    def __init__(
        self,
        board: Board,
        experiment: Experiment,
        store: Store,
        cancel: threading.Event,
        outputs: tuple[TensorSpec, ...] = (),
    ) -> None:
        self.board, self.experiment, self.store, self.cancel = board, experiment, store, cancel
        self.outputs = outputs  # the model's, with the place of the batch in each
        self._workers: dict[str, tuple[Worker, dict[str, Any]]] = {}
        self._draw = random.Random(experiment.seed)  # noqa: S311 - an order of starting, not a secret

    def relaunch(self, engines: list[EngineRecord]) -> None:
        """End the workers of these engines and start new ones; what of it fails ends as in :meth:`open_all`."""
        for engine in engines:
            self._workers.pop(engine.key)[0].kill()
        self.open_all(engines, again=True)

    def open_all(self, engines: list[EngineRecord], *, again: bool = False) -> None:
        """Start a worker per engine. Libraries are imported side by side; engines are then opened one at a time.

        In random order: the kernel hands out pages in the order in which they became free, so that whoever comes
        second would get the same place in memory, good or bad, again and again.
        """
        engines = self._draw.sample(engines, len(engines))
        waiting: list[tuple[EngineRecord, Worker]] = []
        for engine in engines:
            modules = list(backends.get(engine.spec.backend).imports)
            if engine.device == CPU:
                env = NO_GPU | thread_env(engine.spec.threads)
            else:
                env = thread_env(engine.spec.threads)
                modules += cuda.IMPORTS
            worker = Worker(self.store.log_path(engine.spec.label), env=env, cancel=self.cancel)
            self._workers[engine.key] = (worker, {})
            worker.send("hello", modules=modules)
            waiting.append((engine, worker))
        self.board.say(f"starting {len(engines)} worker processes{' again' * again}", detail=again)
        for engine, worker in waiting:
            try:
                opened = worker.receive("hello")
                folder = str(self.store.path("engine", engine.key))
                opened |= worker.call("open_engine", engine=folder, record=to_json(engine))
            except Cancelled:
                raise
            except WorkbenchError as error:
                self.drop(engine.key, "open", error)
            else:
                self._workers[engine.key] = (worker, opened)

    def get(self, key: str) -> tuple[Worker, dict[str, Any]] | None:
        return self._workers.get(key)

    def drop(self, key: str, step: str, error: WorkbenchError) -> None:
        """End a worker that failed, and its rows with it."""
        worker, _ = self._workers.pop(key)
        worker.kill()
        rows = tuple(
            row for row in self.board.rows if row.engine and row.engine.key == key and row.status != Status.DONE
        )
        self.board.fail(rows, step, error)

    def close(self) -> None:
        for worker, _ in self._workers.values():
            worker.kill()
        self._workers.clear()
