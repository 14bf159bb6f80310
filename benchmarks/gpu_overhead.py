"""What the workbench adds to a launch on an NVIDIA GPU, against a bare loop: within one process, and between processes.

Method. The engines of ``gpu.py`` at batch 1, inputs in place, enqueue and wait, with and without a CUDA graph. Everything is
started again several times; a start's figure is over its turns, and the 95 % interval (``workbench.stats.estimates.ratio_interval``, of
differences) is over starts.

* **Within one process** (``gpu_inside.py``): the workbench's block and a bare loop launch the same session on the same stream, in
  turns of some milliseconds. A start's figure is the median of the differences within a turn. This is what the loop costs, and
  what the target is about.
* **Between processes**: the workbench's worker against ``gpu_bare.py``, which opens a session of its own. Without a graph the host
  launches kernel by kernel, so a call lasts as long as the core of that moment is fast: on a virtual machine a third of all blocks,
  of bare loops as well, took over 15 % longer than the others, and the neighbour in time of a slow block was slow twice as
  often, whosever it was. So the main thread of the one that has its turn runs on one and the same core, and a start's figure is the
  difference between the least of the blocks' medians: what others do to a core can only add time (Chen and Revels 2016, "Robust
  benchmarking in noisy environments").

Controls: a second bare loop against the first, within the process and between processes.

Target: at most 10 microseconds more within a process, by the whole interval.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gpu import LIBRARIES, Bare, Case, block, cases, opened, ready
from record import Section, parser, tell
from script_process import ScriptProcess

from workbench.records import Region, to_json
from workbench.stats import estimates
from workbench.workers.worker import Worker

LIMIT_US = 10.0
SECONDS, WARM_UP_S = 0.03, 0.2
INSIDE_S = 0.01
AT_ONCE = 16
WAYS = ("bare", "again", "workbench")


class Inside(ScriptProcess):
    """The parent's end of ``gpu_inside.py``."""

    def __init__(self, case: Case, *, graph: bool, seconds: float = INSIDE_S) -> None:
        super().__init__("gpu_inside.py")
        spec = replace(case.engine.spec, cuda_graph=graph, streams=1)
        self.request(
            folder=str(case.folder),
            record=to_json(replace(case.engine, spec=spec)),
            feeds=str(case.feeds[1]),
            seconds=seconds,
            warm_up_s=WARM_UP_S,
        )

    def turn(self) -> dict[str, float]:
        """Median nanoseconds of each loop."""
        found: dict[str, float] = json.loads(self.request())
        return found


class Start(NamedTuple):
    """What one start of everything gave for one engine: microseconds."""

    bare: float  # of a call, within one process
    workbench: float
    inside: float  # more than the bare loop, within one process
    inside_control: float
    between: float  # more than the bare loop, between processes
    between_control: float


class Ready(NamedTuple):
    """All processes of one engine, ready to take turns."""

    inside: Inside
    blocks: dict[str, Callable[[], float]]  # median nanoseconds of a block, by WAYS
    close: Callable[[], None]


def started(case: Case, *, graph: bool) -> Ready:
    stack = ExitStack()
    inside = stack.enter_context(Inside(case, graph=graph))
    loops = {name: stack.enter_context(Bare(case, 1, graphs=graph)) for name in ("bare", "again")}
    worker: Worker = stack.enter_context(opened(case, graph=graph))
    ready(worker, case, 1, Region.COMPUTE)
    core = {max(os.sched_getaffinity(0))}
    for pid in (inside.pid, worker.process.pid, *(loop.pid for loop in loops.values())):
        os.sched_setaffinity(pid, core)  # of the main thread alone: those of the driver stay off its core
    what = "graph" if graph else "loop"
    blocks: dict[str, Callable[[], float]] = {
        name: lambda loop=loop: float(np.median(loop.block(what, seconds=SECONDS))) for name, loop in loops.items()
    }
    blocks["workbench"] = lambda: float(np.median(block(worker, SECONDS)))
    return Ready(inside, blocks, stack.close)


def one_start(every: Sequence[Case], turns: int, rounds: int, *, graph: bool) -> list[Start]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = list(pool.map(lambda case: started(case, graph=graph), every))
        inside = [[one.inside.turn() for _ in range(turns)] for one in made]
        between: list[dict[str, list[float]]] = [{name: [] for name in WAYS} for _ in every]
        for _ in range(rounds):
            for found, one in zip(between, made, strict=True):
                for name in random.sample(WAYS, len(WAYS)):
                    found[name].append(one.blocks[name]())
        list(pool.map(lambda one: one.close(), made))
    return [_start(*found) for found in zip(inside, between, strict=True)]


