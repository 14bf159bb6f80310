"""A few hundred mutants of every format: each ends in a model or in one clear sentence. Thousands: scripts/trials/mutants.py."""

from __future__ import annotations

import fuzzing
import pytest

MUTANTS = {"keras": 24, "h5": 24, "saved_model": 36, "frozen_graph": 36, "tflite": 50, "onnx": 80}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    return fuzzing.originals(tmp_path_factory.mktemp("originals"))


@pytest.mark.long
@pytest.mark.parametrize("kind", MUTANTS)
def test_every_mutant_ends_in_a_model_or_in_one_sentence(originals, tmp_path, kind):
    outcome = fuzzing.fuzz(kind, originals[kind], MUTANTS[kind], 0, tmp_path)
    assert outcome.broken == []
    assert outcome.opened + outcome.refused == MUTANTS[kind]
    assert outcome.refused >= 5  # the mutations do harm
    assert outcome.opened >= 1  # and not always


def test_the_fuzzer_sees_a_broken_promise(originals, tmp_path, monkeypatch):
    """A reader that raises something else, and one that leaves a file, are both reported."""
    from workbench.runs import sources

    def careless(_store, _pool, path):
        if path == str(originals["onnx"]):
            return
        (fuzzing.Path(path).parent / "left").write_text("x")
        raise KeyError("layers")

    monkeypatch.setattr(sources, "read_model", careless)
    outcome = fuzzing.fuzz("onnx", originals["onnx"], 1, 0, tmp_path)
    assert ["KeyError" in outcome.broken[0], "files appeared" in outcome.broken[1]] == [True, True]


def test_the_fuzzer_sees_files_written_far_from_the_model(originals, tmp_path, monkeypatch):
    """Files in the current folder, and files elsewhere to which the mutant's own bytes point."""
    from workbench.runs import sources

    target = tmp_path / "stolen.txt"

    def careless(_store, _pool, path):
        if path == str(originals["frozen_graph"]):
            return
        (fuzzing.Path.cwd() / "planted").write_text("x")
        target.write_text("x")

    monkeypatch.setitem(fuzzing.MUTATORS, "frozen_graph", lambda content, draw: content + str(target).encode())
    monkeypatch.setattr(sources, "read_model", careless)
    outcome = fuzzing.fuzz("frozen_graph", originals["frozen_graph"], 1, 0, tmp_path / "root")
    assert [str(target) in outcome.broken[0], "cwd/planted" in outcome.broken[1]] == [True, True]
