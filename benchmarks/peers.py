"""Does the workbench measure what other tools measure?

Method. A model becomes one ONNX Runtime and one OpenVINO engine, FP32, one thread, batch 1, through ``workbench.run``. In every
round each tool is started again, in random order, one at a time, with the same engine file, the same input and the same
environment; it warms up, measures for a while and gives the median of its own durations. A ratio is taken within a round, with
the 95 % interval over the rounds (``workbench.stats.estimates.ratio_interval``). Two launches of the very same program differ by several
percent for as long as they live, by where their memory came to lie: the second C++ loop is there to show how much.

The tools, each on what it calls its latency:

* ``ort_loop.cpp``, compiled here: ONNX Runtime's C API and nothing else; the output is allocated by the library in each call.
* bare Python loops around ``session.run`` and, with the inputs bound, ``run_with_iobinding``; Polygraphy's ``OnnxrtRunner`` and
  MLPerf LoadGen (SingleStream, performance mode; unofficial), which put their own clocks around ``session.run``.
* OpenVINO's ``benchmark_app`` (sync, one stream, one thread, FP32, inference only): the library's own latency, from inside. It
  takes no compiled model, so it compiles the ONNX file that our engine was compiled from. And bare loops around ``infer``, with
  the clock outside and with the library's own latency; and two from arrays to arrays: copied in and out, and ``compiled(x)``.
* the workbench's worker, as ``workbench.run`` drives it, over both of its regions.

Target: the workbench over the region compute within 2 % of the tightest of the others on the same engine, and over the region
host-to-host within 2 % of the tightest of those that go from arrays to arrays too. The whole interval of the ratio must say so, or it
cannot be determined. Where compute is not within it, the table says how much of that is Python's own call of the library, which every
Python program pays, if that difference has an interval without 0.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from models import MODELS, benchmark_store, model_file
from record import Section, interval_verdict, parser, tell

from workbench import Experiment, backends, run
from workbench.data.dataset import dataset
from workbench.data.samples import Samples, save_samples
from workbench.data.synthetic import generated
from workbench.records import EngineRecord, Region, to_json
from workbench.runs.engines import Means
from workbench.runs.executor import Executor
from workbench.stats.estimates import ratio_interval
from workbench.store import Store
from workbench.workers.pool import Pool
from workbench.workers.worker import NO_GPU, QUIET_ENV, Worker, thread_env

HERE = Path(__file__).resolve().parent
ENV = {**os.environ, **QUIET_ENV, **NO_GPU, **thread_env(1)}
TARGET = 0.02
OURS, CONTROL, COMPUTE, BOUND = "workbench", "the same again", "workbench, compute", "Python loop, inputs bound"
HOST = "workbench, host to host"
ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
LOOP, POLYGRAPHY, LOADGEN = "Python loop", "Polygraphy OnnxrtRunner", "MLPerf LoadGen, SingleStream"
COPIED, CALLED = "Python loop, copied in and out", "Python loop, compiled(x)"
FROM_ARRAYS = {ONNXRUNTIME: (LOOP, POLYGRAPHY, LOADGEN), OPENVINO: (COPIED, CALLED)}
"""Those that take arrays and give arrays in each call, as the workbench does from host to host."""
FILES = {ONNXRUNTIME: "engine.onnx", OPENVINO: "engine.blob"}


class Job(NamedTuple):
    """What every tool is given."""

    engines: dict[str, EngineRecord]
    folders: dict[str, Path]
    onnx: Path  # what both engines were built from
    scratch: Path
    store: Store
    warm_up_s: float
    seconds: float

    def asked(self, library: str) -> dict[str, Any]:
        return {
            "engine": str(self.folders[library] / FILES[library]),
            "feeds": str(self.scratch / "feeds.npz"),
            "onnx": str(self.onnx),
            "npy": str(self.scratch / "input.npy"),
            "scratch": str(self.scratch),
            "warm_up_s": self.warm_up_s,
            "seconds": self.seconds,
        }


Tool = Callable[[Job], float]
"""Start it, let it measure, and end it: its median in nanoseconds."""


def by_cpp(job: Job) -> float:
    import onnxruntime

    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    shape = ",".join(map(str, np.load(job.scratch / "input.npy").shape))
    words = [job.scratch / "ort_loop", library, job.asked(ONNXRUNTIME)["engine"], shape, job.scratch / "input.raw"]
    words += [job.scratch / "output.raw", job.warm_up_s, job.seconds]
    found = subprocess.run([*map(str, words)], env=ENV, capture_output=True, text=True, check=True).stdout
    return float(np.median([int(line) for line in found.split()]))


def by(tool: str, library: str) -> Tool:
    """A tool of ``peer_tools.py``."""

    def measure(job: Job) -> float:
        command = [sys.executable, str(HERE / "peer_tools.py"), tool]
        text = json.dumps(job.asked(library)) + "\n"
        found = subprocess.run(command, env=ENV, input=text, capture_output=True, text=True, check=False)
        if found.returncode:
            raise SystemExit(f"{tool} failed:\n{found.stderr[-2000:]}")
        return float(json.loads(found.stdout.splitlines()[-1])["median_ns"])

    return measure


def by_workbench(library: str, region: Region) -> Tool:
    def measure(job: Job) -> float:
        with Worker(job.store.log_path("peers"), env=NO_GPU | thread_env(1)) as worker:
            worker.call("hello", modules=list(backends.get(library).imports))
            worker.call("open_engine", engine=str(job.folders[library]), record=to_json(job.engines[library]))
            samples = str(job.scratch / "samples.npz")
            worker.call("prepare_timing", samples=samples, batch=1, region=region, warm_up_s=job.warm_up_s)
            return float(np.median(worker.call("block", seconds=job.seconds)["samples_ns"]))

    return measure


TOOLS: dict[str, dict[str, Tool]] = {
    ONNXRUNTIME: {
        "C++ loop on the C API": by_cpp,
        "the same again (control)": by_cpp,
        BOUND: by("onnxruntime_bound", ONNXRUNTIME),
        LOOP: by("onnxruntime_loop", ONNXRUNTIME),
        POLYGRAPHY: by("polygraphy", ONNXRUNTIME),
        LOADGEN: by("loadgen", ONNXRUNTIME),
        COMPUTE: by_workbench(ONNXRUNTIME, Region.COMPUTE),
        HOST: by_workbench(ONNXRUNTIME, Region.HOST_TO_HOST),
    },
    OPENVINO: {
        "benchmark_app": by("benchmark_app", OPENVINO),
        "the same again (control)": by("benchmark_app", OPENVINO),
        "Python loop, latency from inside": by("openvino_inside", OPENVINO),
        BOUND: by("openvino_loop", OPENVINO),
        COPIED: by("openvino_numpy", OPENVINO),
        CALLED: by("openvino_compiled", OPENVINO),
        COMPUTE: by_workbench(OPENVINO, Region.COMPUTE),
        HOST: by_workbench(OPENVINO, Region.HOST_TO_HOST),
    },
}


def job_of(name: str, scratch: Path, warm_up_s: float, seconds: float) -> Job:
    """Build the engines, write the inputs, compile the loop, and see that it gives Python's answer."""
    store = benchmark_store()
    asked = Experiment(model=model_file(name), backends=(ONNXRUNTIME, OPENVINO), precisions=("fp32",), batches=(1,))
    results = run(asked, store=store, only="build")
    engines = {row.spec.backend: row.engine for row in results.rows if row.engine}
    if len(engines) != len(TOOLS):
        raise SystemExit(f"{name} was not built: {[row.failure for row in results.rows]}")
    with Pool(store.log_path) as pool:
        data = dataset("auto", results.model, 0, 0, demo=name == "demo")
        onnx = Executor.of(Means(store, pool, print), results.model, data).prepared("onnx:fp32").source.path
    samples: Samples = generated(results.model.inputs, "random", 1, seed=0)
    save_samples(samples, scratch / "samples.npz")
    feeds = samples.feeds(0, 1)
    np.savez(scratch / "feeds.npz", **feeds)  # type: ignore[arg-type]
    (array,) = feeds.values()
    np.save(scratch / "input.npy", array)
    array.astype(np.float32).tofile(scratch / "input.raw")
    compiler = ["g++", "-O2", "-std=c++17", "-o", str(scratch / "ort_loop"), str(HERE / "ort_loop.cpp"), "-ldl"]
    subprocess.run(compiler, check=True)
    folders = {library: store.path("engine", engine.key) for library, engine in engines.items()}
    job = Job(engines, folders, onnx, scratch, store, warm_up_s, seconds)
    by_cpp(job._replace(warm_up_s=0.0, seconds=0.01))
    _same_answer(job, feeds)
    return job


