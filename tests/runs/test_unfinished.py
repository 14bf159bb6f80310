"""Runs that ended early are listed with what they left, and say how to go on."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import model_zoo
import pytest

from workbench.cli.entry import main
from workbench.errors import InputError
from workbench.records import Event, Status
from workbench.runs.open_run import open_run
from workbench.runs.pipeline import run
from workbench.runs.unfinished import unfinished
from workbench.settings.experiment import Experiment
from workbench.store import Store


def ask(folder: Path) -> Experiment:
    model = model_zoo.save(model_zoo.onnx_dense(), folder / "dense.onnx")
    return Experiment(model=str(model), data="random", backends="onnxruntime", precisions="fp32", batches=1, rounds=2,
                      measure_s=0.02, max_measure_s=0.02)  # fmt: skip


class Killed(BaseException):
    """Ends a run as from outside: nothing of it runs any more."""


def test_a_run_that_was_ended_says_what_is_there_and_how_to_go_on(tmp_path: Path, store: Store, capsys) -> None:
    asked = ask(tmp_path)

    def killed(event: Event) -> None:
        if event.result and event.result.status == Status.BUILT:
            raise Killed

    with pytest.raises(Killed):
        run(asked, store=store, on_event=killed)
    (found,) = unfinished(store)
    assert (found.state, found.ended, found.rows, found.results) == ("ended from outside", 0, 1, False)
    with pytest.raises(
        InputError, match=r"has no results: ended from outside, .* run again, go on from there: .* run .*--rounds 2"
    ):
        open_run(found.name[-6:], store)
    capsys.readouterr()
    assert main(["history", "--runs", "--json", "--store", str(store.root)]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["unfinished"]
    assert (listed["run"], listed["parameters"]["rounds"]) == (found.name, 2)
    assert main(["history", "--store", str(store.root)]) == 0
    assert "1 run without all rows" in capsys.readouterr().out


def test_a_run_that_was_cancelled_is_listed_until_it_was_done(tmp_path: Path, store: Store) -> None:
    asked, cancel = ask(tmp_path), threading.Event()

    def cancelled(event: Event) -> None:
        if event.result and event.result.status == Status.BUILT:
            cancel.set()

    run(asked, store=store, on_event=cancelled, cancel=cancel)
    (found,) = unfinished(store)
    assert (found.state, found.ended, found.rows) == ("cancelled", 0, 1)
    run(asked, store=store, on_event=lambda _: None)
    assert unfinished(store) == ()
