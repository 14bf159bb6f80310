"""TensorRT beside ONNX Runtime CUDA on an NVIDIA GPU: speed, precision and accuracy of several models, and whether the figures are right.

Method. Each model becomes engines of both libraries through ``workbench.run``: in FP32 without TF32, FP16 and INT8 (Q/DQ, calibrated
on samples), and in FP32 with TF32. They are timed interleaved at batch 1 and 64 over the region device with a CUDA graph. Parts
(``--parts``), each of which fits into a few minutes for one model (``--models``) where engines are kept (``--store``):

* ``rows``: as above;
* ``ways``: every region with and without a CUDA graph, and one and four streams;
* ``device``: the device median against an independent process (one graph of 200 runs, ``gpu_tensorrt_bare.py``), and the memory left;
* ``launch``: the launch against a bare loop on the same plan (``gpu_inside.py``); ``host``: host to host against Polygraphy's ``TrtRunner``
  0.48.1, over six pairs of processes (0.53 ends with a segmentation fault on the bindings of 8.6);
* ``energy``: joules by NVML's counter;
* ``levels``: build time and latency by optimization level (``--levels``), each built without a timing cache;
* ``cache``: the build time of one engine without and with the timing cache;
* ``builds``: how much several builds differ (``--builds``), for TensorRT in FP16, without a timing cache;
* ``layers``: every layer's time in FP32, FP16 and INT8 at batch 1, and why the lower precision is not faster where it is not.

Models are ONNX files in ``--folder``: ``demo.onnx``, ``lite0.onnx`` (``lite0.npz``: its samples), ``mobilenetv2.onnx``, ``resnet50.onnx``; the last two are made
here with random weights where they are missing. Models with random weights show speed and no accuracy. Rows are appended to ``--rows`` as
JSON lines; with ``--record`` the tables are made from that file, which may come from another machine (``--from``). With ``--runs FOLDER`` every
run is exported there as a file that any store takes in (``workbench history --import``).
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from gpu import Bare, Case, block, memory_in_use, opened, ready, returned
from gpu_tensorrt_tables import LAUNCHES, levels_figure, sections
from models import KEPT, mobilenetv2, resnet50
from record import parser, tell

from workbench import Experiment, run
from workbench.compare.cost_table import joules
from workbench.data.dataset import dataset
from workbench.data.samples import save_samples
from workbench.records import EngineRecord, Region, Results
from workbench.runs.travel import export_run
from workbench.stats import estimates
from workbench.store import Store
from workbench.system.machine import this_machine

BATCHES = (1, 64)
TRT, ORT = "tensorrt", "onnxruntime:cuda"
CALIBRATION = 32
PLAN = {"rounds": 8, "measure_s": 0.4, "max_measure_s": 0.4}


class BarePlan(Bare):
    """The parent's end of ``gpu_tensorrt_bare.py``."""

    SCRIPT, FILE = "gpu_tensorrt_bare.py", "engine.plan"


def model_path(name: str, folder: Path) -> Path:
    """The model's file, made where it is missing and can be."""
    path = folder / f"{name}.onnx"
    make = {"resnet50": resnet50, "mobilenetv2": mobilenetv2}.get(name)
    if make and not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        make(path)
    if not path.exists() and name != "demo":
        raise SystemExit(f"There is no {path}. Put the model there (--folder).")
    return path


def samples_of(name: str, path: Path) -> str:
    """The data setting: digits, the file beside the model, or random images that can calibrate."""
    if name == "demo":
        return "digits"
    if path.with_suffix(".npz").exists():
        return str(path.with_suffix(".npz"))
    made = path.with_name(f"{name}-random.npz")
    if not made.exists():
        draw = np.random.default_rng(0)
        shape = (224, 224, 3) if name == "lite0" else (3, 224, 224)
        np.savez(made, x=draw.standard_normal((CALIBRATION + 64, *shape), dtype=np.float32))
    return str(made)


