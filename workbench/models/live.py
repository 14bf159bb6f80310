"""Models and data of a notebook's kernel, stored as files so that child processes and later runs can read them; and functions of
metrics, which are sent to one process.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import uuid
import zipfile
from collections import ChainMap
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from workbench.accuracy.metrics import Metric, metric_of
from workbench.errors import InputError, brief, during, writing
from workbench.models import safety
from workbench.store import Store
from workbench.store.arrays import write_npz

if TYPE_CHECKING:
    import numpy as np

SINGLE = "x"  # the name of the only input
LABELS = "y"
MOST_BATCHES = 100_000
MOST_BYTES = 4 * 2**30
"""Limit above which a generator is assumed to be infinite, as generators for training often are."""


def kept_model(model: Any, store: Store) -> Path:
    """Store a live ``keras.Model`` under its content and return its path: a ``.keras`` file, or a SavedModel where layers or
    functions are not Keras' own, because other processes could not load their code.

    Raises:
        InputError: the model is not a Keras model, or Keras cannot save it.
    """
    if not hasattr(model, "export") or not hasattr(model, "save"):
        raise InputError(
            f"A model is a path or a live keras.Model; found {type(model).__name__}. Save it in a format of its library first."
        )
    folder = store.root / "models"
    name = "".join(char if char.isalnum() or char in "-_" else "_" for char in str(model.name)) or "model"
    with writing(folder), during("save", "the live Keras model", InputError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
            draft = Path(scratch) / "model.keras"
            model.save(draft)
            if _has_own_code(draft):
                from workbench.models.formats.keras import write_saved_model

                draft = Path(scratch) / "model"
                write_saved_model(model, draft)
            kept = folder / f"{name}-{_content_digest(draft)}{draft.suffix}"
            if not kept.is_dir():  # an existing file is replaced, because it may be damaged
                draft.replace(kept)
            elif _content_digest(kept) != _content_digest(draft):
                kept.rename(Path(scratch) / "damaged")
                draft.replace(kept)
    return kept


def _has_own_code(path: Path) -> bool:
    """Whether a ``.keras`` file names a layer or function that is not Keras' own, or contains a Lambda's code."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    return any(
        part["class_name"] == "Lambda" or not str(part["module"] or "").startswith("keras")
        for part in safety.objects(config)
        if "module" in part
    )


