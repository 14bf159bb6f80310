"""Settings that were changed, and engines of this run that do not have them."""

from __future__ import annotations

from workbench import backends
from workbench.accuracy.metrics import metric_of
from workbench.data.dataset import Dataset
from workbench.protocols import ON_CPU
from workbench.records import split_address
from workbench.settings.experiment import Experiment
from workbench.settings.table import BACKEND_SETTINGS


def unused(experiment: Experiment) -> list[str]:
    """A sentence for each such setting: which of the chosen backends ignore it, and why."""
    changed = experiment.changes()
    found = []
    for setting, name in BACKEND_SETTINGS.items():
        reasons: dict[str, list[str]] = {}
        for address in dict.fromkeys(experiment.backends) if name in changed else ():
            if why := _without(setting, address):
                reasons.setdefault(why, []).append(address)
        if reasons:
            named = "; ".join(f"{', '.join(addresses)} ({why})" for why, addresses in reasons.items())
            found.append(f"'{name}' is {str(changed[name]).lower()} and has no effect on {named}.")
    return found


def _without(setting: str, address: str) -> str:
    """Why a setting has no effect on engines of this address; empty where it has one."""
    name, mode, _ = split_address(address)
    backend = backends.get(name)
    if setting in ON_CPU and mode not in backend.devices:
        return ON_CPU[setting]
    return "" if setting in backend.settings else backend.without.get(setting, "it has no such setting")


LABEL_SETTINGS = ("label_column", "labels", "class_order", "ignore_label", "class_axis", "box_outputs", "group_column")


def unlabelled(experiment: Experiment, data: Dataset) -> list[str]:
    """Where the data hold no labels: what was set about them, and what a metric is measured against instead."""
    if data.test.truth is not None:
        return []
    changed = experiment.changes()
    metric = metric_of(experiment.metric) if "metric" in changed else None
    found = []
    if metric is not None and metric.against_source:
        found.append(
            f"The data hold no labels: '{metric}' is measured against the source model's own outputs, not against the truth."
        )
    grouped = metric is not None and metric.against_source  # then the loss by group is known without labels
    names = [name for name in LABEL_SETTINGS if name in changed and not (grouped and name == "group_column")]
    names += ["metric"] if metric is not None and not metric.against_source else []
    if names:
        named = ", ".join(f"'{name}'" for name in names)
        found.append(
            f"The data hold no labels, so that {named} {'has' if len(names) == 1 else 'have'} no effect. Save labels as 'y', one per "
            "sample, or set 'label_column' to their name."
        )
    return found
