"""What pixels become, as a person writes it."""

import pytest

from workbench.errors import InputError
from workbench.settings.experiment import Experiment
from workbench.settings.pixels import scaling


@pytest.mark.parametrize(("pixels", "ends"), [
    ("auto", (0, 1)), ("0..255", (0, 255)), ("-1 .. 1", (-1, 1)), ("imagenet", None), ("0.5..0.75", (0.5, 0.75)),
])  # fmt: skip
def test_spellings(pixels, ends):
    assert scaling(pixels) == ends


@pytest.mark.parametrize("pixels", ["1..0", "0..0", "255", "", "0-1"])
def test_what_is_not_a_range_is_refused(pixels):
    with pytest.raises(InputError, match=r"Give a range such as 0\.\.1, -1\.\.1 or 0\.\.255, 'imagenet', or 'auto'"):
        Experiment(pixels=pixels)
