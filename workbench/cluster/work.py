"""One part of a run on one worker: what it needs is sent, it is carried out, and its results are fetched and checked."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from workbench.cluster import remote
from workbench.cluster.connection import ClusterMember, Connection, NotStarted, WorkerLost
from workbench.cluster.delivery import STAYS, Entry, fetch, send
from workbench.errors import RunError
from workbench.records import Results, to_json
from workbench.runs.parts import KIND, Part, part_results, used_by
from workbench.settings.experiment import Experiment
from workbench.store import Store, key_of
from workbench.system.stop import Stop


@dataclass(frozen=True)
class SentFiles:
    """What a worker gets of an experiment: its settings, and artefacts in place of the model's and the data's paths."""

    parameters: dict[str, Any]
    files: dict[str, tuple[str, str, str]]  # by setting: kind, key and name of the file
    entries: tuple[Entry, ...]

    @classmethod
    def of(
        cls, experiment: Experiment, files: dict[str, tuple[str, str, str]], entries: Iterable[Entry] = ()
    ) -> SentFiles:
        """``files`` are the copies of the model and the data, ``entries`` further artefacts."""
        parameters = {name: value for name, value in experiment.parameters().items() if name not in files}
        return cls(parameters, files, (*entries, *((kind, key) for kind, key, _ in files.values())))

    def key(self, fingerprint: str, rows: Iterable[str], only: str) -> str:
        """The key of a part on workers of one kind."""
        return key_of(
            what="part of a run",
            parameters=self.parameters,
            files=self.files,
            workers=fingerprint,
            rows=sorted(rows),
            only=only,
        )


@dataclass(frozen=True)
class Work:
    """How parts are carried out."""

    connection: Connection
    store: Store
    sent: SentFiles
    stop: Stop
    remeasure: bool = False
    warnings: list[str] = field(default_factory=list)  # about what was fetched

    def carry_out(self, part: Part, worker: ClusterMember, more: Iterable[Entry] = ()) -> Results:
        """The results of a part, which are then in this store with all that they name; ``more`` are artefacts that it is made from.

        Raises:
            NotStarted: the worker ended before it began.
            WorkerLost: the worker ended before its results were here.
            SchedulerLost: the scheduler has ended.
            RunError: the results are not those of the worker that was asked.
            WorkbenchError: the worker could not carry it out.
        """
        try:
            send(self.connection, worker, self.store, [*self.sent.entries, *more])
        except WorkerLost as error:
            raise NotStarted(error.message) from error
        self.connection.call(
            worker,
            remote.carry_out,
            stop=self.stop,
            task=uuid.uuid4().hex,
            part=to_json(part),
            parameters=self.sent.parameters,
            sent=self.sent.files,
            remeasure=self.remeasure,
            limit=self._limit(),
            run=self.connection.run,
            worker=worker.label,
        )
        return self._fetched(part, worker)

    def _limit(self) -> dict[str, float | bool]:
        """The time limit of the run and what is left of it, in seconds, and whether it was asked to finish."""
        deadline = self.stop.deadline
        limited = {} if deadline.limit_s is None else {"limit_s": deadline.limit_s, "left_s": deadline.left_s}
        return {**limited, "asked": deadline.asked}

    def _fetched(self, part: Part, worker: ClusterMember) -> Results:
        fetch(self.connection, worker, self.store, [(KIND, part.key)])
        facts = self.store.facts(KIND, part.key, used_by)
        if facts is None:
            raise RunError(f"The worker {worker.label} has no results of what it carried out. Run it again.")
        entries = [entry for entry in used_by(facts) if entry[0] not in STAYS]
        others = {key for kind, key in fetch(self.connection, worker, self.store, entries) if kind == "engine"}
        results = part_results(self.store, facts)
        if rebuilt := dict.fromkeys(row.spec.label for row in results.rows if row.engine and row.engine.key in others):
            self.warnings.append(
                f"{', '.join(rebuilt)}: {worker.label} measured its own build, and the store has another one of the same settings and keeps it."
            )
        if results.machine != worker.record.machine:
            raise RunError(
                f"The worker {worker.label} measured on another machine than it said ({results.machine.label}); its results are not used."
            )
        return results
