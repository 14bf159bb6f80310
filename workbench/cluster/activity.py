"""What each worker of a cluster does now, and how many parts wait, for those who watch the run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from workbench.records import ClusterState, WorkerState


class Activity:
    """The workers of a run by their labels.

    Example:
        >>> activity = Activity()
        >>> activity.began("a", "measure", ["onnxruntime fp32 @1"])
        >>> str(activity.news(["a", "b"], 3))
        '1 of 2 workers busy, 3 parts wait'
        >>> activity.news(["a", "b"], 3)  # nothing has changed

    """

    def __init__(self) -> None:
        self._busy: dict[str, WorkerState] = {}
        self._reported: ClusterState | None = None

    def began(self, label: str, phase: str, rows: Sequence[str]) -> None:
        """A worker has begun a part."""
        self._busy[label] = WorkerState(label, phase, tuple(rows), since=time.time())

    def ended(self, label: str) -> None:
        """A worker has ended its part, or has died."""
        self._busy.pop(label, None)

    def said(self, text: str) -> None:
        """A worker has reported a step, as ``LABEL: STEP``."""
        label, _, step = text.partition(": ")
        if label in self._busy:
            self._busy[label] = replace(self._busy[label], step=step)

    def news(self, labels: Iterable[str], waiting: int) -> ClusterState | None:
        """The state with all workers and the number of parts that wait; ``None`` where it was reported already."""
        names = sorted({*labels, *self._busy})
        state = ClusterState(tuple(self._busy.get(name) or WorkerState(name) for name in names), waiting)
        if state == self._reported:
            return None
        self._reported = state
        return state
