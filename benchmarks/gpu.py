"""What the workbench measures on an NVIDIA GPU, and whether that is right: ONNX Runtime's CUDA provider over every region.

Method. Two networks with random weights, one of the size of the demo and ResNet-50, become engines through ``workbench.run`` in
FP32 without TF32, FP32 with TF32, and FP16. Each is opened in the workbench's worker with and without a CUDA graph and timed at
batch 1, 8 and 64 over the regions device, compute and host to host; then with one and with four calls in flight.

Checks, each against something that the workbench has no part in (``gpu_bare.py``, a process of its own):

* the median of the region device with a CUDA graph lies within 2 % of an independent timing: one graph that holds 200 runs,
  the host's time of its replay divided by 200;
* four calls in flight bring at least the throughput of one;
* once a worker has ended, the device's memory in use is what it was before.

What the workbench adds to a launch is measured by ``gpu_overhead.py``.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from models import resnet50, small_cnn
from record import Section, parser, tell, verdict
from script_process import ScriptProcess

from workbench import Experiment, backends, run
from workbench.cuda.gpu import IMPORTS
from workbench.data.dataset import dataset
from workbench.data.samples import Samples, save_samples
from workbench.records import DeviceFacts, EngineRecord, Region, from_json, to_json
from workbench.store import Store
from workbench.workers.worker import Worker, thread_env

BATCHES = (1, 8, 64)
REGIONS = (Region.DEVICE, Region.COMPUTE, Region.HOST_TO_HOST)
PRECISIONS = {"FP32": ("fp32", False), "TF32": ("fp32", True), "FP16": ("fp16", True)}
LAUNCHES = 200
SECONDS, WARM_UP_S, ROUNDS, REGION_ROUNDS = 0.25, 0.2, 6, 5
LIBRARIES = ("onnxruntime-gpu", "pycuda", "cuda-bindings", "nvidia-ml-py", "nvidia-cudnn-cu13", "onnx", "numpy")


class Case(NamedTuple):
    """One engine, with the inputs for it."""

    model: str
    precision: str  # a key of PRECISIONS
    engine: EngineRecord
    folder: Path
    samples: Path
    feeds: dict[int, Path]  # by batch
    log: Path


class Bare(ScriptProcess):
    """The parent's end of ``gpu_bare.py``."""

    SCRIPT, FILE = "gpu_bare.py", "engine.onnx"

    def __init__(self, case: Case, batch: int, *, graphs: bool) -> None:
        super().__init__(self.SCRIPT)
        file, tf32 = str(case.folder / self.FILE), case.engine.spec.tf32
        self.request(engine=file, feeds=str(case.feeds[batch]), tf32=tf32, graphs=graphs)

    def block(self, what: str, launches: int = 1, seconds: float = SECONDS) -> list[float]:
        answer = self.request(what=what, launches=launches, seconds=seconds, warm_up_s=0.02)
        durations: list[float] = json.loads(answer)
        return durations


def opened(case: Case, *, graph: bool = False, streams: int = 1) -> Worker:
    """The workbench's worker with the engine open, with the commands of ``workbench.runs.measure``."""
    worker = Worker(case.log, env=thread_env(1))
    worker.call("hello", modules=[*backends.modules(case.engine.spec), *IMPORTS])
    spec = replace(case.engine.spec, cuda_graph=graph, streams=streams)
    worker.call("open_engine", engine=str(case.folder), record=to_json(replace(case.engine, spec=spec)))
    return worker


def ready(worker: Worker, case: Case, batch: int, region: Region) -> None:
    worker.call("prepare_timing", samples=str(case.samples), batch=batch, region=region, warm_up_s=WARM_UP_S)


def block(worker: Worker, seconds: float = SECONDS) -> list[int]:
    samples: list[int] = worker.call("block", seconds=seconds)["samples_ns"]
    return samples


