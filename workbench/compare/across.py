"""Runs of the history side by side: what may be read beside each other, what must not and why, and never a verdict.

A verdict takes variants that took turns, which those of two runs did not. So this shows what each run measured of the same
variant, keeps apart what was measured under other conditions, and says how to measure both in one run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.compare.comparison import ABSENT, digits
from workbench.compare.kept_runs import Cell, Kept, find, hardware, read
from workbench.errors import InputError, WorkbenchError
from workbench.experiment import PARAMETERS, Experiment
from workbench.models.inspection import digest_of
from workbench.runs.archive import Run, runs
from workbench.runs.sources import DEMO
from workbench.settings_table.table import SETTINGS
from workbench.store import Store
from workbench.system.machine import this_machine

if TYPE_CHECKING:
    import pandas as pd

NOT_IN_TURN = (
    "No verdict: these runs were not measured in turn, and a machine may differ by a tenth from one hour to the next. "
    "Measure both in one run to know who is faster."
)
FREE = frozenset(name for name, setting in SETTINGS.items() if not setting.condition)
"""Parameters that one run of several may take from the first, or unite. (One model is told by its content, not its path.)"""
UNITED = ("backends", "precisions", "batches", "optimization_level", "workspace_mib")
"""Lists whose values are variants: one run takes those of all."""
TIMES = "Times: the median call of a typical launch with its 95 % interval; without one, the median of all calls."
FRAME = (
    "variant", "batch", "run", "time", "p50 ms", "typical ms", "low", "high", "samples/s", "metric", "output", "score", "agrees",
    "library", "machine", "session", "apart",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One variant at one batch size under one set of conditions: what each run has of it, by the run's name."""

    variant: str
    batch: int
    cells: dict[str, Cell]
    apart: str = ""  # why it is a line of its own: what differs from the variant's first line, with both values


@dataclass(frozen=True)
class Across:
    """Several runs side by side with the first of them; in a notebook its HTML is shown."""

    runs: tuple[Run, ...]  # those that may stand beside the first, which is among them
    lines: tuple[Line, ...]
    refused: tuple[tuple[Run, str], ...]  # runs of which nothing is shown, and why
    experiment: Experiment | None  # one run that measures all of these variants in turn; None where there cannot be one
    why_not: str = ""  # why there cannot
    machine: str = ""
    note: str = ""  # what that one run does not take over

    def frame(self) -> pd.DataFrame:
        """One row per variant, batch and run; columns as in ``FRAME``, times as UTC text, latencies in milliseconds.

        ``p50 ms`` is the median of all calls, ``typical ms`` that of a typical launch, with its 95 % interval from ``low`` to
        ``high`` (:attr:`workbench.records.Timing.typical_median_s`). ``score`` and ``agrees`` are shares from 0 to 1, or the metric's
        own unit, of the model's ``output``. ``session`` is equal where runs show the same measurement, ``apart`` says what else differs.
        """
        import pandas as pd

        rows = [
            _framed(line, name, cell, self.machine)
            for line in self.lines
            for name, cell in line.cells.items()
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=list(FRAME))

    def remarks(self) -> list[str]:
        """What a reader has to know, in sentences: no verdict, what is refused, what is kept apart, what can be done."""
        told = [NOT_IN_TURN] if self.lines and len(self.runs) > 1 else []
        told += [f"Refused: {named(run)}: {why}." for run, why in self.refused]
        if len(self.runs) > 1 and self.why_not:
            told.append(f"One run cannot measure them all: {self.why_not}.")
        if self.experiment and self.note:
            told.append(self.note)
        return told

    def __repr__(self) -> str:
        lines = []
        for line in self.lines:
            lines.append(f"{line.variant} @{line.batch}{f'   apart: {line.apart}' if line.apart else ''}")
            lines += [
                f"    {name}  {latency(cell):>28}  {digits(cell.samples_per_s):>9} samples/s  {cell.score:>14}  "
                f"{cell.library}{same(line, cell)}"
                for name, cell in line.cells.items()
            ]
        head = [f"machine: {self.machine}"] if self.machine else []
        return "\n".join([*head, *lines, *([TIMES] if lines else []), *self.remarks()])

    def _repr_html_(self) -> str:
        return page(self)


