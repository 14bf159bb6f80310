"""Records of a search for mixed precision: the models that it tried and the one that it chose."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.accuracy.guard import Guard, Judgement
from workbench.search.mixed_precision.sensitivity import Sensitivity
from workbench.search.mixed_precision.trial import Speed


@dataclass(frozen=True)
class Tried:
    """One mixed-precision model with its quality and speed."""

    name: str  # a description of how it was chosen
    excluded: tuple[str, ...]  # units left in FP32, of those that could be quantized
    quality: float
    within: bool  # whether it is within the budget on the samples of the search
    size_ratio: float  # FP32's file divided by this one's
    speed: Speed | None = None  # against FP32 on the same backend, interleaved
    confirmed: float | None = None  # quality on samples that the search has not seen
    lost: float = 0.0  # on the samples of the search, against FP32: above 0 is worse
    judged: Judgement | None = None  # the guard's verdict on the unseen samples
    error: str = ""  # why it could not be written, built or run

    @property
    def summary(self) -> str:
        """A summary on one line."""
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
        """Whether its loss on the unseen samples is within the budget; a point estimate, without its interval."""
        return self.judged is not None and self.judged.loss is not None and self.judged.loss <= self.judged.allowed

    @property
    def shown(self) -> bool:
        """Whether the whole interval of its loss on the unseen samples is within the budget."""
        return self.judged is not None and self.judged.verdict == Guard.WITHIN


@dataclass(frozen=True)
class Repair:
    """The result of a search, and all models that it tried."""

    backend: str
    metric: str  # the name of the quality
    budget: str  # as the user writes it: the allowed loss against FP32
    samples: int  # of the search
    unseen: int  # of the confirmation
    fp32_quality: float
    fp32_confirmed: float
    best: Tried | None  # the fastest within the budget, preferably by its whole interval; None: ``why`` has the reason
    why: str
    tried: tuple[Tried, ...]
    seconds: float
    keep: tuple[str, ...] = ()  # nodes to leave in FP32: the value of ``Experiment.keep`` that reproduces this model
    sensitivity: Sensitivity | None = None  # the measured sensitivity that the search used