def cases(scratch: Path) -> list[Case]:
    """Every model in every precision, built by the workbench."""
    store = Store(scratch / "store").prepare()
    made = []
    for name, path in (
        ("small CNN", small_cnn(scratch / "small.onnx")),
        ("ResNet-50", resnet50(scratch / "resnet50.onnx")),
    ):
        samples: Samples | None = None
        for title, (precision, tf32) in PRECISIONS.items():
            asked = Experiment(
                model=str(path),
                data="random",
                backends="onnxruntime:cuda",
                precisions=precision,
                batches=BATCHES,
                tf32=tf32,
            )
            results = run(asked, store=store, only="build")
            engine = results.rows[0].engine
            if engine is None:
                raise SystemExit(f"{name} in {title} was not built: {results.rows[0].failure}")
            samples = samples or dataset("random", results.model, 0, 0, demo=False).test
            place = scratch / f"{path.stem}.npz"
            save_samples(samples, place)
            feeds = {}
            for batch in BATCHES:
                feeds[batch] = scratch / f"{path.stem}-{batch}.npz"
                np.savez(feeds[batch], **{key: np.asarray(value) for key, value in samples.feeds(0, batch).items()})
            folder, log = store.path("engine", engine.key), store.log_path("gpu")
            made.append(Case(name, title, engine, folder, place, feeds, log))
            print(f"{name} {title}: {engine.realized.label}; {engine.note or 'every node on the GPU'}", flush=True)
    return made


def memory_in_use() -> int:
    """Bytes of the device's memory that any process holds."""
    import pynvml

    pynvml.nvmlInit()
    return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used)


def returned(before: int, patience_s: float = 5.0) -> int:
    """Bytes that are still held above ``before``, after at most this long."""
    until = time.monotonic() + patience_s
    while (left := memory_in_use() - before) > 0 and time.monotonic() < until:
        time.sleep(0.05)
    return max(0, left)


class Timed(NamedTuple):
    """Of one engine with or without a graph: seconds by batch and region, and what the session reported."""

    medians: dict[tuple[int, Region], float]
    facts: dict[int, DeviceFacts]
    left: int  # bytes that did not come back


def timed(case: Case, *, graph: bool) -> Timed:
    before = memory_in_use()
    medians, facts = {}, {}
    with opened(case, graph=graph) as worker:
        for batch in BATCHES:
            rounds: dict[Region, list[float]] = {region: [] for region in REGIONS}
            for _ in range(REGION_ROUNDS):
                for region in REGIONS:
                    ready(worker, case, batch, region)
                    rounds[region].append(float(np.median(block(worker, 0.1))) * 1e-9)
            medians |= {(batch, region): float(np.median(found)) for region, found in rounds.items()}
            facts[batch] = from_json(DeviceFacts, worker.call("device"))
    return Timed(medians, facts, returned(before))


def regions(every: list[Case]) -> Section:
    rows = []
    left = 0
    for case in every:
        found = {graph: timed(case, graph=graph) for graph in (False, True)}
        left = max(left, *(one.left for one in found.values()))
        for batch in BATCHES:
            for graph, one in found.items():
                facts = one.facts[batch]
                ms = [f"{one.medians[batch, region] * 1e3:.3f}" for region in REGIONS]
                split = " + ".join(f"{seconds * 1e3:.3f}" for seconds in facts.split_s)
                used = "yes" if facts.graph else f"no: {facts.graph_note}" if graph else "no"
                memory = f"{facts.memory_bytes / 2**20:,.0f}"
                rows.append(
                    (case.model, case.precision, str(batch), used, *ms, split, memory, f"{one.left / 2**20:.0f}")
                )
    return Section(
        title="Regions on a GPU",
        script="gpu.py",
        method=f"Median milliseconds of one call over {REGION_ROUNDS} rounds of the three regions in turn, each warmed up for "
        f"{WARM_UP_S} s. Without a graph the host launches kernel by kernel: for a small network the device waits for it, and the "
        "three regions differ by chance as much as by what they enclose. Split: "
        "copying in, computing and copying out, by CUDA events. Memory: MiB of the device that the worker held, with its CUDA "
        "context; left: MiB that were still held after it had ended (target: 0).",
        columns=(
            "model",
            "precision",
            "batch",
            "CUDA graph",
            "device",
            "compute",
            "host to host",
            "split",
            "memory",
            "left",
        ),
        rows=rows,
        libraries=LIBRARIES,
        notes=(f"Memory came back after every worker: {verdict(left, 0, 0)}.",),
    )


