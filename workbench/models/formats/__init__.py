"""Model formats, one file each: what a file of that kind holds, and how to run it.

Every file has ``read(path, signature) -> dict`` (fields of :class:`workbench.records.Model`) and
``open(path, model) -> Runner``. Both load the format's library and run in a child process. :func:`open_model` is what others
call: its outputs are real numbers.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, brief
from workbench.records import TEXT

if TYPE_CHECKING:
    import numpy as np

    from workbench.records import Model

Runner = Callable[[Mapping[str, "np.ndarray"]], dict[str, "np.ndarray"]]
"""Runs the source model once: inputs by name to outputs by name."""

TITLES = {
    "keras": "Keras file",
    "saved_model": "TensorFlow SavedModel",
    "frozen_graph": "TensorFlow frozen graph",
    "tflite": "TensorFlow Lite file",
    "onnx": "ONNX file",
}
ENDINGS = {
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".pb": "frozen_graph",
    ".tflite": "tflite",
    ".onnx": "onnx",
}
WORKERS = {"keras": "tensorflow", "saved_model": "tensorflow", "frozen_graph": "tensorflow"}
"""Which task worker opens the format; "onnx", a small process, where nothing is said."""


def get(name: str) -> Any:
    """The module of a format."""
    return importlib.import_module(f"{__name__}.{name}")


def open_model(model: Model) -> Runner:
    """The source model, with outputs in real numbers: integers of a quantized file are scaled by the file's own scale.

    Raises:
        InputError: its library cannot open it.
    """
    run = get(model.format).open(Path(model.path), model)
    specs = {spec.name: spec for spec in model.outputs if spec.scale}
    if not specs:
        return run  # type: ignore[no-any-return]

    def real(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: specs[name].real(array) if name in specs else array for name, array in run(feeds).items()}

    return real


def check_dtype(name: str, dtype: str, role: str) -> str:
    """The NumPy name of a tensor's type, or :data:`workbench.records.TEXT`.

    Raises:
        InputError: a type that cannot be fed or read, such as complex numbers.
    """
    if dtype in ("string", "object", "str"):
        return TEXT
    if re.fullmatch(r"bool|u?int(8|16|32|64)|float(16|32|64)", dtype) or (role == "output" and dtype == "bfloat16"):
        return dtype
    raise InputError(
        f"The {role} '{name}' holds {dtype}, which the workbench does not handle: engines take real numbers. "
        "Move that step out of the model, or choose a signature with other inputs and outputs."
    )


def natural(name: str) -> list[tuple[int, int | str]]:
    """Key that sorts names with their numbers by value."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]


def tensorflow_said(cause: BaseException, limit: int = 200) -> str:
    """TensorFlow's own sentence, such as "Input to reshape is a tensor with 4 values …", without the calls that led there.

    An error of a graph starts with the Python stack of its tracing, and ends with the sentence and the node in brackets.
    """
    found = re.search(r"([^\n]+)\s*\[\[\{\{node ([^}]+)\}\}", str(cause))
    return brief(ValueError(f"{found[1].strip()} (node '{found[2]}')") if found else cause, limit)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings of libraries that this project does not own out of the user's sight."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)
