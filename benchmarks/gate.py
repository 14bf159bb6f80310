"""How often does a gate raise a false alarm, and how often does it find a slowdown of 5 %?

Method. Two ONNX files of the same layers (A/A), and a pair of which the new one has 21 layers instead of 20, so that it computes 5 %
more. ``--rounds`` records each pair once over many launches, with the product's own workers and rounds, into ``gate_rounds.jsonl``: the
typical time of both engines in every round. A replay draws launches of one recording in random order, looks at them after as many
launches as the plan of a gate does, and ends as a gate ends. ``--live`` runs the command ``workbench gate`` itself.

Targets: at most 5 false alarms in 100 A/A replays and at most one in 10 live ones; the slowdown found in at least 90 of 100 and 9 of 10.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from models import chain
from record import ROOT, Section, parser, tell

from workbench import Experiment
from workbench.gating.in_turn import NEW, OLD, GateContext, built, paired, samples_file
from workbench.gating.judging import outcomes
from workbench.gating.outcome import GateLimits, GateOutcome
from workbench.measure.verdict import Lap, between, judged, laps_of
from workbench.records import TimingPlan, Verdict
from workbench.runs.open_engines import OpenEngines
from workbench.runs.rounds import measure_groups
from workbench.runs.run_rows import RunRows
from workbench.store import Store
from workbench.system.stop import Stop

FILE = Path(__file__).with_name("gate_rounds.jsonl")
LIVE = Path(__file__).with_name("gate_live.jsonl")
LAYERS, REPLAYS, LAUNCHES, MEASURE_S = 20, 100, 48, 20.0


class Size(NamedTuple):
    width: int
    batch: int


SIZES = (Size(256, 8), Size(384, 16), Size(640, 8))


def models(folder: Path, size: Size) -> tuple[Path, Path, Path]:
    """The old model, another file of the same layers, and one with a layer more."""
    old = chain(folder / "old.onnx", LAYERS, size.width)
    again = onnx.load(old)
    again.doc_string = "the same layers"
    onnx.save(again, folder / "same.onnx")
    return old, folder / "same.onnx", chain(folder / "slower.onnx", LAYERS + 1, size.width)


def asked(model: Path, size: Size, **more: Any) -> Experiment:
    return Experiment(
        model=str(model), backends="onnxruntime", precisions="fp32", batches=size.batch, data="random", **more
    )


def recorded(folder: Path, size: Size, slower: bool, launches: int) -> dict[str, Any]:
    """One pair over so many launches: by launch the rounds of both, each as [seconds, quiet, spoiled]."""
    old, same, slow = models(folder, size)
    work = GateContext(Store(folder / "store").prepare(), lambda _: None, Stop())
    plan = asked(old, size).plan
    budget = plan.block_s * (plan.rounds + (launches - 1) * plan.relaunch_rounds)
    before = built(asked(old, size), OLD, work)
    new = asked(slow if slower else same, size, until="narrow", within=1e-9, max_measure_s=budget)
    after = built(new, NEW, work)
    ((pair,), _) = paired(before.rows, after.rows)
    rows = RunRows(pair, work.store.new_run(), lambda _: None, lambda _: "")
    opened = OpenEngines(rows, replace(new, baseline=pair[0].spec.variant), work.store)
    try:
        opened.open_cohort([row.engine for row in pair if row.engine], {})
        measure_groups(opened, {size.batch: "gate"}, samples_file(new, after.model, work.store), plan.region)
    finally:
        opened.close()
    sides = [laps_of(row.timing.blocks) for row in rows.rows if row.timing]
    found: dict[int, list[list[list[float]]]] = {}
    for number in sorted(sides[0].keys() & sides[1].keys()):
        both = [side[number] for side in sides]
        found.setdefault(both[0].launch, []).append([[round(lap.seconds, 9), lap.quiet, lap.spoiled] for lap in both])
    return {"width": size.width, "batch": size.batch, "slower": slower, "launches": list(found.values())}


def drawn(recording: dict[str, Any], seed: int, count: int) -> tuple[dict[int, Lap], dict[int, Lap]]:
    """The laps of both sides in so many launches, drawn without replacement."""
    launches = random.Random(seed).sample(recording["launches"], min(count, len(recording["launches"])))  # noqa: S311
    sides: tuple[dict[int, Lap], dict[int, Lap]] = ({}, {})
    for launch, rounds in enumerate(launches):
        for both in rounds:
            number = len(sides[0])
            for side, (seconds, quiet, spoiled) in zip(sides, both, strict=True):
                side[number] = Lap(launch, seconds, bool(quiet), bool(spoiled))
    return sides


def replay(recording: dict[str, Any], seed: int) -> tuple[GateOutcome, int, float]:
    """What a gate would have said, after how many launches, and the slowdown."""
    plan: TimingPlan = Experiment(max_measure_s=MEASURE_S).plan
    last = min(plan.launches, len(recording["launches"]))
    old, new = drawn(recording, seed, last)
    for launches in sorted({1, *(look for look in plan.looks if look < last), last}):
        ours, theirs = ({n: lap for n, lap in side.items() if lap.launch < launches} for side in (new, old))
        evidence = between(ours, theirs, len(plan.looks))
        (found,) = judged([evidence])
        if found.verdict != Verdict.CANNOT_TELL or found.half_width <= plan.within or launches == last:
            (answer,) = outcomes([evidence], GateLimits())
            return answer.outcome, launches, answer.slowdown or float("nan")
    raise AssertionError


def live(folder: Path, runs: int) -> Iterator[dict[str, Any]]:
    """The command itself, A/A and slower in turn."""
    size = SIZES[0]
    old, same, slow = models(folder, size)
    for number in range(2 * runs):
        new = (same, slow)[number % 2]
        words = f"--old-model {old} --model {new} --backends onnxruntime --precisions fp32 --batches {size.batch}"
        command = [sys.executable, "-m", "workbench", "gate", *words.split(), "--data", "random", "--json", "--quiet",
                   "--seed", str(number), "--store", str(folder / "store")]  # fmt: skip
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        (row,) = json.loads(done.stdout)["rows"]
        yield {"slower": bool(number % 2), "status": done.returncode, "wall_s": time.monotonic() - began, **row}


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def append(file: Path, line: dict[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(line, separators=(",", ":")) + "\n")


def section(recordings: list[dict[str, Any]], lives: list[dict[str, Any]]) -> Section:
    rows, totals = [], {False: [0, 0], True: [0, 0]}
    for place, each in enumerate(recordings):
        share = REPLAYS // max(1, sum(one["slower"] == each["slower"] for one in recordings)) + 1
        answers = [replay(each, 1000 * place + seed) for seed in range(share)]
        worse = sum(answer[0] == GateOutcome.WORSE for answer in answers)
        totals[each["slower"]][0] += worse
        totals[each["slower"]][1] += len(answers)
        rows.append(_row(each, answers, "replay", f"{LAYERS} × MatMul {each['width']}, batch {each['batch']}"))
    for slower in (False, True):
        found = [(GateOutcome(each["outcome"]), 0, each["slowdown"]) for each in lives if each["slower"] == slower]
        if found:
            rows.append(
                _row({"slower": slower}, found, "live", f"{LAYERS} × MatMul {SIZES[0].width}, batch {SIZES[0].batch}")
            )
    (false, same), (hits, slow) = totals[False], totals[True]
    notes = []
    if same and slow:
        notes = [
            (
                f"False alarms: {false} of {same} replays, at most 5 %: {'yes' if false <= 0.05 * same else 'no'}. Slowdown found: {hits} of "
                f"{slow}, at least 90 %: {'yes' if hits >= 0.9 * slow else 'no'}. The machine also had other work while it was recorded. Replays of one "
                "recording share launches, so they are not independent; the recordings are."
            )
        ]
    return Section(
        title="Gate: false alarms, and slowdowns found",
        script="gate.py",
        method="A/A: two files of the same layers. Slower: the new file has one layer more than 20. Replay: launches of one recording in "
        f"random order, judged as a gate judges them within {MEASURE_S:.0f} s of timed calls per side. Live: the command.",
        columns=("model", "pair", "way", "worse", "no worse", "cannot tell", "median change", "launches"),
        rows=rows,
        libraries=("onnxruntime", "numpy", "scipy"),
        notes=notes,
    )


def _row(
    recording: dict[str, Any], answers: list[tuple[GateOutcome, int, float]], way: str, model: str
) -> tuple[str, ...]:
    counts = [
        sum(answer[0] == each for answer in answers)
        for each in (GateOutcome.WORSE, GateOutcome.NO_WORSE, GateOutcome.CANNOT_TELL)
    ]
    change = np.nanmedian([answer[2] for answer in answers]) - 1
    launches = f"{np.median([answer[1] for answer in answers]):.0f}" if way == "replay" else ""
    pair = "slower" if recording["slower"] else "A/A"
    return (model, pair, way, *(f"{count} of {len(answers)}" for count in counts), f"{change:+.1%}", launches)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", action="store_true", help="record the pairs that are missing")
    options.add_argument("--live", type=int, default=0, metavar="N", help="run the command N times for each pair")
    options.add_argument("--folder", type=Path, default=ROOT / ".workbench" / "gate", help="models and engines")
    given = options.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.rounds:
        known = {(each["width"], each["batch"], each["slower"]) for each in lines(FILE)}
        for size in SIZES:
            for slower in (False, True):
                if (*size, slower) not in known:
                    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                        append(FILE, recorded(Path(folder), size, slower, LAUNCHES))
                    print(size, "slower" if slower else "A/A", "recorded", flush=True)
    if given.live:
        for line in live(given.folder, given.live):
            append(LIVE, line)
            print(line["slower"], line["outcome"], line["slowdown"], f"{line['wall_s']:.0f} s", flush=True)
    tell(section(lines(FILE), lines(LIVE)), record=given.record)


if __name__ == "__main__":
    main()
