"""The variants of an experiment as their backends have them: without settings that a backend lacks, and each once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from workbench import backends
from workbench.records import CPU, EngineSpec
from workbench.settings.experiment import Experiment

OF_GPUS: dict[str, Any] = {"tf32": True, "cuda_graph": False, "streams": 1}
ABSENT: dict[str, Any] = {"optimization_level": None, "workspace_bytes": None, "build_options": (), **OF_GPUS}
"""Fields of a variant, and their values where a backend has no such setting."""


def variants_of(experiment: Experiment) -> tuple[EngineSpec, ...]:
    """The requested variants, in a fixed order.

    A setting that a backend does not have changes neither key nor label, so several values of it give one variant.

    Raises:
        InputError: a backend that does not exist.
    """
    return tuple(dict.fromkeys(_effective(spec) for spec in experiment.variants()))


def _effective(asked: EngineSpec) -> EngineSpec:
    backends.check(asked.address)
    settings = backends.get(asked.backend).settings
    on_cpu = backends.device(asked) == CPU  # a backend may have those of GPUs for some of its modes only
    changes = {name: value for name, value in ABSENT.items() if name.removesuffix("_bytes") not in settings}
    return replace(asked, **changes | (OF_GPUS if on_cpu else {}))
