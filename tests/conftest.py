"""Fixtures shared by all tests: a demo trained once and kept, and a store that is fresh in every session."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workbench import backends
from workbench.cuda import gpu
from workbench.environments import asking
from workbench.environments.start import package_folder
from workbench.runs.sources import demo_model
from workbench.store import Store
from workbench.workers.pool import Pool

REPOSITORY = Path(__file__).resolve().parent.parent
NO_GPU_TESTS = next((able.reason for able in (gpu.here(), backends.get("onnxruntime").status("cuda")) if not able), "")
# tests that run side by side, or beside a person's work, measure nothing that counts: they do not wait for other processes
# one for each test process: they would wait for each other
os.environ["WORKBENCH_LOCKS"] = tempfile.mkdtemp(prefix="workbench-turns-")
# a shell's background job has it ignored, and so would every process that a test starts and interrupts
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
collect_ignore = ["gpu"] if NO_GPU_TESTS else []


def pytest_report_header() -> list[str]:
    return [f"tests/gpu is left out: {NO_GPU_TESTS}"] if NO_GPU_TESTS else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the demo are slow: the first of them trains it. A test that drives a browser gets a second attempt, which the summary lists:
    what a busy machine delays there is not always of this project.
    """
    for item in items:
        if "demo_folder" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    """Folder with demo.keras, saved_model/ and metrics.json; trained once, kept in the repository's own store."""
    store = Store(REPOSITORY / ".workbench").prepare()
    with Pool(store.log_path, threading.Event()) as pool:
        return demo_model(store, pool, print).parent


@pytest.fixture(scope="session")
def new_store(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes stores with nothing but the trained demo."""

    def made() -> Path:
        root = tmp_path_factory.mktemp("store")
        shutil.copytree(demo_folder, root / "demo" / demo_folder.name)
        return root

    return made


@pytest.fixture(scope="session")
def store_root(new_store: Callable[[], Path]) -> Path:
    """A store with the trained demo; the tests of a process share what is built and timed in it."""
    return new_store()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store").prepare()


@pytest.fixture
def own_configuration(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A user's configuration folder without environments and keys."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("configuration")))
    package_folder.cache_clear()
    yield
    asking.close_all()
    package_folder.cache_clear()
