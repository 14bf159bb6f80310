"""A run that is killed at a chosen moment, in a process of its own: what it had measured is not measured again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import ask, counts, write_dense

from workbench.runs.pipeline import run
from workbench.store import Store

KILLED = """
import json, os, signal, sys
from pathlib import Path
from workbench.measure import verdict
from workbench.runs.pipeline import run
from workbench.settings.experiment import Experiment
from workbench.store.draft import Draft

verdict.ALLOWANCE = 1e9  # a single launch tells nothing

kind, number, asked, store = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4]
publish, seen = Draft.publish, []

def kill_at(draft, final, *more):
    seen.append(final) if final.parent.name == kind else None
    if len(seen) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return publish(draft, final, *more)

Draft.publish = kill_at
run(Experiment(**asked), store=store)
"""
"""Dies right before the artefact of this kind and number is published."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dense(tmp_path_factory.mktemp("killed"))


def kill(kind: str, number: int, asked, store: Store) -> dict[str, int]:
    """Run and die; when each timing was made that is there."""
    command = [sys.executable, "-c", KILLED, kind, str(number), json.dumps(asked.parameters()), str(store.root)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    return made(store)


def made(store: Store) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in store.root.glob("timing/*/manifest.json")}


@pytest.mark.long
@pytest.mark.parametrize(("kind", "there"), [("timing", 1), ("cohort", 2)])
def test_a_kill_between_what_the_last_launch_publishes_costs_nothing(folder, store, kind, there):
    asked = ask(folder, backends="onnxruntime", batches="1", measure_s=0.1, max_measure_s=0.1)
    before = kill(kind, 2 if kind == "timing" else 1, asked, store)
    assert len(before) == there
    events = []
    again = run(asked, store=store, on_event=events.append)
    assert not any("going on" in event.text for event in events)  # nothing is left, so that no session is begun
    assert counts(again)[1:2] == (0,)
    assert again.tally.reused_timings == 2
    assert made(store).items() >= before.items()
    assert not list(store.root.glob("checkpoint/*"))
    assert all(row.accuracy for row in again.rows)


@pytest.mark.long
def test_a_kill_in_the_third_launch_costs_that_launch(folder, store, monkeypatch):
    monkeypatch.setattr("workbench.measure.verdict.ALLOWANCE", 1e9)
    asked = ask(folder, backends="onnxruntime", batches="1", measure_s=0.05, max_measure_s=0.3)
    assert kill("checkpoint", 3, asked, store) == {}
    events = []
    again = run(asked, store=store, on_event=events.append)
    assert any("going on after launch 2 of at most 8" in event.text for event in events)
    assert counts(again)[1:3] == (2, 0)
    assert again.tally.reused_scores == 2
    for row in again.rows:
        assert [block.round for block in row.timing.blocks] == list(range(len(row.timing.blocks)))
        assert len(row.timing.launches) > 2
