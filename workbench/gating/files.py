"""What a gate writes for other programs: JSON in the shape of pytest-benchmark, JUnit XML, and a summary in Markdown."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from workbench.gating.outcome import Gate, GateOutcome, GateRow
from workbench.report.document import finite, machine
from workbench.system.machine import version_of

if TYPE_CHECKING:
    from workbench.records import Result, Timing

SUITE = "workbench gate"
HEADING = "## Gate:"
BEGINS: Mapping[str, bytes] = {
    ".json": b'{\n "machine_info": {',
    ".xml": f"<?xml version='1.0' encoding='utf-8'?>\n<testsuites name=\"{SUITE}\"".encode(),
    ".md": HEADING.encode(),
}
"""By ending, how a file of a gate begins."""


def benchmark_json(gate: Gate) -> str:
    """The new side's rows as pytest-benchmark writes benchmarks; the interval and the verdict are in ``extra_info``.

    Times are in seconds. Rows that were not measured are left out.
    """
    document = {
        "machine_info": _machine_info(gate),
        "commit_info": _commit_info(gate),
        "benchmarks": [_benchmark(row, row.new.timing, gate) for row in gate.rows if row.new and row.new.timing],
        "datetime": gate.began_at,
        "version": version_of("inference-workbench"),
    }
    return json.dumps(finite(document), indent=1, ensure_ascii=False) + "\n"


def _machine_info(gate: Gate) -> dict[str, Any]:
    found = gate.machine
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "release": platform.release(),
        "python_implementation": platform.python_implementation(),
        "python_version": platform.python_version(),
        "cpu": {"brand_raw": found.cpu, "count": found.cores, "arch": platform.machine()},
        "fingerprint": machine(found),
    }


def _commit_info(gate: Gate) -> dict[str, Any]:
    """The commit of the current folder, as pytest-benchmark has it; null values where there is none."""
    commit, when, branch = (_git(*words) for words in (
        ("rev-parse", "HEAD"), ("log", "-1", "--format=%cI"), ("branch", "--show-current"),
    ))  # fmt: skip
    dirty = bool(_git("status", "--porcelain", "--untracked-files=no"))
    return {"id": commit or None, "time": when or gate.began_at, "dirty": dirty, "branch": branch or None}


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if not done.returncode else ""


def _benchmark(row: GateRow, timing: Timing, gate: Gate) -> dict[str, Any]:
    return {
        "group": row.variant,
        "name": row.name,
        "fullname": f"workbench::{row.name}",
        "params": {"variant": row.variant, "batch": row.batch},
        "param": row.name,
        "extra_info": {
            "outcome": str(row.outcome),
            "slowdown": row.slowdown,
            "slowdown_low": row.low,
            "slowdown_high": row.high,
            "why": row.why,
            "in_turn": gate.in_turn,
            "allow_slower": gate.limits.allowed,
            "exclude_slower": gate.limits.excluded,
            "session": timing.group,
            "new": _engine(row.new),
            "old": _engine(row.old),
            "machine": machine(gate.machine),
        },
        "options": {
            "disable_gc": False,
            "timer": "perf_counter_ns",
            "min_rounds": gate.plan.rounds,
            "max_time": gate.plan.max_measure_s,
            "min_time": gate.plan.block_s,
            "warmup": True,
        },
        "stats": _stats(timing),
    }


def _engine(row: Result | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "variant": row.spec.address,
        "library": row.engine.library if row.engine else "",
        "library_version": row.engine.library_version if row.engine else "",
        "engine": row.engine.key if row.engine else "",
        "median_s": row.timing.median_s if row.timing else None,
        "measured_at": row.timing.measured_at if row.timing else "",
    }


def _stats(timing: Timing) -> dict[str, Any]:
    """The numbers that pytest-benchmark computes of all calls that count; outliers by its two rules."""
    import numpy as np

    calls = np.concatenate([np.asarray(block.samples_ns) for block in timing.counted]) * 1e-9
    q1, median, q3 = (float(value) for value in np.percentile(calls, [25, 50, 75]))
    mean, deviation = float(calls.mean()), float(calls.std(ddof=1)) if len(calls) > 1 else 0.0
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    outliers = int(((calls < mean - deviation) | (calls > mean + deviation)).sum())
    beyond = int(((calls < low) | (calls > high)).sum())
    return {
        "min": float(calls.min()), "max": float(calls.max()), "mean": mean, "stddev": deviation, "rounds": len(calls),
        "median": median, "iqr": q3 - q1, "q1": q1, "q3": q3, "iqr_outliers": beyond, "stddev_outliers": outliers,
        "outliers": f"{outliers};{beyond}", "ld15iqr": float(calls[calls >= low].min()), "hd15iqr": float(calls[calls <= high].max()),
        "ops": 1 / mean, "total": float(calls.sum()), "iterations": 1,
    }  # fmt: skip


def junit_xml(gate: Gate) -> str:
    """One test case for each row: a failure where it is worse, skipped where it cannot be decided."""
    outcomes = [row.outcome for row in gate.rows]
    counts = {
        "tests": str(len(outcomes)),
        "failures": str(outcomes.count(GateOutcome.WORSE)),
        "errors": "0",
        "skipped": str(outcomes.count(GateOutcome.CANNOT_TELL)),
        "time": f"{gate.wall_s:.3f}",
    }
    root = ET.Element("testsuites", {"name": SUITE, **counts})
    suite = ET.SubElement(root, "testsuite", {"name": SUITE, "timestamp": gate.began_at, **counts})
    for row in gate.rows:
        timed = f"{row.new.timing.timed_s:.3f}" if row.new and row.new.timing else "0"
        case = ET.SubElement(suite, "testcase", {"classname": SUITE, "name": row.name, "time": timed})
        said = f"{row.outcome}: {row.change}".rstrip(": ") + (f" ({row.why})" if row.why else "")
        if row.outcome != GateOutcome.NO_WORSE:
            ET.SubElement(case, "failure" if row.outcome == GateOutcome.WORSE else "skipped", {"message": said})
        else:
            ET.SubElement(case, "system-out").text = said
    ET.indent(root, " ")
    text: str = ET.tostring(root, encoding="unicode")
    return f"<?xml version='1.0' encoding='utf-8'?>\n{text}\n"


def summary(gate: Gate) -> str:
    """For a pull request: the outcome, what was compared, and the table of rows."""
    from workbench.gating.table import table

    return f"{HEADING} {gate.outcome}\n\n{gate.sentence}\n\n{table(gate).markdown()}"