class Rows:
    """Facts of rows, kept as JSON lines."""

    def __init__(self, path: Path, runs: Path | None = None) -> None:
        self._path, self._runs = path, runs
        self._about = {"machine": this_machine().label, "date": f"{datetime.now(UTC):%Y-%m-%d}"}

    def add(self, part: str, **facts: Any) -> None:
        line = {"part": part, **facts, **self._about}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(part, *(f"{value:.4g}" if isinstance(value, float) else value for value in facts.values()), flush=True)

    def export(self, part: str, model: str, results: Results, store: Store | str) -> None:
        """The run as a file for another machine, where that was asked for."""
        if self._runs:
            found = export_run(results.run, self._runs / f"{model}-{part}-{results.run[-6:]}.wbrun", store)
            print(f"  {found.path}: {found.size_bytes / 1e6:.2f} MB", flush=True)

    def results(self, part: str, model: str, results: Results, baseline: str) -> None:
        judged = {id(one.result): one for one in results.compare(baseline).rows}
        for row in results.rows:
            timing, engine = row.timing, row.engine
            if timing is None:
                self.add(
                    part,
                    model=model,
                    variant=row.spec.label,
                    batch=row.batch,
                    failed=row.failure.message if row.failure else "",
                )
                continue
            spent, found, score = joules(timing), judged.get(id(row)), row.accuracy
            self.add(
                part, model=model, variant=row.spec.label, batch=row.batch, tf32=row.spec.tf32,
                graph=bool(timing.device and timing.device.graph), streams=timing.streams, region=str(timing.region),
                ms=timing.median_s * 1e3, samples_per_s=timing.samples_per_s, built=engine.realized.label if engine else "",
                baseline=baseline, speedup=found.speedup if found else None, low=found.low if found else None, high=found.high if found else None,
                verdict=str(found.verdict) if found else "", top1=score.value * 100 if score and score.value is not None else None, agree=score.agreement * 100 if score else None,
                build_s=engine.build_s if engine else None, engine_mb=engine.size_bytes / 1e6 if engine else None,
                memory_mib=timing.device.memory_bytes / 2**20 if timing.device else None,
                library=f"{engine.library} {engine.library_version}" if engine else "",
                joules=spent,
                note=engine.note if engine else "",
            )  # fmt: skip


def asked(name: str, path: Path, **changes: Any) -> Experiment:
    settings: dict[str, Any] = {
        "model": str(path), "data": samples_of(name, path), "backends": f"{TRT},{ORT}", "batches": BATCHES,
        "precisions": "fp32,fp16,int8", "tf32": False, "cuda_graph": True, "region": "device",
        "calibration_samples": CALIBRATION, **PLAN,
    }  # fmt: skip
    return Experiment(**(settings | changes))


def rows(name: str, path: Path, store: Store, kept: Rows) -> None:
    """Both libraries in every precision, interleaved."""
    for more in ({}, {"precisions": "fp32", "tf32": True}):
        results = run(asked(name, path, **more), store=store, on_event=_shown)
        kept.results("rows", name, results, f"{ORT} fp32")
        kept.export("rows", name, results, store)


def ways(name: str, path: Path, store: Store, kept: Rows) -> None:
    for region in Region:
        for graph in (False, True):
            results = run(asked(name, path, precisions="fp16", region=str(region), cuda_graph=graph), store=store)
            kept.results("ways", name, results, f"{ORT} fp16")
    for graph in (False, True):
        four = asked(name, path, precisions="fp16", region="compute", cuda_graph=graph, streams=4)
        kept.results("ways", name, run(four, store=store), f"{ORT} fp16")


def energy(name: str, path: Path, store: Store, kept: Rows) -> None:
    """Blocks of two seconds, which the GPU's energy counter can resolve."""
    long = {"rounds": 6, "measure_s": 12.5, "max_measure_s": 12.5}
    results = run(asked(name, path, batches=(64,), **long), store=store, on_event=_shown)
    kept.results("energy", name, results, f"{ORT} fp32")
    kept.export("energy", name, results, store)
    print("\n".join(results.costs().notes), flush=True)