def _same_answer(job: Job, feeds: dict[str, np.ndarray]) -> None:
    from bare_loop import open_session

    expected = open_session(job.asked(ONNXRUNTIME)["engine"], 1).run(None, feeds)[0].ravel()
    found = np.fromfile(job.scratch / "output.raw", dtype=np.float32)
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-4, atol=1e-6):
        raise SystemExit(
            "The C++ loop gives another answer than Python: its places in the table of functions are wrong."
        )


def rows(found: dict[str, dict[str, list[float]]]) -> list[tuple[str, ...]]:
    """One for each tool; ratios within rounds against the tightest of those that are not ours."""
    lines = []
    for library, tools in found.items():
        others = {name: times for name, times in tools.items() if not name.startswith((OURS, CONTROL))}
        tightest = min(others, key=lambda name: float(np.median(others[name])))
        for name, times in tools.items():
            reported = "the tightest" if name == tightest else _told(_interval(times, others[tightest]), ".3f")
            more = "" if name == tightest else f"{_more_us(times, others[tightest])[0]:+.1f} µs"
            answer = ""
            if name == COMPUTE:
                answer = _compute(tools, tightest)
            elif name == HOST:
                arrays = min(FROM_ARRAYS[library], key=lambda each: float(np.median(tools[each])))
                interval = _interval(times, tools[arrays])
                answer = f"{_within(interval)}; against '{arrays}' the ratio is {_told(interval, '.3f')}"
            lines.append((library, name, f"{float(np.median(times)) * 1e-3:,.1f} µs", reported, more, answer))
    return lines


