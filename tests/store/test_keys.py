"""Signatures: the user's key, a group's key, and entries of other users."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys

import pytest

from workbench.errors import StoreError
from workbench.store import MANIFEST, Store, keys
from workbench.store.keys import keyring, user_key


@pytest.fixture
def as_user(monkeypatch, tmp_path):
    """Become a user with a configuration folder of his own."""

    def become(name):
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / f"config of {name}"))
        monkeypatch.delenv(keys.PLACE, raising=False)

    monkeypatch.delenv("WORKBENCH_TRUST_STORE", raising=False)
    return become


def _store(store):
    return Store(store.root).prepare()  # with the keys of the current user


def test_the_key_is_made_once_with_mode_600_outside_the_store(as_user, tmp_path):
    as_user("one")
    first = user_key()
    place = tmp_path / "config of one" / "inference-workbench" / "store.key"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert user_key() == first
    assert user_key().kept
    place.chmod(0o644)
    user_key()
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    as_user("two")
    assert user_key() != first


def test_many_processes_make_one_key(as_user):
    as_user("one")
    code = "from workbench.store.keys import user_key; print(user_key().name)"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate()[0] for process in running}) == 1


def test_a_key_that_cannot_be_kept_serves_one_process(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(keys.PLACE, str(tmp_path / "file" / "store.key"))
    assert not user_key().kept
    store = Store(tmp_path / "store").prepare()
    store.put("fact", "k", 1)
    assert store.facts("fact", "k") == Store(store.root).facts("fact", "k") == 1


def test_a_damaged_key_is_one_sentence(as_user, tmp_path, store):
    as_user("one")
    user_key()
    (tmp_path / "config of one" / "inference-workbench" / "store.key").write_text("zz")
    with pytest.raises(StoreError, match=r"The key of the store in .* cannot be read. Restore it, or remove it"):
        _store(store).put("fact", "k", 1)


def test_what_somebody_else_signed_is_left_alone_and_not_used(as_user, store):
    as_user("one")
    _store(store).put("engine", "k", "theirs")
    _store(store).put("results", "run", {"rows": []})
    as_user("two")
    mine = _store(store)
    assert mine.find("engine", "k") is None
    assert mine.path("engine", "k").is_dir()
    assert mine.foreign() == 1
    assert mine.facts("results", "run") == {"rows": []}  # shown, and nothing is made from it
    made = mine.make("engine", "k", lambda draft: setattr(draft, "facts", "mine"))
    assert (made.facts, made.reused, mine.foreign()) == ("mine", False, 0)


def test_an_artefact_of_an_earlier_version_is_made_again(as_user, store):
    as_user("one")
    mine = _store(store)
    folder = mine.path("engine", "k")
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text('{"files": {}, "facts": "old"}')
    assert mine.find("engine", "k") is None
    assert mine.foreign() == 1
    assert mine.make("engine", "k", lambda draft: setattr(draft, "facts", "new")).facts == "new"


def test_consent_opens_what_somebody_else_signed_and_nothing_damaged(as_user, store, monkeypatch):
    as_user("one")
    _store(store).put("engine", "k", "theirs")
    _store(store).put("engine", "damaged", "theirs")
    as_user("two")
    monkeypatch.setenv("WORKBENCH_TRUST_STORE", "1")
    place = store.path("engine", "damaged") / MANIFEST
    place.write_text(place.read_text().replace("theirs", "forged"))
    assert _store(store).facts("engine", "k") == "theirs"
    assert _store(store).facts("engine", "damaged") is None


def test_a_forged_signature_under_the_users_own_name_is_damage(as_user, store):
    as_user("one")
    mine = _store(store)
    mine.put("engine", "k", "good")
    place = mine.path("engine", "k") / MANIFEST
    place.write_text(place.read_text().replace('"signature": "', '"signature": "0'))
    assert mine.find("engine", "k") is None
    assert not mine.path("engine", "k").exists()


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="another group is taken on by root only")


@needs_root
def test_a_shared_store_has_a_key_of_its_own_that_each_member_accepts_by_naming_the_group(as_user, store, monkeypatch):
    import grp

    group = next(each.gr_name for each in grp.getgrall() if each.gr_gid != os.getgid())
    before = os.umask(0o022)
    try:
        as_user("one")
        monkeypatch.setenv("WORKBENCH_SHARED_STORE", group)
        _store(store).put("engine", "k", "ours")
        key = store.root / "store.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o640
        assert grp.getgrgid(key.stat().st_gid).gr_name == group
        assert stat.S_IMODE(store.root.stat().st_mode) == 0o2770
        as_user("two")
        monkeypatch.delenv("WORKBENCH_SHARED_STORE")
        assert _store(store).find("engine", "k") is None  # he has not accepted it
        monkeypatch.setenv("WORKBENCH_SHARED_STORE", group)
        assert _store(store).facts("engine", "k") == "ours"
        monkeypatch.delenv("WORKBENCH_SHARED_STORE")
        assert _store(store).facts("engine", "k") == "ours"  # once is enough
        monkeypatch.setenv("WORKBENCH_SHARED_STORE", "no such group")
        with pytest.raises(StoreError, match="There is no group 'no such group'"):
            _store(store)
    finally:
        os.umask(before)


def test_a_store_that_brings_a_key_is_not_believed(as_user, store, tmp_path):
    """A user puts another key into a store, signs with it, and sends the folder."""
    as_user("attacker")
    attacker = user_key()
    _store(store).put("engine", "k", "evil")
    shutil.copyfile(tmp_path / "config of attacker" / "inference-workbench" / "store.key", store.root / "store.key")
    as_user("victim")
    assert attacker.name not in keyring(store.root).known
    assert _store(store).find("engine", "k") is None


def test_the_store_is_closed_to_others(tmp_path):
    made = Store(tmp_path / "new").prepare()
    assert stat.S_IMODE(made.root.stat().st_mode) == 0o700
    earlier = tmp_path / "earlier"
    (earlier / "locks").mkdir(parents=True)
    earlier.chmod(0o755)
    Store(earlier).prepare()
    assert stat.S_IMODE(earlier.stat().st_mode) == 0o700
    for mode, name in ((0o775, "shared"), (0o755, "other")):
        place = tmp_path / name
        place.mkdir()
        if name == "shared":
            (place / "locks").mkdir()
        place.chmod(mode)
        Store(place).prepare()
        assert stat.S_IMODE(place.stat().st_mode) == mode
