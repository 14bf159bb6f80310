"""Model formats, one module each, which reads a file of the format and runs it.

Every file has ``read(path, signature) -> dict`` (fields of :class:`workbench.records.Model`) and
``open(path, model) -> Runner``. Both load the format's library and run in a child process. Other packages call
:func:`open_model`, whose outputs are real numbers.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, MissingPackageError, brief
from workbench.protocols import ONNX_WORKER, TF_WORKER
from workbench.records import TEXT, Model

if TYPE_CHECKING:
    import numpy as np

Runner = Callable[[Mapping[str, "np.ndarray"]], dict[str, "np.ndarray"]]
"""A function that runs the source model once: from inputs by name to outputs by name."""

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
OPENED_BY_TENSORFLOW = ("keras", "saved_model", "frozen_graph")
CONVERTED_BY_TENSORFLOW = (*OPENED_BY_TENSORFLOW, "tflite")

TENSORFLOW_LIBRARIES = ("tensorflow", "keras", "tf2onnx")
"""What the extra ``tensorflow`` installs."""


def check_tensorflow(what: str, instead: str) -> None:
    """Refuse, before a process is started, what only TensorFlow can do where it is not installed.

    Args:
        what: the subject of the sentence, such as "A Keras file".
        instead: what to do without TensorFlow, in the imperative.

    Raises:
        MissingPackageError: a package of the extra ``tensorflow`` is not installed.
    """
    missing = [name for name in TENSORFLOW_LIBRARIES if find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f"{what} needs TensorFlow, and the package '{missing[0]}' is not installed: "
            f'pip install "inference-workbench[tensorflow]", or {instead}.'
        )


def check_reader(kind: str, path: str) -> None:
    """Refuse a model whose format only TensorFlow opens where it is not installed.

    Raises:
        MissingPackageError: a package of the extra ``tensorflow`` is not installed.
    """
    if kind in OPENED_BY_TENSORFLOW:
        check_tensorflow(
            f"The {TITLES[kind]} '{path}'", "convert the model to ONNX where it was made, and open that file"
        )


def reads_in(kind: str) -> str:
    """The kind of worker that opens a file of this format."""
    return TF_WORKER if kind in OPENED_BY_TENSORFLOW else ONNX_WORKER


def exports_in(kind: str) -> str:
    """The kind of worker that converts a file of this format to ONNX."""
    return TF_WORKER if kind in CONVERTED_BY_TENSORFLOW else ONNX_WORKER


def get(name: str) -> Any:
    """The module of a format."""
    return importlib.import_module(f"{__name__}.{name}")


def open_model(model: Model) -> Runner:
    """The source model, with outputs in real numbers: integers of a quantized file are scaled by the file's own scale.

    Raises:
        InputError: the format's library cannot open it.
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
        InputError: a type that engines do not support, such as complex numbers.
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
    """Sort key by which numbers in names are ordered by value.

    >>> sorted(["output_10", "output_9"], key=natural)
    ['output_9', 'output_10']
    """
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]


def tensorflow_said(cause: BaseException) -> str:
    """The sentence of a TensorFlow error, such as "Input to reshape is a tensor with 4 values …", without the stack of calls.

    An error of a graph starts with the Python stack of its tracing, and ends with the sentence and the node in brackets.
    """
    found = re.search(r"([^\n]+)\s*\[\[\{\{node ([^}]+)\}\}", str(cause))
    return brief(ValueError(f"{found[1].strip()} (node '{found[2]}')") if found else cause, 200)


@contextmanager
def running(
    library: str, name: str, feeds: Mapping[str, np.ndarray], said: Callable[[Exception], str]
) -> Iterator[None]:
    """Convert every error of a library that runs the model ``name`` to an :class:`InputError` with the shapes of the inputs."""
    try:
        yield
    except Exception as cause:
        shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in feeds.items())
        raise InputError(
            f"{library} could not run '{name}' on inputs of these shapes ({shapes}): {said(cause)}"
        ) from cause


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the output and warnings of libraries inside the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def size_of(path: Path) -> int:
    """Size of a file, or of all files of a folder, in bytes."""
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)
