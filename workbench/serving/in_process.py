"""The engine of a deployment in a process of its own, without a server: ``python -m workbench.serving.in_process DIR SAMPLES``.

Each line on standard input is a number of seconds; the answer is one line of JSON with the durations of the calls in that time.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from workbench.deploy.files.selftest import reference
from workbench.deploy.folder import read, version_folder
from workbench.errors import RunError, brief
from workbench.timing import benchmark

if TYPE_CHECKING:
    import numpy as np

WARM_UP_S = 0.5


def request(folder: Path, samples: int) -> dict[str, np.ndarray]:
    """Inputs with so many samples, from the reference; all of one call where the first axis is not a batch."""
    import numpy as np

    inputs, _ = reference(folder)
    if not read(folder).queue.max_batch:
        return {name: np.ascontiguousarray(array[0]) for name, array in inputs.items()}
    flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in inputs.items()}
    return {name: np.resize(array, (samples, *array.shape[1:])) for name, array in flat.items()}


class InProcess:
    """The process that runs the engine; a context manager."""

    def __init__(self, folder: Path, samples: int) -> None:
        words = [sys.executable, "-m", "workbench.serving.in_process", str(folder), str(samples)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate()  # ends at the end of its input

    def block(self, seconds: float) -> tuple[list[int], bool]:
        """Durations of calls in nanoseconds, and whether the process was idle afterwards.

        Raises:
            RunError: the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{seconds}\n")
            self._process.stdin.flush()
            found = json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as cause:
            raise RunError(
                f"The engine in process ended ({brief(cause, 120)}). Run the deployment's selftest.py."
            ) from cause
        return found["samples_ns"], found["quiet"]


def main(folder: Path, samples: int) -> None:
    """Open the model, and time it whenever a line asks for it."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries may print
    deployment = read(folder)
    place = version_folder(folder, deployment.name)
    sys.path.insert(0, str(place))
    run = importlib.import_module("runner").open_model(place, deployment.options)
    feeds: dict[str, Any] = request(folder, deployment.fixed_batch or samples)
    benchmark.warm_up(lambda: run(feeds), WARM_UP_S)
    for line in sys.stdin:
        block = benchmark.timed_block(lambda: run(feeds), float(line))
        print(json.dumps({"samples_ns": block.samples_ns, "quiet": block.quiet}), file=out, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