def agreement(every: list[Case]) -> Section:
    """Device medians in turns with an independent timing of the same engine."""
    rows = []
    for case in every:
        for batch in BATCHES:
            ours, theirs = [], []
            with Bare(case, batch, graphs=True) as bare, opened(case, graph=True) as worker:
                ready(worker, case, batch, Region.DEVICE)
                for _ in range(ROUNDS):
                    ours.append(np.median(block(worker, 0.15)))
                    theirs.append(np.median(bare.block("replay", LAUNCHES, 0.15)))
            device, replay = float(np.median(ours)) * 1e-9, float(np.median(theirs)) * 1e-9
            answer = verdict(device / replay, 0.98, 1.02)
            figures = (
                f"{device * 1e3:.4f}",
                f"{replay * 1e3:.4f}",
                f"{device / replay - 1:+.2%}",
                f"{(device - replay) * 1e6:+.1f} µs",
            )
            rows.append((case.model, case.precision, str(batch), *figures, answer))
            print(*rows[-1], sep="  ", flush=True)
    return Section(
        title="Is the device time right?",
        script="gpu.py",
        method=f"Median milliseconds of the region device with a CUDA graph, against an independent process: one graph of {LAUNCHES} "
        f"runs, replayed and timed by the host's clock, divided by {LAUNCHES}. {ROUNDS} interleaved rounds. The workbench "
        "times runs of less than half a millisecond several at a time. Target: within 2 %.",
        columns=("model", "precision", "batch", "device", "replay / 200", "apart", "", "target: within 2 %"),
        rows=rows,
        libraries=LIBRARIES,
    )


def streams(every: list[Case]) -> Section:
    rows = []
    for case in every:
        for graph in (False, True):
            with opened(case, graph=graph) as one, opened(case, graph=graph, streams=4) as four:
                for batch in BATCHES:
                    rates: dict[str, list[float]] = {"one": [], "four": []}
                    for worker in (one, four):
                        ready(worker, case, batch, Region.COMPUTE)
                    for _ in range(ROUNDS):
                        for name, worker in (("one", one), ("four", four)):
                            samples = block(worker, 0.15)
                            rates[name].append(batch * len(samples) / (sum(samples) * 1e-9))
                    single, several = (float(np.median(rates[name])) for name in ("one", "four"))
                    gain = float(np.median([b / a for a, b in zip(rates["one"], rates["four"], strict=True)]))
                    figures = f"{single:,.0f}", f"{several:,.0f}", f"×{gain:.3f}"
                    rows.append(
                        (
                            case.model,
                            case.precision,
                            str(batch),
                            "yes" if graph else "no",
                            *figures,
                            verdict(gain, 1, 99),
                        )
                    )
                    print(*rows[-1], sep="  ", flush=True)
    return Section(
        title="One and four calls in flight",
        script="gpu.py",
        method=f"Samples per second with inputs in place, {ROUNDS} interleaved rounds; four streams are four sessions in one worker, "
        "each with a host thread of its own. Target: at least the throughput of one.",
        columns=("model", "precision", "batch", "CUDA graph", "one", "four", "ratio", ""),
        rows=rows,
        libraries=LIBRARIES,
    )


PARTS = (regions, agreement, streams)


def main() -> None:
    names = [part.__name__ for part in PARTS]
    options = parser(__doc__)
    options.add_argument("--parts", nargs="+", choices=names, default=names)
    options.add_argument("--scratch", default="", help="keep models and engines in this folder, for the next call")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(asked.scratch or folder)
        scratch.mkdir(exist_ok=True)
        every = cases(scratch)
        for part in PARTS:
            if part.__name__ in asked.parts:
                tell(part(every), record=asked.record)


if __name__ == "__main__":
    main()
