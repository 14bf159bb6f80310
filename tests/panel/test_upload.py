from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from uploading import upload

from workbench.panel.upload import Upload


@pytest.fixture
def into(tmp_path: Path) -> Upload:
    return Upload(tmp_path / "uploads", (".onnx",))


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 20_500])
def test_a_file_arrives_whole_in_parts(into: Upload, size: int) -> None:
    content = random.Random(size).randbytes(size)
    upload(into, "net.onnx", content, part_bytes=1000)
    assert Path(into.value).read_bytes() == content
    assert into.took.value == f"net.onnx {size}"
    assert into.sent.value == ""
    assert "Uploaded: net.onnx" in into.said.value
    assert [path.name for path in Path(into.value).parent.parent.iterdir()] == [Path(into.value).parent.name]


def test_files_are_kept_by_digest_under_a_safe_name(into: Upload, tmp_path: Path) -> None:
    upload(into, "../../<b>.onnx", b"abc")
    path = Path(into.value)
    assert (path.name, path.parent.parent) == ("-b-.onnx", tmp_path / "uploads")
    upload(into, "../../<b>.onnx", b"abd")
    assert Path(into.value).parent != path.parent


def test_another_kind_of_file_is_refused_at_its_first_part(into: Upload) -> None:
    upload(into, "x.pkl", b"abc")
    assert "The uploaded file is &#39;x.pkl&#39;. Choose a file that ends in .onnx." in into.said.value
    assert (into.value, into.took.value) == ("", "x.pkl stop")


@pytest.mark.parametrize(
    "change",
    [{"at": 4}, {"size": 2}, {"size": "many"}, {"data": "%%"}, {"data": None}, {"at": "x"}],
)
def test_parts_that_do_not_fit_end_the_upload(into: Upload, tmp_path: Path, change: dict[str, object]) -> None:
    into.sent.value = json.dumps({"id": "a", "name": "n.onnx", "size": 6, "at": 0, "data": "YWJj"})
    into.sent.value = json.dumps({"id": "a", "name": "n.onnx", "size": 6, "at": 3, "data": "YWJj"} | change)
    arrived = into.value != ""
    assert arrived == (change in ({"size": 2}, {"size": "many"}))  # the size is that of the first part
    if not arrived:
        assert into.took.value == "a stop"
        assert list((tmp_path / "uploads").iterdir()) == []


def test_no_json_at_all(into: Upload) -> None:
    into.sent.value = "{"
    assert "did not arrive completely" in into.said.value
