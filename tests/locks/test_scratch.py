"""Temporary folders of processes that were killed are removed by the next one, and no others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.errors import StoreError
from workbench.locks.scratch import PREFIX, Scratch, remove_left_behind

MAKER = """
import sys
from workbench.locks.scratch import Scratch
scratch = Scratch()
(scratch.path / "half").write_text("x")
print(scratch.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_is_not(place: Path) -> None:
    makers = [
        subprocess.Popen([sys.executable, "-c", MAKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    paths = [Path(maker.stdout.readline().strip()) for maker in makers]
    with Scratch() as own:
        makers[0].kill()
        makers[0].communicate()
        assert paths[0].is_dir()
        assert remove_left_behind() == 1
        assert sorted(place.iterdir()) == sorted([own, paths[1]])
        assert (paths[1] / "half").is_file()
    makers[1].communicate()
    assert remove_left_behind() == 1
    assert not list(place.iterdir())


def test_links_and_other_names_are_left_alone(place: Path) -> None:
    kept = place / "workbench-mine"
    kept.mkdir()
    (kept / "file").write_text("x")
    (place / f"{PREFIX}link").symlink_to(kept)
    (place / f"{PREFIX}file").write_text("x")
    assert remove_left_behind() == 0
    assert len(list(place.iterdir())) == 3
    assert (kept / "file").is_file()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_folders_of_other_users_are_left_alone(place: Path) -> None:
    other = place / f"{PREFIX}other"
    other.mkdir()
    os.chown(other, 4242, 4242)
    assert remove_left_behind() == 0
    assert other.is_dir()


def test_a_folder_that_cannot_be_created_is_reported_in_a_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(place / "gone"))
    with pytest.raises(
        StoreError, match=r"Could not write to the folder for temporary files: .*\(the variable TMPDIR\)"
    ):
        Scratch()
