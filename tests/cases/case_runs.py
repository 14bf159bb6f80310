"""The command line in a process of its own, and what it reported; and small networks for it to run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_onnx
from onnx import helper, numpy_helper

from workbench.runs.archive import history

REPOSITORY = Path(__file__).resolve().parents[2]
SHORT = ["--measure-s", "0.1", "--max-measure-s", "0.1", "--rounds", "2", "--batches", "1"]
FLOAT, UINT8, INT64 = 1, 2, 7  # of onnx.TensorProto
LIMIT_S = 600


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    text: str  # standard output and standard error
    rows: pd.DataFrame | None = None  # of the store's history, one line per row of the experiment

    @property
    def scores(self) -> list[float]:
        """The metric of each row, as the store has it; nan where none is claimed."""
        return [] if self.rows is None else [float(value) for value in self.rows.accuracy]

    def is_refused(self, *words: str) -> bool:
        """Whether it ended in one sentence with all of these words (regular expressions), and without a traceback."""
        assert "Traceback" not in self.text
        return self.status == 2 and all(re.search(word, self.text) for word in words)

    def gives(self, value: float, tolerance: float = 1e-6) -> bool:
        """Whether every row was scored and has this value."""
        return (
            self.status == 0
            and bool(self.scores)
            and self.scores == pytest.approx([value] * len(self.scores), abs=tolerance)
        )


def command(folder: Path, *words: object) -> Done:
    """``python -m workbench`` with these words, run in ``folder`` with a store of its own there."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-m", "workbench", *map(str, words)],
        capture_output=True, text=True, check=False, cwd=folder, env=environment, timeout=LIMIT_S,
    )  # fmt: skip
    return Done(done.returncode, done.stdout + done.stderr)


def report(
    folder: Path, model: str, data: str, *words: object, backends: str = "onnxruntime", precisions: str = "fp32"
) -> Done:
    """``report`` on files in ``folder``, with as little measuring as possible."""
    done = command(
        folder, "report", "--model", model, "--data", data, "--backends", backends, "--precisions", precisions, *SHORT,
        "--store", folder / "store", "--output", folder / "out.html", *words,
    )  # fmt: skip
    return Done(done.status, done.text, history(folder / "store") if done.status == 0 else None)


def inspect(folder: Path, model: str) -> Done:
    return command(folder, "inspect", model, "--store", folder / "store")


def network(path: Path, nodes, inputs, outputs, **constants) -> None:
    """An ONNX file. Nodes are (operator, inputs, outputs, attributes); inputs and outputs (name, type, shape without batch)."""
    small_onnx.saved(
        path,
        [helper.make_node(kind, takes, gives, **attributes) for kind, takes, gives, attributes in nodes],
        [(name, kind, (None, *shape)) for name, kind, shape in inputs],
        [(name, kind, (None, *shape)) for name, kind, shape in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
        opset=17,
    )


def linear(path: Path, weights: np.ndarray, *then: str, output: str = "o") -> None:
    """``x @ weights``, and the operators of ``then`` one after another."""
    names = ["x", *(f"h{number}" for number in range(len(then))), output]
    nodes = [("MatMul", ["x", "w"], [names[1]], {})]
    nodes += [(kind, [names[place]], [names[place + 1]], {}) for place, kind in enumerate(then, start=1)]
    size, found = weights.shape
    network(path, nodes, [("x", FLOAT, (size,))], [(output, FLOAT, (found,))], w=weights.astype(np.float32))


def noisy(labels: np.ndarray, classes: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """``labels`` of which this share is drawn again, so that a score is neither 0 nor 1."""
    return np.where(rng.uniform(size=labels.shape) < share, rng.integers(0, classes, labels.shape), labels)
