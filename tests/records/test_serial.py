"""Records as JSON and back."""

import recorded

from workbench.records import Accuracy, from_json, to_json


def test_a_renamed_field_keeps_its_stored_name():
    """Files of earlier versions hold ``apart``."""
    score = recorded.accuracy()
    data = to_json(score) | {"apart": {"boxes": 0.5}}
    assert "relative_diffs" not in data
    assert from_json(Accuracy, data).relative_diffs == {"boxes": 0.5}
