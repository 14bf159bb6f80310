"""A run where its settings say: on a cluster, or on this machine."""

from __future__ import annotations

from typing import Any

from workbench.errors import InputError
from workbench.records import Results
from workbench.runs import pipeline
from workbench.settings.cluster import ClusterSettings
from workbench.settings.experiment import Experiment


def run(experiment: Experiment, where: ClusterSettings, **given: Any) -> Results:
    """The results of an experiment; ``given`` are arguments of :func:`workbench.run`.

    Raises:
        InputError: settings of a cluster were given without one.
        WorkbenchError: as :func:`workbench.run` and :func:`workbench.run_on_cluster`.
    """
    if not where.cluster:
        if where.retry_failed or where.cluster_label:
            raise InputError(
                "'cluster_label' and 'retry_failed' are for runs on a cluster, and 'cluster' is empty. Give the address of its scheduler."
            )
        found: Results = pipeline.run(experiment, **given)
        return found
    from workbench.cluster.running import run_on_cluster

    return run_on_cluster(
        experiment,
        where.cluster,
        label=where.cluster_label,
        cohort=where.cohort,
        retry_failed=where.retry_failed,
        **given,
    )
