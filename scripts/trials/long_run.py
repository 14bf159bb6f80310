"""Many runs, one after another, in one process: its memory, threads, open files, children and temporary files stay the same.

``python scripts/trials/long_run.py --hours 2`` adds a line for every run to ``records/long_run.jsonl``. Eight kinds of runs take
turns: a new model, the same again, measured again, a damaged file, one stopped on the way, one with INT8, figures and history, and
data from memory. Each hundred runs have a separate store. The code that is tried should not change during this: run a copy of the
checkout with PYTHONPATH, where a file COMMIT names the commit.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import re
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import recording
import trial_model

RUNS_IN_A_STORE = 100
PAUSE_S = 3.0
EXPECTED = {
    "new": r"done 1\.0",
    "same": r"done 1\.0",
    "again": r"done 1\.0",
    "damaged": "InputError",
    "stopped": r"Cancelled|cancelled –|done 1\.0",
    "int8": r"done 1\.0, done \d.*",
    "shown": r"1 rows, [1-9]\d* figures, [1-9]\d* results",
    "from_memory": "done",
}
"""What each kind of run comes to."""
MIB = 2**20
FLAT = {"memory_mib": 16.0, "threads": 0.0, "open_files": 0.0, "children": 0.0, "temporary_files": 0.0}
"""How much the median of the last quarter of the runs may be above that of the second quarter."""


def held_now(temporary: Path) -> dict[str, float]:
    """What this process holds between two runs: private memory (MiB), threads, open files, children and temporary files."""
    gc.collect()
    this = psutil.Process()
    return {
        "memory_mib": this.memory_full_info().uss / MIB,
        "threads": this.num_threads(),
        "open_files": this.num_fds(),
        "children": len(this.children(recursive=True)),
        "temporary_files": sum(1 for _ in temporary.rglob("*")),
    }


class Runs:
    """The runs that take turns, in a folder of their own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.data = trial_model.write_data(place / "data.npz")
        self.store = place / "store"
        self.model = place / "model.onnx"

    def one(self, number: int, draw: random.Random) -> tuple[str, str]:
        """Do one run; its kind and what it came to, in a line."""
        if number % RUNS_IN_A_STORE == 0:
            shutil.rmtree(self.store, ignore_errors=True)
        kinds: list[Callable[[int, random.Random], str]] = [
            self._new, self._same, self._again, self._damaged, self._stopped, self._int8, self._shown, self._from_memory,
        ]  # fmt: skip
        kind = kinds[number % len(kinds)]
        try:
            return kind.__name__[1:], kind(number, draw)
        except Exception as error:
            return kind.__name__[1:], f"{type(error).__name__}: {error}"

    def _run(self, **given: Any) -> str:
        import workbench

        settings = trial_model.SETTINGS | {"model": str(self.model), "data": str(self.data)} | given.pop("settings", {})
        results = workbench.run(workbench.Experiment(**settings), store=self.store, **given)
        rows = [f"{row.status} {row.accuracy.value if row.accuracy else '–'}" for row in results.rows]
        return ", ".join(rows)

    def _new(self, number: int, _: random.Random) -> str:
        trial_model.write_model(self.model, seed=number)
        trial_model.write_data(self.data, seed=number)
        return self._run()

    def _same(self, _number: int, _: random.Random) -> str:
        return self._run()

    def _again(self, _number: int, _: random.Random) -> str:
        return self._run(remeasure=True)

    def _damaged(self, number: int, draw: random.Random) -> str:
        import workbench

        content = self.model.read_bytes()
        damaged = self.place / f"damaged-{number}.onnx"
        damaged.write_bytes(content[: draw.randrange(len(content) // 2)])
        try:
            return self._run(settings={"model": str(damaged)})
        except workbench.WorkbenchError as error:
            return type(error).__name__
        finally:
            damaged.unlink()

    def _stopped(self, number: int, draw: random.Random) -> str:
        from workbench.errors import Cancelled

        trial_model.write_model(self.model, seed=number)
        trial_model.write_data(self.data, seed=number)
        cancel = threading.Event()
        timer = threading.Timer(draw.uniform(0, 4), cancel.set)
        timer.start()
        try:
            return self._run(cancel=cancel)
        except Cancelled:
            return "Cancelled"
        finally:
            timer.cancel()
            timer.join()

    def _int8(self, _number: int, _: random.Random) -> str:
        return self._run(settings={"precisions": "fp32,int8", "calibration_samples": 16, "budget": "none"})

    def _shown(self, _number: int, _: random.Random) -> str:
        import matplotlib.pyplot as plt

        import workbench

        settings = trial_model.SETTINGS | {"model": str(self.model), "data": str(self.data)}
        results = workbench.run(workbench.Experiment(**settings), store=self.store)
        shown = results.figures()
        plt.close("all")
        return (
            f"{len(results.table().frame())} rows, {len(shown)} figures, {len(workbench.history(self.store))} results"
        )

    def _from_memory(self, number: int, _: random.Random) -> str:
        import workbench

        x = trial_model.samples(seed=number)
        settings = trial_model.SETTINGS | {"model": str(self.model)}
        results = workbench.run(
            workbench.Experiment(**settings), store=self.store, data=(x, trial_model.outputs(x).argmax(1))
        )
        return ", ".join(str(row.status) for row in results.rows)


def go(seconds: float, most: int, seed: int, record: Path, place: Path) -> list[dict[str, Any]]:
    """Runs for ``seconds`` or ``most`` of them; a line of the record for each."""
    runs, temporary = Runs(place), Path(tempfile.gettempdir())
    began, found = time.monotonic(), []
    version = recording.code_version()
    with record.open("a", encoding="utf-8") as file:
        for number in range(most):
            if time.monotonic() - began > seconds:
                break
            start = time.monotonic()
            case, came_to = runs.one(number, random.Random(f"{seed} {number}"))  # noqa: S311 - a seed that repeats a run
            line = {
                "trial": "long_run", "seed": seed, "number": number, **version, "process": os.getpid(),
                "time": datetime.now(UTC).isoformat(timespec="seconds"), "case": case, "held": bool(re.fullmatch(EXPECTED[case], came_to)), "found": came_to,
                "figures": {"run_s": round(time.monotonic() - start, 2), "since_s": round(start - began, 1), **held_now(temporary)},
            }  # fmt: skip
            file.write(json.dumps(line) + "\n")
            file.flush()
            found.append(line)
            time.sleep(PAUSE_S if seconds > 60 else 0)
    return found


def growth(found: list[dict[str, Any]]) -> dict[str, float]:
    """By figure: the median of the last quarter of the lines less that of the second quarter."""
    quarter = len(found) // 4

    def middle(part: list[dict[str, Any]], name: str) -> float:
        return statistics.median(line["figures"][name] for line in part)

    return {name: middle(found[-quarter:], name) - middle(found[quarter : 2 * quarter], name) for name in FLAT}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--count", type=int, default=10**9, help="runs at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--records", type=Path, default=recording.RECORDS)
    options = parser.parse_args()
    options.records.mkdir(parents=True, exist_ok=True)
    record = (options.records / "long_run.jsonl").resolve()
    with recording.own_places() as place:
        found = go(options.hours * 3600, options.count, options.seed, record, place)
    grown = growth(found)
    print(f"{len(found)} runs in {found[-1]['figures']['since_s'] / 60:.0f} minutes")
    for name, value in grown.items():
        print(f"{name}: {value:+.1f} from the second to the last quarter (at most {FLAT[name]:+.1f})")
    wrong = [line for line in found if not line["held"]]
    for line in wrong:
        print(f"number {line['number']}, {line['case']}: {line['found']}")
    return 0 if not wrong and all(grown[name] <= most for name, most in FLAT.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
