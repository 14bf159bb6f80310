"""One engine, timed once by one tool other than the workbench: what ``peers.py`` runs as a child process.

``python peer_tools.py TOOL`` reads one line of JSON from stdin (``engine``: a file; ``onnx``: the one that it was built from;
``feeds``: an ``.npz``; ``npy``: the one input; ``warm_up_s``, ``seconds``; ``scratch``: a folder) and prints one: ``median_ns`` of
the tool's own durations, and how many ``calls`` they are. Nothing of the workbench is imported.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bare_loop import open_session


def _loop(call: Callable[[], object], warm_up_s: float, seconds: float) -> list[int]:
    durations: list[int] = []
    for limit in (warm_up_s, seconds):
        durations.clear()
        end, until = 0, time.perf_counter_ns() + int(limit * 1e9)
        while end < until:
            start = time.perf_counter_ns()
            call()
            end = time.perf_counter_ns()
            durations.append(end - start)
    return durations


def onnxruntime_loop(asked: dict[str, Any], feeds: dict[str, np.ndarray]) -> list[int]:
    """``session.run`` between two readings of the clock."""
    session = open_session(asked["engine"], 1)
    return _loop(lambda: session.run(None, feeds), asked["warm_up_s"], asked["seconds"])


def polygraphy(asked: dict[str, Any], feeds: dict[str, np.ndarray]) -> list[int]:
    """Polygraphy's runner on the same session; its own ``last_inference_time``, which is read from ``time.time``."""
    from polygraphy.backend.onnxrt import OnnxrtRunner

    durations: list[int] = []
    with OnnxrtRunner(open_session(asked["engine"], 1)) as runner:

        def call() -> None:
            runner.infer(feeds, check_inputs=False)
            durations.append(round(runner.last_inference_time() * 1e9))

        kept = len(_loop(call, asked["warm_up_s"], asked["seconds"]))
    return durations[-kept:]


def loadgen(asked: dict[str, Any], feeds: dict[str, np.ndarray]) -> list[int]:
    """MLPerf LoadGen, SingleStream, performance mode: its own median, from its own summary."""
    import mlperf_loadgen as lg

    session = open_session(asked["engine"], 1)
    _loop(lambda: session.run(None, feeds), asked["warm_up_s"], 0.0)

    def issue(samples: list[Any]) -> None:
        for sample in samples:
            session.run(None, feeds)
            lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0)])

    settings = lg.TestSettings()
    settings.scenario = lg.TestScenario.SingleStream
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = int(asked["seconds"] * 1e3)
    settings.min_query_count = 10
    output = lg.LogOutputSettings()
    output.outdir = asked["scratch"]
    logs = lg.LogSettings()
    logs.log_output, logs.enable_trace = output, False
    sut = lg.ConstructSUT(issue, lambda: None)
    qsl = lg.ConstructQSL(1, 1, lambda _: None, lambda _: None)
    lg.StartTestWithLogSettings(sut, qsl, settings, logs)
    lg.DestroyQSL(qsl)
    lg.DestroySUT(sut)
    summary = (Path(asked["scratch"]) / "mlperf_log_summary.txt").read_text(encoding="utf-8")
    median = re.search(r"^50\.00 percentile latency \(ns\)\s*:\s*(\d+)", summary, re.MULTILINE)
    mean = re.search(r"^Mean latency \(ns\)\s*:\s*(\d+)", summary, re.MULTILINE)
    if not median or not mean:
        raise RuntimeError(f"LoadGen's summary has no median:\n{summary}")
    return [int(median[1])] * max(1, round(asked["seconds"] * 1e9 / int(mean[1])))


def onnxruntime_bound(asked: dict[str, Any], feeds: dict[str, np.ndarray]) -> list[int]:
    """Inputs and outputs bound once; ``session.run_with_iobinding`` between two readings of the clock."""
    session = open_session(asked["engine"], 1)
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_cpu_input(name, array)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return _loop(lambda: session.run_with_iobinding(binding), asked["warm_up_s"], asked["seconds"])


def openvino_loop(asked: dict[str, Any], feeds: dict[str, np.ndarray]) -> list[int]:
    """Inputs in place; ``request.infer`` between two readings of the clock."""
    request = _request(asked, feeds)
    return _loop(lambda: request.infer(share_outputs=True), asked["warm_up_s"], asked["seconds"])


