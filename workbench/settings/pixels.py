"""The setting ``pixels``: the scale of an image's values in the model's input."""

from __future__ import annotations

import re

from workbench.errors import InputError

AUTO = "auto"
"""0 to 1 for an input of floating-point numbers, but 0 to 255 where the first step of the model scales them down; unchanged pixels (0 to 255) for
an input of integers. Converters to TensorFlow Lite may multiply such a step into the weights of a convolution, where it is not seen."""
IMAGENET = "imagenet"
_RANGE = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*\.\.\s*(-?\d+(?:\.\d+)?)\s*")


def scaling(pixels: str) -> tuple[float, float] | None:
    """The values of black (0) and white (255, or 65535 in an image of 16 bits) in an input of floating-point numbers.

    Returns:
        The two values; ``None`` for "imagenet", which has a mean and a standard deviation for each channel.

    >>> scaling("-1..1")
    (-1.0, 1.0)

    Raises:
        InputError: ``pixels`` is not a range, "auto" or "imagenet".
    """
    if pixels == IMAGENET:
        return None
    if pixels == AUTO:
        return 0.0, 1.0
    found = _RANGE.fullmatch(pixels)
    if found is None or float(found[1]) >= float(found[2]):
        raise InputError(
            f"'pixels' must be the range that pixel values are scaled to; found '{pixels}'. Give a range such as 0..1, -1..1 or "
            f"0..255, '{IMAGENET}', or '{AUTO}'."
        )
    return float(found[1]), float(found[2])
