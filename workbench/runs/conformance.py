"""ONNX's own operator cases through the backends that are here, one case after another, in a worker process.

Every outcome is written to a file in the store as soon as it is known, so that an interrupted run continues there. A case
that ends or holds up its process costs that case: the next one gets a new process.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from workbench import backends
from workbench.conformance.check import NOT_RUN, PRECISIONS
from workbench.conformance.deviations import OperatorCase, Use, deviations_of
from workbench.conformance.outcomes import FORMAT, KNOWN, CaseOutcome, CaseVerdict, Conformance, save
from workbench.conformance.warnings import installed
from workbench.errors import InputError, WorkerError, brief, writing
from workbench.protocols import Availability
from workbench.records import CPU, EngineSpec, Model, Precision, Progress, from_json, to_json
from workbench.runs.engines import Means
from workbench.store import Store, file_digest, key_of
from workbench.system.machine import this_machine, version_of
from workbench.workers.pool import GPU_BUILDER, Pool

LIMIT_S = 120.0
"""Time that one case may take, building included; the first one of a process loads all cases too."""
WORKER = "conformance"
KIND = "conformance"
JOURNALS = "conformance_cases"
RESULT = "result"

Say = Callable[[str], None]


def result_folders(store: Store) -> list[Path]:
    """The folders of the store's own results, each verified: signed with a key that counts, and as it was written."""
    keys = sorted(path.name for path in (store.root / KIND).glob("[0-9a-f]*") if ".damaged-" not in path.name)
    found = (store.find(KIND, key) for key in keys)
    return [folder / RESULT for folder in found if folder]


def known_files(store: Store) -> list[str]:
    """SHA-256 of every compact file of results, the store's own and those of the package: what warnings follow from."""
    return [file_digest(file) for folder in (*result_folders(store), KNOWN) for file in sorted(folder.glob("*.json"))]


def specs(addresses: Sequence[str], precisions: Sequence[str]) -> tuple[list[EngineSpec], dict[str, str]]:
    """The variants to run, and the backends or precisions that cannot be, with the reason; no addresses: all that can be.

    Raises:
        InputError: a backend or precision that does not exist, one whose results no definition says anything about, or none of
            the requested ones can be run here.
    """
    for address in addresses:
        backends.check(address, here=True)
    for name in precisions:
        if name not in {str(each) for each in PRECISIONS}:
            known = ", ".join(PRECISIONS)
            raise InputError(
                f"The precision '{name}' cannot be held against ONNX's definition. Choose from: {known}. What a quantized "
                "engine loses is shown by 'report', on your model."
            )
    chosen, without = [], {}
    for address in addresses or backends.addresses():
        name, _, mode = address.partition(":")
        for precision in precisions:
            spec = EngineSpec(name, Precision(precision), mode=mode)
            able = _able(spec)
            if able:
                chosen.append(spec)
            else:
                without[spec.label] = able.reason + (
                    f"; {able.fix}" if able.fix and not backends.get(name).status(mode) else ""
                )
    if not chosen:
        reasons = ". ".join(f"{label}: {reason}" for label, reason in without.items())
        raise InputError(f"None of the requested backends can run ONNX's cases here. {reasons}.")
    return chosen, without


def _able(spec: EngineSpec) -> Availability:
    """Whether this variant of an ordinary ONNX model can be built here."""
    backend = backends.get(spec.backend)
    able = backend.status(spec.mode)
    return able and backend.supports(spec, Model("case.onnx", "case", "onnx", (), (), 0, 0, ""))


def run(
    chosen: Iterable[EngineSpec],
    *,
    store: Store,
    say: Say,
    on_progress: Callable[[Progress], None] = lambda _: None,
    pattern: str = "*",
    limit: int = 0,
    again: bool = False,
    cancel: threading.Event | None = None,
) -> tuple[Conformance, ...]:
    """Run the cases that match ``pattern``, at most ``limit`` of them (0: all), through each variant.

    What is in the store already is run only with ``again``. Results with every case are kept in the store as a compact
    file, a separate artefact, where :func:`workbench.conformance.warnings.warnings_of` finds them.

    Raises:
        InputError: no case matches.
        Cancelled: ``cancel`` was set; what was finished is kept.
    """
    store.prepare()
    with Pool(store.log_path, cancel or threading.Event()) as pool:
        pool.waiting = say
        listed = pool.call(WORKER, "conformance_cases", progress=say, pattern="*")
        uses = {name: from_json(Use, use) if use else None for name, use in listed}
        names = _matching(uses, pattern)[: limit or None]
        if not names:
            raise InputError(f"No case of the package 'onnx' matches '{pattern}'. Give a pattern such as 'resize_*'.")
        means = Means(store, pool, say)
        return tuple(_results(spec, names, uses, means, on_progress, again=again) for spec in chosen)