def cases(name: str, path: Path, store: Store, precisions: tuple[str, ...] = ("fp16",)) -> list[Case]:
    """TensorRT's engines of one model, with inputs for the scripts beside this one."""
    made = []
    for precision in precisions:
        results = run(asked(name, path, backends=TRT, precisions=precision), store=store, only="build")
        engine = results.rows[0].engine
        if engine is None:
            raise SystemExit(f"{name} in {precision} was not built: {results.rows[0].failure}")
        samples = dataset("random", results.model, 0, 0, demo=False).test
        place = path.with_name(f"{name}-inputs.npz")
        save_samples(samples, place)
        feeds = {batch: path.with_name(f"{name}-{batch}.npz") for batch in BATCHES}
        for batch, file in feeds.items():
            np.savez(file, **{key: np.asarray(value) for key, value in samples.feeds(0, batch).items()})
        made.append(
            Case(name, precision, engine, store.path("engine", engine.key), place, feeds, store.log_path("gpu"))
        )
    return made


def device(name: str, path: Path, store: Store, kept: Rows) -> None:
    for case in cases(name, path, store):
        before = memory_in_use()
        for batch in BATCHES:
            _device(case, batch, kept)
        kept.add("memory", model=name, precision=case.precision, left_mib=returned(before) / 2**20)


def launch(name: str, path: Path, store: Store, kept: Rows) -> None:
    for case in cases(name, path, store):
        for graph in (False, True):
            _launch(case, graph, kept)


def host(name: str, path: Path, store: Store, kept: Rows) -> None:
    for case in cases(name, path, store):
        for batch in BATCHES:
            _host(case, batch, kept)


def _device(case: Case, batch: int, kept: Rows, rounds: int = 6) -> None:
    ours, theirs = [], []
    with BarePlan(case, batch, graphs=True) as bare, opened(case, graph=True) as worker:
        ready(worker, case, batch, Region.DEVICE)
        for _ in range(rounds):
            ours.append(np.median(block(worker, 0.15)))
            theirs.append(np.median(bare.block("replay", LAUNCHES, 0.15)))
    device, replay = float(np.median(ours)) * 1e-6, float(np.median(theirs)) * 1e-6
    kept.add("device", model=case.model, precision=case.precision, batch=batch, device_ms=device, replay_ms=replay)


def _host(case: Case, batch: int, kept: Rows, starts: int = 6, rounds: int = 4, seconds: float = 0.2) -> None:
    """The unit of the interval is a pair of processes: where their memory lies changes the time of a copy."""
    ours, theirs, ratios = [], [], []
    for _ in range(starts):
        with BarePlan(case, batch, graphs=False) as bare, opened(case) as worker:
            ready(worker, case, batch, Region.HOST_TO_HOST)
            found = [
                (np.median(block(worker, seconds)), np.median(bare.block("polygraphy", 1, seconds)))
                for _ in range(rounds)
            ]
        one, other = (float(np.median(side)) for side in zip(*found, strict=True))
        ours.append(one)
        theirs.append(other)
        ratios.append(one / other)
    kept.add(
        "host", model=case.model, precision=case.precision, batch=batch, host_ms=float(np.median(ours)) * 1e-6,
        polygraphy_ms=float(np.median(theirs)) * 1e-6, ratio=estimates.ratio_interval(ratios),
    )  # fmt: skip


def _launch(case: Case, graph: bool, kept: Rows, starts: int = 6, turns: int = 10) -> None:
    from gpu_overhead import Inside

    bare, more, control = [], [], []
    for _ in range(starts):
        with Inside(case, graph=graph) as inside:
            found = [inside.turn() for _ in range(turns)]
        bare.append(float(np.median([turn["bare"] for turn in found])) * 1e-3)
        more.append(float(np.median([turn["workbench"] - turn["bare"] for turn in found])) * 1e-3)
        control.append(float(np.median([turn["again"] - turn["bare"] for turn in found])) * 1e-3)
    kept.add(
        "launch", model=case.model, precision=case.precision, graph=graph, bare_us=float(np.median(bare)),
        more_us=estimates.ratio_interval(more), control_us=estimates.ratio_interval(control),
    )  # fmt: skip


