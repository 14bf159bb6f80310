"""How much longer does a whole run take than its own building and measuring?

Method. One ``workbench.run`` of the demo with the default experiment in a fresh store that holds the trained demo only, so that
training is not counted. Wall, build and measuring time are those of the run's tally: building is exporting, rewriting and
building; measuring is warming up and the interleaved rounds. Where the rest went is read from the run's journal. Scoring, every
test sample through every engine, is part of the job too and has a line of its own; it counts as rest in the ratio.

Target: wall time at most 1.5 times the sum of building and measuring.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from models import store_with_demo
from record import Section, parser, tell, verdict

from workbench import Experiment, run
from workbench.records import Results, Status
from workbench.system.machine import this_machine

TARGET = 1.5


def gaps(journal: list[dict[str, Any]], results: Results) -> list[tuple[str, float]]:
    """Seconds of every part of the run outside building and measuring, with what was done in it."""
    last = journal[-1]["s"]
    built = max((line["s"] for line in journal if line.get("status") in (Status.BUILT, Status.FAILED)), default=0.0)
    begun = next((line["s"] for line in journal if line.get("status") == Status.PREPARING), 0.0)
    nothing: dict[str, Any] = {"s": built, "text": "starting no workers"}
    start = next((line for line in journal if line["text"].startswith("starting ")), nothing)
    started = start["s"]
    warm = next((line["s"] for line in journal if line.get("status") == Status.MEASURING), started)
    place = next((at for at, line in enumerate(journal) if line.get("status") == Status.SCORING), len(journal) - 1)
    timed = journal[place - 1]["s"]
    parts = [
        ("reading the model and the data", results.tally.wall_s - last + begun),
        ("ending the builders, preparing the reference", started - built),
        (f"{start['text']}, opening the engines", warm - started),
        ("scoring (to the end of the last worker)", last - timed),
    ]
    known = results.tally.build_s + results.tally.measure_s + sum(seconds for _, seconds in parts)
    return [*parts, ("anything else", results.tally.wall_s - known)]


def rows(journal: list[dict[str, Any]], results: Results) -> list[tuple[str, ...]]:
    tally = results.tally
    work = tally.build_s + tally.measure_s
    inside = {row.engine.key: row.engine.build_s for row in results.rows if row.engine}
    timed = sum(block.wall_s for row in results.measured if row.timing for block in row.timing.blocks)
    parts = [
        ("building", tally.build_s),
        ("– of it inside the libraries' builders", sum(inside.values())),
        ("measuring", tally.measure_s),
        ("– of it inside timed blocks", timed),
        *gaps(journal, results),
        ("the whole run", tally.wall_s),
    ]
    lines = [(what, f"{seconds:.1f} s", f"{seconds / tally.wall_s:.0%}", "", "") for what, seconds in parts]
    ratio = tally.wall_s / work
    answer = verdict(ratio, 0.0, TARGET)
    return [*lines, ("whole run / (building + measuring)", f"{ratio:.2f}", "", f"at most {TARGET}", answer)]


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--quick", action="store_true", help="one backend, one batch: only to see that this script works"
    )
    asked = options.parse_args()
    if asked.quick and asked.record:
        options.error("a quick run is not worth recording")
    experiment = Experiment(backends=("onnxruntime",), batches=(1,)) if asked.quick else Experiment()
    with tempfile.TemporaryDirectory() as folder:
        store = store_with_demo(Path(folder))
        this_machine()  # looked up once per process
        results = run(experiment, store=store, on_event=lambda event: None if event.detail else print(event.text))
        (file,) = (store.root / "runs").glob("*.jsonl")
        journal = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    failed = sum(row.status == Status.FAILED for row in results.rows)
    section = Section(
        title="A whole run",
        script="sweep.py",
        method=f"The demo with the default experiment in a fresh store, trained before. {results.tally}"
        + (f"; {failed} rows failed." if failed else "."),
        columns=("part", "time", "share", "target", ""),
        rows=rows(journal, results),
        libraries=("tensorflow-cpu", "tensorflow", "onnxruntime", "openvino", "tf2onnx"),
    )
    tell(section, record=asked.record)


if __name__ == "__main__":
    main()
