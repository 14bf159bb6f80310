"""What a worker of a cluster does: tasks that the process of a run submits, with JSON and the bytes of files as arguments and results.

Every task names the process that it is meant for. Dask may give a task to another process that has got the address of one that died; it is
refused there, so that nothing is measured again without being reported.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import uuid
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from workbench.environments import registry
from workbench.errors import StoreError, WorkbenchError, brief
from workbench.models.original import FILES
from workbench.plan.subject import Platform
from workbench.records import Event, from_json, to_json
from workbench.runs import parts
from workbench.runs.pipeline import run_part
from workbench.settings.experiment import Experiment
from workbench.store import Store, key_of
from workbench.store.parcel import Parcel, Piece, is_there, parcel_of, publish, read_pieces, write_pieces
from workbench.system.machine import version_of
from workbench.system.stop import Stop

VERSION = version_of("inference-workbench")
PROCESS = uuid.uuid4().hex
"""Identifies this process."""
TOPIC = "workbench"
_done: set[str] = set()
_running: dict[str, Stop] = {}
_lock = threading.Lock()

Task = Callable[[Any], Any]


def _task(work: Task) -> Callable[[str], str]:
    """A task with JSON as its argument and its result; an error becomes part of the result."""

    @wraps(work)
    def task(text: str) -> str:
        try:
            asked = json.loads(text)
            _check_process(asked)
            answer = {"answer": work(asked)}
        except _NotMeantError as error:
            answer = {"gone": str(error)}
        except WorkbenchError as error:
            answer = {"kind": type(error).__name__, "message": error.message, "log": error.log}
        except Exception as error:  # whatever a library raises; exceptions are not sent as objects
            answer = {"kind": "RunError", "message": f"{type(error).__name__}: {brief(error)}", "log": ""}
        return json.dumps(answer)

    return task


class _NotMeantError(Exception):
    """A task that must not be carried out here, or not again."""


def _check_process(asked: Any) -> None:
    if asked.get("process", PROCESS) != PROCESS:
        raise _NotMeantError("It was meant for a process that has ended.")


@_task
def describe(asked: Any) -> Any:
    """What this worker is: its machine, versions, and a digest of both that is equal for workers whose results may be compared.

    The versions of ModelOpt's environment count where the run asks for its files.
    """
    where = Platform.here()
    known = registry.known()
    environments = {
        name: [known[name].version, known[name].packages] for name in asked["environments"] if name in known
    }
    found = {"machine": to_json(where.machine), "versions": dict(where.versions)}
    modelopt = where.modelopt if asked["modelopt"] else ""
    return {
        **found,
        "fingerprint": key_of(**found, environments=environments, modelopt=modelopt, workbench=VERSION)[:16],
        "workbench": VERSION,
        "host": platform.node(),
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "process": PROCESS,
        "store": str(_store().root),
    }


@_task
def missing(asked: Any) -> Any:
    """The places in a list of descriptions whose artefacts the store lacks."""
    store = _store()
    return [place for place, parcel in enumerate(_parcels(asked)) if not is_there(store, parcel)]


@_task
def parcels(asked: Any) -> Any:
    """Descriptions of artefacts of the store, by kind and key; those that it lacks are left out."""
    store = _store()
    found = (parcel_of(store, kind, key) for kind, key in asked["entries"])
    return [to_json(parcel) for parcel in found if parcel]


@_task
def arrive(asked: Any) -> Any:
    """Put artefacts, whose parts have arrived, into the store."""
    publish(_store(), _parcels(asked), _folder(asked))


def take(text: str, content: bytes) -> str:
    """Parts of files that are sent to this worker."""

    def work(asked: Any) -> None:
        write_pieces(_folder(asked), _parcels(asked), _pieces(asked), content)

    return _task(work)(text)


def give(text: str) -> bytes:
    """Parts of files that are fetched from this worker; nothing where they cannot be read."""
    asked = json.loads(text)
    try:
        _check_process(asked)
        return read_pieces(_store(), _parcels(asked), _pieces(asked))
    except (WorkbenchError, _NotMeantError, OSError):
        return b""


@_task
def carry_out(asked: Any) -> Any:
    """A part of a run; its results are in the store afterwards. Returns whether there are results."""
    with _lock:
        if asked["task"] in _done:  # a scheduler that lost the answer must not repeat it
            raise _NotMeantError("It was carried out before.")
        _done.add(asked["task"])
        stop = _running.setdefault(asked["task"], Stop())
    limit = asked["limit"]
    stop.deadline.begin(limit.get("limit_s"), limit.get("left_s"))
    if limit["asked"]:
        stop.deadline.finish()
    store, part = _store(), from_json(parts.Part, asked["part"])
    try:
        run_part(
            _experiment(asked, store),
            part,
            store=store,
            on_event=_teller(asked),
            cancel=stop,
            remeasure=asked["remeasure"],
        )
    finally:
        _running.pop(asked["task"], None)
    return store.has(parts.KIND, part.key)


@_task
def stop(asked: Any) -> Any:
    """Stop a part that is being carried out. Not as a task of a worker's thread, which is busy."""
    with _lock:
        _running.setdefault(asked["task"], Stop()).set()


@_task
def finish(asked: Any) -> Any:
    """End the time of a part that is being carried out; as :func:`stop`, it does not wait for a thread."""
    with _lock:
        _running.setdefault(asked["task"], Stop()).deadline.finish()


def _experiment(asked: Any, store: Store) -> Experiment:
    """The experiment with the model and the data that were sent."""
    sent = {name: str(store.path(kind, key) / FILES / file) for name, (kind, key, file) in asked["sent"].items()}
    for name, path in sent.items():
        if not Path(path).exists():
            raise StoreError(f"The {name} that was sent to this worker is not in its store {store.root}.")
    return Experiment(**{**asked["parameters"], **sent})


def _teller(asked: Any) -> Callable[[Event], None]:
    """Report steps of the run to the process that submitted it."""
    from distributed import get_worker

    worker = get_worker()

    def tell(event: Event) -> None:
        if event.result is None and not event.detail:
            worker.log_event(f"{TOPIC}-{asked['run']}", f"{asked['worker']}: {event.text}")

    return tell


def _store() -> Store:
    return Store().prepare()


def _parcels(asked: Any) -> list[Parcel]:
    return [from_json(Parcel, each) for each in asked["parcels"]]


def _pieces(asked: Any) -> list[Piece]:
    return [Piece(*each) for each in asked["pieces"]]


def _folder(asked: Any) -> Path:
    """The folder of the store in which the artefacts of one delivery are put together."""
    return _store().root / "outbox" / f"arriving-{uuid.UUID(asked['delivery']).hex}"
