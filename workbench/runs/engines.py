"""An engine is built in a child process, its precision is read back, and it is kept with a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from workbench import backends
from workbench.errors import PrecisionError
from workbench.precision.rewrite import judge
from workbench.protocols import Built, Source
from workbench.records import CPU, EngineRecord, EngineSpec, from_json, to_json
from workbench.runs import portable_engines
from workbench.runs.reading import Say
from workbench.store import Draft, Store
from workbench.workers.pool import GPU_BUILDER, Pool, in_environment


class Means(NamedTuple):
    """What steps are carried out with: the store, the processes, and what is called with the name of a phase that begins."""

    store: Store
    pool: Pool
    say: Say


@dataclass(frozen=True)
class PreparedModel:
    """A prepared model: its key and its path."""

    key: str
    source: Source
    as_it_is: bool = False  # quantized by the user: what an engine makes of it is reported, not judged
    sha256: str = ""  # of the rewritten file; "" where nothing was rewritten


def fill_engine(means: Means, spec: EngineSpec, key: str, form: PreparedModel, draft: Draft) -> None:
    """Build the engine ``key`` into a draft of the store.

    Raises:
        PrecisionError: it was not built in the requested precision; nothing is kept.
        BuildError, WorkerError: it could not be built.
    """
    store = means.store
    if portable_engines.only_from_elsewhere(spec):  # its precision was judged where it was built
        draft.facts = to_json(portable_engines.copy(spec, key, form.source.path, store, draft.folder))
        return
    answer = _built(means, spec, form, draft)
    seconds = answer.pop("build_s")
    built = from_json(Built, answer)
    problem = "" if form.as_it_is else judge(spec.asked, built.realized, chosen=bool(spec.quantize or spec.keep))
    if problem:
        raise PrecisionError(problem)
    record = EngineRecord(
        spec=spec,
        key=key,
        library=built.library,
        library_version=built.library_version,
        realized=built.realized,
        size_bytes=sum(path.stat().st_size for path in draft.folder.rglob("*") if path.is_file()),
        build_s=seconds,
        runnable=built.runnable,
        note=built.note,
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        device=backends.device(spec),
        source_sha256=form.sha256 or built.file_sha256,
    )
    draft.facts = to_json(record)


def _built(means: Means, spec: EngineSpec, form: PreparedModel, draft: Draft) -> Any:
    device = backends.device(spec)
    return means.pool.call(
        in_environment(GPU_BUILDER if device != CPU else backends.get(spec.backend).builds_in, spec.environment),
        "build",
        progress=lambda phase: means.say(f"{spec.label}: {phase}"),
        source=to_json(form.source),
        spec=to_json(spec),
        into=str(draft.folder),
    )


def record_of(facts: Any, spec: EngineSpec, source: Source, store: Store) -> EngineRecord:
    """The record of an engine in the store as that of the variant ``spec``, which was built from ``source``."""
    # the same engine serves any set of batches where the backend has no range for them
    record = replace(
        from_json(EngineRecord, facts),
        spec=spec,
        origin=store.place_of(source.path),
        inputs=source.inputs,
        model_layers=source.layers,
    )
    if source.path.exists():  # it may have been removed since
        portable_engines.register(record, source.path, store)
    return record


def build(means: Means, spec: EngineSpec, key: str, form: PreparedModel) -> tuple[EngineRecord, bool]:
    """Build one engine under this key, or find it; its record, and whether the store had it.

    Raises:
        PrecisionError, BuildError, WorkerError: as :func:`fill_engine`.
    """
    made = means.store.make("engine", key, partial(fill_engine, means, spec, key, form), check=is_engine)
    return record_of(made.facts, spec, form.source, means.store), made.reused


is_engine: Callable[[Any], EngineRecord] = lambda facts: from_json(EngineRecord, facts)  # noqa: E731 - a check of the store
