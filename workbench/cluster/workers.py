"""Which workers of a cluster a run uses: those with the label that was asked for, all on machines of one kind."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.cluster.connection import ClusterMember
from workbench.errors import InputError


def workers_alike(members: Iterable[ClusterMember], label: str, scheduler: str) -> list[ClusterMember]:
    """The workers with this label, which are all alike.

    Raises:
        InputError: there is no worker, none with this label, or there are workers whose results must not be compared.
    """
    members = list(members)
    if not members:
        raise InputError(f"No worker has joined the scheduler at {scheduler}. Start one: workbench worker {scheduler}")
    found = [member for member in members if not label or label in member.record.labels]
    if not found:
        labels = sorted({each for member in members for each in member.record.labels})
        there = f"The labels of the workers are: {', '.join(labels)}" if labels else "No worker has a label"
        raise InputError(
            f"No worker of the cluster has the label '{label}'. {there}. Choose one of those (--cluster-label), or start a worker "
            f"with it: workbench worker {scheduler} --label {label}"
        )
    kinds: dict[str, list[ClusterMember]] = {}
    for member in found:
        kinds.setdefault(member.record.fingerprint, []).append(member)
    if len(kinds) > 1:
        each = "; ".join(
            f"{', '.join(member.record.name for member in alike)}: {alike[0].record.machine.label}, Python "
            f"{alike[0].record.machine.python}"
            for alike in kinds.values()
        )
        raise InputError(
            f"The workers are of {len(kinds)} kinds, which differ in their machines, packages or environments, and results of different kinds "
            f"are not compared ({each}). Give the workers of one kind a label (workbench worker --label), and choose it with "
            "--cluster-label."
        )
    return found
