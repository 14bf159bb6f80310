"""The history of a store that is shared with a group can be written by every member."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import recorded

from workbench.runs.archive import history, remember
from workbench.runs.index import FILE
from workbench.store import Store
from workbench.store.sharing import SHARED


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that was shared by another process, whose umask this one does not have."""
    before = os.umask(0o022)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv(SHARED, grp.getgrgid(os.getgid()).gr_name)
    Store(tmp_path / "store").prepare()
    monkeypatch.delenv(SHARED)
    os.umask(0o022)
    yield Store(tmp_path / "store").prepare()
    os.umask(before)


def test_what_a_member_adds_can_be_changed_by_the_others(shared: Store) -> None:
    remember(shared, "run", recorded.results([recorded.measured("tensorflow fp32")]))
    assert len(history(shared)) == 1
    for path in (shared.root / FILE, shared.path("results", "run"), *shared.path("results", "run").iterdir()):
        assert path.stat().st_mode & 0o067 == (0o060 if path.is_file() else 0o070) & 0o067, path
