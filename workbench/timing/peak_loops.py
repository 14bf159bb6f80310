"""Short loops that find what the CPU can do at most: matrix products by number format, and copies out of each cache and memory.

They run in a worker, whose environment holds every library to the number of threads. The fastest repetition counts, as in
STREAM (McCalpin, 1995): whatever else runs on the machine can only slow one down. What a loop reaches is a peak that was seen,
not the one in the data sheet: an engine that does more shows that these loops are not the best there are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, Any

from workbench.protocols import Progress
from workbench.records import Peak, Peaks, Precision
from workbench.system.machine import caches, this_machine, version_of

if TYPE_CHECKING:
    import numpy as np

LOOP_S = 0.25
LEAST_REPETITIONS = 5
BEYOND_CACHE = 4
"""STREAM's rule: each array at least four times as large as the last cache."""
SHARE_OF_MEMORY = 0.2
PASS_BYTES = 2**25
"""Bytes of all arrays in one repetition: about a millisecond, in which another program seldom gets a turn."""
LEAST_STEP_BYTES = 2**21
HALF = 0.5  # of a cache is filled, so that the rest of the process does not push the arrays out


def measured(threads: int, progress: Progress) -> Peaks:
    """All peaks for ``threads`` threads: one to two seconds for each format and each place."""
    compute, absent = [], {}
    progress("FP32 matrix products in NumPy")
    compute.append(_numpy_product(threads))
    for precision, run in (
        (Precision.FP32, _onnxruntime_fp32),
        (Precision.FP32, _openvino_fp32),
        (Precision.INT8, _onnxruntime_int8),
        (Precision.BF16, _openvino_bf16),
        (Precision.FP16, _openvino_fp16),
    ):
        progress(f"{precision.upper()} matrix products")
        found = run(threads)
        if isinstance(found, Peak):
            compute.append(found)
        elif precision != Precision.FP32:
            absent[str(precision)] = found
    progress("copies")
    cores = os.sched_getaffinity(0) if os.environ.get("WORKBENCH_CORES") else ()
    return Peaks(
        threads=threads,
        compute=tuple(compute),
        transfer=tuple(_transfers(threads)),
        absent=absent,
        cores=tuple(sorted(cores)),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def peak(what: str, work: float, call: Callable[[], object], basis: str, reach_bytes: int = 0) -> Peak:
    """Repeat ``call`` for a quarter of a second and at least five times; the first, which fills caches, is left out."""
    call()
    samples: list[float] = []
    used, began = time.process_time(), time.perf_counter()
    while len(samples) < LEAST_REPETITIONS or time.perf_counter() - began < LOOP_S:
        start = time.perf_counter()
        call()
        samples.append(time.perf_counter() - start)
    busy = (time.process_time() - used) / (time.perf_counter() - began)
    return Peak(what, work, tuple(samples), basis, reach_bytes, busy)


def side(threads: int) -> int:
    """Rows and columns of the matrices: large enough that every thread has work, and small enough for a few milliseconds, in which
    another program seldom gets a turn. From 256 on the speed of one thread no longer grows with it.
    """
    return 512 if threads <= 4 else 1024 if threads <= 16 else 2048


def _numpy_product(threads: int) -> Peak:
    import numpy as np

    n = side(threads)
    left, right = (np.random.default_rng(0).standard_normal((n, n), np.float32) for _ in range(2))
    out = np.empty_like(left)
    library = _blas(np)
    basis = f"SGEMM {_square(n)}, NumPy {np.__version__} ({library})"
    return peak("fp32", 2 * n**3, lambda: np.matmul(left, right, out=out), basis)


def _blas(np: Any) -> str:
    try:
        return str(np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"])
    except (KeyError, TypeError):
        return "its BLAS"


def _onnxruntime_fp32(threads: int) -> Peak | str:
    return _onnxruntime(threads, "MatMul", "float32", "float32", "fp32")


def _onnxruntime_int8(threads: int) -> Peak | str:
    """Its kernel for 8-bit integers takes unsigned activations and signed weights, and adds up in 32 bits."""
    return _onnxruntime(threads, "MatMulInteger", "uint8", "int8", "int8")


def _onnxruntime(threads: int, op: str, data: str, weights: str, what: str) -> Peak | str:
    if find_spec("onnxruntime") is None:
        return "ONNX Runtime is not installed"
    import numpy as np
    import onnxruntime as ort

    n = side(threads)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = ort.InferenceSession(_product(n, op, data, weights), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input("x", np.ones((n, n), data))
    binding.bind_output("y", "cpu")
    basis = f"{op} {_square(n)}, {data} × {weights}, ONNX Runtime {ort.__version__}"
    return peak(what, 2 * n**3, lambda: session.run_with_iobinding(binding), basis)


def _openvino_fp32(threads: int) -> Peak | str:
    return _openvino(threads, "f32", "fp32", ())


def _openvino_bf16(threads: int) -> Peak | str:
    return _openvino(threads, "bf16", "bf16", ("avx512_bf16", "amx_bf16", "bf16"))


def _openvino_fp16(threads: int) -> Peak | str:
    return _openvino(threads, "f16", "fp16", ("avx512_fp16", "amx_fp16", "asimd"))


def _openvino(threads: int, hint: str, what: str, needs: tuple[str, ...]) -> Peak | str:
    if needs and not set(needs) & set(this_machine().instructions):
        return f"the CPU has none of {', '.join(needs)}"
    if find_spec("openvino") is None:
        return "OpenVINO, which computes in it, is not installed"
    import numpy as np
    import openvino

    n = side(threads)
    core = openvino.Core()
    config = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    compiled = core.compile_model(core.read_model(_product(n, "MatMul", "float32", "float32")), "CPU", config)
    ran = {
        node.get_rt_info()["runtimePrecision"].value
        for node in compiled.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].value in ("FullyConnected", "MatMul")
    }
    if ran != {hint}:
        return f"OpenVINO ran the product in {', '.join(sorted(ran)) or 'no layer of that kind'}"
    request = compiled.create_infer_request()
    request.set_tensor("x", openvino.Tensor(np.ones((n, n), np.float32), shared_memory=False))

    def call() -> None:
        request.start_async()
        request.wait()

    return peak(what, 2 * n**3, call, f"MatMul {_square(n)} in {hint}, OpenVINO {version_of('openvino')}")


def _product(n: int, op: str, data: str, weights: str) -> bytes:
    """An ONNX model of one matrix product with constant weights, which libraries may arrange as they like."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    kind = {"float32": onnx.TensorProto.FLOAT, "uint8": onnx.TensorProto.UINT8}[data]
    result = onnx.TensorProto.FLOAT if data == "float32" else onnx.TensorProto.INT32
    values = np.random.default_rng(0).integers(-8, 8, (n, n)).astype(weights)
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", kind, (n, n))],
        [helper.make_tensor_value_info("y", result, (n, n))],
        [numpy_helper.from_array(values, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def _square(n: int) -> str:
    return f"{n} × {n} × {n}"


def _transfers(threads: int) -> Iterable[Peak]:
    """Bytes per second out of each cache from the second on, and out of memory, by three loops each."""
    import psutil
    from threadpoolctl import threadpool_limits

    known = [cache for cache in caches() if cache.level >= 2]
    last = known[-1].size_bytes * known[-1].instances if known else 32 * 2**20
    places = [(f"L{cache.level}", int(HALF * _reach(cache, threads)), _reach(cache, threads)) for cache in known]
    # with several threads, Python's own work between two small steps would be what is measured
    places = [place for place in places if threads == 1 or place[1] // threads >= LEAST_STEP_BYTES]
    room = int(psutil.virtual_memory().available * SHARE_OF_MEMORY)
    places.append(("memory", min(3 * BEYOND_CACHE * last, room), 0))
    with ThreadPoolExecutor(threads) as pool, threadpool_limits(1, "blas"):
        for place, total, reach in places:
            yield from _loops(place, total, reach, pool, threads)


def _reach(cache: Any, threads: int) -> int:
    """Bytes that this level holds for so many threads, each of which is on a core of its own."""
    return int(cache.size_bytes * min(cache.instances, -(-threads // cache.cores)))


def _loops(place: str, total: int, reach: int, pool: ThreadPoolExecutor, threads: int) -> Iterable[Peak]:
    """Three loops over arrays of ``total`` bytes together. One repetition goes over ``PASS_BYTES``: several times over what a cache
    holds, or over the next part of what only memory holds, whose other parts have pushed it out of the caches meanwhile.
    """
    import numpy as np

    elements = total // 3 // 8
    a, b, c = (np.full(elements, value, np.float64) for value in (0.0, 1.0, 2.0))
    length = min(elements, PASS_BYTES // 3 // 8)
    times = max(1, PASS_BYTES // total)
    starts = cycle(range(0, elements - length + 1, length))
    edges = [length * number // threads for number in range(threads + 1)]

    def repetition(step: Callable[[slice], object]) -> Callable[[], object]:
        def some(part: slice) -> None:
            for _ in range(times):
                step(part)

        def call() -> None:
            start = next(starts)
            parts = [slice(start + low, start + high) for low, high in pairwise(edges)]
            if threads == 1:
                some(parts[0])
            else:
                list(pool.map(some, parts))

        return call

    def copy(part: slice) -> None:
        np.copyto(a[part], b[part])

    def add(part: slice) -> None:
        np.add(b[part], c[part], out=a[part])

    def read(part: slice) -> np.ndarray:
        found: np.ndarray = np.dot(b[part], c[part])
        return found

    for name, step, arrays in (("copy", copy, 2), ("add", add, 3), ("read", read, 2)):
        basis = f"{name} of float64, {arrays} arrays of {8 * elements / 2**20:,.2f} MiB, NumPy {np.__version__}"
        yield peak(place, arrays * 8 * length * times, repetition(step), basis, reach)
