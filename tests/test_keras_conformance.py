"""The script that converts every layer and architecture of Keras, on a few of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "keras_conformance.py"


def run(folder: Path, *options: str) -> str:
    command = [
        sys.executable,
        str(SCRIPT),
        "--record",
        str(folder / "record.jsonl"),
        "--table",
        str(folder / "table.md"),
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_results_are_recorded_once_and_made_a_table(tmp_path):
    names = ("Hashing", "RepeatVector")
    run(tmp_path, "--group", "layers", "--only", names[0])
    run(tmp_path, "--group", "layers", "--only", names[1])
    assert run(tmp_path, "--group", "layers", "--only", names[1]) == ""  # it goes on where it ended
    found = [json.loads(line) for line in (tmp_path / "record.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(each["name"], each["result"]) for each in found] == [("Hashing", "refused"), ("RepeatVector", "converted")]
    assert found[1]["batches"] == [1, 7]
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "| RepeatVector | converted | 1 and 7 | " in table
    assert "'hashing' (Hashing): " in table
    assert "No result is recorded for: Activation, " in table


@pytest.mark.long
def test_a_model_that_takes_too_long_costs_only_itself(tmp_path):
    out = run(tmp_path, "--group", "layers", "--only", "RepeatVector", "--limit-s", "0.1")
    assert out == "RepeatVector: ended took more than 0 s\n"
