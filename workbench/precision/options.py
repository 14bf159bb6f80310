"""What a model is rewritten to: the form, the samples and the method that choose ranges, and the nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from workbench.data.samples import Samples
from workbench.precision.selection import Selection
from workbench.records import Calibration


@dataclass(frozen=True)
class RewriteOptions:
    """The arguments that all rewrites share."""

    form: str  # one of workbench.precision.rewrite.FORMS
    samples: Samples | None = None  # calibration samples
    method: Calibration = Calibration.MINMAX  # how ranges are chosen from the samples
    selection: Selection = field(default_factory=Selection)
    progress: Callable[[str], None] = lambda _: None

    @property
    def calibration(self) -> Samples:
        """The calibration samples of a form that needs them."""
        assert self.samples is not None
        return self.samples
