"""An engine that was exchanged in the store runs no code: it is not used, it is checked, and its process is confined."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import model_zoo
import numpy as np
import pytest

import workbench
from workbench.backends import get
from workbench.errors import InputError, WorkbenchError
from workbench.runs import layer_pass, peaks
from workbench.runs import open_engines as setup
from workbench.runs.layer_pass import profile
from workbench.store import MANIFEST, Store
from workbench.store.manifest import written
from workbench.system import confine
from workbench.workers.worker import Worker

needs_landlock = pytest.mark.skipif(confine.version() == 0, reason="the kernel has no Landlock")


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A SavedModel that writes a file beside itself whenever it runs, and that file."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("evil")

    def write(x):
        with tf.control_dependencies([tf.io.write_file(str(folder / "written"), "by a model")]):
            return tf.identity(x)[:, :3]

    return model_zoo.saved_model_of(folder / "saved_model", write, None, 4), folder / "written"


@pytest.fixture
def asked(tmp_path):
    weights = np.eye(4, 3, dtype=np.float32)
    model = model_zoo.saved_model_of(tmp_path / "good", lambda x: x @ weights, None, 4)
    return workbench.Experiment(
        model=str(model), data="random", backends="tensorflow", precisions="fp32", batches="1", measure_s=0.05,
        max_measure_s=0.05, rounds=1,
    )  # fmt: skip


def _exchanged(store: Store, evil: Path) -> Path:
    """Put another SavedModel into the engine, with digests that fit; it is signed with the key of the current user."""
    (engine,) = (path for path in (store.root / "engine").iterdir() if not path.name.startswith("."))
    shutil.rmtree(engine / "saved_model")
    shutil.copytree(evil, engine / "saved_model")
    facts = json.loads((engine / MANIFEST).read_text())["facts"]
    text = written(engine, "engine", engine.name, facts, Store(store.root).keyring, {})
    (engine / MANIFEST).write_text(text)
    return engine


@pytest.mark.long
def test_an_exchanged_engine_is_not_opened_and_is_made_again(store, asked, evil, tmp_path, monkeypatch):
    good = workbench.run(asked, store=store)
    assert good.rows[0].status == "done"
    monkeypatch.setenv("WORKBENCH_KEY", str(tmp_path / "attacker" / "key"))
    engine = _exchanged(store, evil[0])
    monkeypatch.delenv("WORKBENCH_KEY")
    shutil.rmtree(store.root / "timing")  # or nothing would be opened at all
    found = workbench.run(asked, store=Store(store.root))
    assert found.rows[0].status == "done"
    assert found.tally.built == 1
    assert not evil[1].exists()
    assert b"WriteFile" not in (engine / "saved_model" / "saved_model.pb").read_bytes()
    assert any("not signed with your key" in note for note in found.notes)


@pytest.mark.long
def test_with_consent_a_graph_that_writes_files_is_still_refused(store, asked, evil, tmp_path, monkeypatch):
    workbench.run(asked, store=store)
    monkeypatch.setenv("WORKBENCH_KEY", str(tmp_path / "attacker" / "key"))
    _exchanged(store, evil[0])
    monkeypatch.delenv("WORKBENCH_KEY")
    monkeypatch.setenv("WORKBENCH_TRUST_STORE", "1")
    shutil.rmtree(store.root / "timing")
    (row,) = workbench.run(asked, store=Store(store.root)).rows
    assert row.status == "failed"
    assert "accesses files, the network, Python" in row.failure.message
    assert not evil[1].exists()


EVIL = """
import os
from pathlib import Path
Path(os.environ["EVIL_TARGET"]).write_text("by an engine")
"""


@pytest.mark.long
@needs_landlock
@pytest.mark.parametrize("place", [setup, layer_pass, peaks], ids=["measuring", "layers", "peaks"])
def test_code_in_a_process_that_measures_can_write_nothing_outside(store, tmp_path, monkeypatch, place):
    """Code that got past every check: here a module, imported by the process itself."""
    model = model_zoo.save(model_zoo.onnx_dense(), tmp_path / "m.onnx")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "evil_module.py").write_text(EVIL)
    monkeypatch.setenv("EVIL_TARGET", str(tmp_path / "written"))
    said = []

    class Spied(Worker):
        def __init__(self, *given, env, **named):
            paths = {"PYTHONPATH": f"{tmp_path / 'modules'}:{Path(workbench.__file__).parents[1]}"}
            super().__init__(*given, env={**env, **paths}, **named)
            try:
                self.call("hello", modules=["evil_module"])
                said.append("written")
            except WorkbenchError as error:
                said.append(error.message)

    monkeypatch.setattr(place, "Worker", Spied)
    asked = workbench.Experiment(
        model=str(model), data="random", backends="onnxruntime", precisions="fp32", batches="1", measure_s=0.05,
        max_measure_s=0.05, rounds=1,
    )  # fmt: skip
    if place is peaks:
        monkeypatch.setattr(Spied, "call", _only_hello(Spied.call))
        with pytest.raises(InterruptedError):
            peaks.machine_peaks(store, 1, again=True)
    else:
        result = workbench.run(asked, store=store).rows[0]
        assert result.status == "done"
        if place is layer_pass:
            profile(result, store, seconds=0.05)
    assert said
    assert all("ermission" in each for each in said)
    assert not (tmp_path / "written").exists()


def _only_hello(call):
    def limited(self, task, **arguments):
        if task != "hello":
            raise InterruptedError  # measuring the machine takes seconds and is not looked at here
        return call(self, task, **arguments)

    return limited


def test_what_is_built_from_is_checked_too(evil):
    with pytest.raises(InputError, match="WriteFile, which accesses files"):
        get("tensorflow").check_files(evil[0])
    get("onnxruntime").check_files(evil[0])  # which would not load it


def test_a_keras_file_that_names_code_is_refused(tmp_path):
    model_zoo.keras_lambda(tmp_path / "model.keras")
    with pytest.raises(InputError, match="Lambda"):
        get("tensorflow").check_files(tmp_path)


@pytest.mark.long
def test_nothing_is_left_of_the_folder_for_answers(store, asked):
    workbench.run(asked, store=store)
    assert list((store.root / "outbox").iterdir()) == []