def compare_runs(*names: str, store: Store | str | Path | None = None) -> Across:
    """Runs of the history side by side, compared with the first: what each measured of the same variants.

    ``names`` are those in the column "run" of :func:`workbench.history`, or their last letters. A run on other hardware or of
    another model is refused. What was measured over another region, with other settings, samples or library versions stands
    on a line of its own, with the reason. There is no verdict: for that, run ``.experiment``, which measures all in turn.

    Raises:
        InputError: fewer than two runs, or no such run.
        StoreError: the store cannot be read.
    """
    place = Store.of(store)
    known = runs(place)
    chosen = list(dict.fromkeys(find(name, known) for name in names))
    if len(chosen) < 2:
        raise InputError(f"Comparing takes two runs or more; found {len(chosen)}. Give their names, as in the history.")
    return beside([read(run, place) for run in chosen])


def beside(kept: Sequence[Kept]) -> Across:
    """These runs beside the first of them."""
    first, allowed, refused = kept[0], [], []
    for each in kept:
        if why := _other(each, first):
            refused.append((each.run, why))
        else:
            allowed.append(each)
    experiment, why_not = _together(allowed)
    return Across(
        runs=tuple(each.run for each in allowed),
        lines=tuple(_lines(allowed)),
        refused=tuple(refused),
        experiment=experiment,
        why_not=why_not,
        machine=first.machine.label,
        note=" ".join(f"{each.run.name} {not_kept(each.scored_by)}" for each in allowed if each.scored_by),
    )


def not_kept(scored_by: str) -> str:
    """What to say of a run that was scored by this function."""
    return (
        f"was scored by the function '{scored_by.rpartition(' ')[0] or scored_by}', which is not kept: another run scores by it only "
        "where it is given again, as metric=..."
    )


def _other(each: Kept, first: Kept) -> str:
    """Why nothing of a run may stand beside the first one's; "" where it may."""
    if each.digest != first.digest:
        there, here = (f"{one.run.model} ({one.digest[:8]})" for one in (each, first))
        return f"another model: '{there}' there, '{here}' in {first.run.name}"
    ours, theirs = hardware(each.machine), hardware(first.machine)
    differs = [
        f"{name} is '{ours[name]}' there, '{theirs[name]}' in {first.run.name}"
        for name in ours
        if ours[name] != theirs[name]
    ]
    return f"another machine: {'; '.join(differs)}" if differs else ""


def _lines(kept: Iterable[Kept]) -> list[Line]:
    """Cells of one variant and batch on one line where their conditions are equal, else below, with what differs."""
    found: dict[tuple[str, int], list[Line]] = {}
    for each in kept:
        for cell in each.cells:
            name = (cell.result.spec.label, cell.result.batch)
            lines = found.setdefault(name, [])
            for place, line in enumerate(lines):
                other = next(iter(line.cells.values()))
                if other.conditions == cell.conditions:
                    lines[place] = replace(line, cells=line.cells | {each.run.name: cell})
                    break
            else:
                apart = _differing(cell, next(iter(lines[0].cells.values())), *lines[0].cells) if lines else ""
                lines.append(Line(*name, {each.run.name: cell}, apart))
    return [line for lines in found.values() for line in lines]


def _differing(cell: Cell, first: Cell, run: str, *_: str) -> str:
    names = {**first.conditions, **cell.conditions}
    ours, theirs = cell.conditions, first.conditions
    return "; ".join(
        f"{name} is '{ours.get(name, ABSENT)}' here, '{theirs.get(name, ABSENT)}' in {run}"
        for name in names
        if ours.get(name) != theirs.get(name)
    )


def _together(kept: Sequence[Kept]) -> tuple[Experiment | None, str]:
    """One experiment that measures the variants of all these runs in turn, or why there is none."""
    if len(kept) < 2:
        return None, "there are no two runs left"
    first = kept[0]
    asked = []
    for each in kept:
        try:
            asked.append(Experiment(**(each.run.parameters or {"": ""})))
        except (WorkbenchError, TypeError):
            return None, f"the settings of {each.run.name} are not known to this version"
    if hardware(first.machine) != hardware(this_machine()):
        return None, f"they were made on another machine ({first.machine.label})"
    for name in PARAMETERS:
        values = [getattr(each, name) for each in asked]
        if name not in FREE and len(set(values)) > 1:
            other = next(number for number, value in enumerate(values) if value != values[0])
            return None, (
                f"'{name}' is {values[0]!r} in {first.run.name} and {values[other]!r} in {kept[other].run.name}, and one run "
                "has one value for it"
            )
    united: dict[str, Any] = {
        name: tuple(dict.fromkeys(value for each in asked for value in getattr(each, name))) for name in UNITED
    }
    variants = [{(cell.result.spec.label, cell.result.batch) for cell in each.cells} for each in kept]
    if all(each == variants[0] for each in variants):
        return None, (
            "they hold the same variants, and a run measures each of them once; to see whether one of them holds, run it again "
            "with 'Measure again' (--remeasure)"
        )
    united["model"], why_not = _model_now(first.digest, [each.model for each in asked])
    return (None, why_not) if why_not else (replace(asked[0], **united), "")


