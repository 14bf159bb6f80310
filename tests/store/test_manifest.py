"""Nothing false is read from a store: every flipped bit of a manifest is found, and so is every file that was not written."""

from __future__ import annotations

import json
import os
import random

import pytest

from workbench.records import Accuracy, EngineRecord, to_json
from workbench.records.model import Probe
from workbench.store import MANIFEST
from workbench.store.manifest import DamagedError, read

ACCURACY = {"value": 1.0, "interval": [0.91, 1.0], "names": ["a", "b"], "count": 12, "nothing": None, "right": True}


def _put(store, kind="accuracy", key="k"):
    with store.create(kind, key) as draft:
        (draft.folder / "durations.npy").write_bytes(bytes(range(64)))
        draft.facts = ACCURACY
    return store.path(kind, key)


def test_every_flipped_bit_of_a_manifest_is_found_or_changes_nothing(store):
    folder = _put(store)
    whole = (folder / MANIFEST).read_bytes()
    rng = random.Random(0)
    used = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.randrange(8)
        (folder / MANIFEST).write_bytes(damaged)
        try:
            found = read(folder, "accuracy", "k", store.keyring)
        except DamagedError:
            continue
        used += 1
        # white space may change; a signature under an unknown name is that of another user
        assert found.facts == ACCURACY
    assert used < len(whole) / 2


def test_a_changed_fact_is_set_aside_and_made_again(store):
    folder = _put(store)
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace("0.91", "0.51"))
    assert store.facts("accuracy", "k") is None
    assert [path.name.startswith("k.damaged-") for path in (store.root / "accuracy").iterdir()] == [True]
    made = store.make("accuracy", "k", lambda draft: setattr(draft, "facts", ACCURACY))
    assert (made.reused, made.facts) == (False, ACCURACY)


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "saved_model.pbtxt").write_text("another graph"),
        lambda folder: (folder / "below").mkdir() or (folder / "below" / "file").write_text("x"),
        lambda folder: (folder / "durations.npy").rename(folder / "durations"),
    ],
    ids=["added", "added below", "renamed"],
)
def test_files_that_the_manifest_does_not_name_are_damage(store, harm):
    harm(_put(store))
    assert store.find("accuracy", "k") is None


def test_an_artefact_under_another_key_or_kind_is_damage(store):
    _put(store).rename(store.path("accuracy", "other"))
    assert store.find("accuracy", "other") is None
    (store.root / "timing").mkdir()
    _put(store).rename(store.path("timing", "k"))
    assert store.find("timing", "k") is None


def test_a_file_outside_the_folder_is_never_named(store, tmp_path):
    folder = _put(store)
    (tmp_path / "secret").write_text("secret")
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["../../../secret"] = "0" * 64
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(DamagedError):
        read(folder, "accuracy", "k", store.keyring)


@pytest.mark.parametrize(
    "facts", [{"value": "much"}, {}, [], "text", 3, {"spec": {}}, {"engine_key": 5, "samples": "many", "agreement": []}]
)
@pytest.mark.parametrize("kind", [Accuracy, EngineRecord])
def test_facts_that_make_no_record_are_damage_and_no_exception(store, kind, facts):
    store.put("record", "k", facts)  # signed, and written by another version
    assert store.record("record", "k", kind) is None
    assert store.facts("record", "k") is None  # set aside


def test_a_record_comes_back_as_it_was(store):
    found = Probe((1, 2), ((3, "too many"),))
    store.put("record", "k", to_json(found))
    assert store.record("record", "k", Probe) == found


def _grown(path):
    with path.open("ab") as file:
        file.truncate(2**32)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
        lambda path: path.write_text("[" * 200_000),
        _grown,
    ],
    ids=["pipe", "device", "nested", "grown"],
)
def test_what_is_not_a_manifest_is_neither_waited_for_nor_read_without_end(store, harm):
    folder = _put(store)
    harm(folder / MANIFEST)
    assert store.foreign() == 1  # not signed
    assert store.find("accuracy", "k") is None
    assert not folder.exists()  # set aside
