"""The connection to a Dask cluster: its workers, and tasks for one worker that are never given to another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from workbench.cluster import remote
from workbench.cluster.addresses import TLS, check_address
from workbench.cluster.certificates import CLIENT, check_certificates
from workbench.errors import KINDS, Cancelled, InputError, RunError, WorkbenchError, brief, optional
from workbench.records import ClusterWorker, Machine, from_json
from workbench.system.stop import Stop

POLL_S = 0.5
CONNECT_S = 20.0
GRACE_S = 60.0
"""Seconds that a worker is given to stop what was cancelled."""
LOST = ("KilledWorker", "FutureCancelledError", "FuturesCancelledError", "CancelledError")
"""Names of Dask's exceptions for a task whose worker has ended."""
CONNECTION_LOST = "scheduler-connection-lost"
"""The reason that Dask's client gives for a task that it gave up because the scheduler cannot be reached."""
INSTALL = "pip install 'inference-workbench[cluster]'"


class WorkerLost(WorkbenchError):  # noqa: N818 - it reports a state, not an error of the caller
    """A worker has ended or cannot be reached any more."""


class NotStarted(WorkerLost):
    """A worker ended before it began what it was given."""


class SchedulerLost(WorkbenchError):  # noqa: N818 - as above
    """The scheduler has ended or cannot be reached any more."""


class Connection:
    """A client of a scheduler. Its methods may be called from several threads."""

    def __init__(self, client: Any, *, run: str = "") -> None:
        self._client = client
        self.run = run or uuid.uuid4().hex

    @property
    def address(self) -> str:
        return str(self._client.scheduler.address)

    def workers(self) -> dict[str, dict[str, Any]]:
        """What the scheduler says about each worker, by address.

        Raises:
            SchedulerLost: it does not answer.
        """
        found = self._asked(self._client.scheduler.identity, n_workers=-1)["workers"]
        return {str(address): {"name": address, **about} for address, about in found.items()}

    def call(
        self,
        worker: ClusterMember,
        task: Callable[..., str],
        /,
        *content: bytes,
        stop: Stop | None = None,
        **asked: Any,
    ) -> Any:
        """The answer of a task (:mod:`workbench.cluster.remote`) on one worker.

        Raises:
            WorkerLost, SchedulerLost: there will be no answer.
            Cancelled: ``stop`` was set, and the worker did not end the task after it was asked to.
            WorkbenchError: the task raised it.
        """
        asked |= {"process": worker.record.process}
        answer = json.loads(self.submit((worker.address, worker.label), task, asked, *content, stop=stop))
        if "answer" in answer:
            return answer["answer"]
        if "gone" in answer:
            raise WorkerLost(f"The worker {worker.label} was replaced by another process. {answer['gone']}")
        raise KINDS.get(answer["kind"], RunError)(answer["message"], log=answer["log"])

    def fetch(self, worker: ClusterMember, **asked: Any) -> bytes:
        """Parts of files; as :meth:`call`."""
        asked |= {"process": worker.record.process}
        return bytes(self.submit((worker.address, worker.label), remote.give, asked))

    def submit(
        self,
        where: tuple[str, str],
        task: Callable[..., Any],
        asked: dict[str, Any],
        *content: bytes,
        stop: Stop | None = None,
    ) -> Any:
        """What a task returns that runs on the worker at an address and nowhere else; ``where`` is the address and a name for messages.

        Raises:
            WorkerLost, SchedulerLost, Cancelled: as :meth:`call`.
            RunError: the worker could not carry it out.
        """
        name = f"workbench-{uuid.uuid4().hex}"
        try:
            future = self._client.submit(
                task,
                json.dumps(asked),
                *content,
                key=name,
                workers=[where[0]],
                allow_other_workers=False,
                pure=False,
                retries=0,
            )
        except Exception as cause:
            raise _gone() from cause
        try:
            return self._waited(where, future, stop, str(asked.get("task", "")))
        finally:
            with contextlib.suppress(Exception):  # the scheduler may be gone
                future.cancel(reason="ended", msg="the run that asked for this goes on without it")

    def _waited(self, where: tuple[str, str], future: Any, stop: Stop | None, task: str) -> Any:
        lost, asked_at = f"The worker {where[1]} ended while this ran on it.", 0.0
        requested: set[Callable[[str], str]] = set()
        while True:
            try:
                return future.result(timeout=POLL_S)
            except TimeoutError:
                self._check_present(where[0], lost)
            except (Exception, asyncio.CancelledError, CancelledError) as cause:
                self._check_answer(cause, future, where, lost)
                time.sleep(POLL_S)
            for request in _requests(stop) - requested:
                requested.add(request)
                asked = json.dumps({"task": task})
                with contextlib.suppress(Exception):  # the next wait says what has become of the connection
                    self._client.run(request, asked, workers=[where[0]], wait=False, on_error="ignore")
            if remote.stop in requested:
                asked_at = asked_at or time.monotonic()
                if time.monotonic() - asked_at > GRACE_S:
                    raise Cancelled("Stopped on request; the worker did not stop by itself.")

    def _check_answer(self, cause: BaseException, future: Any, where: tuple[str, str], lost: str) -> None:
        """Return where the answer may still come after a wait for it has failed; otherwise raise what has become of the task."""
        if self._client.status != "running" or getattr(cause, "reason", "") == CONNECTION_LOST:
            raise _gone() from cause
        if future.status == "error" and type(cause).__name__ not in LOST:
            raise RunError(f"The worker {where[1]} could not do this: {brief(cause, 200)}") from cause
        self._check_present(
            where[0], lost
        )  # first the scheduler: the client may not have noticed yet that it has ended
        if type(cause).__name__ in LOST:
            raise WorkerLost(lost) from cause
        if not _wait_failed(cause):
            raise RunError(f"The answer of the worker {where[1]} cannot be read: {brief(cause, 200)}") from cause

    def _check_present(self, address: str, lost: str) -> None:
        """Raise WorkerLost where the scheduler no longer knows the worker."""
        if address not in self._asked(self._client.scheduler.ncores):
            raise WorkerLost(lost) from None

    def _asked(self, question: Callable[..., Any], **asked: Any) -> Any:
        """The scheduler's answer."""
        if self._client.status != "running":
            raise _gone()
        try:
            return self._client.sync(question, **asked)
        except Exception as cause:
            raise _gone() from cause

    def subscribe(self, tell: Callable[[Any], None]) -> None:
        """Call ``tell`` with what workers report of their work for this run, from another thread."""
        self._client.subscribe_topic(f"{remote.TOPIC}-{self.run}", lambda event: tell(event[1]))

    def unsubscribe(self) -> None:
        with contextlib.suppress(Exception):
            self._client.unsubscribe_topic(f"{remote.TOPIC}-{self.run}")


