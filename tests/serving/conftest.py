"""A deployment of a small model, and a server on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import deployed
import pytest

from workbench.deploy.folder import deploy
from workbench.errors import MissingPackageError
from workbench.serving.installed import installed
from workbench.serving.server import Server, served
from workbench.store import Store


@pytest.fixture(scope="session")
def triton() -> None:
    """Triton's server. Where it is not installed the tests are skipped, except under CI, where that is a failure."""
    try:
        installed()
    except MissingPackageError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(error.message)


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The deployment."""
    root = tmp_path_factory.mktemp("wide")
    store = Store(root / "store").prepare()
    deployed.measured(root, store.root)
    deploy(root / "made", batch=4, store=store)
    return root / "made"


@pytest.fixture(scope="session")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model in INT8, which gives other answers to some samples, with the FP32 variant of its run as source."""
    root = tmp_path_factory.mktemp("int8")
    store = Store(root / "store").prepare()
    deployed.measured(root, store.root, precisions="fp32,int8", batches="4", calibration_samples=16, budget="none")
    deploy(root / "made", variant="onnxruntime int8", batch=4, store=store, over_budget=True)
    return root / "made"


@pytest.fixture(scope="session")
def server(triton: None, wide: Path) -> Iterator[Server]:
    with served(wide) as found:
        yield found
