"""What the values of an image become before a model takes them, as a person writes it."""

from __future__ import annotations

import re

from workbench.errors import InputError

IMAGENET = "imagenet"
_RANGE = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*\.\.\s*(-?\d+(?:\.\d+)?)\s*")


def scaling(pixels: str) -> tuple[float, float] | None:
    """What 0 and 255 become; ``None`` for "imagenet".

    Raises:
        InputError: it spells no range.
    """
    if pixels == IMAGENET:
        return None
    found = _RANGE.fullmatch(pixels)
    if found is None or float(found[1]) >= float(found[2]):
        raise InputError(
            f"'pixels' is what the values 0 to 255 of an image become; found '{pixels}'. Give a range such as 0..1, -1..1 or "
            f"0..255, or '{IMAGENET}'."
        )
    return float(found[1]), float(found[2])
