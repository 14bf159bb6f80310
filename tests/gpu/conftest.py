"""Needs an NVIDIA GPU, PyCUDA and ONNX Runtime with its CUDA provider. Without them ``tests/conftest.py`` leaves this folder out
of a run of all tests; asked for by name, each of its tests is skipped and says what was missing.
"""

import threading
from pathlib import Path

import numpy as np
import pytest
from helpers import written
from kit import Kit
from onnx import helper, numpy_helper

from workbench import backends
from workbench.cuda import gpu
from workbench.runs.sources import read_model
from workbench.store import Store
from workbench.workers.pool import Pool

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items):
    missing = next((able.reason for able in (gpu.here(), backends.get("onnxruntime").status("cuda")) if not able), "")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if missing:
                item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="session")
def cnn(tmp_path_factory):
    """Two convolutions and a dense layer as an ONNX file; input [n, 1, 28, 28], output [n, 10]."""
    draw = np.random.default_rng(1)

    def weight(name, *shape):
        scale = (2 / np.prod(shape[1:])) ** 0.5
        return numpy_helper.from_array((draw.standard_normal(shape) * scale).astype(np.float32), name)

    def conv(x, w, y):
        return helper.make_node("Conv", [x, w], [y], name=y, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    nodes = [
        conv("image", "w1", "a"),
        helper.make_node("Relu", ["a"], ["b"]),
        conv("b", "w2", "c"),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "w3"], ["class"], transB=1),
    ]
    return written(
        tmp_path_factory.mktemp("cnn") / "cnn.onnx",
        nodes,
        ("image", ["n", 1, 28, 28]),
        ("class", ["n", 10]),
        [weight("w1", 32, 1, 3, 3), weight("w2", 64, 32, 3, 3), weight("w3", 10, 64)],
    )


@pytest.fixture(scope="module")
def pool_and_store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("gpu-store")).prepare()
    with Pool(store.log_path, threading.Event()) as pool:
        yield pool, store


@pytest.fixture(scope="module")
def kit(pool_and_store, cnn):
    pool, store = pool_and_store
    return Kit(store, pool, read_model(store, pool, str(cnn)))


@pytest.fixture(scope="module")
def expected(kit, tmp_path_factory):
    with kit.open(kit.engine("onnxruntime")) as worker:
        return kit.outputs(worker, 1, tmp_path_factory.mktemp("expected"))["class"]
