"""ONNX files and the device's memory."""

import time

from onnx import TensorProto, helper, save


def written(path, nodes, first, last, weights):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (first, last)]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def memory_in_use():
    """Bytes of the first GPU's memory that any process holds."""
    import pynvml

    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used


def rested(patience_s=10):
    """Memory in use once it no longer falls: the driver frees it some time after a process has ended."""
    until, last = time.monotonic() + patience_s, None
    while (now := memory_in_use()) != last and time.monotonic() < until:
        last = now
        time.sleep(0.5)
    return now


def falls_to(limit, patience_s=10):
    """Whether the memory in use comes down to this within some seconds: the driver frees it after a process has ended."""
    until = time.monotonic() + patience_s
    while memory_in_use() > limit:
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
