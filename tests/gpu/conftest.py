"""Only collected where there is an NVIDIA GPU, PyCUDA and ONNX Runtime with its CUDA provider; see ``tests/conftest.py``."""

import threading

import numpy as np
import pytest
from helpers import written
from onnx import helper, numpy_helper

from workbench.store import Store
from workbench.workers.worker import Pool


def pytest_collection_modifyitems(items):
    for item in items:
        if "/gpu/" in str(item.path):
            item.add_marker(pytest.mark.gpu)


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
