"""Rewritten models whose engines cannot run here: the file itself is scored, so that nothing is offered unseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from workbench.accuracy.by_sample import load_outputs
from workbench.accuracy.score import told
from workbench.data.dataset import Dataset
from workbench.errors import Cancelled, WorkbenchError
from workbench.records import Accuracy, EngineSpec, Result, to_json
from workbench.runs.board import Board
from workbench.runs.scoring import FILE, OUTPUTS, Way, comparable_of, scored_on
from workbench.runs.sources import Form, Sources
from workbench.store import Draft, Store, key_of
from workbench.workers.worker import Pool

MOST_SAMPLES = 1000
"""Test samples that a file is scored on: run unoptimized it may take long, and the interval is narrow enough."""
BATCH = 16

Prepared = Callable[[Sources, EngineSpec], Form]


def score_files(
    board: Board, sources: Sources, store: Store, pool: Pool, data: Dataset, way: Way, prepared: Prepared
) -> None:
    """Put a score into every row whose engine was built from a rewritten file and cannot run here.

    Both the rewritten file and the FP32 file that it was made from are run as they are written, on the first 1,000 test
    samples. A file that does not run costs its row nothing but the score.
    """
    rows = [row for row in board.rows if row.engine and not row.engine.runnable and row.engine.source_sha256]
    if not data.real:
        return
    for spec in dict.fromkeys(row.spec for row in rows):
        try:
            accuracy = _scored(
                sources, store, pool, data, way, prepared(sources, replace(spec, batch=None)), board.whisper
            )
        except Cancelled:
            raise
        except WorkbenchError as error:
            board.note(f"{spec.label} was not scored: {error.message}")
            continue
        for row in (row for row in rows if row.spec == spec):
            _show(board, row, accuracy)


def _show(board: Board, row: Result, accuracy: Accuracy) -> None:
    key = row.engine.key if row.engine else ""
    board.update(row, f"{row.row}: {told(accuracy)}, by {accuracy.basis}", accuracy=replace(accuracy, engine_key=key))


def _scored(
    sources: Sources, store: Store, pool: Pool, data: Dataset, way: Way, form: Form, say: Callable[[str], None]
) -> Accuracy:
    test = data.test.take(slice(MOST_SAMPLES))
    origin = sources.get("onnx:fp32")
    (expected, _), (found, basis) = (
        _outputs(sources, store, pool, one, str(sources.samples_file(test)), test.digest, say) for one in (origin, form)
    )
    return replace(scored_on(test, form.key, found, expected, way, comparable_of(sources)), basis=basis)


def _outputs(
    sources: Sources, store: Store, pool: Pool, form: Form, samples: str, digest: str, say: Callable[[str], None]
) -> tuple[dict[str, Any], str]:
    """What a file gives for all samples, by name; and what ran it."""

    def fill(draft: Draft) -> None:
        into, outputs = str(draft.folder / FILE), to_json(sources.model.outputs)
        batch = sources.model.fixed_batch or BATCH
        draft.facts = pool.call(
            "onnx", "evaluate_onnx", progress=say, path=str(form.source.path), samples=samples, batch=batch, into=into,
            outputs=outputs,
        )  # fmt: skip

    made = store.make("outputs", key_of(file=form.key, samples=digest, how="as it is written", rules=OUTPUTS), fill)
    return load_outputs(made.folder / FILE), str(made.facts["basis"])
