"""The option ``--dry-run``: what a command would make and what the store has, without making anything."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from workbench.cli.answer import Answer
from workbench.settings.experiment import Experiment

if TYPE_CHECKING:
    from workbench.runs.outlook import Outlook


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the option to a command's parser."""
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be made and what the store has, and make nothing"
    )


def answer(experiment: Experiment, options: argparse.Namespace, *, only: str = "all") -> Answer:
    """The plan as a table. No file is written and no process is started."""
    from workbench.runs import pipeline

    how = {"store": options.store or None, "remeasure": options.remeasure, "minutes": options.minutes}
    found = pipeline.run(experiment, only=only, dry_run=True, **how)
    return Answer(str(found), document(found), schema="plan")


def document(outlook: Outlook) -> dict[str, Any]:
    """A plan and the state of its steps as JSON values; see ``schemas/plan.json``."""
    from workbench.records import to_json

    steps = [
        {
            "id": step.id,
            **to_json(step),
            "artefact": step.artefact,
            "key": step.key or None,
            "state": str(state),
            "took_s": seconds,
        }
        for step, state, seconds in zip(outlook.plan.steps, outlook.states, outlook.seconds, strict=True)
    ]
    rows = [
        {"row": row.row, "status": str(row.status), "reason": row.failure.message if row.failure else ""}
        for row in outlook.plan.rows
    ]
    most = {"measure_at_most_s": outlook.measure_s, "limit_s": outlook.limit_s}
    return {"rows": rows, "steps": steps, "note": outlook.note, **most}
