"""A model or its data are written over while a run reads them: no result is kept that is not of the content that it names.

Where the contents ``A`` and ``B`` are exchanged at random times, a run may end well or be refused. Afterwards each of them has its own
accuracy, which is computed with NumPy alone.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import recording
import stores
import trial_model
from recording import One, Outcome, Trial
from reports import Report, program

LIMIT_S, LATEST_S = 300.0, 8.0


def _accuracy(model: int, labels: int) -> float:
    """The share of the samples labelled by the weights ``labels`` that the weights ``model`` get right."""
    x = trial_model.samples()
    return float((trial_model.outputs(x, model).argmax(1) == trial_model.outputs(x, labels).argmax(1)).mean())


def _replace(path: Path, content: Path, draw: random.Random) -> None:
    """Exchange a file or a folder for a copy of ``content``: in place, in two steps, or as another one of the same name."""
    how = draw.randrange(3)
    if how == 2:
        other = path.with_name(f"{path.name}.new")
        _copy(content, other)
        if path.is_dir():
            shutil.rmtree(path)
        other.replace(path)
        return
    pairs = [(content, path)]
    if content.is_dir():
        pairs = [(each, path / each.relative_to(content)) for each in sorted(content.rglob("*")) if each.is_file()]
    for source, target in pairs:
        _write_over(target, source.read_bytes(), draw.uniform(0, 0.3) if how else None)


def _write_over(path: Path, content: bytes, pause_s: float | None) -> None:
    if pause_s is None:
        path.write_bytes(content)
        return
    with path.open("r+b") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        time.sleep(pause_s)
        file.write(content[len(content) // 2 :])
        file.truncate()


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


class Kind(NamedTuple):
    """What is written over: the model or the data, and how each is written."""

    name: str
    model: str
    data: str
    write_model: Callable[..., Path]
    write_data: Callable[..., Path]
    of_model: bool


MODEL = Kind("model", "m.onnx", "d.npz", trial_model.write_model, trial_model.write_data, of_model=True)
DATA = MODEL._replace(name="data", of_model=False)
FOLDER = MODEL._replace(name="folder", model="m", write_model=trial_model.write_folder)
TABLE = Kind(
    "table", "m.onnx", "d.csv", partial(trial_model.write_model, flat=True), trial_model.write_table, of_model=False
)
FILES = 40
"""The cases before this number are of files of models and arrays; those from it on take turns."""


def kind_of(number: int, draw: random.Random) -> Kind:
    """What the case of this number writes over."""
    return draw.choice((MODEL, MODEL, DATA)) if number < FILES else (FOLDER, TABLE)[number % 2]


@contextlib.contextmanager
def session() -> Iterator[One]:
    yield _one


def _one(number: int, draw: random.Random, place: Path) -> Outcome:
    from workbench.models import inspection

    a, b, kind = 2 * number, 2 * number + 1, kind_of(number, draw)
    model, data, store = place / kind.model, place / kind.data, place / "store"
    path, write = (model, kind.write_model) if kind.of_model else (data, kind.write_data)
    contents = {seed: write(_made(place / str(seed)) / path.name, seed=seed) for seed in (a, b)}
    (kind.write_data if kind.of_model else kind.write_model)(data if kind.of_model else model, seed=a)
    _copy(contents[a], path)
    asked = trial_model.SETTINGS | {"model": str(model), "data": str(data)}

    def start() -> Report:
        return Report(place, model, data, store, command=program(asked, store))

    report, times = start(), draw.choice((1, 1, 20))
    pause = draw.uniform(0, LATEST_S)
    for each in range(times):
        time.sleep(pause if times == 1 else draw.uniform(0, 0.6))
        _replace(path, contents[(b, a)[each % 2]], draw)
    status = report.wait(LIMIT_S)
    faults = ["it did not end"] if status is None else []
    faults += [f"traceback: {report.text[-200:]}"] if "Traceback" in report.text else []
    expected: dict[str, set[float]] = {}
    for seed in (a, b):
        _copy(contents[seed], path)
        last = start()
        faults += [f"then: {last.text[-200:]}"] if last.wait(LIMIT_S) else []
        accuracy = _accuracy(seed, a) if kind.of_model else _accuracy(a, seed)
        expected.setdefault(inspection.digest_of(model), set()).add(accuracy)
    # files of both folders together may be a model with the weights of one of them; TensorFlow refuses weights of both by their checksums
    mixed = set[float]().union(*expected.values()) if kind is FOLDER else set[float]()
    torn = _torn(contents, a) if kind is TABLE else set[float]()
    faults += _false(store, expected, mixed, torn)
    faults += [f"corrupt: {reported}" for reported in stores.corrupt(store)]
    how = f"{kind.name} written over {'once' if times == 1 else f'{times} times'}"
    return Outcome(how, not faults, "; ".join(faults) or f"status {status}")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _torn(contents: dict[int, Path], model: int) -> set[float]:
    """The accuracies of a table that was written over to its middle: for as long as the writer pauses there, this is what the file holds."""
    wanted, found = trial_model.outputs(trial_model.samples(), model).argmax(1), set()
    for first, second in itertools.permutations(path.read_bytes() for path in contents.values()):
        text = first[: len(first) // 2] + second[len(first) // 2 :]
        found.add(float((np.loadtxt(io.BytesIO(text), delimiter=",", skiprows=1)[:, -1] == wanted).mean()))
    return found


def _false(store: Path, expected: dict[str, set[float]], mixed: set[float], torn: set[float]) -> list[str]:
    """Results in the store with another accuracy than those of the model that they name, by its digest (``mixed``: those of any other
    model; ``torn``: those of data in the middle of being written), and accuracies without a result.
    """
    found: list[str] = []
    missing = {(digest, accuracy) for digest, each in expected.items() for accuracy in each}
    for manifest in store.glob("results/*/manifest.json"):
        facts = json.loads(manifest.read_text(encoding="utf-8"))["facts"]
        for row in facts["rows"]:
            accuracy, digest = row["columns"]["accuracy"], facts["about"]["digest"]
            missing.discard((digest, accuracy))
            if accuracy is not None and accuracy not in expected.get(digest, mixed) | torn:
                found.append(f"accuracy {accuracy} of {digest[:8]}, of {expected}")
    return found + [f"no result has the accuracy {accuracy} of {digest[:8]}" for digest, accuracy in sorted(missing)]


TRIAL = Trial("overwritten", session, 52, "No result is kept under a content that it is not of.")

if __name__ == "__main__":
    recording.exit_with(TRIAL)
