"""A thread for each worker of a cluster: it takes the next part from the queue when its worker has ended the one before."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from workbench.cluster.connection import ClusterMember, NotStarted, SchedulerLost, WorkerLost
from workbench.errors import Cancelled, WorkbenchError

PATIENCE_S = 60.0
"""Seconds without any worker after which what is left of the queue is given up; a worker that died is back within seconds."""
POLL_S = 0.5
LOOK_S = 2.0
"""Seconds between two looks for workers that have joined."""
J = TypeVar("J")


@dataclass(frozen=True)
class JobOutcome(Generic[J]):
    """What became of a job: it began on a worker, or it has ended there, with an error or without."""

    job: J
    worker: ClusterMember
    began: bool = False
    error: WorkbenchError | None = None


class Crew(Generic[J]):
    """Carries out jobs, one at a time on each worker.

    Args:
        work: carries out a job on a worker; called in the worker's thread.
        workers: the workers that may be used now; called again and again, because workers come and go.
        tell: called in the calling thread with every outcome.
        stopped: whether no further job is to begin.
        idle: called in the calling thread about twice a second.
    """

    def __init__(
        self,
        work: Callable[[J, ClusterMember], None],
        workers: Callable[[], Iterable[ClusterMember]],
        tell: Callable[[JobOutcome[J]], None],
        stopped: Callable[[], bool],
        idle: Callable[[], None],
    ) -> None:
        self._work, self._workers, self._tell, self._stopped, self._idle = work, workers, tell, stopped, idle
        self._outcomes: queue.Queue[JobOutcome[J]] = queue.Queue()
        self._threads: dict[str, threading.Thread] = {}
        self._left: deque[J] = deque()
        self._open = 0
        self._lost: SchedulerLost | None = None

    @property
    def waiting(self) -> int:
        """Number of jobs that no worker has begun."""
        return len(self._left)

    def carry_out(self, jobs: Iterable[J]) -> None:
        """Carry out all jobs, as long as the run is not stopped and there are workers.

        Raises:
            SchedulerLost: the scheduler has ended; jobs that had begun have no outcome.
        """
        self._left = deque(jobs)
        self._open = len(self._left)
        self.finish()

    def finish(self) -> None:
        """Go on after an interruption: jobs that have begun end."""
        seen, looked = time.monotonic(), 0.0
        while self._open:
            self._idle()
            if self._stopped():
                self._left.clear()
            if time.monotonic() - looked > LOOK_S and not self._lost:
                looked = time.monotonic()
                self._recruit()
            try:
                outcome = self._outcomes.get(timeout=POLL_S)
            except queue.Empty:
                if any(thread.is_alive() for thread in self._threads.values()):
                    seen = time.monotonic()
                elif self._lost or self._stopped() or not self._left or time.monotonic() - seen > PATIENCE_S:
                    break
                continue
            self._open -= not outcome.began
            if isinstance(outcome.error, NotStarted):
                self._open += 1
                self._left.append(outcome.job)
                looked = 0.0
            elif isinstance(outcome.error, SchedulerLost):
                self._lost = outcome.error
                self._left.clear()
            else:
                self._tell(outcome)
        if self._lost:
            raise self._lost

    def _recruit(self) -> None:
        """Start a thread for each worker that has none."""
        try:
            found = list(self._workers())
        except SchedulerLost as error:
            self._lost = error
            self._left.clear()
            return
        for worker in found:
            name = f"{worker.address} {worker.record.process}"
            thread = self._threads.get(name)
            if (thread is None or not thread.is_alive()) and self._left:
                self._threads[name] = threading.Thread(target=self._serve, args=(worker,), daemon=True)
                self._threads[name].start()

    def _serve(self, worker: ClusterMember) -> None:
        while self._left:
            try:
                job = self._left.popleft()
            except IndexError:  # another thread was faster
                return
            self._outcomes.put(JobOutcome(job, worker, began=True))
            error: WorkbenchError | None = None
            try:
                self._work(job, worker)
            except WorkbenchError as found:
                error = found
            except Exception as cause:  # a thread must not end without an outcome
                error = WorkbenchError(f"{type(cause).__name__}: {cause}")
            self._outcomes.put(JobOutcome(job, worker, error=error))
            if isinstance(error, (WorkerLost, SchedulerLost, Cancelled)):
                return