def levels(name: str, path: Path, _: Store, kept: Rows) -> None:
    """Each level in a store of its own: builds of one store share their timing cache."""
    for level in CHOSEN.levels:
        with tempfile.TemporaryDirectory() as folder:
            one = asked(name, path, backends=TRT, precisions="fp32", optimization_level=level, batches=(64,))
            kept.results("levels", name, run(one, store=folder), f"{TRT} fp32 level {level}")


def builds(name: str, path: Path, store: Store, kept: Rows) -> None:
    """Independent builds in FP16; what was built before is in the store."""
    several = asked(name, path, backends=TRT, precisions="fp16", builds=CHOSEN.builds)
    results = run(several, store=store, on_event=_shown)
    kept.results("builds", name, results, f"{TRT} fp16")
    kept.export("builds", name, results, store)
    print(results.builds().text(), flush=True)


def layers(name: str, path: Path, store: Store, kept: Rows) -> None:
    """Times per layer at batch 1, for the question why INT8 is not faster than FP16."""
    timed = asked(name, path, backends=TRT, batches=(1,), layers=True)
    results = run(timed, store=store, on_event=_shown)
    kept.export("layers", name, results, store)
    kept.results("layers", name, results, f"{TRT} fp32")
    print(results.why_not_faster(), flush=True)


def cache(name: str, path: Path, _: Store, kept: Rows) -> None:
    """One engine built twice: without a timing cache, and with the one that the first build left."""
    with tempfile.TemporaryDirectory() as folder:
        for found in ("without", "with"):
            results = run(asked(name, path, backends=TRT, precisions="fp16"), store=folder, only="build")
            engine: EngineRecord | None = results.rows[0].engine
            kept.add("cache", model=name, cache=found, build_s=engine.build_s if engine else None)
            shutil.rmtree(Path(folder) / "engine", ignore_errors=True)


def _shown(event: Any) -> None:
    if not event.detail:
        print(f"  {event.text}", flush=True)


PARTS = {part.__name__: part for part in (rows, ways, device, launch, host, energy, levels, cache, builds, layers)}
CHOSEN = argparse.Namespace(levels=tuple(range(6)), builds=5)
"""Options of single parts."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--models", nargs="+", default=["demo", "mobilenetv2", "resnet50", "lite0"])
    options.add_argument("--parts", nargs="+", choices=list(PARTS), default=["rows"])
    options.add_argument("--folder", type=Path, default=KEPT, help="where the models are")
    options.add_argument("--store", default="", help="keep engines here, for the next call")
    options.add_argument(
        "--levels", nargs="+", type=int, default=list(CHOSEN.levels), help="optimization levels to build"
    )
    options.add_argument("--builds", type=int, default=CHOSEN.builds, help="builds of each variant, in the part builds")
    options.add_argument("--runs", type=Path, help="export every run into this folder")
    options.add_argument("--rows", type=Path, default=Path("gpu_tensorrt.jsonl"))
    options.add_argument("--from", dest="recorded", type=Path, help="make the tables of these rows and measure nothing")
    options.add_argument("--figure", type=Path, help="a picture of the part levels")
    given = options.parse_args()
    CHOSEN.levels, CHOSEN.builds = given.levels, given.builds
    if given.recorded is None:
        if given.runs:
            given.runs.mkdir(parents=True, exist_ok=True)
        kept = Rows(given.rows, given.runs)
        with tempfile.TemporaryDirectory() as folder:
            store = Store(given.store or folder).prepare()
            for name in given.models:
                for part in given.parts:
                    began = time.monotonic()
                    try:
                        PARTS[part](name, model_path(name, given.folder), store, kept)
                    except (Exception, SystemExit) as error:  # the other parts go on: a GPU's time is dear
                        print(f"{part} of {name} failed: {type(error).__name__}: {error}", flush=True)
                    print(f"{part} of {name}: {time.monotonic() - began:.0f} s", flush=True)
    file = given.recorded or given.rows
    found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    if given.figure:
        levels_figure(found, given.figure)
    for section in sections(found):
        tell(section, record=given.record)


if __name__ == "__main__":
    main()
