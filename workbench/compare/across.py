"""Runs of the history side by side: what can be compared, what cannot and why. No verdicts are given.

A verdict needs variants that were measured interleaved, which those of two runs were not. So this shows what each run measured of the same
variant, separates what was measured under other conditions, and describes one run that measures both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.compare.formats import ABSENT, digits, ms
from workbench.compare.kept_runs import Cell, Kept, hardware, read
from workbench.errors import InputError, WorkbenchError
from workbench.models.inspection import digest_of
from workbench.runs.archive import Run, find, runs
from workbench.runs.sources import DEMO
from workbench.settings.experiment import PARAMETERS, Experiment
from workbench.settings.table import SETTINGS
from workbench.store import Store
from workbench.system.machine import this_machine

NOT_IN_TURN = (
    "No verdict: these runs were not measured in turn, and a machine may differ by a tenth from one hour to the next. "
    "Measure both in one run to compare them."
)
FREE = frozenset(name for name, setting in SETTINGS.items() if not setting.condition)
"""Parameters that one run of several may take from the first, or unite. (A model is identified by its content, not its path.)"""
UNITED = ("backends", "precisions", "batches", "optimization_level", "workspace_mib")
"""Lists whose values are variants: one run takes those of all."""
TIMES = "Times: the median call of a typical launch with its 95 % interval; without one, the median of all calls."


@dataclass(frozen=True)
class VariantLine:
    """One variant at one batch size under one set of conditions: what each run has of it, by the run's name."""

    variant: str
    batch: int
    cells: dict[str, Cell]
    difference: str = ""  # why it is a separate line: what differs from the variant's first line, with both values


@dataclass(frozen=True)
class Across:
    """Several runs side by side with the first of them."""

    runs: tuple[Run, ...]  # the first, and those that may be compared with it
    lines: tuple[VariantLine, ...]
    refused: tuple[tuple[Run, str], ...]  # runs of which nothing is shown, and why
    experiment: Experiment | None  # one run that measures all of these variants in turn; None where there cannot be one
    why_not: str = ""  # why there cannot
    machine: str = ""
    note: str = ""  # what that one run does not take over

    def remarks(self) -> list[str]:
        """What a reader has to know, in sentences: no verdict, what is refused, what is on a separate line, what can be done."""
        notes = [NOT_IN_TURN] if self.lines and len(self.runs) > 1 else []
        notes += [f"Refused: {named(run)}: {why}." for run, why in self.refused]
        if len(self.runs) > 1 and self.why_not:
            notes.append(f"One run cannot measure them all: {self.why_not}.")
        if self.experiment and self.note:
            notes.append(self.note)
        return notes


def side_by_side(*names: str, store: Store | str | Path | None = None) -> Across:
    """Runs of the history side by side, compared with the first: what each measured of the same variants.

    ``names`` are those in the column "run" of :func:`workbench.history`, or their last letters. A run on other hardware or of
    another model is refused. What was measured over another region, with other settings, samples or library versions stands
    on a separate line, with the reason. There is no verdict: for that, run ``.experiment``, which measures all interleaved.

    Raises:
        InputError: fewer than two runs, or no such run.
        StoreError: the store cannot be read.
    """
    place = Store.of(store)
    known = runs(place)
    chosen = list(dict.fromkeys(find(name, known) for name in names))
    if len(chosen) < 2:
        raise InputError(f"Comparing takes two runs or more; found {len(chosen)}. Give their names, as in the history.")
    return compared([read(run, place) for run in chosen])


def compared(kept: Sequence[Kept]) -> Across:
    """These runs side by side, each compared with the first."""
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
    """Why a run must not be compared with the first; "" where it may be."""
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


def _lines(kept: Iterable[Kept]) -> list[VariantLine]:
    """Cells of one variant and batch on one line where their conditions are equal, else below, with what differs."""
    found: dict[tuple[str, int], list[VariantLine]] = {}
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
                difference = _differing(cell, next(iter(lines[0].cells.values())), *lines[0].cells) if lines else ""
                lines.append(VariantLine(*name, {each.run.name: cell}, difference))
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
    """One experiment that measures the variants of all these runs interleaved, or the reason why that is not possible."""
    if len(kept) < 2:
        return None, "fewer than two runs are left"
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
            "they contain the same variants, and a run measures each of them once; to see whether one of them holds, run it again "
            "with 'Measure again' (--remeasure)"
        )
    united["model"], why_not = _model_now(first.digest, [each.model for each in asked])
    return (None, why_not) if why_not else (replace(asked[0], **united), "")


def _model_now(digest: str, paths: Sequence[str]) -> tuple[str, str]:
    """The first of these paths that still holds the model of the runs, or the reason why none does: a file may have been retrained."""
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
                f"the file at '{path}' is now another model ({now[:8]}) than what they measured ({digest[:8]})"
            )
    return "", "; ".join(found)


def latency(cell: Cell) -> str:
    """``0.240 ms [0.238, 0.243]``: a typical launch's median and its 95 % interval, or the median of all calls where none is known."""
    if cell.typical_s is not None:
        center, low, high = (digits(each * 1e3) for each in cell.typical_s)
        return f"{center} ms [{low}, {high}]"
    return "too few calls" if cell.median_s is None else f"{digits(cell.median_s * 1e3)} ms"


def same(line: VariantLine, cell: Cell) -> str:
    """A remark for a cell: the earlier run on its line that shows the same measurement."""
    for name, before in line.cells.items():
        if before is cell:
            break
        if before.session == cell.session:
            return f"  (the same measurement as in {name})"
    return ""


def named(run: Run) -> str:
    return f"{run.name} ({run.model}{f', imported: measured on {run.imported}' * bool(run.imported)})"


def rows(across: Across) -> list[dict[str, Any]]:
    """One row per variant, batch and run; times as UTC text, latencies in milliseconds.

    ``p50 ms`` is the median of all calls, ``typical ms`` that of a typical launch, with its 95 % interval from ``low`` to
    ``high`` (:attr:`workbench.records.Timing.typical_median_s`). ``score`` and ``agrees`` are shares from 0 to 1, or the metric's
    own unit, of the model's ``output``. ``session`` is equal where runs show the same measurement, ``difference`` says what else differs.
    """
    return [_row(line, name, cell, across.machine) for line in across.lines for name, cell in line.cells.items()]


def _row(line: VariantLine, name: str, cell: Cell, machine: str) -> dict[str, Any]:
    center, low, high = map(ms, cell.typical_s or (None, None, None))
    score = cell.result.accuracy
    return {
        "variant": line.variant,
        "batch": line.batch,
        "run": name,
        "time": cell.measured_at,
        "p50 ms": ms(cell.median_s),
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
        "difference": line.difference,
    }