def _content_digest(path: Path) -> str:
    """SHA-256 of weights and structure; two saves of one model differ in their time stamps."""
    total = hashlib.sha256()
    if path.is_dir():
        parts = {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    else:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
    for name in sorted(parts.keys() - {"metadata.json", "fingerprint.pb"}):
        total.update(name.encode() + hashlib.sha256(parts[name]).digest())
    return total.hexdigest()[:12]


def packed(function: Any) -> bytes:
    """A metric's function, or a :class:`workbench.Metric`, as bytes for a job's process, with the code and values that it needs.

    It is packed by cloudpickle, which includes definitions of the notebook by value. It is never kept in the store, where another
    user could replace it: :func:`workbench.jobs.job.start` passes it to the process that it starts.

    Raises:
        InputError: an object that the function needs cannot be pickled.
    """
    import cloudpickle

    try:
        # definitions of modules are pickled by name: the other process needs the same search path
        return bytes(cloudpickle.dumps((sys.path, cloudpickle.dumps(function))))
    except Exception as cause:
        raise InputError(
            f"The metric '{getattr(function, '__name__', function)}' cannot be sent to the process that measures: {brief(cause)}. "
            "Use only its arguments, modules and plain values in it, or run it without the panel: workbench.run(metric=...)."
        ) from cause


def identity(metric: Any) -> str:
    """Name of a metric's function and eight digits of a digest of its content: ``score 1a2b3c4d``; "" for ``None``.

    The content is the code and the values that cloudpickle packs, without the location of the code, so that a cell gives the same
    digest in another kernel; and the file of the module that the function is imported from, but not of modules that this one
    imports. Equal functions may have different digests, for example with a set in the code. A function that cannot be packed has
    no digest.
    """
    if metric is None:
        return ""
    import pickle

    import cloudpickle

    found = metric_of(metric)
    if found is None:
        return ""
    total = hashlib.sha256()
    code = cloudpickle.Pickler.dispatch_table[CodeType]

    class Placeless(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table = ChainMap(
            {CodeType: lambda it: code(it.replace(co_filename="", co_firstlineno=1))},
            cloudpickle.Pickler.dispatch_table,
        )

    try:
        # an unpickled function shares other objects than the original: pack and unpack once, so that both give the same digest
        sent = pickle.loads(cloudpickle.dumps(metric))  # noqa: S301 - by this very line
        Placeless(SimpleNamespace(write=total.update)).dump(sent)
        for file in sorted(_files(found)):
            total.update(Path(file).read_bytes())
    except Exception:  # packed() reports the reason
        return str(found)
    return f"{found} {total.hexdigest()[:8]}"


def _files(metric: Metric) -> set[str]:
    """Files of the modules from which its functions are imported: cloudpickle packs their names only."""
    parts = [
        sys.modules.get(str(getattr(each, "__module__", "")))
        for each in (metric.parts, metric.value)
        if "<" not in getattr(each, "__qualname__", "<")
    ]
    files = {str(getattr(each, "__file__", None) or "") for each in parts if each and each.__name__ != "__main__"}
    return {file for file in files if file.endswith(".py")}


def unpacked(content: bytes) -> Any:
    """The inverse of :func:`packed`, in the process that received the bytes.

    Raises:
        InputError: a module that the function needs is not found.
    """
    import pickle

    with during("unpack", "the metric's function in the process that measures", InputError):
        # from the process that started this one, never from a file
        path, function = pickle.loads(content)  # noqa: S301
        sys.path.extend(each for each in path if each not in sys.path)
        return pickle.loads(function)  # noqa: S301


def kept_data(data: Any, store: Store) -> Path:
    """Store arrays, or batches from a generator or a ``tf.data.Dataset``, under their content, and return the ``.npz`` file.

    Args:
        data: arrays by input name (labels as ``y``), one array, or a tuple ``(x, y)``; or an iterable of batches, each in one of
            these forms. First axis = sample.
        store: the store of the file.

    Raises:
        InputError: there is no batch, there are too many, or batches differ in inputs or shapes.
    """
    import numpy as np

    arrays = _joined(data)
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    path = store.root / "data" / f"{total.hexdigest()[:16]}.npz"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{uuid.uuid4().hex}.npz")
        try:
            with draft.open("wb") as file:
                write_npz(file, arrays)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    return path


def _joined(data: Any) -> dict[str, np.ndarray]:
    import numpy as np

    if isinstance(data, Mapping | tuple) or hasattr(data, "__array__"):
        return _named(data)
    if not isinstance(data, Iterable):
        raise InputError(
            f"Data are arrays, or a generator of batches; found {type(data).__name__}. Give a dictionary of arrays."
        )
    batches, held = [], 0
    for batch in data:
        batches.append(_named(batch))
        held += sum(array.nbytes for array in batches[-1].values())
        if held > MOST_BYTES or len(batches) > MOST_BATCHES:
            raise InputError(
                f"The generator of data did not end within {MOST_BATCHES:,} batches or {MOST_BYTES // 2**30} GiB. Limit it, "
                "for example with itertools.islice(batches, 100)."
            )
    if not batches:
        raise InputError("The generator of data gave no batches. Give at least one batch.")
    names = {tuple(sorted(batch)) for batch in batches}
    if len(names) > 1:
        raise InputError(f"The batches of data have different inputs: {' and '.join(map(str, sorted(names)))}.")
    with during("join", "the batches of data, whose shapes differ beyond the first axis", InputError):
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _named(batch: Any) -> dict[str, np.ndarray]:
    """One batch as arrays by name; TensorFlow tensors are converted to arrays."""
    import numpy as np

    if isinstance(batch, tuple | list) and len(batch) == 2 and not isinstance(batch[0], str | bytes):
        inputs, labels = batch
        if isinstance(labels, Mapping):
            raise InputError(
                f"Labels are class numbers of one output; found a dictionary with {', '.join(map(str, labels))}. Give (inputs, "
                "labels) with those of the output to be scored."
            )
        return _inputs(inputs) | {LABELS: np.asarray(labels)}
    return _inputs(batch)


def _inputs(batch: Any) -> dict[str, np.ndarray]:
    import numpy as np

    if isinstance(batch, Mapping):
        return {str(name): np.asarray(array) for name, array in batch.items()}
    if isinstance(batch, tuple | list):
        raise InputError(
            f"A batch is an array, a dictionary by input name, or one of these with labels: (inputs, labels); found {len(batch)} "
            "parts without names. Give a dictionary by input name."
        )
    return {SINGLE: np.asarray(batch)}
