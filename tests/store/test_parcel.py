"""Artefacts that travel from a store to another one, with another key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from workbench.errors import StoreError
from workbench.store import Store, parcel
from workbench.store.keys import KEY_BYTES

CONTENT = bytes(range(256)) * 5


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Store]:
    """A store with an engine of two files and an empty one, each signed with the key of another user."""
    found = []
    for number, name in enumerate(("there", "here")):
        key = tmp_path / f"{name}.key"
        key.write_text(bytes([number] * KEY_BYTES).hex())
        monkeypatch.setenv("WORKBENCH_KEY", str(key))
        found.append(Store(tmp_path / name).prepare())
        assert found[-1].keyring.signing.kept
        if name == "there":
            with found[-1].create("engine", "a" * 40) as draft:
                (draft.folder / "sub").mkdir()
                (draft.folder / "sub" / "model.bin").write_bytes(CONTENT)
                (draft.folder / "empty").write_bytes(b"")
                draft.facts = {"n": 1.5}
    there, here = found
    return there, here


def carried(there: Store, here: Store, sent: list[parcel.Parcel], *, spoil: bool = False) -> None:
    folder = here.root / "outbox" / "x"
    for group in parcel.pieces(sent):
        content = parcel.read_pieces(there, sent, group)
        parcel.write_pieces(folder, sent, group, b"?" + content[1:] if spoil else content)
    parcel.publish(here, sent, folder)
    assert not folder.exists()


def of(store: Store) -> parcel.Parcel:
    found = parcel.parcel_of(store, "engine", "a" * 40)
    assert found
    return found


def test_an_artefact_arrives_and_is_signed_again(stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = stores
    monkeypatch.setattr(parcel, "PART_BYTES", 100)  # so that a file travels in several parts
    sent = [of(there)]
    assert len([*parcel.pieces(sent)]) == 13
    assert not parcel.is_there(here, sent[0])
    carried(there, here, sent)
    found = here.entry("engine", "a" * 40)
    assert found
    assert found.own
    assert found.facts == {"n": 1.5}
    assert (found.folder / "sub" / "model.bin").read_bytes() == CONTENT
    assert here.keyring.signing.name in (found.folder / "manifest.json").read_text()
    assert there.keyring.signing.name not in (found.folder / "manifest.json").read_text()
    assert parcel.is_there(here, sent[0])


def test_a_file_that_changed_on_the_way_is_refused(stores: tuple[Store, Store]) -> None:
    there, here = stores
    with pytest.raises(StoreError, match=r"the file 'sub/model\.bin' differs from its digest"):
        carried(there, here, [of(there)], spoil=True)
    assert here.entry("engine", "a" * 40) is None
    assert not list(here.root.glob("engine/*"))


@pytest.mark.parametrize(
    "change",
    [
        {"facts": {"n": 2}},
        {"key": "b" * 40},
        {"files": {"sub/model.bin": "0" * 64, "empty": "0" * 64}},
        {"kind": "locks"},
        {"key": "../../x"},
        {"files": {"../x": "0" * 64}, "sizes": {"../x": 1}},
        {"files": {"/x": "0" * 64}, "sizes": {"/x": 1}},
        {"files": {"manifest.json": "0" * 64}, "sizes": {"manifest.json": 1}},
        {"sizes": {"sub/model.bin": -1, "empty": 0}},
    ],
)
def test_a_description_that_was_changed_is_refused(stores: tuple[Store, Store], change: dict) -> None:
    with pytest.raises(StoreError, match="was not taken"):
        parcel.check(replace(of(stores[0]), **change))


def test_a_part_that_does_not_continue_its_file_is_refused(stores: tuple[Store, Store], tmp_path: Path) -> None:
    sent = [of(stores[0])]
    with pytest.raises(StoreError, match="a part of it is missing"):
        parcel.write_pieces(tmp_path / "x", sent, [parcel.Piece(0, "sub/model.bin", 5, 5)], b"12345")
    with pytest.raises(StoreError, match="does not fit its description"):
        parcel.write_pieces(tmp_path / "x", sent, [parcel.Piece(0, "other", 0, 5)], b"12345")


def test_what_was_measured_replaces_and_an_engine_stays(stores: tuple[Store, Store]) -> None:
    there, here = stores
    for kind, value in (("timing", 2), ("engine", 1)):
        here.put(kind, "c" * 40, 1)
        there.put(kind, "c" * 40, 2)
        found = parcel.parcel_of(there, kind, "c" * 40)
        assert found
        assert parcel.is_there(here, found) == (kind == "engine")
        assert not parcel.has_other_files(here, found)  # it has none at all
        parcel.publish(here, [found], here.root / "outbox" / "x")
        assert here.facts(kind, "c" * 40) == value
