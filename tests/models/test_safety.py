"""Hostile and damaged files: each is refused in one sentence before a library reads it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from workbench.errors import InputError
from workbench.models import safety


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/"), content)
    return path


def test_a_sound_archive_passes(tmp_path):
    safety.check_archive(archive(tmp_path / "a.keras", config=b"{}", weights=b"123"))


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil", "a/../../b", "C:evil", "..\\evil"])
def test_parts_that_leave_the_folder_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as file:
        file.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(InputError, match="would be written outside its folder"):
        safety.check_archive(tmp_path / "a.keras")


def test_links_bombs_doubles_and_damage_are_refused(tmp_path):
    link = zipfile.ZipInfo("weights")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.keras", "w") as file:
        file.writestr(link, b"/etc/passwd")
    with pytest.raises(InputError, match="holds the link 'weights'"):
        safety.check_archive(tmp_path / "link.keras")
    with pytest.raises(InputError, match="would unpack to"):
        safety.check_archive(archive(tmp_path / "bomb.keras", zeros=bytes(64 << 20)))
    with zipfile.ZipFile(tmp_path / "twice.keras", "w") as file:
        file.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a", b"2")
    with pytest.raises(InputError, match="two parts of one name"):
        safety.check_archive(tmp_path / "twice.keras")
    content = bytearray(archive(tmp_path / "hurt.keras", a=b"a" * 100 + b"b" * 100).read_bytes())
    content[35] ^= 0xFF
    (tmp_path / "hurt.keras").write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged|is not a complete archive"):
        safety.check_archive(tmp_path / "hurt.keras")


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ({"class_name": "Lambda", "config": {"name": "double"}}, "The layer 'double' is a Lambda"),
        ({"class_name": "function", "module": "os", "config": "system"}, "uses 'os.function'"),
        ({"class_name": "get_file", "module": "keras.utils"}, "uses 'keras.utils.get_file'"),
        ({"class_name": "get_file", "module": "keras.src.utils.file_utils"}, "keras.src.utils"),
        ({"class_name": "write_file", "module": "tensorflow.io"}, "uses 'tensorflow.io.write_file'"),
        ({"class_name": "keras.layers>Lambda", "config": {"name": "double"}}, "The layer 'double' is a Lambda"),
        ({"class_name": "TorchModuleWrapper", "config": {"name": "t"}}, "loads another file or library"),
        (
            {"class_name": "StringLookup", "config": {"name": "w", "vocabulary": "/etc/passwd"}},
            "from the file '/etc/passwd'",
        ),
    ],
)
def test_configurations_that_would_run_code_are_refused(layer, says):
    inside = {
        "class_name": "Sequential",
        "module": "keras",
        "config": {"layers": [{"class_name": "TimeDistributed", "config": {"layer": layer}}]},
    }
    with pytest.raises(InputError) as error:
        safety.check_keras_config(inside, "'model.keras'")
    assert says in error.value.message


def test_ordinary_configurations_pass():
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="gelu", kernel_regularizer="l2")])
    safety.check_keras_config({"class_name": "Sequential", "module": "keras", "config": model.get_config()}, "'m'")


def test_hdf5_that_points_elsewhere_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["w"] = np.ones(4)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file.create_group("layers")["w"] = h5py.ExternalLink("other.h5", "/w")
    with pytest.raises(InputError, match=r"points to another file \('other.h5'\)"):
        safety.check_hdf5(tmp_path / "link.h5", "'m'")
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("w", (4,), "f4", external=[(str(tmp_path / "raw.bin"), 0, 16)])
    with pytest.raises(InputError, match=r"The weights '/w' of 'm' lie in another file"):
        safety.check_hdf5(tmp_path / "raw.h5", "'m'")
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("w", (1 << 34,), "f4", chunks=(1 << 20,), compression="gzip")
    with pytest.raises(InputError, match=r"declares 64.0 GiB of weights"):
        safety.check_hdf5(tmp_path / "bomb.h5", "'m'")
    (tmp_path / "noise.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    with pytest.raises(InputError, match="is damaged"):
        safety.check_hdf5(tmp_path / "noise.h5", "'m'")
    safety.check_hdf5(tmp_path / "other.h5", "'m'")


def test_hdf5_with_a_link_to_nothing_is_refused(tmp_path):
    with h5py.File(tmp_path / "soft.h5", "w") as file:
        file["w"] = np.ones(4)
        file["same"] = h5py.SoftLink("/w")
    safety.check_hdf5(tmp_path / "soft.h5", "'m'")
    with h5py.File(tmp_path / "soft.h5", "a") as file:
        file["gone"] = h5py.SoftLink("/nothing")
    with pytest.raises(InputError, match="holds a link to '/nothing', which is not in it"):
        safety.check_hdf5(tmp_path / "soft.h5", "'m'")


def test_a_graph_of_more_than_its_format_can_hold_is_refused(tmp_path):
    with (tmp_path / "saved_model.pb").open("wb") as file:
        file.truncate(safety.MAX_GRAPH_BYTES + 1)  # a sparse file: it takes no room
    with pytest.raises(InputError, match="the limit for a SavedModel's graph is 2 GiB"):
        safety.check_folder(tmp_path)


@pytest.mark.parametrize("name", ["saved_model.pbtxt", "saved_model.cpb"])
def test_a_folder_with_two_graphs_is_refused(tmp_path, name):
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    safety.check_folder(tmp_path)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=rf"holds two graphs, saved_model.pb and {name}"):
        safety.check_folder(tmp_path)
