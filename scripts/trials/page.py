"""Write ``docs/trials.md`` from the records: ``python scripts/trials/page.py``."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import attacks
import classroom
import clock
import concurrency
import damage
import foreign_stores
import hostile_names
import hub
import kill
import long_run
import mutants
import overwritten
import recording
import sleep
import surroundings
import worker_deaths
from recording import Trial

NOT_SUMMED = ("first", "slowest_s", "took_s", "last_ended_s", "pause_s", "longest_block_s", "largest_mib")
PAGE = recording.REPOSITORY / "docs" / "trials.md"
TRIALS: tuple[Trial, ...] = tuple(
    each.TRIAL
    for each in (
        kill, damage, surroundings, concurrency, classroom, hub, mutants, attacks, overwritten, foreign_stores, sleep, clock,
        hostile_names, worker_deaths,
    )
)  # fmt: skip
HEAD = """# Trials

Each trial tries one promise many times, in ways that are drawn at random. `python scripts/trials/NAME.py` runs one, continues where an
earlier call stopped, and adds a line for every case to `scripts/trials/records/NAME.jsonl`: a seed and a number that repeat the case,
version and commit of the code (a star: with changes), and what was found. `--count` and `--seed` choose other cases, `--again` repeats those that did not hold.
Tests in `tests/trials` run a few cases of each.

This page is made from the records by `python scripts/trials/page.py`. A case counts as it was tried last.

| trial | promise | cases | held | commits |
| --- | --- | --- | --- | --- |
"""


def row(trial: Trial, found: list[dict[str, Any]]) -> str:
    """A line of the table."""
    held = sum(line["held"] for line in found)
    commits = ", ".join(f"`{commit}`" for commit in dict.fromkeys(line["commit"] for line in found))
    return f"| {trial.name} | {trial.promise} | {len(found):,} | {held:,} | {commits or '–'} |"


def details(trial: Trial, found: list[dict[str, Any]]) -> str:
    """What was tried, by kind of case, with the sums of the figures; and every case that did not hold."""
    if not found:
        return f"## {trial.name}\n\nNot recorded yet.\n"
    tried, held, sums = Counter[str](), Counter[str](), defaultdict[str, float](float)
    for line in found:
        case = _kind(trial, line["case"])
        tried[case] += 1
        held[case] += line["held"]
        for name, value in line["figures"].items():
            if name not in NOT_SUMMED:
                sums[name] += value
    text = [
        f"## {trial.name}",
        "",
        "; ".join(f"{case}: {held[case]} of {number}" for case, number in sorted(tried.items())) + ".",
    ]
    if sums:
        text += ["", "In all: " + ", ".join(f"{name} {value:,.0f}" for name, value in sorted(sums.items())) + "."]
    slowest = max((line["figures"].get("slowest_s", line["figures"].get("took_s", 0)) for line in found), default=0)
    text += ["", f"The slowest took {slowest:.0f} s, on a machine that was busy with other work."] if slowest else []
    bad = [line for line in found if not line["held"]]
    text += (
        ["", "Not held:", "", *(f"* number {line['number']}, {line['case']}: {_plain(line['found'])}" for line in bad)]
        if bad
        else []
    )
    return "\n".join(text) + "\n"


def _kind(trial: Trial, case: str) -> str:
    """Damages are counted by what was damaged."""
    return case.partition(":")[0] if trial.name == "damage" else case


def _plain(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ").replace("<", "&lt;")[:300]


def of_the_long_run(records: Path) -> str:
    """The section of the process that runs for hours."""
    place = records / "long_run.jsonl"
    found = [json.loads(text) for text in place.read_text(encoding="utf-8").splitlines()] if place.exists() else []
    if len(found) < 8:
        return "## long_run\n\nNot recorded yet.\n"
    grown, wrong = long_run.growth(found), [line for line in found if not line["held"]]
    hours = found[-1]["figures"]["since_s"] / 3600
    text = [
        "## long_run", "",
        (f"{len(found):,} runs of {len(long_run.EXPECTED)} kinds in one process in {hours:.1f} hours, of the commit "
        f"`{found[0]['commit']}`; {len(found) - len(wrong):,} had the expected outcome. Medians over the second and the last quarter "
        "of the runs:"), "",
        "| what the process holds | second quarter | last quarter | growth | limit |", "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    quarter = len(found) // 4
    for name, most in long_run.FLAT.items():
        middles = [
            statistics.median(line["figures"][name] for line in part)
            for part in (found[quarter : 2 * quarter], found[-quarter:])
        ]
        text.append(
            f"| {name.replace('_mib', ' (MiB)').replace('_', ' ')} | {middles[0]:.1f} | {middles[1]:.1f} | {grown[name]:+.1f} | {most:+.1f} |"
        )
    text += [f"\n* number {line['number']}, {line['case']}: {_plain(line['found'])}" for line in wrong]
    return "\n".join(text) + "\n"


def whole(records: Path) -> str:
    """The page as text."""
    found = {trial.name: recording.lines(trial.name, records) for trial in TRIALS}
    table = "\n".join(row(trial, found[trial.name]) for trial in TRIALS)
    parts = [details(trial, found[trial.name]) for trial in TRIALS]
    return "\n".join([HEAD + table + "\n", *parts, of_the_long_run(records)])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=Path, default=recording.RECORDS)
    parser.add_argument("--output", type=Path, default=PAGE)
    options = parser.parse_args()
    options.output.write_text(whole(options.records), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
