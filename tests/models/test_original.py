"""A model, its weights and its data may be overwritten while a run reads them; nothing false is kept."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import model_zoo
import numpy as np
import onnx
import pytest

import workbench
from workbench.errors import InputError
from workbench.models import original
from workbench.models.inspection import digest_of
from workbench.models.original import kept_original, path_of
from workbench.runs.sources import open_model

RIGHT = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], np.float32)
WRONG = np.roll(RIGHT, 1, axis=1)  # another class each time


def _onnx(path: Path, weights: np.ndarray) -> None:
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    model_zoo.save(model_zoo.onnx_model(nodes, {"w": weights}), path)


def _onnx_external(path: Path, weights: np.ndarray) -> None:
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = model_zoo.onnx_model(nodes, {"w": weights})
    path.with_name("weights.bin").unlink(missing_ok=True)  # or it would be appended to
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)


def _keras(path: Path, weights: np.ndarray) -> None:
    import keras

    dense = keras.layers.Dense(3, use_bias=False)
    model = keras.Sequential([keras.Input((4,), name="x"), dense])
    dense.set_weights([weights])
    model.save(path)


def _saved_model(path: Path, weights: np.ndarray) -> None:
    import tensorflow as tf

    if path.exists():
        shutil.rmtree(path)
    held = tf.Variable(weights)
    model_zoo.saved_model_of(path, lambda x: x @ held, None, 4, weights=held)


def _data(path: Path, classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % classes
    np.savez(path, x=(np.eye(4, dtype=np.float32)[labels] + rng.random((60, 4)) * 0.1).astype(np.float32), y=labels)


def _asked(folder: Path, model: Path, backends: str) -> workbench.Experiment:
    return workbench.Experiment(
        model=str(model), data=str(folder / "data.npz"), backends=backends, precisions="fp32", batches="1",
        measure_s=0.05, max_measure_s=0.05, rounds=1,
    )  # fmt: skip


def _accuracies(results) -> dict[str, float]:
    return {row.row: row.accuracy.value for row in results.rows if row.accuracy}


CASES = {
    "m.onnx": (_onnx, "onnxruntime"),
    "e.onnx": (_onnx_external, "onnxruntime"),
    "m.keras": (_keras, "tensorflow,onnxruntime"),
    "folder": (_saved_model, "tensorflow,onnxruntime"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if "tensorflow" in CASES[name][1] else ()) for name in CASES]
)
def test_a_model_overwritten_after_it_was_read_is_never_scored_under_the_digest_of_the_first(store, tmp_path, name):
    write, backends = CASES[name]
    path = tmp_path / name
    write(path, RIGHT)
    _data(tmp_path / "data.npz", 3)
    done = []

    def overwrite(event):
        if "variant" in event.text and not done:
            done.append(event.text)
            write(path, WRONG)

    asked = _asked(tmp_path, path, backends)
    first = workbench.run(asked, store=store, on_event=overwrite)
    assert done
    assert first.model.path == str(path)  # the user's own
    rows = len(backends.split(","))
    assert list(_accuracies(first).values()) == [1.0] * rows
    write(path, RIGHT)
    if name in ("m.onnx", "e.onnx"):  # the other formats are written with a time stamp
        again = workbench.run(asked, store=store)
        assert (again.tally.built, list(_accuracies(again).values())) == (0, [1.0] * rows)
    write(path, WRONG)
    assert list(_accuracies(workbench.run(asked, store=store)).values()) == [0.0] * rows


@pytest.mark.long
def test_data_overwritten_after_they_were_read_are_never_scored_under_the_digest_of_the_first(store, tmp_path):
    path = tmp_path / "m.onnx"
    _onnx(path, RIGHT)
    _data(tmp_path / "data.npz", 3)
    done = []

    def overwrite(event):
        if "variant" in event.text and not done:
            done.append(event.text)
            np.savez(tmp_path / "data.npz", x=np.eye(4, dtype=np.float32)[:3], y=[2, 0, 1])

    asked = _asked(tmp_path, path, "onnxruntime")
    assert list(_accuracies(workbench.run(asked, store=store, on_event=overwrite)).values()) == [1.0]
    assert done
    assert list(_accuracies(workbench.run(asked, store=store)).values()) == [0.0]
    _data(tmp_path / "data.npz", 3)
    assert list(_accuracies(workbench.run(asked, store=store)).values()) == [1.0]


def test_a_list_of_nodes_to_keep_is_read_once_for_a_run(store, tmp_path):
    path, keep = tmp_path / "m.onnx", tmp_path / "keep.txt"
    _onnx(path, RIGHT)
    _data(tmp_path / "data.npz", 3)
    keep.write_text("MatMul\n")
    asked = replace(_asked(tmp_path, path, "onnxruntime"), precisions=("fp16",), keep=(str(keep),))
    labels = set()

    def overwrite(event):
        labels.add(event.result.spec.keep if event.result else ("MatMul",))
        keep.write_text("Another\n")

    found = workbench.run(asked, store=store, on_event=overwrite)
    assert {row.spec.keep for row in found.rows} == labels == {("MatMul",)}


def test_a_model_that_changes_whenever_it_is_copied_is_refused_in_one_sentence(store, tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    _onnx(path, RIGHT)
    copy, writes = original._copy, []

    def beside(source, target):
        copy(source, target)
        writes.append(1)
        with path.open("ab") as file:
            file.write(b"x")

    monkeypatch.setattr(original, "_copy", lambda source, target: (beside(source, target), copy(source, target)))
    with pytest.raises(InputError, match=r"m.onnx' changed each time while it was read; .* Wait until it is saved"):
        kept_original(path, "onnx", store)
    assert len(writes) == original.ATTEMPTS
    assert [each for each in (store.root / original.KIND).iterdir() if each.name[0] != "."] == []


def test_the_copy_is_made_once_for_each_content_and_is_not_a_link(store, tmp_path):
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    _onnx(first, RIGHT)
    _onnx(second, RIGHT)
    one, other = (kept_original(path, "onnx", store) for path in (first, second))
    assert one == other
    assert one.path.stat().st_nlink == 1
    assert one.digest == digest_of(first) == digest_of(one.path)
    assert not one.path.is_symlink()
    assert first.stat().st_ino != one.path.stat().st_ino


def test_weights_beside_an_onnx_file_are_copied_with_it(store, tmp_path):
    _onnx_external(tmp_path / "e.onnx", RIGHT)
    kept = kept_original(tmp_path / "e.onnx", "onnx", store)
    assert (kept.path.parent / "weights.bin").read_bytes() == (tmp_path / "weights.bin").read_bytes()
    assert kept.digest == digest_of(kept.path)


def test_a_link_that_leaves_a_saved_model_is_refused_and_not_copied(store, tmp_path):
    _saved_model(tmp_path / "folder", RIGHT)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "folder" / "assets" / "secret").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="is a link that leaves the folder"):
        open_model(str(tmp_path / "folder"), store=store)
    assert not (store.root / original.KIND).exists()


def test_messages_name_the_users_path(store, tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"\x08\x07garbage")
    with pytest.raises(InputError) as caught:
        open_model(str(path), store=store)
    assert str(path) in caught.value.message
    assert str(store.root) not in caught.value.message


def test_a_copy_that_was_removed_is_one_sentence(store, tmp_path):
    path = tmp_path / "m.onnx"
    _onnx(path, RIGHT)
    model = open_model(str(path), store=store)
    shutil.rmtree(store.root / original.KIND)
    with pytest.raises(InputError, match=r"The store's copy of '.*m.onnx' is damaged or was removed"):
        path_of(model, store)
