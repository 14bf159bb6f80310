"""Keys of what is measured. Timings are kept by group: the rows of one batch size that are measured interleaved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from workbench.plan.subject import Platform
from workbench.records import EngineSpec, LoadPlan, Machine, TimingPlan, to_json
from workbench.store import key_of

PEAK_LIBRARIES = ("numpy", "onnxruntime", "openvino")


def group_key(
    members: Iterable[tuple[EngineSpec, str]], batch: int, plan: TimingPlan, samples: str, machine: Machine
) -> str:
    """The key of a group: variants that run here, each with the key of its engine. ``samples`` is the test samples' digest."""
    members = list(members)
    several = any(spec.streams > 1 for spec, _ in members)
    return key_of(
        **_group_parts(members, batch, plan, samples, machine),
        ways=sorted((spec.label, spec.cuda_graph, spec.streams) for spec, _ in members),
        denormals="flushed",  # how engines are opened is part of what was timed
        **({"sample": "mean of as many answers as streams"} if several else {}),  # it was the time between two
    )


def timing_key(group: str, engine: str, session: str = "") -> str:
    """Key of a timing; with a session that of the baseline's in a further cohort."""
    return key_of(group=group, engine=engine, session=session) if session else key_of(group=group, engine=engine)


def load_group_key(
    members: Iterable[tuple[EngineSpec, str]], batch: int, plan: LoadPlan, samples: str, machine: Machine
) -> str:
    """The key of a group that is measured under load; see :func:`group_key`."""
    members = list(members)
    return key_of(
        **_group_parts(members, batch, plan, samples, machine),
        ways=sorted((spec.label, spec.threads, spec.cuda_graph) for spec, _ in members),
    )


def _group_parts(
    members: Sequence[tuple[EngineSpec, str]], batch: int, plan: object, samples: str, machine: Machine
) -> dict[str, Any]:
    return {
        "engines": sorted(key for _, key in members),
        "batch": batch,
        "plan": to_json(plan),
        "samples": samples,
        "machine": to_json(machine),
    }


def load_key(group: str, engine: str) -> str:
    return key_of(group=group, engine=engine)


def peaks_key(threads: int, cores: Sequence[int], platform: Platform) -> str:
    """The key of the peaks of a machine with ``threads`` threads on these cores (all where there are none)."""
    return key_of(
        machine=to_json(platform.machine),
        threads=threads,
        cores=sorted(cores),
        versions=[platform.version(name) for name in PEAK_LIBRARIES],
    )
