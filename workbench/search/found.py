"""What a search for mixed precision tried, and what it found."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.accuracy.guard import Guard, Judgement
from workbench.search.sensitivity import Sensitivity
from workbench.search.trial import Speed


@dataclass(frozen=True)
class Tried:
    """One mixed-precision model, and how it did."""

    name: str  # how it came about, in words
    excluded: tuple[str, ...]  # units left in FP32, of those that could be quantized
    quality: float
    within: bool  # the budget, on the samples of the search
    size_ratio: float  # FP32's file divided by this one's
    speed: Speed | None = None  # against FP32 on the same backend, in turns
    confirmed: float | None = None  # quality on samples that the search has not seen
    lost: float = 0.0  # on the samples of the search, against FP32: above 0 is worse
    judged: Judgement | None = None  # what the guard says of the budget on the unseen samples
    error: str = ""  # why it could not be written, built or run

    @property
    def told(self) -> str:
        """In one line, for people."""
        if self.error:
            return f"{self.name}: {self.error}"
        parts = [f"{self.name}: quality {self.quality:.4f}", f"{self.size_ratio:.2f} times smaller"]
        if self.speed:
            parts.append(str(self.speed))
        if self.confirmed is not None:
            parts.append(f"{self.confirmed:.4f} on unseen samples")
        if self.judged is not None:
            parts.append(str(self.judged))
        return ", ".join(parts)

    @property
    def holds(self) -> bool:
        """Whether it lost no more than is allowed on the unseen samples; few of them cannot show that others would not."""
        return self.judged is not None and self.judged.loss is not None and self.judged.loss <= self.judged.allowed

    @property
    def shown(self) -> bool:
        """Whether the whole interval of what it lost there is allowed."""
        return self.judged is not None and self.judged.verdict == Guard.WITHIN


@dataclass(frozen=True)
class Repair:
    """What a search found, and everything that it tried on the way."""

    backend: str
    metric: str  # what qualities are
    budget: str  # as a person writes it: how much worse than FP32 it may be
    samples: int  # of the search
    unseen: int  # of the confirmation
    fp32_quality: float
    fp32_confirmed: float
    found: (
        Tried | None
    )  # the fastest that holds the budget, one that was shown to before others; None: ``why`` says why
    why: str
    tried: tuple[Tried, ...]
    seconds: float
    keep: tuple[str, ...] = ()  # nodes to leave in FP32: what ``Experiment.keep`` takes to make this model again
    sensitivity: Sensitivity | None = None  # what the search went by
