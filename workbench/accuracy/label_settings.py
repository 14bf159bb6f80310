"""How labels are to be read: the settings of an experiment that decide it, and the outputs that they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from workbench.accuracy.outputs import inner_shape
from workbench.accuracy.truth import Kind

if TYPE_CHECKING:
    import numpy as np

AUTO = "auto"
CHOICES = (AUTO, *(str(kind) for kind in list(Kind)[: list(Kind).index(Kind.BOXES) + 1]))
"""Values of the setting ``labels``."""
NOTHING_IGNORED = "none"


class Shape(NamedTuple):
    """One output of the model, as far as it is known: its shape per sample, and whether it holds whole numbers."""

    name: str
    inner: tuple[int | None, ...]
    whole: bool = False


def shapes_of(arrays: Mapping[str, np.ndarray]) -> tuple[Shape, ...]:
    """The outputs that a model gave, shape (n, ...) each."""
    return tuple(Shape(name, inner_shape(array), array.dtype.kind in "iub") for name, array in arrays.items())


@dataclass(frozen=True)
class Reading:
    """How labels are to be read; the settings of an experiment."""

    labels: str = AUTO
    ignore: str = ""
    class_axis: int | None = None
    box_outputs: dict[str, str] = field(default_factory=dict)
    output: str = ""  # the one that is scored; "": any

    @property
    def ignored(self) -> int | None:
        """The value that was set to be ignored; ``None``: the usual rule, or nothing."""
        return None if self.ignore in ("", NOTHING_IGNORED) else int(self.ignore)
