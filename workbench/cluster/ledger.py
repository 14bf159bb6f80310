"""What has been done of each part of a run, in the store: a later run continues from there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workbench.cluster.merge import EndedPart, cut_short, merged_row
from workbench.records import ClusterWorker, Result, Status, from_json, to_json
from workbench.runs.parts import KIND, part_results, used_by
from workbench.store import Store, key_of

ENDED = (Status.DONE, Status.BUILT, Status.FAILED, Status.UNSUPPORTED)


@dataclass(frozen=True)
class LedgerLine:
    """One attempt at a part: which rows, on which worker, and under which key its results are; or why there are none."""

    key: str
    rows: tuple[str, ...]
    worker: ClusterWorker
    failure: str = ""


class Ledger:
    """The attempts at the rows of one part, in the order in which they were made."""

    def __init__(self, store: Store, key: str, only: str, *, fresh: bool = False) -> None:
        """``fresh``: without the attempts of earlier runs."""
        self._store, self.key, self._only = store, key, only
        self._lines: list[LedgerLine] = []
        self.ended: list[EndedPart] = []
        for line in [] if fresh else self._kept():
            ended = self._read(line, reused=True)
            if ended:
                self._lines.append(line)
                self.ended.append(ended)

    def _kept(self) -> Iterable[LedgerLine]:
        facts = self._store.facts(
            KIND, self.key, lambda facts: [from_json(LedgerLine, each) for each in facts["lines"]]
        )
        return [] if facts is None else [from_json(LedgerLine, each) for each in facts["lines"]]

    def _read(self, line: LedgerLine, *, reused: bool) -> EndedPart | None:
        """``None`` where the results, or the durations of a row, are not in the store any more."""
        if line.failure:
            return EndedPart(line.rows, line.worker, failure=line.failure, reused=reused, only=self._only)
        facts = self._store.facts(KIND, line.key, lambda facts: part_results(self._store, facts))
        if facts is None:
            return None
        results = part_results(self._store, facts)
        timed = sum(1 for row in facts["rows"] if row["result"].get("timing"))
        whole = timed == sum(1 for row in results.rows if row.timing)
        return EndedPart(line.rows, line.worker, results, reused=reused, only=self._only) if whole else None

    def next_key(self) -> str:
        """The key for the results of the next attempt."""
        return key_of(part=self.key, attempt=len(self._lines))

    def add(self, rows: Sequence[str], worker: ClusterWorker, failure: str = "") -> EndedPart | None:
        """Note an attempt that has ended, whose results are in the store under :meth:`next_key` unless it failed."""
        line = LedgerLine("" if failure else self.next_key(), tuple(rows), worker, failure)
        ended = self._read(line, reused=False)
        if ended:
            self._lines.append(line)
            self.ended.append(ended)
            self._store.put(KIND, self.key, {"lines": [to_json(each) for each in self._lines]})
        return ended

    def used(self) -> list[tuple[str, str]]:
        """The artefacts that the attempts used, as kind and key."""
        known = (self._store.facts(KIND, line.key) for line in self._lines if line.key)
        return list(dict.fromkeys(entry for facts in known if facts for entry in used_by(facts)))

    def open_rows(self, rows: Sequence[Result], *, retry_failed: bool) -> list[str]:
        """The names of those rows that have no result yet, that a time limit has cut short, or that failed where these are to be repeated."""
        found = []
        for row in rows:
            result = merged_row(row, self.ended)
            ended = result is not None and result.status in ENDED and not cut_short(result)
            if not ended or (retry_failed and result is not None and result.status == Status.FAILED):
                found.append(row.row)
        return found
