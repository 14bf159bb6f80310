"""What lives in the notebook: models and data are kept in the store as files, so that child processes and later runs can read
them; a metric's function is handed to one process.
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
from workbench.store import Store

if TYPE_CHECKING:
    import numpy as np

SINGLE = "x"  # the name of the only input
LABELS = "y"
MOST_BATCHES = 100_000
MOST_BYTES = 4 * 2**30
"""A generator that gives more is taken for one without an end, as those that train a model often are."""


def kept_model(model: Any, store: Store) -> Path:
    """A live ``keras.Model`` in the store, kept by its content: as a ``.keras`` file, or as a SavedModel where layers or
    functions are not Keras' own, whose code no other process could load.

    Raises:
        InputError: not a Keras model, or one that Keras cannot save.
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
            if not kept.exists():
                draft.replace(kept)
    return kept


def _has_own_code(path: Path) -> bool:
    """Whether a ``.keras`` file names a layer or function that is not Keras' own, or carries a Lambda's code."""
    with zipfile.ZipFile(path) as archive:
        waiting = [json.loads(archive.read("config.json"))]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            named = "class_name" in part and "module" in part
            if named and (part["class_name"] == "Lambda" or not str(part["module"] or "").startswith("keras")):
                return True
    return False


def _content_digest(path: Path) -> str:
    """Of weights and structure; two saves of one model differ in their time stamps."""
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
    """A metric's function, or a :class:`workbench.Metric`, for the process of a job, with the code and the values that it needs.

    By cloudpickle, which packs what was defined in a notebook by value. It never lies in the store, from which somebody else's
    could be read: :func:`workbench.jobs.jobs.start` hands it to the process that it starts.

    Raises:
        InputError: something that the function needs cannot leave this process.
    """
    import cloudpickle

    try:
        # what a module defines goes by its name: it is looked for where this process would
        return bytes(cloudpickle.dumps((sys.path, cloudpickle.dumps(function))))
    except Exception as cause:
        raise InputError(
            f"The metric '{getattr(function, '__name__', function)}' cannot be handed to the process that measures: {brief(cause)}. "
            "Let it use its arguments, modules and plain values only, or run it without the panel: workbench.run(metric=...)."
        ) from cause


def identity(metric: Any) -> str:
    """Name of a metric's function and eight digits of a digest of its content: ``score 1a2b3c4d``; "" where none was given.

    The content is what cloudpickle packs, code and values, less the place at which the code stood, so that a cell that is run
    again by another kernel makes the same function; and the file of the module that it is imported from, though not of those
    that this one imports. What is the same may have other digits, such as code with a set in it; what cannot be packed has none.
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
        # what was packed once has other objects in common: it is to be the same on both sides of that
        sent = pickle.loads(cloudpickle.dumps(metric))  # noqa: S301 - by this very line
        Placeless(SimpleNamespace(write=total.update)).dump(sent)
        for file in sorted(_files(found)):
            total.update(Path(file).read_bytes())
    except Exception:  # whoever hands it over tells why
        return str(found)
    return f"{found} {total.hexdigest()[:8]}"


def _files(metric: Metric) -> set[str]:
    """Of the modules from which its functions are imported: cloudpickle packs their names only."""
    apart = [
        sys.modules.get(str(getattr(each, "__module__", "")))
        for each in (metric.parts, metric.value)
        if "<" not in getattr(each, "__qualname__", "<")
    ]
    files = {str(getattr(each, "__file__", None) or "") for each in apart if each and each.__name__ != "__main__"}
    return {file for file in files if file.endswith(".py")}


def unpacked(content: bytes) -> Any:
    """The inverse of :func:`packed`, in the process that was handed it.

    Raises:
        InputError: a module that the function needs is not found there.
    """
    import pickle

    with during("unpack", "the metric's function in the process that measures", InputError):
        # from the process that started this one, never from a file
        path, function = pickle.loads(content)  # noqa: S301
        sys.path.extend(each for each in path if each not in sys.path)
        return pickle.loads(function)  # noqa: S301


def kept_data(data: Any, store: Store) -> Path:
    """Arrays, or batches from a generator or a ``tf.data.Dataset``, as an ``.npz`` file in the store, kept by its content.

    Args:
        data: arrays by input name (labels as ``y``), one array, a tuple ``(x, y)``; or an iterable of batches, each of which
            is one of those. First axis = sample.
        store: where to keep the file.

    Raises:
        InputError: nothing came, too much, or batches of different inputs or shapes.
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
                np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]
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
                f"The generator of data did not end within {MOST_BATCHES:,} batches or {MOST_BYTES // 2**30} GiB. Cut it off, "
                "for example with itertools.islice(batches, 100)."
            )
    if not batches:
        raise InputError("The generator of data gave nothing. Give at least one batch.")
    names = {tuple(sorted(batch)) for batch in batches}
    if len(names) > 1:
        raise InputError(f"The batches of data have different inputs: {' and '.join(map(str, sorted(names)))}.")
    with during("join", "the batches of data, whose shapes differ beyond the first axis", InputError):
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _named(batch: Any) -> dict[str, np.ndarray]:
    """One batch as arrays by name; tensors of TensorFlow become arrays."""
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
