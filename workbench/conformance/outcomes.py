"""What became of the cases: records, their compact files, and those that come with the package."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from workbench.conformance.forms import Form
from workbench.errors import InputError, writing
from workbench.records import from_json, to_json

KNOWN = Path(__file__).with_name("known")
"""Results that come with the package, one file for each library, version, precision and kind of machine."""

CONSTANTS = "/constants"
"""End of the name of a case of ONNX whose small further inputs are constants; see ``workbench.conformance.cases``."""

FORMAT = 1
"""Version of the files. Raise it when a field changes meaning."""


WITHIN_ROUNDING = "within the rounding of its number format"
"""``detail`` of a wrong case whose difference is no more than rounding: ONNX's tolerance for values near zero is very small."""


class Verdict(StrEnum):
    """What one case came to."""

    RIGHT = "right"
    WRONG = "wrong"  # beyond the case's own tolerance
    ERROR = "error"  # it could not be built, opened or run
    REFUSED = "refused"  # by the workbench, which does not read such a model
    NOT_APPLICABLE = (
        "not applicable"  # the backend does not take this kind of model or precision, or results are random
    )
    BUILT = "built"  # and not run, because the device is not here


@dataclass(frozen=True)
class Outcome:
    """One case in one backend."""

    case: str
    verdict: Verdict
    difference: float | None = None  # largest absolute difference from the definition; None: not a matter of numbers
    relative: float | None = None  # the same divided by the largest absolute value that the definition gives
    detail: str = ""  # for people: what was wrong, or why there is no result

    @property
    def differs(self) -> bool:
        """Wrong by more than rounding."""
        return self.verdict == Verdict.WRONG and self.detail != WITHIN_ROUNDING


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
    cases: int  # how many there are, those with constants among them
    outcomes: tuple[Outcome, ...]
    forms: tuple[Form, ...] = ()

    @property
    def library(self) -> str:
        return f"{self.title} {self.version}"

    def counts(self, *, constants: bool = False) -> dict[Verdict, int]:
        """How many cases of each verdict, of ONNX's own or of those with constants."""
        found = Counter(each.verdict for each in self.outcomes if each.case.endswith(CONSTANTS) == constants)
        return {verdict: found[verdict] for verdict in Verdict}

    @property
    def wrong(self) -> tuple[Outcome, ...]:
        """The wrong ones, the largest difference first."""
        found = [outcome for outcome in self.outcomes if outcome.verdict == Verdict.WRONG]
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


def dumps(found: Conformance) -> str:
    """The compact file: right cases by name alone, and equal details once."""
    groups: dict[str, Any] = {}
    for outcome in found.outcomes:
        if outcome.verdict == Verdict.WRONG:
            entry = [outcome.case, outcome.difference, outcome.relative, outcome.detail]
            groups.setdefault(outcome.verdict, []).append(entry)
        elif outcome.verdict == Verdict.RIGHT:
            groups.setdefault(outcome.verdict, []).append(outcome.case)
        else:
            groups.setdefault(outcome.verdict, {}).setdefault(outcome.detail, []).append(outcome.case)
    facts = to_json(replace(found, outcomes=()))
    del facts["outcomes"]
    lines = [
        f'"{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in {"format": FORMAT, **facts}.items()
    ]
    lines += [f'"{verdict}": {_folded(groups[verdict])}' for verdict in Verdict if verdict in groups]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _folded(group: Any) -> str:
    """One entry a line for what people read, and one line for names."""
    if isinstance(group, dict):
        rows = [f"{json.dumps(detail)}: {json.dumps(cases)}" for detail, cases in sorted(group.items())]
        return "{\n " + ",\n ".join(rows) + "\n}"
    if group and isinstance(group[0], list):
        return "[\n " + ",\n ".join(json.dumps(entry) for entry in group) + "\n]"
    return json.dumps(group)


def loads(text: str) -> Conformance:
    """The inverse of :func:`dumps`.

    Raises:
        InputError: it is not such a file, or one of another format.
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


def _outcomes(facts: dict[str, Any]) -> Iterator[Outcome]:
    for verdict in Verdict:
        group = facts.pop(verdict, [])
        if verdict == Verdict.RIGHT:
            yield from (Outcome(case, verdict) for case in group)
        elif verdict == Verdict.WRONG:
            yield from (Outcome(case, verdict, *rest) for case, *rest in group)
        else:
            yield from (
                Outcome(case, verdict, detail=detail) for detail, cases in dict(group).items() for case in cases
            )


def save(found: Conformance, folder: Path) -> Path:
    """Write the compact file into ``folder`` and return its path."""
    path = folder / found.file_name
    with writing(path, "option --output"):
        folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        draft.write_text(dumps(found), encoding="utf-8")
        draft.replace(path)
    return path


def known(folders: Iterable[Path] = (KNOWN,)) -> tuple[Conformance, ...]:
    """Every result in these folders, those of earlier folders first; files that cannot be read are passed over."""
    found = []
    for file in (file for folder in folders for file in sorted(folder.glob("*.json"))):
        try:
            found.append(loads(file.read_text(encoding="utf-8")))
        except (InputError, OSError, UnicodeDecodeError):
            continue
    return tuple(found)
