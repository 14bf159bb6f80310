"""The places of a first-come, first-served queue, and how long a process at its end is expected to wait."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from workbench.locks.holders import Holder

NAMED = 4
"""So many names are shown of those who are before a process."""
MINUTES_FROM_S = 120.0


class QueuePlace(NamedTuple):
    """A place in the queue: its file, whether its process needs the machine for itself, and the process."""

    path: Path
    alone: bool
    holder: Holder


def expected_wait(ahead: Sequence[QueuePlace]) -> tuple[float, int]:
    """Seconds until all these places are free, and of how many of them it is not known.

    Places that are not alone and follow each other are held at the same time; all others one after another.

    >>> first = QueuePlace(Path("1"), True, Holder("anna", "measuring", "12:00:00", left_s=20.0))
    >>> second = QueuePlace(Path("2"), False, Holder("ben", "building", "12:00:05"))
    >>> expected_wait([first, second])
    (20.0, 1)
    """
    total_s, beside_s, unknown = 0.0, 0.0, 0
    for place in ahead:
        left_s = place.holder.left_s or 0.0
        unknown += place.holder.left_s is None
        if place.alone:
            total_s, beside_s = total_s + beside_s + left_s, 0.0
        else:
            beside_s = max(beside_s, left_s)
    return total_s + beside_s, unknown


def waiting_text(first: Holder, ahead: Sequence[QueuePlace]) -> str:
    """What a process waits for: the process that holds it up, how many are before it, by name, and the expected wait.

    >>> anna = Holder("anna (process 7)", "measuring net.onnx at batch 1", "12:00:00", left_s=20.0)
    >>> waiting_text(anna, [QueuePlace(Path("1"), True, anna)])
    'anna (process 7): measuring net.onnx at batch 1 since 12:00:00; 1 before you, expected wait about 20 s'
    """
    names = list(dict.fromkeys(place.holder.name for place in ahead))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    who = f" ({', '.join(names[:NAMED])}{more})" if len(ahead) > 1 else ""
    return f"{first}; {len(ahead)} before you{who}, expected wait {wait_text(*expected_wait(ahead))}"


def wait_text(seconds: float, unknown: int) -> str:
    """A time to wait, of which that of ``unknown`` processes is not known.

    >>> wait_text(200.0, 0), wait_text(20.0, 1), wait_text(0.0, 2)
    ('about 3 min', 'at least 20 s (not known of 1)', 'not known')
    """
    if unknown and not seconds:
        return "not known"
    time_ = f"{max(1.0, seconds):.0f} s" if seconds < MINUTES_FROM_S else f"{seconds / 60:.0f} min"
    return f"at least {time_} (not known of {unknown})" if unknown else f"about {time_}"
