"""Many participants measure on one machine at once: their timings never overlap, all are served, and all see their wait.

Each participant has a name and a store of its own, and is a process (number 0) or a Jupyter kernel that executes the cells of a notebook
(number 1). When each group of rows was measured is read from the stores; the texts about a wait are those that a participant sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import recording
import trial_model
from recording import One, Outcome, Trial

PARTICIPANTS = 30
LIMIT_S = 3000.0
BATCHES = "1,8"
CELLS = (
    "import logging, workbench\nlogging.basicConfig(level=logging.INFO, format='%(message)s')",
    "experiment = workbench.Experiment(**{asked!r})\nexperiment",
    "results = workbench.run(experiment, store={store!r}, only='time')",
    "results.table()",
    "import resource\nprint('memory:', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, 'MiB')",
    "import sys\nprint('loaded:', [name for name in ('tensorflow', 'keras') if name in sys.modules])",
)
"""What a participant executes; the log of a run is shown below its cell."""


def code_of(asked: dict[str, Any], store: str) -> list[str]:
    """The cells with these settings."""
    return [each.format(asked=asked, store=store) for each in CELLS]


@contextlib.contextmanager
def session(count: int = PARTICIPANTS, batches: str = BATCHES) -> Iterator[One]:
    """``count`` participants, each of whom measures one variant at these batch sizes."""

    def one(number: int, draw: random.Random, place: Path) -> Outcome:
        model = trial_model.write_model(place / "small.onnx", seed=number)
        data = trial_model.write_data(place / "small.npz", seed=number)
        asked = trial_model.SETTINGS | {"model": str(model), "data": str(data), "batches": batches}
        own = [place / f"participant-{each}" for each in range(count)]
        for folder in own:
            folder.mkdir()
        began = time.monotonic()
        take_part = (_processes, _kernels)[number % 2]
        seen, faults = take_part(own, [asked | {"seed": draw.randrange(1000)} for _ in own])
        took_s = time.monotonic() - began
        records = [record_of(folder / "store", text) for folder, text in zip(own, seen, strict=True)]
        faults += faults_of(records, len(batches.split(",")))
        largest_mib = max((int(found) for text in seen for found in re.findall(r"memory: (\d+) MiB", text)), default=0)
        figures = _figures(records) | {"largest_mib": largest_mib, "took_s": round(took_s, 1)}
        what = "kernels" if number % 2 else "participants"
        return Outcome(f"{count} {what} at once", not faults, "; ".join(faults), figures)

    yield one


def _figures(records: list[dict[str, Any]]) -> dict[str, float]:
    return {
        "participants": len(records),
        "timed_groups": sum(len(record["measured"]) for record in records),
        "saw_a_wait": sum(any(_is_wait(text) for text in record["waits"]) for record in records),
        "saw_a_time": sum(any("expected wait a" in text for text in record["waits"]) for record in records),
        "measuring_s": round(sum(each["ended_s"] - each["began_s"] for each in _spans(records)), 1),
    }


def _environment(own: Path) -> dict[str, str]:
    more = {"WORKBENCH_NAME": own.name.replace("-", " "), "WORKBENCH_KEY": str(own / "key"), "IPYTHONDIR": str(own)}
    return os.environ | more


def _processes(own: list[Path], asked: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """A process for each participant; what each has printed, and faults."""
    began, started = time.monotonic(), []
    for folder, settings in zip(own, asked, strict=True):
        code = "\n".join(code_of(settings, str(folder / "store")))
        with (folder / "output").open("wb") as output:
            words = [sys.executable, "-c", code]
            started.append(subprocess.Popen(words, stdout=output, stderr=output, env=_environment(folder)))
    statuses = [_status(process, began) for process in started]
    seen = [(folder / "output").read_text(errors="replace") for folder in own]
    faults = [
        f"{folder.name} ended with {status}: {text[-200:]}"
        for folder, status, text in zip(own, statuses, seen, strict=True)
        if status
    ]
    return seen, faults + _loaded(seen)


def _status(process: subprocess.Popen[bytes], began: float) -> int:
    """How a process ended, which is killed at the limit."""
    try:
        return process.wait(max(1.0, LIMIT_S - (time.monotonic() - began)))
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _kernels(own: list[Path], asked: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """A Jupyter kernel for each participant, all at once; what the cells of each show, and faults."""

    async def all_of_them() -> list[str | BaseException]:
        kernels = (_kernel(folder, settings) for folder, settings in zip(own, asked, strict=True))
        return await asyncio.gather(*kernels, return_exceptions=True)

    found = asyncio.run(all_of_them())
    faults = [
        f"{folder.name}: {type(each).__name__}: {str(each)[-200:]}"
        for folder, each in zip(own, found, strict=True)
        if isinstance(each, BaseException)
    ]
    seen = [each if isinstance(each, str) else "" for each in found]
    return seen, faults + _loaded(seen)


async def _kernel(own: Path, asked: dict[str, Any]) -> str:
    """Start a kernel, execute the cells one after another as a notebook does, and end it; the text of all outputs."""
    import nbformat
    from nbclient import NotebookClient

    cells = [nbformat.v4.new_code_cell(code) for code in code_of(asked, str(own / "store"))]
    notebook = nbformat.v4.new_notebook(cells=cells)
    # thirty that start at once on two cores take longer than the default of a minute
    client = NotebookClient(notebook, kernel_name="python3", timeout=None, startup_timeout=600)
    execute = partial(client.async_execute, cwd=str(own), env=_environment(own))
    await asyncio.wait_for(execute(), LIMIT_S)
    nbformat.write(notebook, own / "executed.ipynb")
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    return "\n".join(str(each.get("text") or each.get("data", {}).get("text/plain", "")) for each in outputs)


def _loaded(seen: list[str]) -> list[str]:
    """Those who loaded TensorFlow, which an ONNX model with ONNX Runtime does not need."""
    return [
        f"participant {each} did not say 'loaded: []'" for each, text in enumerate(seen) if "loaded: []" not in text
    ]


def record_of(store: Path, text: str) -> dict[str, Any]:
    """What a store says of its run, in seconds since 1970, and the waits in what its user saw.

    The journal of the run has when a group of rows began and ended to be measured; the timing has how long its blocks took.
    """
    events = [json.loads(line) for path in store.glob("runs/*.jsonl") for line in path.read_text().splitlines()]
    timings = [json.loads(path.read_text())["facts"]["timing"] for path in store.glob("timing/*/manifest.json")]
    measured = []
    for timing in timings:
        batch, blocks = timing["batch"], timing["blocks"]
        of_row = [each for each in events if each.get("row", "").endswith(f"@{batch}")]
        at = {
            each["status"]: each["at"] for each in reversed(of_row)
        }  # the first of each: a row that is scored is done again
        timed_s = blocks[-1]["began_s"] + blocks[-1]["wall_s"] - blocks[0]["began_s"]
        measured.append({"batch": batch, "began_s": at["measuring"], "ended_s": at["done"], "timed_s": timed_s})
    return {"measured": measured, "waits": [line for line in text.splitlines() if _is_wait(line)]}


def _spans(records: list[dict[str, Any]]) -> list[dict[str, float]]:
    """What was measured, the first one first."""
    return sorted((each for record in records for each in record["measured"]), key=lambda each: each["began_s"])


def _is_wait(text: str) -> bool:
    return "before you" in text and "expected wait" in text


def faults_of(records: list[dict[str, Any]], groups: int) -> list[str]:
    found = [
        f"participant {each} was not served" for each, record in enumerate(records) if len(record["measured"]) != groups
    ]
    spans = _spans(records)
    for first, second in itertools.pairwise(spans):
        if second["began_s"] < first["ended_s"]:
            found.append(f"two timings overlap by {first['ended_s'] - second['began_s']:.3f} s")
    # a group's timed blocks lie between its two events, so that these cover all that was timed
    found += [
        "timed for longer than it was measured" for each in spans if each["timed_s"] > each["ended_s"] - each["began_s"]
    ]
    blind = [each for each, record in enumerate(records) if not any(map(_is_wait, record["waits"]))]
    if len(blind) > 1:  # the first one may find the machine free at every time
        found.append(f"participants {blind} saw no wait")
    return found


TRIAL = Trial(
    "classroom",
    session,
    2,
    "Of thirty participants who measure at once, no two timings overlap, all are served, and all see their wait.",
)

if __name__ == "__main__":
    recording.exit_with(TRIAL)
