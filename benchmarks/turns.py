"""Shared by the benchmarks: the same engine file in the workbench's worker and in bare loops, which take turns."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from workbench import Experiment, backends, run
from workbench.data.dataset import dataset
from workbench.data.samples import Samples, save_samples
from workbench.records import EngineRecord, TimingPlan, to_json
from workbench.store import Store
from workbench.timing import benchmark
from workbench.workers.worker import QUIET_ENV, Worker, thread_env

PLAN = TimingPlan()
BATCH = 8
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
        samples: list[int] = json.loads(self._ask(seconds=PLAN.block_s, reheat_s=benchmark.REHEAT_S))
        return samples

    def _ask(self, **what: Any) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


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
    feeds: dict[str, Any] = {**samples.feeds(0, BATCH)}
    np.savez(scratch / "feeds.npz", **feeds)
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
