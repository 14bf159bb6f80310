"""``.npz`` files: checked before they are unpacked, and mapped where no process changes them."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from workbench.data import limits, npz, samples
from workbench.data.dataset import dataset
from workbench.data.limits import limit_bytes, packed_limit
from workbench.data.npz import map_npz, read_npz
from workbench.data.samples import Samples, load_samples, save_samples
from workbench.errors import InputError
from workbench.records import Model, TensorSpec
from workbench.system.memory import free_bytes, memory

MODEL = Model("m", "m", "onnx", (TensorSpec("x", "float32", (None, 4)),), (), 1, 1, "d")


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def archive(path, parts, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in parts:
            file.writestr(name, content)
    return path


def refused(path) -> str:
    with pytest.raises(InputError) as error:
        read_npz(path)
    return error.value.message


def test_a_small_file_that_unpacks_to_much_is_refused_before_it_is_unpacked(tmp_path):
    path = zeros(tmp_path / "bomb.npz", 64)
    assert path.stat().st_size < 2**20
    before = memory()[0]
    with pytest.raises(InputError) as error:
        dataset(str(path), MODEL, 0, 0, demo=False, data_mib=10)
    assert memory()[0] - before < 2**24
    says = error.value.message
    assert "unpack to 64.0 MiB, and the limit is 10.0 MiB. Raise it with 'data_mib' (option --data-mib 65)" in says


def zeros(path, mib: int):
    """A file of zeros that unpacks to this size; packed, it takes about a thousandth."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("x.npy", "w", force_zip64=True) as part:
        np.lib.format.write_array_header_1_0(part, {"descr": "<f4", "fortran_order": False, "shape": (2**16 * mib, 4)})
        for _ in range(mib):
            part.write(bytes(2**20))
    return path


def test_without_a_limit_of_the_users_own_what_is_packed_too_well_has_a_lower_one(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "PACKED_BYTES", 2**26)
    bomb = zeros(tmp_path / "bomb.npz", 100)
    assert limits.PACKED_TIMES * bomb.stat().st_size < 100 * 2**20
    before = memory()[0]
    assert (
        "unpack to 100.0 MiB, and the limit is 64.0 MiB. Raise it with 'data_mib' (option --data-mib 101)"
        in refused(bomb)
    )
    assert memory()[0] - before < 2**26
    assert packed_limit(2**31, 2**30) > 2**26
    assert packed_limit(2**31, 2**10, 4096) == 2**32


def test_the_option_of_the_message_is_enough(tmp_path):
    np.savez_compressed(tmp_path / "d.npz", x=np.zeros((2**17, 4), np.float32))
    with pytest.raises(InputError, match=r"--data-mib 3\)"):
        dataset(str(tmp_path / "d.npz"), MODEL, 0, 0, demo=False, data_mib=1)
    assert dataset(str(tmp_path / "d.npz"), MODEL, 0, 0, demo=False, data_mib=3).test.count == 2**17


def test_the_limit_is_a_share_of_what_is_free():
    assert 0 < limit_bytes() < free_bytes()
    assert limit_bytes(7) == 7 * 2**20


@pytest.mark.parametrize("name", ["../../../x.npy", "/x.npy", "a/../../x.npy", "..\\x.npy", "\\x.npy"])
def test_names_that_lead_out_of_the_file_are_refused(tmp_path, name):
    says = refused(archive(tmp_path / "d.npz", [(name, npy(np.ones(3)))]))
    assert "a path out of the file. Save arrays under plain names" in says


def test_names_with_slashes_are_names(tmp_path):
    np.savez(tmp_path / "d.npz", **{"model/x:0": np.ones(3)})
    assert list(read_npz(tmp_path / "d.npz")) == ["model/x:0"]


@pytest.mark.parametrize(("parts", "says"), [
    ([("x.npy", npy(np.ones(3))), ("note.txt", b"hello")], "has a part 'note.txt' that is not an array"),
    ([("x.npy", npy(np.ones(30))[:-8])], "the size of 'x' is not that of its shape [30]"),
    ([("x.npy", npy(np.ones(3)) + b"more")], "the size of 'x' is not that of its shape [3]"),
    ([("x.npy", b"junk")], "is not a readable .npz file"),
    ([("x.npy", npy(np.array([{}], object)))], "holds Python objects"),
])  # fmt: skip
def test_parts_that_are_not_arrays_are_refused(tmp_path, parts, says):
    assert says in refused(archive(tmp_path / "d.npz", parts))


def test_a_header_that_claims_more_than_there_is_allocates_nothing(tmp_path):
    content = npy(np.ones(4)).replace(b"(4,), }              ", b"(400000000000,), }   ")
    assert b"400000000000" in content
    assert "is not that of its shape" in refused(archive(tmp_path / "d.npz", [("x.npy", content)]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path):
    path = archive(tmp_path / "d.npz", [("x.npy", npy(np.ones(3))), ("x.npy", npy(np.zeros(3)))])
    assert "holds two arrays named 'x'" in refused(path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "uint8", ">f8", "<U5", "float16"])
def test_a_mapped_array_is_the_array(tmp_path, monkeypatch, order, dtype):
    monkeypatch.setattr(npz, "MAPPED_BYTES", 1)
    array = np.asarray(np.arange(60).reshape(3, 4, 5).astype(dtype), order=order)
    np.savez(tmp_path / "d.npz", first=np.ones(7, bool), x=array, text=np.array("a name"))
    found = map_npz(tmp_path / "d.npz")
    assert found["x"].dtype == array.dtype
    np.testing.assert_array_equal(found["x"], array)
    assert isinstance(found["x"].base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found["x"][0] = 0
    np.testing.assert_array_equal(read_npz(tmp_path / "d.npz")["x"], array)


def test_large_samples_are_mapped_and_their_feeds_are_copies(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "MAPPED_BYTES", 1)
    monkeypatch.setattr(samples, "CHUNK_BYTES", 64)
    whole = Samples("s", {"x": np.arange(48, dtype=np.float32).reshape(6, 8), "s": np.ones((6, 2, 3), np.float32)},
                    np.arange(6), axes={"s": 1})  # fmt: skip
    save_samples(whole, tmp_path / "s.npz")
    found = load_samples(tmp_path / "s.npz")
    assert isinstance(found.inputs["x"].base, np.memmap)
    assert found.digest == whole.digest
    feeds = found.feeds(4, 3)
    assert feeds["x"][:, 0].tolist() == [32, 40, 0]
    assert feeds["s"].shape == (2, 3, 3)
    assert all(
        array.flags["C_CONTIGUOUS"] and array.flags["ALIGNED"] and array.flags["WRITEABLE"] for array in feeds.values()
    )


def test_large_samples_take_no_memory_until_they_are_used(tmp_path):
    save_samples(Samples("s", {"x": np.ones((64, 2**20), np.float32)}), tmp_path / "s.npz")  # 256 MiB
    before = memory()[0]
    found = load_samples(tmp_path / "s.npz")
    assert found.feeds(60, 1)["x"].sum() == 2**20
    assert memory()[0] - before < 2**26


def test_a_file_of_very_many_arrays_is_refused_before_their_headers_are_parsed(tmp_path, monkeypatch):
    path = archive(tmp_path / "d.npz", [(f"y{number}.npy", npy(np.zeros(1))) for number in range(5)])
    monkeypatch.setattr(npz, "MOST_PARTS", 5)
    assert len(read_npz(path)) == 5
    monkeypatch.setattr(npz, "MOST_PARTS", 4)
    with pytest.raises(InputError, match="holds 5 arrays, of which at most 4 are read"):
        read_npz(path)
