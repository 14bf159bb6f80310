"""How near does a search come to the best of all points, at a tenth of the cost?

Method. A grid holds the time of a call of every point of a space. ``--record MODEL`` measures one with the product's own runs, point
after point, into a file of JSON lines, and goes on where it was ended. Replays search in a grid with seeds 0, 1, 2 ...; the measured time
of a point is the grid's with 2 % of noise. The best five are then compared by the grid itself, as the last race compares them. Beside the search:
random points, and hill climbing over the neighbours of a point from random starts, as the quick mode of Triton Model Analyzer does
it. ``--synthetic`` makes grids of 1,440 points with effects of each coordinate and
of each pair.

Target: 98 % of the best in at least 95 of 100 replays.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from record import ROOT, Section, parser, tell

from workbench.records import EngineSpec, Precision
from workbench.search.under_limits.loop import PointSearch, budget_of
from workbench.search.under_limits.measuring import Measurer, model_of, space
from workbench.search.under_limits.wanted import MeasuredPoint, Point, Wanted
from workbench.settings.experiment import Experiment
from workbench.store import Store
from workbench.system.stop import Stop

SHARE, NOISE, REACHED, FINALISTS, HOLDING = 0.1, 0.02, 0.98, 5, 0.4
Grid = tuple[list[Point], np.ndarray]
"""Points, and the logarithm of the time of a call of each, in seconds."""
Method = Callable[[Grid, Wanted, int, Callable[[int], float]], list[int]]
"""(grid, what is wanted, seed, measure) to the best measured points."""


def synthetic(seed: int) -> Grid:
    """4 backends, 5 precisions, 4 numbers of threads, 3 levels and 6 batches."""
    precisions = (Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8, Precision.FP8)
    points = [
        Point(EngineSpec(backend, precision, threads=threads, optimization_level=level), batch)
        for backend, precision, threads, level, batch in itertools.product(
            "abcd", precisions, (1, 2, 4, 8), (0, 1, 2), (1, 2, 4, 8, 16, 32)
        )
    ]
    draw, effects = np.random.default_rng(seed), {}  # type: ignore[var-annotated]
    logs = np.empty(len(points))
    for place, point in enumerate(points):
        terms = [*enumerate(point.features)]
        logs[place] = math.log(1e-3 * point.batch)
        for term in (*terms, *itertools.combinations(terms, 2)):
            if term not in effects:
                effects[term] = draw.normal(0, 0.25 if isinstance(term[0], int) else 0.12)
            logs[place] += effects[term]
    return points, logs


def guided(grid: Grid, wanted: Wanted, seed: int, measure: Callable[[int], float]) -> list[int]:
    points, _ = grid
    search = PointSearch(points, wanted, lambda place, _: MeasuredPoint(measure(place)), seed=seed)
    for _ in search.run(budget_of(len(points), SHARE)):
        pass
    return [step.place for step in search.ranked()[:FINALISTS]]


def at_random(grid: Grid, wanted: Wanted, seed: int, measure: Callable[[int], float]) -> list[int]:
    points, _ = grid
    drawn = random.Random(seed).sample(range(len(points)), budget_of(len(points), SHARE))  # noqa: S311
    return _best(points, wanted, {place: measure(place) for place in drawn})


def climbing(grid: Grid, wanted: Wanted, seed: int, measure: Callable[[int], float]) -> list[int]:
    """To the best neighbour, which differs in one coordinate by one step, until none is better; then from another random point."""
    points, _ = grid
    draw, budget = random.Random(seed), budget_of(len(points), SHARE)  # noqa: S311
    steps = [list(dict.fromkeys(values)) for values in zip(*(point.features for point in points), strict=True)]
    where = {point.features: place for place, point in enumerate(points)}
    known: dict[int, float] = {}

    def value(place: int) -> float:
        if place not in known and len(known) < budget:
            known[place] = measure(place)
        seconds = known.get(place, math.inf)
        return float(wanted.value(seconds, points[place].batch)) if seconds <= wanted.latency_s else -seconds

    while len(known) < budget:
        here = draw.randrange(len(points))
        best = value(here)
        while len(known) < budget:
            around = [where[each] for each in _neighbours(points[here].features, steps) if each in where]
            values = {place: value(place) for place in draw.sample(around, len(around))}
            nearest = max(values, key=lambda place: values[place])
            if values[nearest] <= best:
                break
            here, best = nearest, values[nearest]
    return _best(points, wanted, known)


def _neighbours(features: tuple[str, ...], steps: list[list[str]]) -> list[tuple[str, ...]]:
    found = []
    for axis, values in enumerate(steps):
        place = values.index(features[axis])
        beside = [other for other in (place - 1, place + 1) if 0 <= other < len(values)]
        found += [(*features[:axis], values[other], *features[axis + 1 :]) for other in beside]
    return found


def _best(points: list[Point], wanted: Wanted, known: dict[int, float]) -> list[int]:
    able = [place for place, seconds in known.items() if seconds <= wanted.latency_s]
    return sorted(able, key=lambda place: -wanted.value(known[place], points[place].batch))[:FINALISTS]


METHODS: dict[str, Method] = {"search": guided, "random": at_random, "hill climbing": climbing}


def reached(grid: Grid, method: Method, seed: int) -> float:
    """The share of the exhaustive best that a method reaches with this seed."""
    points, logs = grid
    wanted = Wanted(latency_s=float(np.exp(np.quantile(logs, HOLDING))))
    values = np.array([wanted.value(math.exp(log), point.batch) for log, point in zip(logs, points, strict=True)])
    holds = np.exp(logs) <= wanted.latency_s
    noise = np.random.default_rng(10_000 + seed)
    found = method(grid, wanted, seed, lambda place: float(np.exp(logs[place] + noise.normal(0, NOISE))))
    return float(max((values[place] for place in found if holds[place]), default=0.0) / values[holds].max())


def recorded(file: Path) -> Grid:
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    points = [
        Point(EngineSpec(line["backend"], Precision(line["precision"]), method=line["method"], threads=line["threads"],
                         optimization_level=line["level"]), line["batch"])
        for line in lines if line["call_s"]
    ]  # fmt: skip
    return points, np.log([line["call_s"] for line in lines if line["call_s"]])


def record_grid(asked: Experiment, threads: tuple[int, ...], file: Path, folder: Path) -> None:
    """Measure every point of an experiment; those that the file has are left out."""
    store = Store(folder / "store").prepare()
    points = space(asked, model_of(asked, store, print), threads, (1,))
    done = len(file.read_text(encoding="utf-8").splitlines()) if file.exists() else 0
    measurer = Measurer(asked, points, store, lambda _: None, Stop())
    for place in range(done, len(points)):
        point, found = points[place], measurer.measure(place, False)
        line: dict[str, Any] = {
            "backend": point.spec.address, "precision": str(point.spec.precision), "method": point.spec.method, "level": point.spec.optimization_level,
            "threads": point.spec.threads, "batch": point.batch, "call_s": found.call_s, "problem": found.problem,
        }  # fmt: skip
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


def section(grids: dict[str, list[Grid]], replays: int) -> Section:
    rows = []
    for name, kinds in grids.items():
        for title, method in METHODS.items():
            shares = [reached(kinds[seed % len(kinds)], method, seed) for seed in range(replays)]
            good = sum(share >= REACHED for share in shares)
            rows.append(
                (
                    name,
                    str(len(kinds[0][0])),
                    title,
                    f"{good} of {replays}",
                    f"{np.mean(shares):.3f}",
                    f"{min(shares):.3f}",
                )
            )
    return Section(
        title="Search: how near to the best at a tenth of the points",
        script="search.py",
        method=f"Replays with seeds 0 to {replays - 1}; {SHARE:.0%} of the points are measured with {NOISE:.0%} of noise, and {HOLDING:.0%} of "
        "all points hold the latency limit. Reached: replays in which the best of five finalists has at least 98 % of the exhaustive best.",
        columns=("grid", "points", "method", "reached", "mean", "worst"),
        rows=rows,
        libraries=("numpy", "scikit-learn"),
        notes=["A synthetic grid is not a machine: no claim about real models follows from it."]
        if "synthetic" in grids
        else [],
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--grid", metavar="MODEL", help="record the grid of an ONNX model")
    options.add_argument("--file", type=Path, help="the file of the grid, in the folder benchmarks/grids")
    options.add_argument("--synthetic", action="store_true", help="replay on synthetic grids")
    options.add_argument("--replays", type=int, default=100)
    options.add_argument("--folder", type=Path, default=ROOT / ".workbench" / "search", help="engines and runs")
    given = options.parse_args()
    place = Path(__file__).with_name("grids")
    if given.grid:
        asked = Experiment(
            model=given.grid, data="random", backends="onnxruntime,openvino,litert", precisions="fp32,fp16,bf16,fp16-weights,int8-weights",
            batches="1,2,3,4,6,8,12,16,24,32", optimization_level="-1,0,1,2", measure_s=0.2, max_measure_s=0.2,
        )  # fmt: skip
        place.mkdir(exist_ok=True)
        record_grid(asked, (1, 2), given.file or place / f"{Path(given.grid).stem}.jsonl", given.folder)
        return
    grids = {file.stem: [recorded(file)] for file in sorted(place.glob("*.jsonl"))}
    grids |= {"synthetic": [synthetic(seed) for seed in range(10)]} if given.synthetic else {}
    tell(section(grids, given.replays), record=given.record)


if __name__ == "__main__":
    main()
