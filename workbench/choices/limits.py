"""How much memory and time one step of a run may take: reading, exporting, examining, rewriting and building a model."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.errors import InputError

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Limits of each step; 0 stands for the default.

    By default a step may take :data:`workbench.workers.worker.MEMORY_SHARE` of the memory that is free when it begins, and the time
    that is usual for its kind.
    """

    memory_bytes: int = 0
    seconds: float = 0.0


def limits_of(step_memory_mib: int, step_s: float) -> Limits:
    """The limits that the settings ``step_memory_mib`` (MiB) and ``step_s`` (seconds) ask for.

    Raises:
        InputError: one of them is negative or not finite.
    """
    for name, value, unit in (("step_memory_mib", step_memory_mib, "MiB"), ("step_s", step_s, "seconds")):
        if not 0 <= value < float("inf"):
            raise InputError(
                f"'{name}' must be 0 (the default) or a number of {unit}; found {value}. Choose for example 0."
            )
    return Limits(step_memory_mib * MIB, step_s)