def _model_now(digest: str, paths: Sequence[str]) -> tuple[str, str]:
    """The first of these paths at which the model of the runs still lies, or why there is none: a file may have been retrained."""
    if DEMO in paths:
        return DEMO, ""
    found = []
    for path in dict.fromkeys(paths):
        try:
            now = digest_of(path)
        except InputError as error:
            found.append(error.message.rstrip("."))
        else:
            if now == digest:
                return path, ""
            found.append(
                f"what lies at '{path}' now is another model ({now[:8]}) than what they measured ({digest[:8]})"
            )
    return "", "; ".join(found)


def latency(cell: Cell) -> str:
    """``0.240 ms [0.238, 0.243]``: a typical launch's median and its 95 % interval, or the median of all calls where none is known."""
    if cell.typical_s is not None:
        center, low, high = (digits(each * 1e3) for each in cell.typical_s)
        return f"{center} ms [{low}, {high}]"
    return "too few calls" if cell.median_s is None else f"{digits(cell.median_s * 1e3)} ms"


def same(line: Line, cell: Cell) -> str:
    """Beside a cell: which run before it on its line shows the very same measurement."""
    for name, before in line.cells.items():
        if before is cell:
            break
        if before.session == cell.session:
            return f"  (the same measurement as in {name})"
    return ""


def named(run: Run) -> str:
    return f"{run.name} ({run.model})"


def _framed(line: Line, name: str, cell: Cell, machine: str) -> dict[str, Any]:
    typical = cell.typical_s or (None, None, None)
    center, low, high = (None if each is None else each * 1e3 for each in typical)
    score = cell.result.accuracy
    return {
        "variant": line.variant,
        "batch": line.batch,
        "run": name,
        "time": cell.measured_at,
        "p50 ms": None if cell.median_s is None else cell.median_s * 1e3,
        "typical ms": center,
        "low": low,
        "high": high,
        "samples/s": cell.samples_per_s,
        "metric": cell.metric,
        "output": score.output if score else "",
        "score": score.value if score else None,
        "agrees": score.agreement if score else None,
        "library": cell.library,
        "machine": machine,
        "session": cell.session,
        "apart": line.apart,
    }


def page(found: Across) -> str:
    """The table as HTML, a column for each run, and what has to be known of it below; what came from outside is escaped."""
    remarks = "".join(f"<li>{escape(text)}</li>" for text in found.remarks())
    return f'{_table(found) if found.lines else ""}<ul class="wb-remarks">{remarks}</ul>'


def _table(found: Across) -> str:
    heads = "".join(f'<th scope="col">{_head(run)}</th>' for run in found.runs)
    body = "".join(_line(line, found.runs) for line in found.lines)
    return (
        '<div class="wb-scroll"><table class="wb-table wb-across"><thead><tr><th scope="col">Variant</th><th scope="col">Batch</th>'
        f"{heads}</tr></thead><tbody>{body}</tbody></table></div>"
        f"<p>{TIMES} Then samples per second, score, library. Machine: {escape(found.machine)}.</p>"
    )


def _head(run: Run) -> str:
    return f"{escape(run.time.replace('T', ' ').removesuffix('+00:00'))} UTC<br>{escape(run.name)}"


def _line(line: Line, runs: tuple[Run, ...]) -> str:
    cells = []
    for run in runs:
        cell = line.cells.get(run.name)
        if cell is None:
            cells.append("<td>–</td>")
            continue
        told = (
            f"<b>{escape(latency(cell))}</b>{escape(same(line, cell))}",
            f"{digits(cell.samples_per_s)} samples/s",
            escape(cell.score),
            escape(cell.library),
            escape(f"measured {cell.measured_at.replace('T', ' ').removesuffix('+00:00')} UTC"),
        )
        cells.append(f"<td>{'<br>'.join(told)}</td>")
    apart = f'<tr class="wb-note"><td colspan="{2 + len(runs)}">kept apart: {escape(line.apart)}</td></tr>'
    noted = ' class="wb-noted"' if line.apart else ""
    row = f"<tr{noted}><td><b>{escape(line.variant)}</b></td><td>{line.batch}</td>{''.join(cells)}</tr>"
    return row + (apart if line.apart else "")
