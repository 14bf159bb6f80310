"""Sentences about a model that its conversion gave rise to."""

import pytest

from workbench.models.describe import export_notes
from workbench.records import ExportCheck, Hop


@pytest.mark.parametrize(("inputs", "real", "says"), [
    (("random", "ramp"), False, "Is the model trained? Give real data."),
    (("real", "random"), True, "Is the model trained, and do the data belong to it?"),
])  # fmt: skip
def test_real_data_are_asked_for_only_where_none_were_given(inputs, real, says):
    hop = Hop("SavedModel → ONNX", inputs, (1,), (), 0.0, 0.0, constant=("o",))
    (note,) = [each for each in export_notes(ExportCheck("r", 17, (hop,), 1e-3, real_samples=real)) if "proven" in each]
    assert note == f"Little is proven: o did not depend on any input compared. {says}"
