"""Engines that another machine built, carried over in the store: for a library that opens engines and builds none.

Where such an engine is built, a note is kept under what it was made from: the content of the prepared file and the settings
that shaped it, but no machine and no version. Copy the folders ``engine`` and ``portable`` of that store into the store of
another machine, and the engine is found there. It is taken only with the digests that the store wrote when it was built: a
file that is not as it was built makes the engine count as absent. An engine that another key signed is taken only where the user trusts
the store (``--trust-store``); the copy is then signed with the user's own key.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from workbench import backends
from workbench.errors import BuildError, writing
from workbench.protocols import HasPortableEngines
from workbench.records import EngineRecord, EngineSpec, Region, from_json, to_json
from workbench.store import MANIFEST, Store, file_digest, key_of, parsed
from workbench.system.machine import this_machine

KIND = "portable"


def only_from_elsewhere(spec: EngineSpec) -> bool:
    """Whether an engine of this variant can only come from elsewhere: what builds it is not here."""
    backend = _backend_of(spec)
    return backend is not None and not backend.builds(spec)


def register(engine: EngineRecord, source: Path, store: Store) -> None:
    """Keep a note of an engine that was built here from ``source``, where others can open it."""
    backend = _backend_of(engine.spec)
    if backend is None or not backend.builds(engine.spec):
        return
    key, facts = _key(backend, engine.spec, source), {"engine": engine.key, "gpu": this_machine().gpu}
    if store.facts(KIND, key) != facts:
        store.put(KIND, key, facts)


def copy(spec: EngineSpec, key: str, source: Path, store: Store, into: Path) -> EngineRecord:
    """Copy the carried engine that was built from ``source`` with these settings into the folder ``into``; its new record.

    Raises:
        BuildError: it does not exist, or this machine's library cannot open it; the text says what to build where.
    """
    backend = _backend_of(spec)
    assert backend is not None
    facts = store.facts(KIND, _key(backend, spec, source))
    found = store.entry("engine", facts["engine"], partial(from_json, EngineRecord)) if _is_note(facts) else None
    if found is None:
        unsigned = (
            " One that another user or machine signed is used with --trust-store only." if store.foreign(KIND) else ""
        )
        raise BuildError(
            f"{backend.builds(spec).reason}, and no engine from this very model is in the store {store.root}. Build one "
            f"elsewhere ({backend.builds(spec).fix}), and copy the folders 'engine' and '{KIND}' of its store into this one.{unsigned}"
        )
    folder, built = found.folder, from_json(EngineRecord, found.facts)
    able = backend.opens(spec, built)
    if not able:
        raise BuildError(f"The engine that was carried over cannot be opened here: {able.reason}; {able.fix}.")
    with writing(into):
        for name, digest in found.files.items():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, into / name)
            if file_digest(into / name) != digest:
                raise BuildError("The engine that was carried over changed while it was read. Copy it again.")
    here = this_machine().gpu
    origin = f"built by {built.library} {built.library_version} on {facts['gpu']}, and carried over"
    if _model(facts["gpu"]) != _model(here):
        origin += f"; this GPU is another one ({here or 'none'}), and an engine is tuned for the one it was built on"
    runnable = backends.get(spec.backend).measures(spec, Region.HOST_TO_HOST)
    note = "; ".join(filter(None, ["" if runnable else runnable.reason, origin, built.note]))
    return replace(built, spec=spec, key=key, runnable=bool(runnable), note=note)


def _backend_of(spec: EngineSpec) -> HasPortableEngines | None:
    if spec.environment:
        return None
    backend = backends.get(spec.backend)
    return backend if isinstance(backend, HasPortableEngines) and backend.portable(spec) is not None else None


def _key(backend: HasPortableEngines, spec: EngineSpec, source: Path) -> str:
    """By content, so that a machine with other versions of the packages that export finds it too, if they made the same."""
    shaping = backend.portable(spec)
    assert shaping is not None
    try:  # a prepared file lies in the store, and may have weights beside it
        content = parsed(source.parent / MANIFEST)["files"]
    except OSError:
        content = {source.name: file_digest(source)}
    known = {name: value for name, value in to_json(shaping).items() if name != "side"}
    return key_of(content=content, spec=known)


def _is_note(facts: Any) -> bool:
    return (
        isinstance(facts, dict)
        and re.fullmatch(r"[0-9a-f]{40}", str(facts.get("engine"))) is not None
        and isinstance(facts.get("gpu"), str)
    )


def _model(gpu: str) -> str:
    """The GPU's name without the driver's version."""
    return gpu.partition(", driver")[0]
