"""Keras and HDF5 files that are made to do harm when they are opened: run code, or read or write elsewhere.

Each function writes a file or folder into ``folder`` and returns its path. What it tries to write or read is below ``target``.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Make = Callable[[Path, Path], Path]


def _keras(folder: Path, config: Any, name: str = "m.keras") -> Path:
    """A ``.keras`` file with this configuration and no weights."""
    import h5py

    weights = io.BytesIO()
    h5py.File(weights, "w").close()
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.0", "date_saved": "2026-01-01"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights.getvalue())
    return folder / name


def _sequential(*layers: dict[str, Any], **more: Any) -> dict[str, Any]:
    entry = {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 4], "name": "x"}}
    config = {"name": "s", "layers": [entry, *layers]}
    return {"module": "keras", "class_name": "Sequential", "config": config, **more}


def _dense(**more: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": "Dense", "config": {"name": "d", "units": 3, **more}}


def keras_activation(folder: Path, _target: Path) -> Path:
    """A function of Python in the place of an activation."""
    evil = {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"}
    return _keras(folder, _sequential(_dense(activation=evil)))


def keras_dtype(folder: Path, target: Path) -> Path:
    """A call of the shell in the place of a number format."""
    evil = {"module": "os", "class_name": "system", "config": {"command": f"touch {target}/planted"}}
    return _keras(folder, _sequential(_dense(dtype=evil)))


def keras_compiled_loss(folder: Path, _target: Path) -> Path:
    """A program in the part that says how the model was trained."""
    code = {"class_name": "__lambda__", "config": {"value": "4wEAAAA=", "defaults": None, "closure": None}}
    whole = _sequential(_dense())
    whole["compile_config"] = {"optimizer": "sgd", "loss": code, "metrics": [{"module": "os", "class_name": "system"}]}
    return _keras(folder, whole)


def keras_pickle(folder: Path, _target: Path) -> Path:
    """A pickle of a PyTorch module inside a wrapper of layers."""
    inner = {
        "module": "keras.layers",
        "class_name": "TorchModuleWrapper",
        "config": {"module": "gASVAAAA", "name": "t"},
    }
    wrapper = {"module": "keras.layers", "class_name": "TimeDistributed", "config": {"name": "w", "layer": inner}}
    return _keras(folder, _sequential(wrapper))


def keras_vocabulary(folder: Path, target: Path) -> Path:
    """A vocabulary in a file elsewhere, of a layer within a wrapper."""
    inner = {
        "module": "keras.layers", "class_name": "StringLookup", "config": {"name": "l", "vocabulary": str(target / "secret")},
    }  # fmt: skip
    wrapper = {"module": "keras.layers", "class_name": "TimeDistributed", "config": {"name": "w", "layer": inner}}
    return _keras(folder, _sequential(wrapper))


def keras_registered_name(folder: Path, target: Path) -> Path:
    """A class by its registered name alone, without a module."""
    evil = {
        "module": None,
        "class_name": "get_file",
        "registered_name": "keras.utils>get_file",
        "config": {"origin": f"file://{target}/secret"},
    }
    return _keras(folder, _sequential(evil))


def keras_two_directories(folder: Path, _target: Path) -> Path:
    """An archive whose parts have other names in their headers than in the directory."""
    path = _keras(folder, _sequential(_dense()))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"metadata.json", b"../../m3.json", 1))
    return path


def hdf5_filter(folder: Path, _target: Path) -> Path:
    """Weights packed by a filter that the library would load from a shared library."""
    import h5py

    path = folder / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(_sequential(_dense()))
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((4, 3))
        properties.set_filter(32000 + 777, h5py.h5z.FLAG_OPTIONAL, (1, 2))
        space = h5py.h5s.create_simple((4, 3))
        file.create_group("model_weights").attrs["layer_names"] = [b"d"]
        file["model_weights"].attrs["keras_version"] = "3.15.0"
        group = file.create_group("model_weights/d")
        group.attrs["weight_names"] = [b"kernel", b"bias"]
        h5py.h5d.create(group.id, b"kernel", h5py.h5t.IEEE_F32LE, space, properties)
        group["bias"] = np.zeros(3, np.float32)
    return path


def hdf5_cycle(folder: Path, _target: Path) -> Path:
    """Groups that hold each other."""
    import h5py

    path = folder / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(_sequential(_dense()))
        group = file.create_group("model_weights/a")
        group["b"] = file["model_weights"]
        group["c"] = file["/"]
    return path


def keras_configuration_twice(folder: Path, target: Path) -> Path:
    """An archive with two configurations: a sound one, and one with a call of the shell."""
    import warnings

    evil = {"module": "os", "class_name": "system", "config": {"command": f"touch {target}/planted"}}
    path = _keras(folder, _sequential(_dense()))
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, of a name that is there twice
        archive.writestr("config.json", json.dumps(_sequential(_dense(activation=evil))))
    return path


def keras_part_is_a_link(folder: Path, target: Path) -> Path:
    """An archive in which the folder of assets is a link to a folder elsewhere, and a file that goes there."""
    path = _keras(folder, _sequential(_dense()))
    link = zipfile.ZipInfo("assets")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, str(target))
        archive.writestr("assets/planted", b"x")
    return path


def keras_pickled_weights(folder: Path, target: Path) -> Path:
    """Weights as arrays of Python objects, whose unpickling starts a program."""
    pickled = f"cos\nsystem\n(S'touch {target}/planted'\ntR.".encode()
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}".ljust(117) + b"\n"
    part, weights = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickled, io.BytesIO()
    with zipfile.ZipFile(weights, "w") as archive:
        archive.writestr("layers/d/vars.npy", part)
        archive.writestr("__root__.npy", part)
    path = _keras(folder, _sequential(_dense()))
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(folder / "n.keras", "w") as archive:
        for name in ("metadata.json", "config.json"):
            archive.writestr(name, old.read(name))
        archive.writestr("model.weights.npz", weights.getvalue())
    return folder / "n.keras"


def keras_deep_configuration(folder: Path, _target: Path) -> Path:
    """A configuration of a hundred thousand brackets."""
    path = _keras(folder, {})
    content = '{"module": "keras", "class_name": "Sequential", "config": ' + "[" * 10**5 + "]" * 10**5 + "}"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(folder / "n.keras", "w") as archive:
        for name in ("metadata.json", "model.weights.h5"):
            archive.writestr(name, old.read(name))
        archive.writestr("config.json", content)
    return folder / "n.keras"


def hdf5_weights_elsewhere(folder: Path, target: Path) -> Path:
    """Weights whose numbers lie in a file elsewhere."""
    import h5py

    path = folder / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(_sequential(_dense()))
        file.create_group("model_weights").attrs["layer_names"] = [b"d"]
        file["model_weights"].attrs["keras_version"] = "3.15.0"
        group = file.create_group("model_weights/d")
        group.attrs["weight_names"] = [b"kernel", b"bias"]
        group.create_dataset("kernel", (4, 3), "<f4", external=[(str(target / "secret"), 0, 48)])
        group["bias"] = np.zeros(3, np.float32)
    return path


KERAS: dict[str, Make] = {
    make.__name__: make
    for make in (
        keras_activation,
        keras_dtype,
        keras_compiled_loss,
        keras_pickle,
        keras_vocabulary,
        keras_registered_name,
        keras_two_directories,
        hdf5_filter,
        hdf5_cycle,
        keras_configuration_twice,
        keras_part_is_a_link,
        keras_pickled_weights,
        keras_deep_configuration,
        hdf5_weights_elsewhere,
    )
}
