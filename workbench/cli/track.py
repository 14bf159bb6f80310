"""The option ``--track``: the run in the store of an experiment tracker as well."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.settings.experiment import Experiment
from workbench.store import Store

TRACKERS = ("mlflow",)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the option to a command's parser."""
    parser.add_argument(
        "--track",
        choices=TRACKERS,
        help="write parameters, metrics with intervals, figures, report and plan to a tracker as well",
    )


def check(options: argparse.Namespace) -> None:
    """Refuse a tracker that is not installed before anything is measured."""
    if options.track:
        from workbench.tracking.mlflow_store import check as check_mlflow

        check_mlflow()


def tracked(
    options: argparse.Namespace, document: dict[str, Any] | None, experiment: Experiment, files: Sequence[Path] = ()
) -> str:
    """Track the run of a document; a sentence that says where, "" where there is nothing to track."""
    if not options.track or document is None or not any(row["timing"] for row in document["rows"]):
        return ""
    from workbench.runs.open_run import open_run
    from workbench.tracking.mlflow_store import track

    store = Store(options.store or None)
    return track(open_run(document["run"], store), experiment, store, files)
