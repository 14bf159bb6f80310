"""How often is a verdict wrong, and how often is a real difference missed?

Method. One engine file of ONNX Runtime is entered twice, under two names, and measured by the workbench's own rounds in its own
workers, from the first launch to the verdict. Between two copies of the same engine every verdict but "cannot tell" is wrong.
Then one of the two is slowed by a busy wait of five percent of its own time (``slowed.py``), in the worker: there "slower" is
right. Which of the two is the baseline, and which of the two the slowed one, changes from run to run. Sizes from 50
microseconds to 5 milliseconds, and one whose 94 MB of weights lie in no cache; with the machine as it is, and with a
neighbour (``neighbour.py``) that computes and copies in bursts on the same two cores.

Runs are appended to a file, some at a time, because all of them take hours: each carries a digest of the code that decides, and
only those of one digest are put together. ``--tell`` shows what is there, ``--record`` keeps it.

Targets: 95 of 100 pairs of copies "cannot tell"; 90 of 100 slowed ones found within 20 s of measuring per variant; never "faster"
for a slowed one.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from models import chain, small_cnn
from record import ROOT, Section, parser, tell

from workbench import Experiment, backends, run
from workbench.compare.pairs import comparison
from workbench.data.dataset import dataset
from workbench.data.samples import save_samples
from workbench.measure.verdict import evidence
from workbench.records import Ended, EngineRecord, Model, Result, Results, Status, Timing
from workbench.runs.open_engines import OpenEngines
from workbench.runs.rounds import measure_groups
from workbench.runs.run_rows import RunRows
from workbench.stats.estimates import ratio_interval
from workbench.store import Draft, Store
from workbench.system.machine import this_machine
from workbench.workers.worker import QUIET_ENV

BUDGET_S, MEASURE_S = 20.0, 1.0
DECIDES = (
    "statistics/estimates", "timing/verdict", "measure/interleave", "runs/rounds", "timing/benchmark", "timing/guards",
    "records/timing", "records/blocks",
)  # fmt: skip
SLOWED = "slowed"
TITLE = "Verdicts on engines that are equal, and on one that is 5 % slower"


class Size(NamedTuple):
    title: str
    make: Callable[[Path], Path]
    batch: int


SIZES = {
    "small": Size("4 × MatMul 256", lambda path: chain(path, 4, 256), 8),
    "middle": Size("small CNN", small_cnn, 8),
    "large": Size("small CNN", small_cnn, 96),
    "heavy": Size("10 × MatMul 1536", lambda path: chain(path, 10, 1536), 8),
}


class Kit(NamedTuple):
    """One engine in a store, and copies of it under other names."""

    size: str
    store: Store
    model: Model
    engines: dict[str, EngineRecord]  # by mode
    samples: Path


def digest() -> str:
    """Of the code that decides what a verdict is, and of how long it may take."""
    files = [ROOT / "workbench" / f"{name}.py" for name in DECIDES]
    files.append(Path(__file__).with_name("slowed.py"))
    parts = [*(file.read_bytes() for file in files), f"{BUDGET_S} {MEASURE_S}".encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def prepared(size: str, folder: Path) -> Kit:
    folder.mkdir(parents=True, exist_ok=True)
    store, file = Store(folder / "store"), folder / "model.onnx"
    if not file.exists():
        SIZES[size].make(file)
    asked = Experiment(
        model=str(file), backends=("onnxruntime",), precisions=("fp32",), batches=(SIZES[size].batch,), data="random"
    )
    results = run(asked, store=store, only="build")
    built = results.rows[0].engine
    if built is None:
        raise SystemExit(f"The engine could not be built: {results.rows[0].failure}")
    engines = {"": built}
    for mode in ("again", SLOWED):
        spec = replace(built.spec, mode=mode)
        store.make("engine", f"{built.key}-{mode}", lambda draft: _copy(store.path("engine", built.key), draft))
        engines[mode] = replace(built, spec=spec, key=f"{built.key}-{mode}")
    samples = folder / "samples.npz"
    save_samples(dataset("random", results.model, 0, 0, demo=False).test, samples)
    return Kit(size, store, results.model, engines, samples)


def _copy(source: Path, draft: Draft) -> None:
    for file in source.iterdir():
        if file.is_file() and file.suffix == ".onnx":
            (draft.folder / file.name).write_bytes(file.read_bytes())
    draft.facts = {}


def one_run(kit: Kit, mode: str, seed: int) -> dict[str, Any]:
    """Measure the engine and its copy from the first launch to the verdict on the copy."""
    engines = [kit.engines[""], kit.engines[mode]]
    baseline = engines[seed % 2].spec.label
    asked = Experiment(
        backends=("onnxruntime",), precisions=("fp32",), batches=(SIZES[kit.size].batch,), seed=seed,
        baseline=baseline, measure_s=MEASURE_S, max_measure_s=BUDGET_S,
    )  # fmt: skip
    rows = tuple(Result(one.spec, SIZES[kit.size].batch, Status.BUILT, one) for one in engines)
    run_rows = RunRows(rows, kit.store.new_run(), lambda _: None, lambda _: "")
    began = time.monotonic()
    opened = OpenEngines(run_rows, asked, kit.store)
    try:
        opened.open_cohort(engines, {})
        measure_groups(opened, {rows[0].batch: f"{seed}"}, str(kit.samples), asked.plan.region)
    finally:
        opened.close()
    wall_s = time.monotonic() - began
    for row in run_rows.rows:
        _timing(row)
    results = Results(kit.model, this_machine(), run_rows.rows, baseline, "random", asked.plan)
    (row,) = [row for row in comparison(results).rows if row.result.spec.label != baseline]
    return {"verdict": str(row.verdict), "speedup": row.speedup, "low": row.low, "high": row.high, "why": row.why,
            "slowed_is_baseline": mode == SLOWED and seed % 2 == 1, "wall_s": wall_s, **_about(row.result, run_rows)}  # fmt: skip


def _about(row: Result, run_rows: RunRows) -> dict[str, Any]:
    ours, theirs = (_timing(one) for one in sorted(run_rows.rows, key=lambda one: one is not row))
    found = evidence(ours, theirs)
    return {
        "ended": str(ours.ended),
        "launches": len(ours.launches),
        "timed_s": max(ours.timed_s, theirs.timed_s),
        "median_s": ours.median_s,
        "logs": found.launches,
        "spoiled": found.spoiled / max(1, found.shared),
        "one_launch_differs": _differs(ours, theirs),
    }


def _differs(ours: Timing, theirs: Timing) -> bool:
    """Whether the rounds of the first launch alone, taken for independent, would have given a verdict."""
    first = [{b.round: float(np.median(b.samples_ns)) for b in each.blocks if not b.launch} for each in (ours, theirs)]
    interval = ratio_interval([first[1][number] / first[0][number] for number in first[0].keys() & first[1].keys()])
    return interval is not None and not interval[1] <= 1 <= interval[2]


def _timing(row: Result) -> Timing:
    if row.timing is None:
        raise SystemExit(f"{row.row} was not measured: {row.failure}")
    return row.timing


@contextmanager
def neighbour(*, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    command = [sys.executable, str(Path(__file__).with_name("neighbour.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.kill()


def right(line: dict[str, Any]) -> bool:
    """Whether the verdict on a slowed pair was right."""
    return bool(line["verdict"] == ("faster" if line["slowed_is_baseline"] else "slower"))


def wrong(line: dict[str, Any]) -> bool:
    return line["verdict"] != "cannot tell" and not right(line)


def hard(line: dict[str, Any]) -> bool:
    """Beside a busy neighbour, or with weights that lie in no cache."""
    return bool(line["neighbour"] or line["size"] == "heavy")


def section(lines: list[dict[str, Any]], title: str) -> Section:
    rows = []
    groups = sorted({(list(SIZES).index(line["size"]), line["neighbour"]) for line in lines})
    for place, noisy in groups:
        size = list(SIZES)[place]
        rows.append(_row(size, [line for line in lines if line["size"] == size and line["neighbour"] == noisy]))
    rows.append(_row("", lines))
    return Section(
        title=title,
        script="verdicts.py",
        method="One engine entered twice, measured by the workbench's rounds until its verdict; each run with workers of its "
        f"own. Within {BUDGET_S:.0f} s of timed calls per variant, {MEASURE_S:.0f} s of them in the first launch. Copies: runs in which "
        "two copies came out 'cannot tell'. By one launch: the same, had the sign test on the rounds of the first launch "
        "decided. Slowed: runs in which the copy with a wait of 5 % was found slower. Spread: standard deviation of a launch's "
        "ratio of two equal copies. Launches and seconds: median, and the longest.",
        columns=(
            "engine", "batch", "median", "neighbour", "copies", "by one launch", "slowed", "the slowed one called faster", "spread",
            "launches", "timed per variant", "wall",
        ),
        rows=rows,
        libraries=("onnxruntime", "numpy", "scipy"),
        notes=_answers(lines),
    )  # fmt: skip


def _row(size: str, lines: list[dict[str, Any]]) -> tuple[str, ...]:
    same = [line for line in lines if not line["slowed"]]
    slow = [line for line in lines if line["slowed"]]
    logs = [np.asarray(line["logs"]) for line in same if len(line["logs"]) > 1]
    spread = np.sqrt(np.mean(np.concatenate(logs) ** 2)) if logs else float("nan")
    reported = (SIZES[size].title, f"{SIZES[size].batch}") if size else ("all", "")
    median = f"{np.median([line['median_s'] for line in lines]) * 1e3:.3f} ms" if size else ""
    noisy = ("yes" if lines[0]["neighbour"] else "no") if size else ""
    return (
        *reported, median, noisy,
        f"{sum(line['verdict'] == 'cannot tell' for line in same)} of {len(same)}",
        f"{sum(not line['one_launch_differs'] for line in same)} of {len(same)}",
        f"{sum(map(right, slow))} of {len(slow)}", f"{sum(map(wrong, slow))}",
        f"{spread:.1%}" if size else "", _span(lines, "launches", ""), _span(lines, "timed_s", " s"), _span(lines, "wall_s", " s"),
    )  # fmt: skip


def _span(lines: list[dict[str, Any]], name: str, unit: str) -> str:
    values = [line[name] for line in lines]
    digits = 0 if name == "launches" else 1
    return f"{np.median(values):.{digits}f}{unit}, {max(values):.{digits}f}{unit}"


def _answers(lines: list[dict[str, Any]]) -> list[str]:
    same = [line for line in lines if not line["slowed"]]
    slow = [line for line in lines if line["slowed"]]
    parts = [
        ("copies, at least 95 of 100", sum(line["verdict"] == "cannot tell" for line in same), len(same), 0.95),
        ("slowed, at least 90 of 100", sum(map(right, slow)), len(slow), 0.90),
        ('never "faster" for the slowed one', len(slow) - sum(map(wrong, slow)), len(slow), 1.0),
    ]
    answers = [
        f"{what}: {found} of {n}, within target: {'yes' if found >= share * n else 'no'}"
        if n >= 100
        else f"{what}: {found} of {n}, too few runs to say"
        for what, found, n, share in parts
    ]
    ends = {end: sum(line["ended"] == end for line in lines) for end in Ended}
    ended = ", ".join(f"{end} {count}" for end, count in ends.items() if count)
    return [f"All sizes together. {'; '.join(answers)}. What ended them: {ended}. Code {digest()}."]


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--folder", type=Path, default=ROOT / ".workbench" / "verdicts", help="engines and runs so far"
    )
    options.add_argument("--sizes", default="small,middle,large", help=f"of {', '.join(SIZES)}")
    options.add_argument("--seconds", type=float, default=150, help="begin no further run after this many seconds")
    options.add_argument("--neighbours", default="no,yes", help="no, yes or both, comma-separated")
    options.add_argument("--tell", action="store_true", help="show the runs so far and make none")
    asked = options.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    kept = asked.folder / "runs.jsonl"
    began = time.monotonic()
    # workers find slowed.py, and import it with the library
    QUIET_ENV["PYTHONPATH"] += os.pathsep + str(ROOT / "benchmarks")
    backend: Any = backends.get("onnxruntime")
    backend.imports = (*backend.imports, "slowed")
    kits: dict[str, Kit] = {}
    while not asked.tell and not asked.record and time.monotonic() - began < asked.seconds:
        lines = _lines(kept)
        # what has the fewest runs so far is next, so that pieces of any length add up to a fair share of each
        cells = [
            (s, n == "yes", slow)
            for s in asked.sizes.split(",")
            for n in asked.neighbours.split(",")
            for slow in (0, 1)
        ]
        random.shuffle(cells)
        size, noisy, slow = min(cells, key=lambda cell: sum(_cell(line) == cell for line in lines))
        kits[size] = kits.get(size) or prepared(size, asked.folder / size)
        seed = random.randrange(10**9)  # noqa: S311 - an order, not a secret
        with neighbour(wanted=noisy):
            found = one_run(kits[size], SLOWED if slow else "again", seed)
        line = {"code": digest(), "size": size, "neighbour": noisy, "slowed": slow, "seed": seed, **found}
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(*(line[name] for name in ("size", "neighbour", "slowed", "slowed_is_baseline", "verdict", "speedup", "launches", "ended")), flush=True)  # fmt: skip
    lines = _lines(kept)
    if quiet := [line for line in lines if not hard(line)]:
        tell(section(quiet, TITLE), record=asked.record)
    if others := [line for line in lines if hard(line)]:
        tell(section(others, f"{TITLE}: beside a busy neighbour, and with weights in no cache"), record=asked.record)


def _cell(line: dict[str, Any]) -> tuple[str, bool, int]:
    return line["size"], line["neighbour"], line["slowed"]


def _lines(file: Path) -> list[dict[str, Any]]:
    """The runs so far by the code as it is now."""
    if not file.exists():
        return []
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["code"] == digest()]


if __name__ == "__main__":
    main()
