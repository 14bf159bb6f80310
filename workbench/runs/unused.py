"""Settings that somebody changed, and engines of this run that do not have them."""

from __future__ import annotations

from workbench import backends
from workbench.experiment import Experiment
from workbench.protocols import ON_CPU
from workbench.settings_table.table import BACKEND_SETTINGS


def unused(experiment: Experiment) -> list[str]:
    """A sentence for each such setting: which of the chosen backends take no notice of it, and why."""
    changed = experiment.changes()
    found = []
    for setting, name in BACKEND_SETTINGS.items():
        reasons: dict[str, list[str]] = {}
        for address in dict.fromkeys(experiment.backends) if name in changed else ():
            if why := _without(setting, address):
                reasons.setdefault(why, []).append(address)
        if reasons:
            told = "; ".join(f"{', '.join(addresses)} ({why})" for why, addresses in reasons.items())
            found.append(f"'{name}' is {str(changed[name]).lower()} and has no effect on {told}.")
    return found


def _without(setting: str, address: str) -> str:
    """Why a setting has no effect on engines of this address; empty where it has one."""
    name, _, mode = address.partition(":")
    backend = backends.get(name)
    if setting in ON_CPU and mode not in backend.devices:
        return ON_CPU[setting]
    return "" if setting in backend.settings else backend.without.get(setting, "it has no such setting")
