"""What the values of an image become before a model takes them, as a person writes it."""

from __future__ import annotations

import re

from workbench.errors import InputError

AUTO = "auto"
"""0 to 1 for an input of floating-point numbers, and the pixels as they are (0 to 255) for one of whole numbers."""
IMAGENET = "imagenet"
_RANGE = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*\.\.\s*(-?\d+(?:\.\d+)?)\s*")


def scaling(pixels: str) -> tuple[float, float] | None:
    """What black (0) and white (255, or 65535 in an image of 16 bits) become for an input of floating-point numbers.

    Returns:
        The two values; ``None`` for "imagenet", which has a mean and a deviation for each channel.

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
            f"'pixels' is what the values 0 to 255 of an image become; found '{pixels}'. Give a range such as 0..1, -1..1 or "
            f"0..255, '{IMAGENET}', or '{AUTO}'."
        )
    return float(found[1]), float(found[2])
