"""Old and new in turn: the engines of both sides are built, and each pair takes turns until its verdict is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from workbench.errors import InputError
from workbench.gating.judging import RowOutcome, outcomes
from workbench.gating.outcome import GateLimits, GateOutcome, GateRow
from workbench.measure.verdict import evidence
from workbench.records import Model, Result, Results, Status
from workbench.runs import pipeline
from workbench.runs.open_engines import OpenEngines
from workbench.runs.rounds import measure_groups
from workbench.runs.run_rows import OnEvent, RunRows
from workbench.runs.sources import data_of
from workbench.runs.steps import SAMPLES, write_samples
from workbench.settings.experiment import Experiment
from workbench.store import Store, key_of
from workbench.system.measuring_lock import hold_lock
from workbench.system.stop import Stop

OLD, NEW = "old", "new"
Pair = tuple[Result, Result]
"""The old side's row and the new side's."""


@dataclass(frozen=True)
class GateContext:
    """What both sides are measured with."""

    store: Store
    on_event: OnEvent
    stop: Stop


def rows_in_turn(old: Experiment, new: Experiment, limits: GateLimits, work: GateContext) -> tuple[GateRow, ...]:
    """Build both sides, measure each row of the one in turn with that of the other, and judge all of them together.

    Raises:
        InputError: the models have different inputs, or neither side has a row that can be measured.
        Cancelled: it was cancelled.
    """
    before, after = (built(one, side, work) for one, side in ((old, OLD), (new, NEW)))
    _check_inputs(before.model, after.model)
    pairs, others = paired(before.rows, after.rows)
    if not pairs and not others:
        raise InputError(_nothing(after))
    different = [pair for pair in pairs if _key(pair[0]) != _key(pair[1])]
    measured = _measured(different, new, samples_file(new, after.model, work.store), work) if different else {}
    same = [_same(pair) for pair in pairs if pair not in different]
    return (*judged_rows(measured.values(), limits), *same, *others)


def built(experiment: Experiment, side: str, work: GateContext) -> Results:
    """The engines of one side; their variants are named after it."""
    results = pipeline.run(experiment, store=work.store, on_event=work.on_event, cancel=work.stop, only="build")
    return replace(results, rows=tuple(_of_side(row, side) for row in results.rows))


def _of_side(row: Result, side: str) -> Result:
    spec = replace(row.spec, side=side)
    return replace(row, spec=spec, engine=replace(row.engine, spec=spec) if row.engine else None)


def name_of(row: Result) -> tuple[str, int]:
    """What the two sides of a pair have in common: the variant without its side and environment, and the batch."""
    return replace(row.spec, side="", environment="").label, row.batch


def paired(before: Iterable[Result], after: Iterable[Result]) -> tuple[list[Pair], list[GateRow]]:
    """Rows that can be measured on both sides, and the outcome of those that can on one side only.

    A row that could not be built or measured on either side is left out.
    """
    olds, news = ({name_of(row): row for row in rows} for rows in (before, after))
    pairs, others = [], []
    for name in dict.fromkeys((*olds, *news)):
        old, new = olds.get(name), news.get(name)
        if old and new and _able(old) and _able(new):
            pairs.append((old, new))
        elif old and _able(old):
            why = f"it worked on the old side and does not on the new one: {_reason(new)}"
            others.append(GateRow(*name, GateOutcome.WORSE, why, old=old, new=new))
        elif new and _able(new):
            why = f"there is nothing to compare with: {_reason(old)}"
            others.append(GateRow(*name, GateOutcome.CANNOT_TELL, why, old=old, new=new))
    return pairs, others


def _able(row: Result) -> bool:
    measured = row.status == Status.DONE and row.timing is not None
    return measured or (row.status == Status.BUILT and row.engine is not None and row.engine.runnable)


def _reason(row: Result | None) -> str:
    if row is None:
        return "that side has no such row"
    if row.failure:
        return row.failure.message
    return (row.engine.note if row.engine else "") or f"its state is '{row.status}'"


def _nothing(results: Results) -> str:
    reasons = dict.fromkeys(row.failure.message for row in results.rows if row.failure)
    return f"No row can be measured on either side: {'; '.join(reasons) or 'there are no rows'}."


def _key(row: Result) -> str:
    return row.engine.key if row.engine else ""


def _same(pair: Pair) -> GateRow:
    why = "both sides have the same engine, so it was not measured"
    return GateRow(*name_of(pair[1]), GateOutcome.NO_WORSE, why, old=pair[0], new=pair[1])


def _check_inputs(old: Model, new: Model) -> None:
    """Both sides get the same samples."""
    theirs, ours = ([(one.name, one.dtype, one.shape) for one in model.inputs] for model in (old, new))
    if theirs != ours:
        raise InputError(
            f"The old and the new model have different inputs ({_inputs(old)}; {_inputs(new)}), so that they cannot be measured on the "
            "same samples. Export the new one with the inputs of the old one."
        )


def _inputs(model: Model) -> str:
    return ", ".join(f"{one.name} {one.dtype} {list(one.shape)}" for one in model.inputs)


def samples_file(experiment: Experiment, model: Model, store: Store) -> str:
    """The path of a file with the test samples."""
    test = data_of(experiment, model).test
    made = store.make("samples", key_of(samples=test.digest), partial(write_samples, test))
    return str(made.folder / SAMPLES)


def _measured(pairs: list[Pair], asked: Experiment, samples: str, work: GateContext) -> dict[tuple[str, int], Pair]:
    """The pairs with their timings, or with the failure of a side. Pairs of the same two engines are measured in the same launches."""
    engines: dict[tuple[str, str], list[Pair]] = {}
    for old, new in pairs:
        engines.setdefault((_key(old), _key(new)), []).append((old, new))
    found: dict[tuple[str, int], Pair] = {}
    for together in engines.values():
        rows = _take_turns(together, replace(asked, baseline=together[0][0].spec.variant), samples, work, len(pairs))
        found |= {name_of(old): (rows[old.row], rows[new.row]) for old, new in together}
    return found


def _take_turns(
    pairs: list[Pair], asked: Experiment, samples: str, work: GateContext, family: int
) -> Mapping[str, Result]:
    """Measure the two engines of these pairs at all their batch sizes; the rows by name."""
    rows = tuple(row for pair in pairs for row in pair)
    run_rows = RunRows(rows, work.store.new_run(), work.on_event, lambda _: "", work.stop)
    opened = OpenEngines(run_rows, asked, work.store, samples, family)
    try:
        with hold_lock("opening engines", alone=False, cancel=work.stop, waiting=run_rows.report_wait):
            left = opened.open_cohort([row.engine for row in pairs[0] if row.engine], {})
        if left:
            raise InputError(
                "There is not enough free memory to open the old and the new engine side by side. End other programs, or choose a smaller "
                "batch size."
            )
        groups = {old.batch: key_of(gate=run_rows.run, batch=old.batch) for old, _ in pairs}
        measure_groups(opened, groups, samples, asked.plan.region)
    finally:
        opened.close()
    return {row.row: row for row in run_rows.rows}


def judged_rows(pairs: Iterable[Pair], limits: GateLimits) -> list[GateRow]:
    """The outcomes of pairs that were measured in turn, judged together."""
    pairs = list(pairs)
    timed = [(old.timing, new.timing) for old, new in pairs if old.timing and new.timing]
    found = iter(outcomes([evidence(new, old) for old, new in timed], limits))
    return [_row(old, new, next(found) if old.timing and new.timing else None) for old, new in pairs]


def _row(old: Result, new: Result, result: RowOutcome | None) -> GateRow:
    if result is None:
        ((_, others),) = [paired([old], [new])]
        why = "it could not be measured on either side: " + _reason(new)
        return others[0] if others else GateRow(*name_of(new), GateOutcome.CANNOT_TELL, why, old=old, new=new)
    return GateRow(*name_of(new), *result[:1], result.why, *result[1:4], old=old, new=new)
