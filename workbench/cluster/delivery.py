"""Artefacts that travel between the store of a run and the store of a worker."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path

from workbench.cluster import remote
from workbench.cluster.connection import ClusterMember, Connection
from workbench.errors import StoreError, writing
from workbench.models.inspection import recognize
from workbench.models.original import FILES, kept_original, original_key
from workbench.models.original import KIND as ORIGINAL
from workbench.records import from_json, to_json
from workbench.store import Draft, Store, file_digest, key_of
from workbench.store.parcel import Parcel, has_other_files, is_there, parcel_of, pieces, publish, write_pieces

Entry = tuple[str, str]
"""Kind and key of an artefact."""
GIVEN = "given"
STAYS = ("conformance", "demo", GIVEN, ORIGINAL, "results", "samples", "served")
"""Kinds that a worker does not send back: they came from here, or are large and only read there."""


def send(connection: Connection, worker: ClusterMember, store: Store, entries: Iterable[Entry]) -> int:
    """Send artefacts that the worker's store lacks; the number of those that were sent.

    Raises:
        WorkerLost, SchedulerLost: as :meth:`Connection.call`.
        StoreError: the worker's store cannot be written, or an artefact arrived changed.
    """
    known = [parcel for kind, key in dict.fromkeys(entries) if (parcel := parcel_of(store, kind, key))]
    if not known:
        return 0
    lacks = connection.call(worker, remote.missing, parcels=to_json(known))
    parcels = [known[place] for place in lacks]
    if not parcels:
        return 0
    asked = {"parcels": to_json(parcels), "delivery": str(uuid.uuid4())}
    for group in pieces(parcels):
        content = b"".join(_read(store, parcels[each.parcel], each.file, each.offset, each.size) for each in group)
        connection.call(worker, remote.take, content, **asked, pieces=[list(each) for each in group])
    connection.call(worker, remote.arrive, **asked)
    return len(parcels)


def _read(store: Store, parcel: Parcel, name: str, offset: int, count: int) -> bytes:
    with (store.path(parcel.kind, parcel.key) / name).open("rb") as file:
        file.seek(offset)
        return file.read(count)


def fetch(connection: Connection, worker: ClusterMember, store: Store, entries: Collection[Entry]) -> set[Entry]:
    """Fetch artefacts from a worker that this store lacks; what was measured replaces what was measured before.

    Returns:
        The artefacts of which this store has other files than the worker and keeps them, such as another build of an engine.

    Raises:
        WorkerLost, SchedulerLost: as :meth:`Connection.call`.
        StoreError: an artefact is not as it was written there, or this store cannot be written.
    """
    asked = [list(entry) for entry in entries]
    known = [from_json(Parcel, each) for each in connection.call(worker, remote.parcels, entries=asked)]
    wanted = {tuple(entry) for entry in entries}
    parcels = [parcel for parcel in known if (parcel.kind, parcel.key) in wanted and not is_there(store, parcel)]
    taken = {(parcel.kind, parcel.key) for parcel in parcels}
    others = {
        (each.kind, each.key)
        for each in known
        if (each.kind, each.key) in wanted - taken and has_other_files(store, each)
    }
    folder = store.root / "outbox" / f"arriving-{uuid.uuid4().hex}"
    with writing(folder):
        folder.mkdir(parents=True)
    try:
        for group in pieces(parcels):
            content = connection.fetch(worker, parcels=to_json(parcels), pieces=[list(each) for each in group])
            if len(content) != sum(each.size for each in group):
                raise StoreError(f"The worker {worker.label} could not read an artefact of its store. Run it again.")
            write_pieces(folder, parcels, group, content)
        publish(store, parcels, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return others


def kept_file(path: Path, store: Store) -> tuple[str, str, str]:
    """A copy of a data file, or of a folder of them, in the store: kind, key, and name below :data:`FILES`.

    Raises:
        StoreError: it cannot be written.
    """
    place = path.expanduser().absolute()
    files = sorted(each for each in place.rglob("*") if each.is_file()) if place.is_dir() else [place]
    names = {each: each.relative_to(place.parent).as_posix() for each in files}
    key = key_of(name=place.name, files={names[each]: file_digest(each) for each in files})

    def fill(draft: Draft) -> None:
        for each, name in names.items():
            target = draft.folder / FILES / name
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(each, target)
        draft.facts = {"name": place.name}

    store.make(GIVEN, key, fill)
    return GIVEN, key, place.name


def kept_model_file(path: str, store: Store) -> tuple[str, str, str]:
    """The copy of a model in the store that all steps read, as :func:`kept_file`."""
    place = Path(path).expanduser().absolute()
    kind = recognize(str(place))
    copy = kept_original(place, kind, store)
    return ORIGINAL, original_key(copy.digest, kind, place), copy.path.name
