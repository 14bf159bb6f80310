"""The client by gRPC: how it sets up the library."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator

import pytest

from workbench.serving import grpc_client

SETTING = "GRPC_EXPERIMENTS"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str | None]]:
    """The setting at each channel that a stand-in for grpc opens: the library itself reads it once in a process."""
    found: list[str | None] = []

    def insecure_channel(_address: str) -> types.SimpleNamespace:
        found.append(os.environ.get(SETTING))
        return types.SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(grpc_client, "optional", lambda *_: types.SimpleNamespace(insecure_channel=insecure_channel))
    grpc_client.library.cache_clear()
    yield found
    grpc_client.library.cache_clear()


def test_the_thread_that_asks_reads_the_answer(seen, monkeypatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    grpc_client.library()
    assert seen == ["-event_engine_client"]
    assert SETTING not in os.environ


def test_a_setting_of_the_user_is_left_alone(seen, monkeypatch) -> None:
    monkeypatch.setenv(SETTING, "event_engine_client")
    grpc_client.library()
    assert seen == ["event_engine_client"]
    assert os.environ[SETTING] == "event_engine_client"
