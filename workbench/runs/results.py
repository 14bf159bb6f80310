"""The results of a run, with notes that explain the numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from workbench.accuracy.finite import not_finite_remarks
from workbench.accuracy.score import doubts
from workbench.data.observed import doubts as doubts_of_values
from workbench.environments import registry
from workbench.errors.printable import one_line
from workbench.models.describe import copy_notes, export_notes, mixed_notes, row_notes, sizes_used, varying_notes
from workbench.records import Result, Results
from workbench.records.methods import DYNAMIC
from workbench.runs.cohorts import cohorts_text, default_baseline
from workbench.runs.context import RunContext
from workbench.runs.unused import unlabelled, unused
from workbench.system.machine import this_machine


def results_of(context: RunContext) -> Results:
    """The results of the rows as they are now."""
    model, data, run_rows, experiment = context.model, context.data, context.run_rows, context.experiment
    check = context.executor.check
    notes = [*model.notes, *copy_notes(model), *row_notes(model), *(export_notes(check) if check else ())]
    if not data.real:
        notes.append("Random inputs were used: timings are real, accuracy cannot be judged.")
    notes += filter(None, [sizes_used(model, data)])
    notes += [*unused(experiment), *unlabelled(experiment, data)]
    notes += filter(None, [cohorts_text(run_rows.rows)])
    notes += environments_text(run_rows.rows)
    notes += doubts(row.accuracy for row in run_rows.rows if row.accuracy)
    notes += run_rows.notes
    warnings = [
        *doubts_of_values(data.values),
        *varying_notes(model),
        *mixed_notes(model, experiment.batches),
        *dynamic_text(run_rows.rows, experiment.batches),
        *run_rows.warnings,
    ]
    for row in run_rows.rows:
        warnings += not_finite_remarks(row.accuracy.source_not_finite) if row.accuracy else []
    return Results(
        model=model,
        machine=this_machine(),
        rows=run_rows.rows,
        baseline=experiment.baseline or default_baseline(row for row in run_rows.rows if row.timing),
        data=data.description,
        values=data.values,
        tested_digest=data.test.digest,
        calibrated_digest=data.calibration.digest if data.calibration else "",
        plan=experiment.plan,
        tally=run_rows.tally,
        export=check,
        budget=experiment.budget if data.real else "",
        notes=tuple(map(one_line, notes)),
        warnings=tuple(dict.fromkeys(map(one_line, warnings))),
    )


def dynamic_text(rows: Iterable[Result], batches: Collection[int]) -> list[str]:
    """A sentence that says at which batch engines are scored that compute ranges in every call; none for one batch size."""
    found = dict.fromkeys(row.spec.label for row in rows if row.spec.method == DYNAMIC and row.spec.batch is None)
    if not found or len(batches) < 2:
        return []
    text = (
        f"{', '.join(found)}: the ranges of activations are computed in every call, so that an answer depends on the other samples of its "
        f"batch. Accuracy and agreement are those of batch {max(batches)}, and are shown in its row only. Set 'batches' to one size to "
        "score at that size."
    )
    return [text]


def environments_text(rows: Iterable[Result]) -> list[str]:
    """A sentence for each environment of the rows: its Python and NumPy, and the libraries that built its engines."""
    libraries: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.spec.environment and row.engine:
            built = f"{row.engine.library} {row.engine.library_version}"
            libraries.setdefault(row.spec.environment, {})[built] = None
    known = registry.known()
    return [
        f"@{name}: {', '.join(built)}, in Python {known[name].version} with NumPy {known[name].packages.get('numpy', '?')}."
        for name, built in libraries.items()
        if name in known
    ]
