"""Sentences about a model that its conversion gave rise to."""

import pytest

from workbench.models.describe import export_notes
from workbench.records import ExportCheck, Hop


@pytest.mark.parametrize(("inputs", "real", "says"), [
    (("random", "ramp"), False, "Check that the model is trained, or give real data."),
    (("real", "random"), True, "Check that the model is trained and that the data belong to it."),
])  # fmt: skip
def test_real_data_are_asked_for_only_where_none_were_given(inputs, real, says):
    hop = Hop("SavedModel → ONNX", inputs, (1,), (), 0.0, 0.0, constant=("o",))
    (note,) = [
        each for each in export_notes(ExportCheck("r", 17, (hop,), 1e-3, real_samples=real)) if "shows little" in each
    ]
    assert note == f"The comparison shows little: o did not depend on any compared input. {says}"
