"""Workers of the interleaved rounds whose times are drawn from a seed, and that take no time."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import weakref
from typing import Any

import recorded

from workbench.errors import WorkerError
from workbench.records import Event, Result, Status
from workbench.runs.exclusive import Exclusive
from workbench.runs.rounds import measure_groups
from workbench.runs.run_rows import RunRows
from workbench.settings.experiment import Experiment
from workbench.store import Store

BASE, PEER, OTHER = "tensorflow fp32", "onnxruntime fp32", "openvino fp32"


class Synthetic:
    """A worker: every block takes as long as was asked for, and a call its milliseconds times this launch's luck."""

    busy = False  # other programs use the machine all the time

    def during(self) -> None:
        """Called while a block is measured."""

    def __init__(self, milliseconds: float, luck: float, fails: str = "", peak: int = 1) -> None:
        self._ns = int(milliseconds * luck * 1e6)
        self._fails = fails
        self._peak = peak

    def call(self, task: str, **arguments: Any) -> Any:
        if task == self._fails:
            raise WorkerError("It ended.")
        if task == "prepare_timing":
            return {"warm_up_ns": [3 * self._ns, self._ns]}
        if task == "block":
            self.during()
            seconds = max(arguments["seconds"], 5e-9 * self._ns)
            found = {"samples_ns": [self._ns] * 5, "cpu_s": seconds, "wall_s": seconds, "quiet": True, "gpu": None}
            return found | {"around": {"cores": 2, "others_cpu_s": 1.5 * seconds + 0.1 if self.busy else 0.0}}
        return {"peak_rss_bytes": self._peak} if task == "peak" else [] if task == "in_effect" else None


class OpenEngines(Exclusive):
    """Stands for :class:`workbench.runs.open_engines.OpenEngines`, whose workers start in no time."""

    family = 1

    def __init__(
        self,
        rows: tuple[Result, ...],
        experiment: Experiment,
        times: dict[str, tuple[float, float]],
        store: Store | None = None,
    ) -> None:
        self.experiment, self._times = experiment, times
        self._draw = random.Random(experiment.seed)
        if store is None:
            folder = tempfile.mkdtemp(prefix="workbench-rounds-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            store = Store(folder).prepare()
        self.store = store
        self.cancel = threading.Event()
        self.events: list[Event] = []
        self.run_rows = RunRows(rows, self.store.new_run(), self.events.append, lambda _: "")
        self.launched: list[list[str]] = []
        self.fails: dict[str, str] = {}
        self._workers: dict[str, Any] = {}
        self.start([row.engine for row in rows])

    def start(self, engines: list[Any]) -> None:
        self.launched.append([engine.spec.label for engine in engines])
        for engine in engines:
            milliseconds, spread = self._times[engine.spec.label]
            worker = Synthetic(
                milliseconds,
                self._draw.lognormvariate(0, spread),
                self.fails.get(engine.spec.label, ""),
                peak=100 - len(self.launched),
            )
            self._workers[engine.key] = (worker, {"rss_bytes": 1, "import_s": 2.0, "load_s": 0.5})

    relaunch = start

    def get(self, key: str) -> Any:
        return self._workers.get(key)

    def drop(self, key: str, step: str, error: Exception) -> None:
        del self._workers[key]

    @property
    def rows(self) -> dict[str, Result]:
        return {row.row: row for row in self.run_rows.rows}


def opened_for(times: dict[str, tuple[float, float]], store: Store | None = None, **asked: Any) -> OpenEngines:
    """``times``: by variant, milliseconds and how much launches differ (standard deviation of the logarithm)."""
    rows = tuple(Result(spec := recorded.spec(label), 1, Status.BUILT, recorded.engine(spec)) for label in times)
    return OpenEngines(rows, Experiment(batches=1, baseline=BASE, **asked), times, store)


def measured(times: dict[str, tuple[float, float]], fails: dict[str, str] | None = None, **asked: Any) -> OpenEngines:
    """As in :func:`opened_for`, after all rounds; ``fails``: by variant the task that fails after a fresh start."""
    opened = opened_for(times, **asked)
    opened.fails = fails or {}
    measure_groups(opened, {1: "group"}, "samples", opened.experiment.plan.region)
    return opened
