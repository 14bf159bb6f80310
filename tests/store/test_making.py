"""One process makes an artefact while another one needs it: waits are reported, can be left, and end where the maker is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from workbench.errors import Cancelled
from workbench.locks import beats, holders
from workbench.store import Store

MAKER = """
import sys
from workbench.store import Store
def fill(draft):
    (draft.folder / "maker").write_text("first")
    print("making", flush=True)
    sys.stdin.readline()
    draft.facts = "first"
made = Store(sys.argv[1]).make("engine", "k", fill)
print(made.facts, made.reused, flush=True)
"""


@pytest.fixture
def maker(store: Store) -> Iterator[subprocess.Popen[str]]:
    """A process that makes an artefact until it gets a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAKER, str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "making\n"
    yield process
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.communicate(timeout=10)


def go_on(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    return process.stdout.readline()


def second(draft) -> None:
    (draft.folder / "maker").write_text("second")
    draft.facts = "second"


def test_a_wait_for_another_process_names_it_and_ends_with_what_it_made(store: Store, maker) -> None:
    said_texts: list[str] = []

    def hear(text: str) -> None:
        said_texts.append(text)
        assert go_on(maker) == "first False\n"

    made = store.for_run(hear).make("engine", "k", second)
    assert (made.facts, made.reused) == ("first", True)
    assert len(said_texts) == 1
    assert said_texts[0].startswith("waiting for ")
    assert f"(process {maker.pid}): making engines in the store {store.root} since " in said_texts[0]
    assert not list((store.root / "locks").iterdir())


def test_a_wait_is_left_at_once(store: Store, maker) -> None:
    cancel = threading.Event()
    with pytest.raises(Cancelled, match="waiting for what another run makes"):
        store.for_run(lambda _: cancel.set(), cancel).make("engine", "k", second)


def test_a_stopped_maker_is_passed_over_and_what_it_publishes_later_is_discarded(
    store: Store, maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beats, "SILENT_S", 1.0)
    monkeypatch.setattr(holders, "QUIET_S", 0.3)
    monkeypatch.setattr(holders, "REPEAT_S", 0.2)
    maker.send_signal(signal.SIGSTOP)
    said_texts: list[str] = []
    made = store.for_run(said_texts.append).make("engine", "k", second)
    assert (made.facts, made.reused) == ("second", False)
    assert any("it has not answered for" in text for text in said_texts)
    before = (made.folder / "maker").stat()
    maker.send_signal(signal.SIGCONT)
    assert go_on(maker) == "second True\n"
    assert os.path.samestat(before, (made.folder / "maker").stat())  # a process may be reading it
    assert [path.name for path in made.folder.parent.iterdir()] == ["k"]
    assert not list((store.root / "locks").iterdir())


def test_a_maker_that_was_killed_leaves_nothing_to_wait_for(store: Store, maker) -> None:
    maker.kill()
    maker.wait()
    assert list((store.root / "locks").iterdir())
    said_texts: list[str] = []
    made = store.for_run(said_texts.append).make("engine", "k", second)
    assert (made.facts, made.reused, said_texts) == ("second", False, [])


def test_the_third_waits_for_the_second_that_passed_over_the_first(
    store: Store, maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beats, "SILENT_S", 1.0)
    monkeypatch.setattr(beats, "BEAT_S", 0.1)
    maker.send_signal(signal.SIGSTOP)
    began, go, facts = threading.Event(), threading.Event(), []

    def slow(draft) -> None:
        began.set()
        assert go.wait(20)
        second(draft)

    makers = [
        threading.Thread(target=lambda: facts.append(Store(store.root).make("engine", "k", slow).facts))
        for _ in range(2)
    ]
    for thread in makers:
        thread.start()
    assert began.wait(20)
    began.clear()
    assert not began.wait(1.5)  # the other one knows that the first is stopped, and waits for the second
    go.set()
    for thread in makers:
        thread.join(20)
    assert facts == ["second", "second"]
