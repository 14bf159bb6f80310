"""Models and data that are made to do harm: each is refused in one sentence within its limits, and nothing is written elsewhere."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import recording
import trial_model
from attack_data import DATA
from attack_keras import KERAS
from attack_onnx import ONNX
from attack_tensorflow import TENSORFLOW
from recording import One, Outcome, Trial

MODELS = ONNX | KERAS | TENSORFLOW
LIMIT_S, MEMORY_BYTES = 90.0, 3 * 2**30
WITHOUT_EFFECT = {
    "frozen_gradient_that_writes", "hdf5_cycle", "hdf5_filter", "keras_compiled_loss", "keras_two_directories",
    "onnx_settings_in_metadata", "onnx_training_weights", "saved_model_loops_of_links",
}  # fmt: skip
"""Attacks that may be opened, because what they bring is never looked at: nothing may be written or read."""


@contextlib.contextmanager
def session(names: tuple[str, ...] = (*MODELS, *DATA)) -> Iterator[One]:
    from workbench.runs import sources
    from workbench.runs.engines import Means
    from workbench.runs.executor import Executor
    from workbench.store import Store
    from workbench.system.limits import StepLimits
    from workbench.workers.pool import Pool

    root = Path(tempfile.mkdtemp(prefix="attacks-"))
    store = Store(root / "store").prepare()
    with Pool(store.log_path, threading.Event(), confined=False, limits=StepLimits(MEMORY_BYTES, LIMIT_S)) as pool:
        sound = sources.read_model(store, pool, str(trial_model.write_model(root / "sound.onnx")))

        def opens(path: Path, *, is_data: bool) -> None:
            from workbench import Experiment

            if is_data:
                sources.data_of(Experiment(data=str(path)), sound, calibrating=False)
                return
            model = sources.read_model(store, pool, str(path))
            data = sources.data_of(Experiment(data="random"), model, calibrating=False)
            Executor.of(Means(store, pool, lambda _: None), model, data).examination()

        def one(number: int, _draw: random.Random, place: Path) -> Outcome:
            name = names[number % len(names)]
            target, folder = _target(place), place / "model"
            folder.mkdir()
            path = (MODELS | DATA)[name](folder, target)
            before, began = _state(target), time.monotonic()
            found = _answer(lambda: opens(path, is_data=name in DATA))
            took = round(time.monotonic() - began, 1)
            harm = [] if _state(target) == before else ["something was written or started elsewhere"]
            refused = found.startswith("refused")
            held = not harm and (refused or (found == "opened" and name in WITHOUT_EFFECT)) and took < 2 * LIMIT_S
            return Outcome(name, held, "; ".join([*harm, found]), {"took_s": took})

        try:
            yield one
        finally:
            shutil.rmtree(root, ignore_errors=True)


def _target(place: Path) -> Path:
    """A folder that an attack tries to reach: a secret, and programs that leave a mark when they are started."""
    target = place / "target"
    target.mkdir()
    (target / "secret").write_text("secret\n" * 8)
    program = target / "gs"
    program.write_text(f"#!/bin/sh\ntouch {target}/started\n")
    program.chmod(0o755)
    os.environ["PATH"] = os.pathsep.join([str(target), *os.environ["PATH"].split(os.pathsep)[-8:]])
    return target


def _state(target: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(target.iterdir())}


def _answer(what: object) -> str:
    from workbench.errors import WorkbenchError

    assert callable(what)
    try:
        what()
    except WorkbenchError as error:
        clear = "\n" not in error.message and len(error.message) < 900
        return f"{'refused' if clear else 'no sentence'}: {type(error).__name__}: {error.message}"
    except Exception as error:
        return f"exception: {type(error).__name__}: {error}"
    return "opened"


TRIAL = Trial(
    "attacks", session, len(MODELS) + len(DATA), "What is made to do harm is refused, and nothing is written elsewhere."
)

if __name__ == "__main__":
    recording.exit_with(TRIAL)
