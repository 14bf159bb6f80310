"""Mutants of small real model files, and the promise that each of them ends in a model or in one clear sentence."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import re
import shutil
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

import graph_mutants
import model_zoo

from workbench.errors import InputError
from workbench.runs import sources
from workbench.store import Store
from workbench.workers.pool import Pool

Draw = random.Random
Mutate = Callable[[bytes, Draw], bytes]
Write = Callable[[Path, Path, Draw], Path]
"""Writes a mutant of the file or folder of the first argument into the folder of the second; its path."""


def originals(folder: Path) -> dict[str, Path]:
    """One small file or folder of every format, made by the real libraries."""
    import keras
    import tensorflow as tf

    folder.mkdir(parents=True, exist_ok=True)
    made = {"keras": model_zoo.keras_mlp(folder / "m.keras")}
    loaded = keras.models.load_model(made["keras"])
    made["h5"] = folder / "m.h5"
    loaded.save(made["h5"])
    made["saved_model"] = folder / "saved_model"
    loaded.export(made["saved_model"], verbose=False)
    made["tflite"] = folder / "m.tflite"
    made["tflite"].write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(made["saved_model"])).convert())
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        tf.nn.relu(tf.matmul(x, tf.constant([[1.0, -1.0]] * 4)), name="y")
    made["frozen_graph"] = folder / "m.pb"
    made["frozen_graph"].write_bytes(graph.as_graph_def().SerializeToString())
    made["onnx"] = model_zoo.save(model_zoo.onnx_dense(), folder / "m.onnx")
    return made


def bytes_mutant(content: bytes, draw: Draw) -> bytes:
    """One to four edits: bits, runs, cuts, copies, insertions."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        place, length = draw.randrange(max(1, len(data))), draw.choice((1, 2, 4, 16, 64))
        kind = draw.randrange(7)
        if kind == 0 and data:
            data[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[place : place + length] = draw.randbytes(length)
        elif kind == 2:
            data[place : place + length] = draw.choice((b"\0", b"\xff")) * length
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            start = draw.randrange(max(1, len(data)))
            data[place:place] = data[start : start + length]
        elif kind == 5:
            data[place:place] = draw.choice(
                (b"\xff" * 9 + b"\x01", b"\x7f\xff\xff\xff", b"../../x", b"\x80\x80\x80\x80\x10")
            )
        else:
            del data[place:]
    return bytes(data)


WEIRD = (None, -1, 0, 1, 2**31, 10**12, 1e308, "", "x" * 5000, "../../x", [], {}, [None], "float64", "string", True)


def json_mutant(content: bytes, draw: Draw) -> bytes:
    """A JSON text with one or two of its values replaced, removed or doubled."""
    tree = json.loads(content)
    for _ in range(draw.choice((1, 2))):
        spots = list(_spots(tree))
        parent, key = draw.choice(spots)
        kind = draw.randrange(3)
        if kind == 0:
            parent[key] = draw.choice(WEIRD)
        elif kind == 1:
            del parent[key]
        else:
            parent[key] = copy.deepcopy(draw.choice([p[k] for p, k in spots]))  # or the tree would hold itself
    return json.dumps(tree).encode()


def _spots(tree: object) -> Iterator[tuple]:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(pairs):
        yield tree, key
        yield from _spots(value)


def archive_mutant(content: bytes, draw: Draw) -> bytes:
    """A ``.keras`` file packed again around a changed part, so that its checksums are right; or its bytes changed."""
    if draw.random() < 0.2:
        return bytes_mutant(content, draw)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice(("config.json", "config.json", "model.weights.h5", "metadata.json"))
    if draw.random() < 0.1:
        parts[draw.choice(("../x", "other/" + name, "/x"))] = parts.pop(name)
    else:
        change = json_mutant if name == "config.json" and draw.random() < 0.7 else bytes_mutant
        parts[name] = change(parts[name], draw)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for each, data in parts.items():
            archive.writestr(each, data)
    return packed.getvalue()


def hdf5_mutant(content: bytes, draw: Draw) -> bytes:
    """A full model in HDF5 with its configuration changed, or its bytes."""
    if draw.random() < 0.5:
        return bytes_mutant(content, draw)
    import h5py

    memory = io.BytesIO(content)
    with h5py.File(memory, "r+") as file:
        text = file.attrs["model_config"]
        del file.attrs["model_config"]
        changed = json_mutant(text if isinstance(text, bytes) else text.encode(), draw)
        if len(changed) < 60_000:  # what an attribute holds
            file.attrs["model_config"] = changed.decode()
    return memory.getvalue()


def graph_mutant(content: bytes, draw: Draw) -> bytes:
    """An ONNX file with a node, a shape or a weight changed, or its bytes."""
    if draw.random() < 0.5:
        return bytes_mutant(content, draw)
    import onnx

    model = onnx.ModelProto.FromString(content)
    graph = model.graph
    kind = draw.randrange(6)
    if kind == 0 and graph.node:
        draw.choice(graph.node).op_type = draw.choice(("If", "Loop", "Conv", "Reshape", "", "ConstantOfShape", "Nope"))
    elif kind == 1:
        draw.choice((*graph.input, *graph.output)).type.tensor_type.elem_type = draw.randrange(-1, 30)
    elif kind == 2:
        tensor = draw.choice(graph.initializer)
        tensor.dims[:] = [draw.choice((0, -1, 1, 4, 2**31, 2**62)) for _ in range(draw.randrange(6))]
    elif kind == 3:
        node = draw.choice(graph.node)
        node.input[:] = [draw.choice(("x", "y", "w", "", "nosuch")) for _ in range(draw.randrange(5))]
    elif kind == 4:
        tensor = draw.choice(graph.initializer)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(
            key="location", value=draw.choice(("../../etc/passwd", "/etc/passwd", "gone.bin", ".", ""))
        )
    else:
        model.opset_import[0].version = draw.choice((-1, 0, 1, 6, 7, 99, 2**40))
    return model.SerializeToString()


def tensorflow_mutant(change: Mutate, content: bytes, draw: Draw) -> bytes:
    """A TensorFlow graph with its structure changed, most often so that it would write a file; or its bytes."""
    return bytes_mutant(content, draw) if draw.random() < 0.3 else change(content, draw)


MUTATORS: dict[str, Mutate] = {
    "keras": archive_mutant,
    "h5": hdf5_mutant,
    "saved_model": lambda content, draw: tensorflow_mutant(graph_mutants.saved_model_mutant, content, draw),
    "frozen_graph": lambda content, draw: tensorflow_mutant(graph_mutants.frozen_graph_mutant, content, draw),
    "tflite": bytes_mutant,
    "onnx": graph_mutant,
}


def write_mutant(kind: str, original: Path, into: Path, draw: Draw) -> Path:
    """One mutant of ``original`` in the folder ``into``."""
    place = into / original.name
    if original.is_dir():
        shutil.copytree(original, place)
        parts = (
            *["saved_model.pb"] * 4,
            "variables/variables.index",
            "variables/variables.data-00000-of-00001",
        )
        part = place / draw.choice(parts)
        change = MUTATORS[kind] if part.suffix == ".pb" else bytes_mutant
        part.write_bytes(change(part.read_bytes(), draw))
    else:
        place.write_bytes(MUTATORS[kind](original.read_bytes(), draw))
    return place


@dataclass
class Outcome:
    """What became of the mutants of one format."""

    opened: int = 0
    refused: int = 0
    killed: int = (
        0  # refused because the reading process crashed, hung or grew: contained, and reported in one sentence
    )
    slowest_s: float = 0.0
    broken: list[str] = field(default_factory=list)  # what went against the promise, with the seed that repeats it
    sentences: Counter = field(default_factory=Counter)


class Fuzzer:
    """Opens mutants through the front door, one after another, in workers that it keeps. Use as a context manager, one at a time:
    it moves the current folder.

    The workers are not confined: what the checks let pass is to be seen, not held back.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root / "store").prepare()
        self.pool = Pool(self.store.log_path, threading.Event(), confined=False)
        self.watched = [root / "home", root / "cwd", root / "temp"]
        self._known: set[Path] = set()
        self._warm: set[str] = set()
        self._inside = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._inside.enter_context(_moved(*self.watched))
        self._inside.enter_context(self.pool)
        return self

    def __exit__(self, *exc: object) -> None:
        self._inside.close()

    def open(self, path: Path) -> object:
        return sources.read_model(self.store, self.pool, str(path))

    def fuzz(
        self,
        kind: str,
        original: Path,
        numbers: Iterable[int],
        write: Write | None = None,
        opens: Callable[[Path], object] | None = None,
    ) -> Outcome:
        """What becomes of the mutants of these numbers; ``write`` and ``opens`` where it is not a model."""
        outcome, opens = Outcome(), opens or self.open
        if kind not in self._warm:  # libraries leave settings and caches of their own at first use
            elsewhere = _named_in(original)
            with contextlib.suppress(InputError):
                opens(original)
            outcome.broken += [
                f"{kind}: a file was written: {path}" for path in sorted(_named_in(original) - elsewhere)
            ]
            self._known |= _files(self.watched[:2])
            self._warm.add(kind)
        for number in numbers:
            name = f"{kind} {number}"
            with tempfile.TemporaryDirectory(dir=self.root) as folder:
                draw = Draw(name)
                place = (write or partial(write_mutant, kind))(original, Path(folder), draw)
                _open_one(outcome, name, Path(folder), place, opens)
            written = _files(self.watched[:2]) - self._known
            texts = [f"{name}: a file was written: {path}" for path in sorted(written)]
            outcome.broken += [text for text in texts if text not in outcome.broken]
            self._known |= written
        return outcome

    def left_behind(self) -> list[str]:
        """Temporary files of the workers that are there after they ended."""
        self.pool.close()
        return [f"a file was left behind: {path}" for path in sorted(_files(self.watched[2:]))]


def fuzz(kind: str, original: Path, mutants: int, seed: int, root: Path) -> Outcome:
    """What becomes of ``mutants`` mutants of a model."""
    with Fuzzer(root) as fuzzer:
        outcome = fuzzer.fuzz(kind, original, range(seed, seed + mutants))
        outcome.broken += fuzzer.left_behind()
    return outcome


def _files(places: list[Path]) -> set[Path]:
    """Every file there, without the caches of libraries."""
    return {path for place in places for path in place.rglob("*") if path.is_file() and ".cache" not in path.parts}


def _open_one(outcome: Outcome, name: str, folder: Path, place: Path, opens: Callable[[Path], object]) -> None:
    before, elsewhere = sorted(str(path) for path in folder.rglob("*")), _named_in(folder)
    start = time.monotonic()
    try:
        opens(place)
        outcome.opened += 1
    except InputError as error:
        text = error.message
        outcome.refused += 1
        outcome.killed += "crashed or stopped the process" in text
        outcome.sentences[text.replace(str(folder), "")[:60]] += 1
        if not is_clear(text):
            outcome.broken.append(f"{name}: not one clear sentence: {text!r}")
    except Exception as error:
        outcome.broken.append(f"{name}: {type(error).__name__}: {error}")
    outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - start)
    after = sorted(str(path) for path in folder.rglob("*"))
    if before != after:
        outcome.broken.append(f"{name}: files appeared beside the model: {set(after) - set(before)}")
    outcome.broken += [f"{name}: a file was written: {path}" for path in sorted(_named_in(folder) - elsewhere)]


def is_clear(text: str) -> bool:
    """Whether a message is a sentence or two on one line, and not what a library raised."""
    return not ("\n" in text or len(text) > 700 or "Traceback" in text) and text.rstrip(")").endswith((".", "'"))


def _named_in(place: Path) -> set[Path]:
    """Files that lie where a path in the model's own bytes points; libraries add endings of their own."""
    found = set()
    for file in [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]:
        for name in set(re.findall(rb"/[\w.+@/-]+", file.read_bytes())):
            path = Path(name.decode())
            with contextlib.suppress(OSError):  # no folder there, or none that may be read
                found |= {each for each in path.parent.iterdir() if _akin(each.name, path.name)}
    return {path for path in found if place not in (path, *path.parents)}


def _akin(found: str, named: str) -> bool:
    """One begins the other: bytes after a name may look like a part of it, and savers add to theirs."""
    return len(named) > 3 and (found.startswith(named) or named.startswith(found))


@contextmanager
def _moved(home: Path, cwd: Path, temp: Path) -> Iterator[None]:
    """Give the workers a home, a folder and a place for temporary files of their own."""
    old = {name: os.environ.get(name) for name in ("HOME", "TMPDIR")}
    here = Path.cwd()
    for place in (home, cwd, temp):
        place.mkdir(parents=True, exist_ok=True)
    os.environ.update(HOME=str(home), TMPDIR=str(temp))
    os.chdir(cwd)
    try:
        yield
    finally:
        os.chdir(here)
        for name, value in old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
