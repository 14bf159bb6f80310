"""Names and notes of runs."""

from __future__ import annotations

from workbench.runs.labels import label_of, set_label


def test_a_damaged_label_is_none(store):
    set_label(store, "a", "x" * 99, "n")
    assert label_of(store, "a") == ("x" * 80, "n")
    (store.root / "labels" / "a.json").write_text("{", encoding="utf-8")
    assert label_of(store, "a") == ("", "")
    set_label(store, "a", "", "")
    assert not (store.root / "labels" / "a.json").exists()
