"""Short loops that measure the peaks of the CPU: matrix products by number format, and copies from each cache and from memory.

They run in a worker, whose environment limits every library to the number of threads. The fastest repetition counts, as in
STREAM (McCalpin, 1995), because other activity on the machine can only slow a repetition down. The result is a measured peak, not
the one in the data sheet; an engine that exceeds it shows that these loops are not optimal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from itertools import cycle, pairwise
from typing import Any

import numpy as np

from workbench.protocols import Progress
from workbench.records import Peak, Peaks, Precision
from workbench.system.machine import MULTIPLY, caches, this_machine, version_of

LOOP_S = 0.25
LEAST_REPETITIONS = 5
BEYOND_CACHE = 4
"""STREAM's rule: each array at least four times as large as the last cache."""
SHARE_OF_MEMORY = 0.2
PASS_BYTES = 2**25
"""Bytes of all arrays in one repetition: about a millisecond, during which other programs seldom run."""
LEAST_STEP_BYTES = 2**21
HALF = 0.5  # share of a cache that is filled, so that the process's other data do not evict the arrays


def measured(threads: int, progress: Progress) -> Peaks:
    """Measure all peaks for ``threads`` threads; takes one to two seconds for each format and each memory level."""
    compute, absent = [], {}
    progress("FP32 matrix products in NumPy")
    compute.append(_numpy_product(threads))
    for precision, run in (
        (Precision.FP32, partial(_onnxruntime, "MatMul", "float32", "float32")),
        (Precision.FP32, partial(_openvino, "f32")),
        # the kernel for 8-bit integers takes unsigned activations and signed weights, and accumulates in 32 bits
        (Precision.INT8, partial(_onnxruntime, "MatMulInteger", "uint8", "int8")),
        (Precision.BF16, partial(_openvino, "bf16")),
        (Precision.FP16, partial(_openvino, "f16")),
    ):
        progress(f"{precision.upper()} matrix products")
        found = run(precision, threads)
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
    """Repeat ``call`` for 0.25 s and at least five times, after one call that fills the caches."""
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
    """Rows and columns of the matrices: large enough for all threads, and small enough for a few milliseconds, during which other
    programs seldom run. Above 256 the speed of one thread does not increase.
    """
    return 512 if threads <= 4 else 1024 if threads <= 16 else 2048


def _numpy_product(threads: int) -> Peak:
    n = side(threads)
    left, right = (np.random.default_rng(0).standard_normal((n, n), np.float32) for _ in range(2))
    out = np.empty_like(left)
    basis = f"SGEMM {_square(n)}, NumPy {np.__version__} ({_blas()})"
    return peak("fp32", 2 * n**3, lambda: np.matmul(left, right, out=out), basis)


def _blas() -> str:
    try:
        return str(np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"])
    except (KeyError, TypeError):
        return "its BLAS"


def _onnxruntime(op: str, data: str, weights: str, precision: Precision, threads: int) -> Peak | str:
    if find_spec("onnxruntime") is None:
        return "ONNX Runtime is not installed"
    import onnxruntime as ort

    n = side(threads)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = ort.InferenceSession(_product(n, op, data, weights), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input("x", np.ones((n, n), data))
    binding.bind_output("y", "cpu")
    basis = f"{op} {_square(n)}, {data} × {weights}, ONNX Runtime {ort.__version__}"
    return peak(str(precision), 2 * n**3, lambda: session.run_with_iobinding(binding), basis)


def _openvino(hint: str, precision: Precision, threads: int) -> Peak | str:
    needs = MULTIPLY.get(precision, ())
    if needs and not set(needs) & set(this_machine().instructions):
        return f"the CPU has none of {', '.join(needs)}"
    if find_spec("openvino") is None:
        return "OpenVINO, which is needed for this format, is not installed"
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

    return peak(str(precision), 2 * n**3, call, f"MatMul {_square(n)} in {hint}, OpenVINO {version_of('openvino')}")


def _product(n: int, op: str, data: str, weights: str) -> bytes:
    """An ONNX model of one matrix product with constant weights, whose layout libraries may change."""
    import onnx

    kind, result = ("float", "float") if data == "float32" else (data, "int32")
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": 17]> product ({kind}[{n},{n}] x) => ({result}[{n},{n}] y) {{ y = {op}(x, w) }}'
    )
    values = np.random.default_rng(0).integers(-8, 8, (n, n)).astype(weights)
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, "w"))
    content: bytes = model.SerializeToString()
    return content


def _square(n: int) -> str:
    return f"{n} × {n} × {n}"


def _transfers(threads: int) -> Iterable[Peak]:
    """Bytes per second from each cache from the second level on, and from memory, by three loops each."""
    import psutil
    from threadpoolctl import threadpool_limits

    known = [cache for cache in caches() if cache.level >= 2]
    last = known[-1].size_bytes * known[-1].instances if known else 32 * 2**20
    places = [(f"L{cache.level}", int(HALF * _reach(cache, threads)), _reach(cache, threads)) for cache in known]
    # with several threads, small steps would measure Python's overhead
    places = [place for place in places if threads == 1 or place[1] // threads >= LEAST_STEP_BYTES]
    room = int(psutil.virtual_memory().available * SHARE_OF_MEMORY)
    places.append(("memory", min(3 * BEYOND_CACHE * last, room), 0))
    with ThreadPoolExecutor(threads) as pool, threadpool_limits(1, "blas"):
        for place, total, reach in places:
            yield from _loops(place, total, reach, pool, threads)


def _reach(cache: Any, threads: int) -> int:
    """Bytes that this cache level holds for ``threads`` threads on different cores."""
    return int(cache.size_bytes * min(cache.instances, -(-threads // cache.cores)))


def _loops(place: str, total: int, reach: int, pool: ThreadPoolExecutor, threads: int) -> Iterable[Peak]:
    """Three loops over arrays of ``total`` bytes together. One repetition covers ``PASS_BYTES``: several passes over arrays that fit a
    cache, or the next part of arrays in memory, which accesses to the other parts have evicted from the caches.
    """
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
