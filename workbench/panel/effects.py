"""Which settings have no effect on what is chosen now, and why."""

from __future__ import annotations

from collections.abc import Mapping

from workbench.protocols import Backend
from workbench.records.methods import METHODS
from workbench.settings.experiment import Experiment
from workbench.settings.measuring import SCENARIOS
from workbench.settings.table import BACKEND_SETTINGS, SETTINGS

BY_PROTOCOL = ("region", "measure_s", "within", "max_measure_s", "until", "cuda_graph")


def without_effect(
    experiment: Experiment, chosen: Mapping[str, Backend], on_gpus: Mapping[str, Backend], metric: str = ""
) -> dict[str, str]:
    """Why a setting has no effect now, by its name; settings that have one are left out.

    ``chosen`` are the backends by name, ``on_gpus`` those of them that run on a GPU. ``metric`` is the name of a function that
    scores instead of the experiment's metric.
    """
    found = {name: _no_effect(setting, chosen, on_gpus) for setting, name in BACKEND_SETTINGS.items()}
    if experiment.plan.protocol:
        found |= dict.fromkeys(BY_PROTOCOL, f"determined by the protocol {experiment.protocol}")
    if not experiment.rate:
        found |= dict.fromkeys(("latency_limit_ms", "latency_percentile"), "no effect without a rate")
    if experiment.protocol not in SCENARIOS:
        found |= dict.fromkeys(("loadgen_s", "loadgen_queries"), "no effect without a protocol of MLPerf")
    if metric:
        found["metric"] = f"no effect: the function '{metric}' scores instead"
    if not any(METHODS[name].calibrated for name in experiment.precisions):
        found |= dict.fromkeys(("calibration", "calibration_samples"), "only INT8 and FP8 are calibrated")
    return {name: why for name, why in found.items() if why}


def without_some(chosen: Mapping[str, Backend], on_gpus: Mapping[str, Backend]) -> dict[str, str]:
    """Which of the chosen backends lack a setting that others of them have, and why, by the setting's name."""
    found = {}
    for setting, name in BACKEND_SETTINGS.items():
        lacking = _lacking(setting, _concerned(setting, chosen, on_gpus))
        if lacking and not _no_effect(setting, chosen, on_gpus):
            found[name] = f"no effect on {', '.join(f'{title} ({why})' for title, why in lacking.items())}"
    return found


def _no_effect(setting: str, chosen: Mapping[str, Backend], on_gpus: Mapping[str, Backend]) -> str:
    """Why a setting has no effect on any of these backends; empty where it has one."""
    if SETTINGS[BACKEND_SETTINGS[setting]].gpu and chosen and not on_gpus:
        return "no effect: none of the chosen backends runs on a GPU"
    concerned = _concerned(setting, chosen, on_gpus)
    lacking = _lacking(setting, concerned)
    if len(lacking) < len(concerned) or not concerned:
        return ""
    return "no effect: " + "; ".join(f"{title}: {why}" for title, why in lacking.items())


def _concerned(setting: str, chosen: Mapping[str, Backend], on_gpus: Mapping[str, Backend]) -> Mapping[str, Backend]:
    return on_gpus if SETTINGS[BACKEND_SETTINGS[setting]].gpu else chosen


def _lacking(setting: str, concerned: Mapping[str, Backend]) -> dict[str, str]:
    """The titles of the backends that lack a setting, with the reason."""
    return {
        each.title: each.without.get(setting, "has no such setting")
        for each in concerned.values()
        if setting not in each.settings
    }
