"""What a served model keeps of its traffic: answers compared with those of the source in FP32, and a window of recent samples.

All of it happens in one thread of the lowest priority behind a bounded queue. A request is never held up: where the queue is full, what
was offered is dropped and counted. Needs NumPy and the source's library only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import queue
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

LENGTH = 16
"""Entries that wait in the queue at most."""
MOST_BYTES = 2**24
"""Bytes of one entry; what is larger is dropped."""
WINDOW_BYTES = 2**26
NICEST = 19

Arrays = dict[str, Any]


class Watcher:
    """The queue and its thread.

    ``settings`` are ``shadow_every`` (0: no comparison), ``folder`` ("": nothing is kept on disk), ``kept`` (disagreements on disk),
    ``window`` (samples) and ``window_s`` (the time over which they are taken, one at a time).
    """

    def __init__(self, model: Path, how: dict[str, Any], name: str, settings: dict[str, Any]) -> None:
        self._model, self._how, self._name, self._settings = model, how, name, settings
        self._queue: queue.Queue[tuple[str, Arrays, Arrays] | None] = queue.Queue(LENGTH)
        self._every = settings["shadow_every"] if how.get("source") else 0
        self._folder = Path(settings["folder"]) if settings["folder"] else None
        self._spacing_s = settings["window_s"] / max(1, settings["window"])
        self._requests, self._taken_at = 0, 0.0
        self._window: deque[tuple[Arrays, Arrays]] = deque(maxlen=settings["window"])
        self._changed = False
        self.counts = {"compared": 0, "disagreements": 0, "dropped": 0, "failed": 0}
        self._thread = threading.Thread(target=self._work, name="watch", daemon=True)
        self._thread.start()

    def offer(self, inputs: Arrays, outputs: Arrays) -> None:
        """Take in one answered request: arrays by name whose first axis is the sample. Returns at once."""
        self._requests += 1
        if self._every and self._requests % self._every == 0:
            self._put("shadow", inputs, outputs)
        now = time.monotonic()
        if self._folder and self._settings["window"] and now - self._taken_at >= self._spacing_s:
            self._taken_at = now
            self._put("window", _row(inputs, 0), _row(outputs, 0))

    def close(self, limit_s: float = 5.0) -> None:
        """End the thread after what waits in the queue."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=limit_s)
            self._thread.join(limit_s)

    def _put(self, kind: str, inputs: Arrays, outputs: Arrays) -> None:
        size = sum(array.nbytes for array in (*inputs.values(), *outputs.values()))
        try:
            if size > MOST_BYTES or self._queue.full():
                raise queue.Full
            # copies: the server takes the memory back
            entry = [{name: np.array(array) for name, array in arrays.items()} for arrays in (inputs, outputs)]
            self._queue.put_nowait((kind, entry[0], entry[1]))
        except queue.Full:
            self.counts["dropped"] += kind == "shadow"

    def _work(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # of this thread only, on Linux
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICEST)
        run, failed = None, False
        written_at, pause_s = time.monotonic(), max(0.2, min(10.0, self._settings["window_s"] / 4))
        while True:
            with contextlib.suppress(queue.Empty):
                entry = self._queue.get(timeout=pause_s)
                if entry is None:
                    break
                kind, inputs, outputs = entry
                if kind == "window":
                    self._window.append((inputs, outputs))
                    self._changed = True
                elif not failed:
                    try:
                        run = run or self._source()
                        self._compare(run, inputs, outputs)
                    except Exception as cause:  # the model goes on without it
                        failed = run is None
                        self.counts["failed"] += 1
                        print(f"the comparison with the source failed: {cause!r}", file=sys.stderr, flush=True)
            if time.monotonic() - written_at >= pause_s:
                self._write_window()
                written_at = time.monotonic()
        self._write_window()

    def _source(self) -> Any:
        """The function that runs the source."""
        folder = self._model / "source"
        spec = importlib.util.spec_from_file_location("source_runner", folder / "runner.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.open_model(folder, self._how["source"]["options"])

    def _compare(self, run: Any, inputs: Arrays, outputs: Arrays) -> None:
        count, fixed = len(next(iter(inputs.values()))), self._how["source"]["fixed_batch"]
        found = [run(_filled(part, fixed)) for part in _parts(inputs, count, fixed)]
        source = {name: np.concatenate([each[name] for each in found])[:count] for name in self._how["outputs"]}
        differs = changed(outputs, source, self._how["metrics"]["output"], self._how["source"]["tolerance"])
        self.counts["compared"] += count
        for place in np.flatnonzero(differs).tolist():
            self._keep(_row(inputs, place), _row(outputs, place), _row(source, place))
            self.counts["disagreements"] += 1

    def _keep(self, inputs: Arrays, served: Arrays, source: Arrays) -> None:
        """Write one sample into the ring: the oldest file is replaced."""
        if not self._folder or not self._settings["kept"]:
            return
        slot = self.counts["disagreements"] % self._settings["kept"]
        marks = {"input:": inputs, "served:": served, "source:": source}
        arrays = {mark + name: array for mark, found in marks.items() for name, array in found.items()}
        _write(self._folder / "disagreements" / f"{self._name}.{slot:04}.npz", arrays | {"time": np.array(time.time())})

    def _write_window(self) -> None:
        if not self._folder or not self._changed:
            return
        self._changed, rows = False, list(self._window)
        size = sum(array.nbytes for array in (*rows[-1][0].values(), *rows[-1][1].values()))
        rows = rows[-max(1, WINDOW_BYTES // max(1, size)) :]
        shapes = [tuple(array.shape for array in row[0].values()) for row in rows]
        rows = [row for row, shape in zip(rows, shapes, strict=True) if shape == shapes[-1]]  # free sizes may differ
        arrays = {f"input:{name}": np.concatenate([row[0][name] for row in rows]) for name in rows[0][0]}
        arrays |= {f"output:{name}": np.concatenate([row[1][name] for row in rows]) for name in rows[0][1]}
        _write(self._folder / "window" / f"{self._name}.npz", arrays | {"time": np.array(time.time())})


def changed(served: Arrays, source: Arrays, scores: str, tolerance: float) -> Any:
    """Which samples are answered differently, bool of shape [n]: by another class where ``scores`` names the output with scores of
    classes, else by a difference of more than ``tolerance`` of the source's largest value.
    """
    if scores:
        return served[scores].argmax(1) != source[scores].argmax(1)
    differs = np.zeros(len(next(iter(source.values()))), bool)
    for name, wanted in source.items():
        largest = float(np.abs(wanted).max(initial=0.0)) or 1.0
        apart = np.abs(served[name].astype(np.float64) - wanted).reshape(len(wanted), -1)
        differs |= ~(apart.max(1, initial=0.0) <= tolerance * largest)
    return differs


def _row(arrays: Arrays, place: int) -> Arrays:
    return {name: array[place : place + 1] for name, array in arrays.items()}


def _parts(arrays: Arrays, count: int, fixed: int | None) -> list[Arrays]:
    step = fixed or count
    return [{name: array[at : at + step] for name, array in arrays.items()} for at in range(0, count, step)]


def _filled(arrays: Arrays, fixed: int | None) -> Arrays:
    return {name: np.resize(array, (fixed, *array.shape[1:])) if fixed else array for name, array in arrays.items()}


def _write(path: Path, arrays: Arrays) -> None:
    """Write a file completely or not at all; a full disk or a folder without permission ends nothing."""
    draft = path.with_name(f".{path.name}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with draft.open("wb") as file:
            np.savez(file, **arrays)
        draft.replace(path)
    except OSError as cause:
        print(f"'{path}' cannot be written: {cause}", file=sys.stderr, flush=True)
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
