"""The command ``store`` after a real run."""

from __future__ import annotations

import grp
import os
import re
import stat

import numpy as np
import pytest
import small_model

from workbench import Experiment, history, run
from workbench.cli import entry, main
from workbench.cli import store as command


@pytest.fixture
def asked(tmp_path) -> Experiment:
    x = np.eye(4, dtype=np.float32).repeat(10, axis=0)
    np.savez(tmp_path / "data.npz", x=x, y=x[:, :3].argmax(1))
    model = small_model.small_onnx(tmp_path / "model.onnx")
    quick = {"measure_s": 0.02, "max_measure_s": 0.02, "rounds": 2}
    return Experiment(
        model=model, data=str(tmp_path / "data.npz"), backends="onnxruntime", precisions="fp32", batches=1, **quick
    )


def test_what_a_run_used_stays_and_the_next_run_finds_all_of_it(asked, store, capsys) -> None:
    run(asked, store=store)
    store.put("engine", "nobodys", {})
    place = ["--store", str(store.root)]
    assert main(["store", *place]) == 0
    reported = capsys.readouterr().out
    assert re.search(r"engine +2 .*engines", reported)
    assert main(["store", *place, "--unreferenced", "--damaged", "--dry-run"]) == 0
    assert "unreferenced: 1 of engine" in capsys.readouterr().out
    assert store.path("engine", "nobodys").exists()
    assert main(["store", *place, "--prune", "--unreferenced", "--damaged"]) == 0
    assert not store.path("engine", "nobodys").exists()
    tally = run(asked, store=store).tally
    assert (tally.built, tally.measured, tally.scored) == (0, 0, 0)
    assert (tally.reused_builds, tally.reused_timings, tally.reused_scores) == (1, 1, 1)
    assert main(["store", *place, "--prune", "--max-size", "1KB"]) == 1
    assert "Add --older-than" in capsys.readouterr().err
    assert run(asked, store=store).tally.built == 0
    assert len(history(store)) == 1
    assert main(["store", *place, "--prune", "--older-than", "0h"]) == 0
    assert history(store).empty
    assert not list((store.root / "engine").iterdir())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--prune"], "--prune needs to know what to remove"),
        (["--damaged"], "Nothing was removed: add --prune"),
        (["--prune", "--older-than", "soon"], "'--older-than' is 'soon'"),
        (["--prune", "--max-size", "10 potatoes"], "'--max-size' is '10 potatoes'"),
    ],
)
def test_bad_options_are_one_sentence(store, options, says, capsys) -> None:
    assert main(["store", "--store", str(store.root), *options]) == 2
    error = capsys.readouterr().err
    assert re.search(says, error)
    assert error.count("\n") == 1


def test_any_command_shares_the_store_and_what_it_holds_already(store, monkeypatch, tmp_path, capsys) -> None:
    """The command "store" did nothing with the option, and another member then had no permission to write."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("WORKBENCH_SHARED_STORE", raising=False)
    store.put("engine", "k", "ours")
    group = grp.getgrgid(os.getgid()).gr_name
    before = os.umask(0o022)
    try:
        assert main(["store", "--store", str(store.root), "--shared-store", group]) == 0
    finally:
        os.umask(before)
        os.environ.pop("WORKBENCH_SHARED_STORE", None)
    for place in (store.root, store.root / "engine", store.root / "engine" / "k"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o2770
    manifest = store.root / "engine" / "k" / "manifest.json"
    assert stat.S_IMODE(manifest.stat().st_mode) & 0o067 == 0o060


def test_a_store_of_another_user_is_one_sentence(store, monkeypatch, capsys) -> None:
    """``history`` ended in a traceback for a user outside of the group."""

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(store.root / "results"))

    monkeypatch.setattr(command, "items", refused)
    assert entry.main(["store", "--store", str(store.root)]) == 2
    assert f"There is no permission to use '{store.root / 'results'}'. Ask its owner" in capsys.readouterr().err