def _matching(names: Iterable[str], pattern: str) -> list[str]:
    import fnmatch

    return [name for name in names if fnmatch.fnmatchcase(name, pattern.removeprefix("test_"))]


def _results(
    spec: EngineSpec,
    names: Sequence[str],
    uses: Mapping[str, Use | None],
    means: Means,
    on_progress: Callable[[Progress], None],
    *,
    again: bool,
) -> Conformance:
    store = means.store
    file = _file(spec, store)
    outcomes = {} if again else _read(file, store)
    if again:
        file.unlink(missing_ok=True)
    missing = [name for name in names if name not in outcomes]
    means.say(f"{spec.label}: {len(missing)} cases to run, {len(names) - len(missing)} from the store")
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as log:
            for number, name in enumerate(missing, 1):
                outcomes[name] = _outcome(name, spec, means.pool)
                log.write(store.keyring.signed(json.dumps(to_json(outcomes[name]))) + "\n")
                log.flush()
                on_progress(Progress(f"run cases on {spec.label}", number, len(missing), "cases"))
    wanted = {name: outcomes[name] for name in uses if name in outcomes}
    whole = len(wanted) == len(uses)
    found = _conformance(spec, wanted if whole else {name: wanted[name] for name in names}, uses)
    if found.complete:
        with store.create(KIND, key_of(conformance=found.file_name)) as draft:
            save(found, draft.folder / RESULT)
    return found


def _outcome(name: str, spec: EngineSpec, pool: Pool) -> CaseOutcome:
    worker = WORKER if backends.device(spec) == CPU or not this_machine().gpu else GPU_BUILDER
    try:
        answer = pool.call(worker, "conformance_case", limit_s=LIMIT_S, case=name, spec=to_json(spec))
    except WorkerError as error:  # the process is gone; the next case gets a new one
        return CaseOutcome(name, CaseVerdict.ERROR, detail=brief(ValueError(error.message.partition(". ")[0]), 160))
    outcome = from_json(CaseOutcome, answer)
    if worker == GPU_BUILDER and outcome.verdict == CaseVerdict.ERROR and outcome.detail.startswith(NOT_RUN):
        pool.end(worker)  # a fault on a GPU leaves a process in which every further call fails
    return outcome


def _conformance(spec: EngineSpec, outcomes: Mapping[str, CaseOutcome], uses: Mapping[str, Use | None]) -> Conformance:
    seen = []
    for name, outcome in outcomes.items():
        use = uses[name]
        if use is not None and outcome.verdict in (CaseVerdict.WRONG, CaseVerdict.RIGHT):
            seen.append(OperatorCase(name, use, outcome.differs, outcome.difference, outcome.detail))
    return Conformance(
        backend=spec.address,
        title=backends.get(spec.backend).title + (f" ({spec.mode})" if spec.mode else ""),
        version=installed(spec.address),
        precision=str(spec.precision),
        onnx=version_of("onnx"),
        machine=this_machine().label,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        cases=len(uses),
        outcomes=tuple(outcomes[name] for name in sorted(outcomes)),
        deviations=deviations_of(seen),
    )


def _file(spec: EngineSpec, store: Store) -> Path:
    """Where the outcomes of this library version, precision and machine are written one by one."""
    machine = this_machine()
    key = key_of(
        conformance=FORMAT,
        onnx=version_of("onnx"),
        spec=[spec.address, str(spec.precision)],
        version=installed(spec.address),
        machine=[machine.cpu, *machine.instructions, machine.gpu],
    )
    return store.root / JOURNALS / f"{key}.jsonl"


def _read(file: Path, store: Store) -> dict[str, CaseOutcome]:
    """What an earlier run has written; a line that was cut short or changed, or that no key that counts signed, is passed over."""
    found: dict[str, CaseOutcome] = {}
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        with contextlib.suppress(Exception):  # cut short by a kill
            outcome = from_json(CaseOutcome, json.loads(store.keyring.opened(line) or ""))
            found[outcome.case] = outcome
    return found
