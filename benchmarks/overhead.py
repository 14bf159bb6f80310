"""Is the median that the workbench reports the same as that of a bare loop?

Method. Chains of MatMul and Relu of growing size, and the demo, become ONNX Runtime FP32 engines through ``workbench.run``.
Each engine file is then opened by three processes: the workbench's worker, told what ``workbench.measure`` tells it, and two
of ``bare_loop.py``. In every round each times one block, in random order, one at a time. Ratios are taken within a round; their
95 % interval is ``workbench.stats.ratio_interval``. The second bare loop against the first is the control: what two processes
that do the same differ by. One thread, and the workbench's own block length and pauses.

The workbench's region is host to host: NumPy arrays in, a dict of NumPy arrays out. So its calls also hold one Python call
and the making of that dict, which the bare loop does not.

Target: within 3 % where a bare call takes over 0.2 ms, within 10 microseconds where it takes less (medians).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
from record import ROOT, Section, parser, tell, verdict
from stores import store_with_demo

from workbench import Experiment, backends, benchmark, run
from workbench.data import Samples, dataset, save_samples
from workbench.records import EngineRecord, TimingPlan, to_json
from workbench.stats import ratio_interval
from workbench.store import Store
from workbench.worker import QUIET_ENV, Worker, thread_env

PLAN = TimingPlan()
BATCH = 8
SIZES = ((2, 16), (4, 160), (6, 384), (8, 640), (10, 1280))  # layers and width: about 0.01, 0.05, 0.3, 1 and 5 ms
SMALL_NS = 200_000
SHARE, LIMIT_US = 0.03, 10.0
ENV = {"CUDA_VISIBLE_DEVICES": "-1", **thread_env(1)}


class Found(NamedTuple):
    """Durations in nanoseconds, one list per round."""

    bare: list[list[int]]
    again: list[list[int]]
    workbench: list[list[int]]


class BareLoop:
    """The parent's end of ``bare_loop.py``."""

    def __init__(self, engine: Path, feeds: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("bare_loop.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **QUIET_ENV, **ENV},
        )
        self._ask(engine=str(engine), feeds=str(feeds), threads=1, warm_up_s=PLAN.warm_up_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate()  # closes its input, which ends it

    def block(self) -> list[int]:
        return json.loads(self._ask(seconds=PLAN.block_s, reheat_s=benchmark.REHEAT_S))

    def _ask(self, **what: Any) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


def chain(path: Path, layers: int, width: int) -> Path:
    """``layers`` times MatMul and Relu; weights scaled so that values neither grow nor vanish into slow subnormals."""
    draw = np.random.default_rng(0)
    weights, nodes = [], []
    for layer in range(layers):
        weight = draw.standard_normal((width, width), dtype=np.float32) * np.float32((2 / width) ** 0.5)
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"m{layer}"]))
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [f"x{layer + 1}"]))
    ends = [helper.make_tensor_value_info(f"x{end}", TensorProto.FLOAT, ["n", width]) for end in (0, layers)]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def built(model: str, store: Store) -> tuple[EngineRecord, Samples]:
    """The model's ONNX Runtime FP32 engine, and samples for it."""
    asked = Experiment(model=model, backends=("onnxruntime",), precisions=("fp32",), batches=(BATCH,))
    results = run(asked, store=store, only="build")
    engine = results.rows[0].engine
    if engine is None:
        raise RuntimeError(f"{model} was not built: {results.rows[0].failure}")
    return engine, dataset("auto", results.model, 0, 0, demo=model == "demo").test


def measured(engine: EngineRecord, samples: Samples, store: Store, scratch: Path, rounds: int) -> Found:
    """Three processes take turns with the same engine file."""
    folder = store.path("engine", engine.key)
    save_samples(samples, scratch / "samples.npz")
    np.savez(scratch / "feeds.npz", **samples.feeds(0, BATCH))
    file = folder / "engine.onnx"
    with (
        BareLoop(file, scratch / "feeds.npz") as bare,
        BareLoop(file, scratch / "feeds.npz") as again,
        Worker(store.log_path("overhead"), env=ENV) as worker,
    ):
        worker.call("hello", modules=list(backends.get("onnxruntime").imports))
        worker.call("open_engine", engine=str(folder), record=to_json(engine))
        where = str(scratch / "samples.npz")
        worker.call("prepare_timing", samples=where, batch=BATCH, region=PLAN.region, warm_up_s=PLAN.warm_up_s)
        turns = (bare.block, again.block, lambda: worker.call("block", seconds=PLAN.block_s)["samples_ns"])
        found = Found([], [], [])
        for _ in range(rounds):
            for turn in random.sample(range(3), 3):
                found[turn].append(turns[turn]())
        return found
