"""Memory and time limits of a step of a run (reading, exporting, examining, rewriting and building a model), and sentences about them."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.errors import InputError

MIB = 2**20
RAISE_MEMORY = "Raise it with the option --step-memory-mib, free some memory, or choose a smaller model."
FREE_MEMORY = "Free some memory, or choose a smaller model."
RAISE_TIME = "Raise it with the option --step-s, or choose a smaller model."
BUSY_SHARE = 0.5
"""Share of the time limit: a step that computed for less waited, or other programs kept the machine busy."""


@dataclass(frozen=True)
class StepLimits:
    """StepLimits of each step; 0 means the default.

    By default a step may use :data:`workbench.workers.pool.MEMORY_SHARE` of the memory that is free when it starts, and a time
    that depends on its kind.
    """

    memory_bytes: int = 0
    seconds: float = 0.0


def limits_of(step_memory_mib: int, step_s: float) -> StepLimits:
    """The limits by the settings ``step_memory_mib`` (MiB) and ``step_s`` (seconds).

    Raises:
        InputError: one of them is negative or not finite.
    """
    for name, value, unit in (("step_memory_mib", step_memory_mib, "MiB"), ("step_s", step_s, "seconds")):
        if not 0 <= value < float("inf"):
            raise InputError(
                f"'{name}' must be 0 (the default) or a number of {unit}; found {value}. Choose for example 0."
            )
    return StepLimits(step_memory_mib * MIB, step_s)


def too_slow(task: str, limit_s: float, computed_s: float) -> str:
    """The message for a step that took longer than its limit and computed for ``computed_s`` of that time."""
    limit = f"{limit_s:.0f} s" if limit_s >= 10 else f"{limit_s:g} s"
    said = f"The step '{task}' took longer than its limit of {limit} and was ended."
    if computed_s < BUSY_SHARE * limit_s:
        said += (
            f" It computed for {computed_s:.0f} s of them: other programs keep this machine busy, or the step waited."
        )
    return said


def too_large(what: str, memory_bytes: int | None) -> str:
    """``what``, a sentence, followed by the memory limit, where there is one.

    >>> too_large("Memory ran out.", 40 * 2**20)
    "Memory ran out. The step's memory limit is 40 MiB."
    """
    return what if memory_bytes is None else f"{what} The step's memory limit is {memory_bytes / MIB:,.0f} MiB."
