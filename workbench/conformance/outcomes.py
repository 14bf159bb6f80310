"""Outcomes of the cases: records, their compact files, and the results that come with the package."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from workbench.conformance.deviations import Deviation
from workbench.errors import InputError, writing
from workbench.records import from_json, to_json

KNOWN = Path(__file__).with_name("known")
"""Results that come with the package, one file for each library, version, precision and kind of machine."""

CONSTANTS = "/constants"
"""Suffix of the name of a case whose small further inputs are constants; see ``workbench.conformance.cases``."""

FORMAT = 2
"""Version of the files. Raise it when a field changes meaning."""


WITHIN_ROUNDING = "within the rounding of its number format"
"""``detail`` of a wrong case whose difference is no more than rounding: ONNX's tolerance for values near zero is very small."""


class CaseVerdict(StrEnum):
    """The outcome of one case."""

    RIGHT = "right"
    WRONG = "wrong"  # beyond the case's own tolerance
    ERROR = "error"  # it could not be built, opened or run
    REFUSED = "refused"  # by the workbench, which cannot read such a model
    NOT_APPLICABLE = (
        "not applicable"  # the backend does not support this kind of model or precision, or results are random
    )
    BUILT = "built"  # but not run, because this machine lacks the device


@dataclass(frozen=True)
class CaseOutcome:
    """The outcome of one case with one backend."""

    case: str
    verdict: CaseVerdict
    difference: float | None = None  # largest absolute difference from the definition; None: not numeric
    relative: float | None = None  # the same divided by the largest absolute value of the definition
    detail: str = ""  # what was wrong, or why there is no result

    @property
    def differs(self) -> bool:
        """Wrong by more than rounding."""
        return self.verdict == CaseVerdict.WRONG and self.detail != WITHIN_ROUNDING


@dataclass(frozen=True)
class Conformance:
    """The outcomes of one library version in one precision on one machine."""

    backend: str  # backend or backend:mode
    title: str
    version: str  # of the library
    precision: str
    onnx: str  # version of the package that the cases are from
    machine: str
    date: str  # UTC, ISO 8601
    cases: int  # total number, including those with constants
    outcomes: tuple[CaseOutcome, ...]
    deviations: tuple[Deviation, ...] = ()

    @property
    def library(self) -> str:
        return f"{self.title} {self.version}"

    def counts(self, *, constants: bool = False) -> dict[CaseVerdict, int]:
        """The number of cases with each verdict, of ONNX's own or of those with constants."""
        found = Counter(each.verdict for each in self.outcomes if each.case.endswith(CONSTANTS) == constants)
        return {verdict: found[verdict] for verdict in CaseVerdict}

    @property
    def wrong(self) -> tuple[CaseOutcome, ...]:
        """The wrong outcomes, the largest difference first."""
        found = [outcome for outcome in self.outcomes if outcome.verdict == CaseVerdict.WRONG]
        return tuple(sorted(found, key=lambda each: (-_size(each.difference), each.case)))

    @property
    def complete(self) -> bool:
        """Whether there is an outcome for every case."""
        return len(self.outcomes) == self.cases

    @property
    def file_name(self) -> str:
        return f"{self.backend.replace(':', '-')}-{self.version}-{self.precision}.json"


def _size(difference: float | None) -> float:
    return float("inf") if difference is None else difference


def dumps(conformance: Conformance) -> str:
    """The content of the compact file: right cases by name only, and equal details once."""
    groups: dict[str, Any] = {}
    for outcome in conformance.outcomes:
        if outcome.verdict == CaseVerdict.WRONG:
            entry = [outcome.case, outcome.difference, outcome.relative, outcome.detail]
            groups.setdefault(outcome.verdict, []).append(entry)
        elif outcome.verdict == CaseVerdict.RIGHT:
            groups.setdefault(outcome.verdict, []).append(outcome.case)
        else:
            groups.setdefault(outcome.verdict, {}).setdefault(outcome.detail, []).append(outcome.case)
    facts = to_json(replace(conformance, outcomes=()))
    del facts["outcomes"]
    lines = [
        f'"{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in {"format": FORMAT, **facts}.items()
    ]
    lines += [f'"{verdict}": {_folded(groups[verdict])}' for verdict in CaseVerdict if verdict in groups]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _folded(group: Any) -> str:
    """One entry on each line for details, and one line for names."""
    if isinstance(group, dict):
        rows = [f"{json.dumps(detail)}: {json.dumps(cases)}" for detail, cases in sorted(group.items())]
        return "{\n " + ",\n ".join(rows) + "\n}"
    if group and isinstance(group[0], list):
        return "[\n " + ",\n ".join(json.dumps(entry) for entry in group) + "\n]"
    return json.dumps(group)


def loads(text: str) -> Conformance:
    """Parse the content of a compact file: the inverse of :func:`dumps`.

    Raises:
        InputError: it is not such a file, or its format has another version.
    """
    try:
        facts = json.loads(text)
        if facts.pop("format") != FORMAT:
            raise InputError("The conformance file has another format. Record it again: workbench conformance.")
        outcomes = sorted(_outcomes(facts), key=lambda each: each.case)
        return from_json(Conformance, facts | {"outcomes": to_json(outcomes)})
    except InputError:
        raise
    except Exception as cause:
        raise InputError("This is not a conformance file. Record it again: workbench conformance.") from cause


def _outcomes(facts: dict[str, Any]) -> Iterator[CaseOutcome]:
    for verdict in CaseVerdict:
        group = facts.pop(verdict, [])
        if verdict == CaseVerdict.RIGHT:
            yield from (CaseOutcome(case, verdict) for case in group)
        elif verdict == CaseVerdict.WRONG:
            yield from (CaseOutcome(case, verdict, *rest) for case, *rest in group)
        else:
            yield from (
                CaseOutcome(case, verdict, detail=detail) for detail, cases in dict(group).items() for case in cases
            )


def save(conformance: Conformance, folder: Path) -> Path:
    """Write the compact file into ``folder`` and return its path."""
    path = folder / conformance.file_name
    with writing(path, "option --output"):
        folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        draft.write_text(dumps(conformance), encoding="utf-8")
        draft.replace(path)
    return path


def known(folders: Iterable[Path] = (KNOWN,)) -> tuple[Conformance, ...]:
    """All results in these folders, those of earlier folders first; files that cannot be read are skipped."""
    found = []
    for file in (file for folder in folders for file in sorted(folder.glob("*.json"))):
        try:
            found.append(loads(file.read_text(encoding="utf-8")))
        except (InputError, OSError, UnicodeDecodeError):
            continue
    return tuple(found)