def _compute(tools: dict[str, list[float]], tightest: str) -> str:
    """Whether the region compute is within the target; where not, and Python's own call is known to take more, how much more."""
    answer = _within(_interval(tools[COMPUTE], tools[tightest]))
    call = _more_us(tools[BOUND], tools[tightest])
    if answer.endswith("no") and (call[1] > 0 or call[2] < 0):
        answer += (
            f"; Python's own call of the library takes {_told(call, '+.1f')} µs, and against that call in a bare loop the ratio is "
            f"{_told(_interval(tools[COMPUTE], tools[BOUND]), '.3f')}"
        )
    return answer


def _within(interval: tuple[float, float, float]) -> str:
    return interval_verdict(interval, 1 - TARGET, 1 + TARGET)


def _told(interval: tuple[float, float, float], form: str) -> str:
    middle, low, high = (format(each, form) for each in interval)
    return f"{middle} ({low} to {high})"


def _interval(above: list[float], below: list[float]) -> tuple[float, float, float]:
    return _middle([a / b for a, b in zip(above, below, strict=True)])


def _more_us(above: list[float], below: list[float]) -> tuple[float, float, float]:
    """Median over rounds of the difference in microseconds, with its interval."""
    return _middle([(a - b) * 1e-3 for a, b in zip(above, below, strict=True)])


def _middle(values: list[float]) -> tuple[float, float, float]:
    interval = ratio_interval(values)
    if interval is None:
        raise SystemExit("Too few rounds for an interval; give at least 6.")
    return interval


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--model", choices=MODELS, action="append", help="this one only; may be given again")
    options.add_argument("--rounds", type=int, default=10, help="times that every tool is started; at least 6")
    options.add_argument("--seconds", type=float, default=0.5, help="of measuring in each launch")
    options.add_argument("--only-build", action="store_true", help="make models and engines, and measure nothing")
    asked = options.parse_args()
    for name in asked.model or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            job = job_of(name, Path(folder), 0.2, asked.seconds)
            if asked.only_build:
                continue
            found: dict[str, dict[str, list[float]]] = {
                library: {tool: [] for tool in TOOLS[library]} for library in TOOLS
            }
            turns = [(library, tool) for library in TOOLS for tool in TOOLS[library]]
            for number in range(asked.rounds):
                for library, tool in random.sample(turns, len(turns)):
                    found[library][tool].append(TOOLS[library][tool](job))
                print(f"{name}: round {number + 1} of {asked.rounds}", file=sys.stderr, flush=True)
        section = Section(
            title=f"Against peers: {name}",
            script=f"peers.py --model {name}",
            method=f"The same engine file of each library by every tool, batch 1, one thread: {asked.rounds} rounds, in each of "
            f"which every tool is started again, in random order, warms up and measures for {asked.seconds} s. Median over "
            "rounds of the tool's own median; ratios within rounds, with their 95 % interval. Host to host is judged against the tightest "
            "of those that go from arrays to arrays in each call.",
            columns=(
                "engine of",
                "measured by",
                "median",
                "ratio to the tightest",
                "more",
                f"target: within {TARGET:.0%}",
            ),
            rows=rows(found),
            libraries=("onnxruntime", "openvino", "mlcommons-loadgen", "polygraphy", "numpy"),
        )
        tell(section, record=asked.record)


if __name__ == "__main__":
    main()
