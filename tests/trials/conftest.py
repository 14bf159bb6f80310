"""The trials of ``scripts/trials`` are imported from there and get places of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "trials"))


@pytest.fixture(scope="module", autouse=True)
def places(tmp_path_factory):
    import recording

    tmp_path_factory.getbasetemp()  # pytest's own folder, which is not to lie in the temporary folder of a trial
    with recording.own_places() as place:
        yield place