def openvino_inside(asked: dict[str, Any], feeds: dict[str, np.ndarray]) -> list[int]:
    """The same loop; the durations are ``request.latency``, which the library counts for itself."""
    request = _request(asked, feeds)
    durations: list[int] = []

    def call() -> None:
        request.infer(share_outputs=True)
        durations.append(round(request.latency * 1e6))

    kept = len(_loop(call, asked["warm_up_s"], asked["seconds"]))
    return durations[-kept:]


def openvino_numpy(asked: dict[str, Any], feeds: dict[str, np.ndarray]) -> list[int]:
    """From arrays to arrays: copied into the request's memory, run, and copied out of it."""
    request = _compiled(asked).create_infer_request()
    into = {}
    for name, array in feeds.items():
        tensor = request.get_tensor(name)
        if tuple(tensor.shape) != array.shape:
            tensor.shape = array.shape
        into[name] = tensor.data

    def call() -> list[np.ndarray]:
        for name, array in feeds.items():
            into[name][...] = array
        return [view.copy() for view in request.infer(share_outputs=True).values()]

    return _loop(call, asked["warm_up_s"], asked["seconds"])


def openvino_compiled(asked: dict[str, Any], feeds: dict[str, np.ndarray]) -> list[int]:
    """``compiled(feeds)``, as OpenVINO's own examples call it: its inputs are not copied."""
    compiled = _compiled(asked)
    return _loop(lambda: compiled(feeds), asked["warm_up_s"], asked["seconds"])


def _request(asked: dict[str, Any], feeds: dict[str, np.ndarray]) -> Any:
    import openvino

    request = _compiled(asked).create_infer_request()
    for name, array in feeds.items():
        request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
    return request


def _compiled(asked: dict[str, Any]) -> Any:
    import openvino

    config = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return openvino.Core().import_model(Path(asked["engine"]).read_bytes(), "CPU", config)


def benchmark_app(asked: dict[str, Any], feeds: dict[str, np.ndarray]) -> list[int]:
    """OpenVINO's tool as its command line runs it, on the ONNX file; what its main loop returns is kept before it is rounded for
    print: the median of the latencies that the library counted for itself.
    """
    from openvino.tools.benchmark import main
    from openvino.tools.benchmark.benchmark import Benchmark

    found: list[tuple[Any, ...]] = []
    original = Benchmark.main_loop

    def main_loop(self: Any, *arguments: Any) -> Any:
        found.append(original(self, *arguments))
        return found[-1]

    Benchmark.main_loop = main_loop
    (shape,) = [list(array.shape) for array in feeds.values()]
    first = _once(asked, feeds)
    wanted = [f"-niter={max(10, round(asked['seconds'] / first))}", f"-data_shape={shape}".replace(" ", "")]
    fixed = [
        "-d=CPU",
        "-api=sync",
        "-hint=none",
        "-infer_precision=f32",
        "-ip=f32",  # or three channels would be taken for an image of bytes, and converted in every call
        "-nthreads=1",
        "-nstreams=1",
        "-inference_only=1",
    ]
    sys.argv = ["benchmark_app", f"-m={asked['onnx']}", f"-i={asked['npy']}", *wanted, *fixed]
    reported = io.StringIO()
    with contextlib.redirect_stdout(reported), contextlib.suppress(SystemExit):
        main.main()
    if not found:
        raise RuntimeError(f"benchmark_app did not run:\n{reported.getvalue()[-2000:]}")
    _, median_ms, *_, iterations = found[0]
    return [round(median_ms * 1e6)] * iterations


def _once(asked: dict[str, Any], feeds: dict[str, np.ndarray]) -> float:
    """Seconds of one call, to say for how many calls the tool should run: its own option for a time takes whole seconds."""
    request, times = _request(asked, feeds), []
    for _ in range(5):
        start = time.perf_counter()
        request.infer(share_outputs=True)
        times.append(time.perf_counter() - start)
    return min(times)


TOOLS = {
    tool.__name__: tool
    for tool in (
        onnxruntime_loop,
        onnxruntime_bound,
        polygraphy,
        loadgen,
        openvino_loop,
        openvino_inside,
        openvino_numpy,
        openvino_compiled,
        benchmark_app,
    )
}


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    with np.load(asked["feeds"]) as file:
        feeds = {name: file[name] for name in file.files}
    durations = TOOLS[sys.argv[1]](asked, feeds)
    print(json.dumps({"median_ns": statistics.median(durations), "calls": len(durations)}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
