"""The settings of an experiment for reading labels, and the shapes of the outputs that labels are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from workbench.accuracy.outputs import inner_shape
from workbench.accuracy.truth import LabelKind

if TYPE_CHECKING:
    import numpy as np

AUTO = "auto"
CHOICES = (AUTO, *(str(kind) for kind in list(LabelKind)[: list(LabelKind).index(LabelKind.BOXES) + 1]))
"""Values of the setting ``labels``."""
NOTHING_IGNORED = "none"


class Shape(NamedTuple):
    """One output of the model, as far as it is known: its shape per sample, and whether it holds integers."""

    name: str
    inner: tuple[int | None, ...]
    whole: bool = False


def shapes_of(arrays: Mapping[str, np.ndarray]) -> tuple[Shape, ...]:
    """Shapes of a model's outputs, arrays of shape (n, ...) by name."""
    return tuple(Shape(name, inner_shape(array), array.dtype.kind in "iub") for name, array in arrays.items())


@dataclass(frozen=True)
class Reading:
    """The settings of an experiment for reading labels."""

    labels: str = AUTO
    ignore: str = ""
    class_axis: int | None = None
    box_outputs: dict[str, str] = field(default_factory=dict)
    output: str = ""  # the scored output; "": any

    @property
    def ignored(self) -> int | None:
        """The value that is set to be ignored; ``None`` for the default rule and for "none"."""
        return None if self.ignore in ("", NOTHING_IGNORED) else int(self.ignore)
