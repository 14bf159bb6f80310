"""Data that another program writes over while they are read: only content that was on the disk at one time is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.data import files, images, tables
from workbench.data.files import arrays_of
from workbench.errors import InputError
from workbench.records import Model, TensorSpec

TWO = TensorSpec("x", "float32", (None, 2))
GRAY = TensorSpec("x", "float32", (None, 4, 4, 1))


def model(spec: TensorSpec) -> Model:
    return Model("m", "m", "onnx", (spec,), (TensorSpec("y", "float32", (None, 2)),), 1, 1, "d")


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def interrupted(monkeypatch, where, name: str, act, times: int) -> None:
    """Call ``act`` before each of the first calls of a function."""
    original, left = getattr(where, name), [times]

    def called(*arguments):
        if left[0]:
            left[0] -= 1
            act()
        return original(*arguments)

    monkeypatch.setattr(where, name, called)


def test_a_table_with_other_columns_is_not_read_by_its_earlier_header(tmp_path, monkeypatch):
    path = written(tmp_path / "t.csv", "x_0,x_1,y\n1,2,0\n3,4,1\n")
    interrupted(monkeypatch, tables, "_read", lambda: written(path, "x_1,x_0,y\n2,1,1\n4,3,0\n5,6,0\n"), 1)
    found, _ = arrays_of(path, model(TWO))
    assert found["x"].tolist() == [[1, 2], [3, 4], [6, 5]]
    assert found["y"].tolist() == [1, 0, 0]


def test_images_are_not_scaled_by_their_earlier_range(tmp_path, monkeypatch):
    place = tmp_path / "set"
    place.mkdir()

    def write(value: float) -> None:
        for number in range(3):
            Image.fromarray(np.full((4, 4), value, np.float32)).save(place / f"{number}.tiff")

    write(1)
    interrupted(monkeypatch, images, "_shares", lambda: write(200), 1)
    found, _ = arrays_of(place, model(GRAY))
    np.testing.assert_allclose(found["x"], 200 / 255, rtol=1e-6)


def test_an_image_that_disappears_and_comes_back_is_read(tmp_path, monkeypatch):
    place = tmp_path / "set"
    place.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("L", (4, 4), 255).save(place / name)
    interrupted(monkeypatch, images, "_shares", (place / "b.png").unlink, 1)
    assert len(arrays_of(place, model(GRAY))[0]["x"]) == 1


@pytest.mark.parametrize("kind", ["t.csv", "d.npz", "set"])
def test_data_that_change_without_end_are_refused(tmp_path, monkeypatch, kind):
    path, spec = tmp_path / kind, GRAY if kind == "set" else TWO
    numbers = iter(range(10))

    def write() -> None:
        rows = 2 + next(numbers)
        if kind == "set":
            path.mkdir(exist_ok=True)
            Image.new("L", (4, 4 + rows)).save(path / "a.png")
        elif kind == "d.npz":
            np.savez(path, x=np.ones((rows, 2), np.float32))
        else:
            written(path, "x_0,x_1\n" + "1,2\n" * rows)

    write()
    interrupted(monkeypatch, files, "_read", write, 10)
    with pytest.raises(InputError, match="changed each time while they were read; another program is writing them"):
        arrays_of(path, model(spec))


def test_an_error_of_data_that_did_not_change_is_reported_at_once(tmp_path):
    path = written(tmp_path / "t.csv", "x_0,x_1\n1,\n")
    with pytest.raises(InputError, match="has an empty cell"):
        arrays_of(path, model(TWO))