def _start(turns: list[dict[str, float]], blocks: dict[str, list[float]]) -> Start:
    least = {name: min(found) for name, found in blocks.items()}
    return Start(
        bare=float(np.median([turn["bare"] for turn in turns])) * 1e-3,
        workbench=float(np.median([turn["workbench"] for turn in turns])) * 1e-3,
        inside=float(np.median([turn["workbench"] - turn["bare"] for turn in turns])) * 1e-3,
        inside_control=float(np.median([turn["again"] - turn["bare"] for turn in turns])) * 1e-3,
        between=(least["workbench"] - least["bare"]) * 1e-3,
        between_control=(least["again"] - least["bare"]) * 1e-3,
    )


def within_one_process(case: Case, starts: int, turns: int, seconds: float) -> None:
    """Print for one engine without a graph what longer blocks give; where short ones could not tell."""
    bare, more, control = [], [], []
    for _ in range(starts):
        with Inside(case, graph=False, seconds=seconds) as inside:
            found = [inside.turn() for _ in range(turns)]
        bare.append(float(np.median([turn["bare"] for turn in found])) * 1e-3)
        more.append(float(np.median([turn["workbench"] - turn["bare"] for turn in found])) * 1e-3)
        control.append(float(np.median([turn["again"] - turn["bare"] for turn in found])) * 1e-3)
    reported = f"more {_told(_over_starts(more))}, control {_told(_over_starts(control))} microseconds, {starts} starts"
    print(f"{case.model} {case.precision}: bare loop {np.median(bare):.1f} µs, {reported}", flush=True)


def row(case: Case, graph: bool, starts: list[Start]) -> tuple[str, ...]:
    more = _over_starts([start.inside for start in starts])
    within = "yes" if more[2] <= LIMIT_US else "no" if more[1] > LIMIT_US else "cannot tell"
    return (
        case.model,
        case.precision,
        "yes" if graph else "no",
        f"{np.median([start.bare for start in starts]):.1f} µs",
        f"{np.median([start.workbench for start in starts]):.1f} µs",
        _told(more),
        _told(_over_starts([start.inside_control for start in starts])),
        f"within target: {within}",
        _told(_over_starts([start.between for start in starts])),
        _told(_over_starts([start.between_control for start in starts])),
    )


def _over_starts(values: list[float]) -> tuple[float, float, float]:
    interval = estimates.ratio_interval(values)
    if interval is None:
        raise SystemExit("Too few starts for an interval; give at least 6.")
    return interval


def _told(more: tuple[float, float, float]) -> str:
    return f"{more[0]:+.1f} ({more[1]:+.1f} to {more[2]:+.1f})"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--starts", type=int, default=9, help="times that everything is started again")
    options.add_argument("--turns", type=int, default=10, help="turns of both loops within the one process")
    options.add_argument("--rounds", type=int, default=4, help="rounds of blocks between the processes")
    options.add_argument("--scratch", default="", help="keep models and engines in this folder, for the next call")
    options.add_argument(
        "--only", default="", help='one engine without a graph, within one process, such as "ResNet-50,FP16"'
    )
    options.add_argument("--block-s", type=float, default=0.1, help="seconds of a block, with --only")
    asked = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(asked.scratch or folder)
        scratch.mkdir(exist_ok=True)
        every = cases(scratch)
        if asked.only:
            (case,) = [one for one in every if f"{one.model},{one.precision}" == asked.only]
            within_one_process(case, asked.starts, asked.turns, asked.block_s)
            return
        for graph in (False, True):
            starts = [one_start(every, asked.turns, asked.rounds, graph=graph) for _ in range(asked.starts)]
            for case, found in zip(every, zip(*starts, strict=True), strict=True):
                rows.append(row(case, graph, list(found)))
                print(*rows[-1], sep="  ", flush=True)
    section = Section(
        title="What the workbench adds to a launch on a GPU",
        script="gpu_overhead.py",
        method=f"Batch 1, inputs in place, enqueue and wait; microseconds, with the 95 % interval over {asked.starts} fresh starts. "
        "Within one process: the workbench's block and a bare loop take turns over the same session; medians of a call, and of "
        "the differences within a turn. Between processes: the workbench's worker against a bare loop with a session of its "
        f"own, on one core, the least of {asked.rounds} blocks' medians each. Controls: a second bare loop against the first. "
        f"Target: at most {LIMIT_US:.0f} µs more within one process, by the whole interval.",
        columns=(
            "model",
            "precision",
            "CUDA graph",
            "bare loop",
            "workbench",
            "more, in one process",
            "control",
            "",
            "more, between processes",
            "control",
        ),
        rows=rows,
        libraries=LIBRARIES,
    )
    tell(section, record=asked.record)


if __name__ == "__main__":
    main()
