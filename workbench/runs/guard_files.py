"""Rewritten models whose engines cannot run here: the file itself is scored, so that nothing is offered unseen."""

from __future__ import annotations

from dataclasses import replace

from workbench.accuracy.score import score_text
from workbench.data.samples import Samples
from workbench.errors import Cancelled, WorkbenchError
from workbench.plan.engines import source_of
from workbench.plan.forms import exported
from workbench.plan.scoring import file_outputs_key
from workbench.plan.subject import FILE_SAMPLES
from workbench.records import Accuracy, EngineSpec, to_json
from workbench.runs.context import RunContext
from workbench.runs.engines import PreparedModel
from workbench.runs.scoring import FILE, Outputs, outputs_in, scored_on
from workbench.store import Draft
from workbench.workers.pool import once_more

BATCH = 16


def score_files(context: RunContext) -> None:
    """Put a score into every row whose engine was built from a rewritten file and cannot run here.

    Both the rewritten file and the FP32 file that it was made from are run as they are written, on the first 1,000 test
    samples. If a file does not run, its row only lacks the score.
    """
    run_rows = context.run_rows
    rows = [row for row in run_rows.rows if row.engine and not row.engine.runnable and row.engine.source_sha256]
    if not context.data.real:
        return
    for spec in dict.fromkeys(row.spec for row in rows):
        try:
            accuracy = _scored(context, replace(spec, batch=None))
        except Cancelled:
            raise
        except WorkbenchError as error:
            run_rows.note(f"{spec.label} was not scored: {error.message}")
            continue
        for row in (row for row in rows if row.spec == spec):
            own = replace(accuracy, engine_key=row.engine.key if row.engine else "")
            run_rows.update(row, f"{row.row}: {score_text(accuracy)}, by {accuracy.basis}", accuracy=own)


def _scored(context: RunContext, spec: EngineSpec) -> Accuracy:
    executor = context.executor
    test = context.data.test.take(slice(FILE_SAMPLES))
    files = [executor.made(*exported(executor.subject)), executor.made(*source_of(executor.subject, spec))]
    (expected, _), (found, basis) = (_outputs(context, one, test) for one in files)
    return replace(scored_on(context, test, files[1].key, found, expected), basis=basis)


def _outputs(context: RunContext, form: PreparedModel, test: Samples) -> tuple[Outputs, str]:
    """What a file gives for all samples; and what ran it."""
    model, samples = context.model, str(context.executor.samples_file(test))

    def fill(draft: Draft) -> None:
        into, outputs = str(draft.folder / FILE), to_json(model.outputs)
        draft.facts = once_more(lambda: context.pool.call(
            "onnx", "evaluate_onnx", progress=context.say, path=str(form.source.path), samples=samples, into=into,
            outputs=outputs, batch=model.batch_near(BATCH), together=not model.runs_alone,
        ))  # fmt: skip

    made = context.store.make("outputs", file_outputs_key(form.key, test.digest), fill)
    return outputs_in(made), str(made.facts["basis"])