@dataclass(frozen=True)
class ClusterMember:
    """A worker of the cluster: its record, and the address under which tasks reach it."""

    address: str
    record: ClusterWorker

    @property
    def label(self) -> str:
        return self.record.label


@contextmanager
def connected(cluster: Any) -> Iterator[Connection]:
    """A connection to the scheduler at an address, or by a ``distributed.Client``, which stays open.

    Raises:
        InputError: the address must not be used, or no scheduler answers there.
        MissingPackageError: the package is not installed.
    """
    distributed = optional("distributed", INSTALL)
    if isinstance(cluster, distributed.Client):
        check_address(str(cluster.scheduler.address))
        yield Connection(cluster)
        return
    if not isinstance(cluster, str):
        raise InputError(
            f"'cluster' must be the address of a scheduler or a distributed.Client; found a {type(cluster).__name__}."
        )
    check_address(cluster)
    check_certificates(cluster, CLIENT)
    try:
        client = distributed.Client(cluster, timeout=CONNECT_S, set_as_default=False, name="workbench")
    except Exception as cause:
        to_do = "Start one: dask scheduler --host 127.0.0.1 --port 8786"
        if cluster.startswith(f"{TLS}://"):
            to_do = (
                "Start one with --protocol tls, and give all processes certificates of one authority (docs/cluster.md)."
            )
        raise InputError(f"No Dask scheduler answers at {cluster} ({brief(cause, 200)}). {to_do}") from cause
    with client:
        yield Connection(client)


def _requests(stop: Stop | None) -> set[Callable[[str], str]]:
    """What a worker is asked to do with the task that it carries out: stop it, or finish it with what it has."""
    found: set[Callable[[str], str]] = set()
    if stop is not None and stop.everything:
        found.add(remote.stop)
    if stop is not None and stop.deadline.asked:
        found.add(remote.finish)
    return found


def _wait_failed(cause: BaseException) -> bool:
    """Whether only the wait for an answer failed, before the task ended or while its answer was fetched.

    The connection can break while an answer is fetched (:class:`OSError`). Where the wait is cancelled, ``distributed.utils.sync`` fails with
    UnboundLocalError: it does not expect :class:`asyncio.CancelledError`, which is no :class:`Exception`.
    """
    return isinstance(cause, (OSError, UnboundLocalError))


def _gone() -> SchedulerLost:
    return SchedulerLost("The scheduler of the cluster has ended or cannot be reached any more.")


def members(
    connection: Connection, asked: Mapping[str, Any], known: dict[str, ClusterMember]
) -> dict[str, ClusterMember]:
    """The workers of a cluster by address. ``known`` are those that were asked before: a worker is asked once what it is.

    ``asked`` is what the run uses of a worker beside its own Python: names of "environments", and whether "modelopt".

    Raises:
        InputError: a worker must not be used: it is reached without TLS, has a memory limit of Dask's or another version of the workbench.
        SchedulerLost: the scheduler does not answer.
    """
    found: dict[str, ClusterMember] = {}
    for address, about in connection.workers().items():
        if address in known:
            found[address] = known[address]
            continue
        check_address(address)
        if about.get("memory_limit"):
            raise InputError(
                f"Dask ends the worker {about['name']} when its memory limit is reached, which a build may exceed. Start it with "
                "'workbench worker', or with 'dask worker --memory-limit 0'."
            )
        with contextlib.suppress(WorkerLost):
            found[address] = ClusterMember(address, _record(connection, address, about, asked))
    return found


def _record(connection: Connection, address: str, about: dict[str, Any], asked: Mapping[str, Any]) -> ClusterWorker:
    name = str(about["name"])
    try:
        found = json.loads(connection.submit((address, name), remote.describe, dict(asked)))["answer"]
    except (KeyError, RunError) as cause:
        raise InputError(
            f"The worker {name} could not say what it is: the workbench is not installed there, or is another version. Install the "
            "same version, with the extra 'cluster'."
        ) from cause
    if found["workbench"] != remote.VERSION:
        raise InputError(
            f"The worker {name} has version {found['workbench']} of the workbench, and this is {remote.VERSION}. Install the same version."
        )
    return ClusterWorker(
        name=name,
        host=found["host"],
        machine=from_json(Machine, found["machine"]),
        fingerprint=found["fingerprint"],
        labels=tuple(sorted(about.get("resources") or {})),
        devices=found["devices"],
        process=found["process"],
    )
