"""Check a deployment: are the answers those of the engine that was measured, and does it run as fast?

Run ``python selftest.py`` in the deployment's folder. It needs Python 3.11, NumPy and the engine's library; ``README.md`` has the line
that installs them. The exit status is 0 if the answers are right, 1 if they are not, and 3 if they are right and it is slower than
measured. ``--answers`` leaves out the speed, and ``--json`` prints one JSON document.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS, BLOCK_S = 24, 0.05
ALLOWED = 0.25
"""How much slower it may be: two launches of one engine differ by up to 17 %, by memory layout alone."""
RESAMPLES, CONFIDENCE = 2000, 95.0
OK, WRONG, SLOWER = 0, 1, 3

Arrays = dict[str, Any]


def main() -> int:
    """Check the folder that this file is in; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--answers", action="store_true", help="check the answers only, not the speed")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    folder = Path(__file__).resolve().parent
    deployment = json.loads((folder / "deployment.json").read_text(encoding="utf-8"))
    place = folder / "repository" / deployment["name"] / "1"
    sys.path.insert(0, str(place))
    run = importlib.import_module("runner").open_model(place, deployment["options"])
    inputs, expected = reference(folder)
    found = {"answers": answers(run, inputs, expected, deployment)}
    if found["answers"]["right"] and not options.answers:
        found["speed"] = speed(run, inputs, deployment)
    print(json.dumps(found, indent=2) if options.json else "\n".join(report_lines(found)))
    if not found["answers"]["right"]:
        return WRONG
    return SLOWER if found.get("speed", {}).get("verdict") == "slower" else OK


def reference(folder: Path) -> tuple[Arrays, Arrays]:
    """Inputs and expected outputs by name, the first axis is the call."""
    with np.load(folder / "reference.npz") as file:
        parts = {
            mark: {name.removeprefix(mark): file[name] for name in file.files if name.startswith(mark)}
            for mark in ("input:", "output:")
        }
    return parts["input:"], parts["output:"]


def answers(run: Callable[[Arrays], Arrays], inputs: Arrays, expected: Arrays, deployment: Mapping[str, Any]) -> Arrays:
    """Run all calls of the reference, and compare: the largest difference as a share of the largest expected value."""
    calls = len(next(iter(expected.values())))
    worst, changed, missing = 0.0, 0, []
    for call in range(calls):
        found = run({name: np.ascontiguousarray(array[call]) for name, array in inputs.items()})
        for name, array in expected.items():
            if name not in found or found[name].shape != array[call].shape:
                missing.append(name)
                continue
            worst = max(worst, difference(found[name], array[call], array))
            changed += flips(found[name], array[call])
    tolerance = deployment["tolerance"]
    return {
        "calls": calls,
        "largest_difference": worst,
        "tolerance": tolerance,
        "changed_classes": changed,
        "missing": sorted(set(missing)),
        "right": not missing and worst <= tolerance,
    }


def difference(actual: Any, wanted: Any, scale: Any) -> float:
    """The largest absolute difference divided by the largest absolute value of ``scale``; infinite where NaN or infinity differ."""
    actual, wanted = np.asarray(actual, np.float64), np.asarray(wanted, np.float64)
    if not np.array_equal(np.isfinite(actual), np.isfinite(wanted)):
        return float("inf")
    finite = np.isfinite(wanted)
    if not finite.any():
        return 0.0
    largest = float(np.max(np.abs(np.asarray(scale, np.float64)), where=np.isfinite(scale), initial=0.0)) or 1.0
    return float(np.max(np.abs(actual[finite] - wanted[finite]))) / largest


def flips(actual: Any, wanted: Any) -> int:
    """How many rows of class scores, shape [n, classes], have their largest value in another place."""
    if wanted.ndim != 2 or wanted.shape[1] < 2 or wanted.dtype.kind != "f":
        return 0
    return int((actual.argmax(1) != wanted.argmax(1)).sum())


def speed(run: Callable[[Arrays], Arrays], inputs: Arrays, deployment: Mapping[str, Any]) -> Arrays:
    """Time calls at the deployed batch, and compare their medians with those that were measured."""
    measured = next(one for one in deployment["measured"] if one["batch"] == deployment["batch"])
    feeds = {name: np.ascontiguousarray(array[0]) for name, array in inputs.items()}
    blocks, waiting = [], []
    for median, waited in timed(lambda: run(feeds)):
        blocks.append(median)
        waiting.append(waited)
    ratio, low, high = ratio_of(blocks, measured["block_medians_s"])
    alike = deployment["machine"]["cpu"] == cpu()
    busy = sum(share > 0.05 for share in waiting)
    verdict, why = "slower" if low > 1 + ALLOWED else "as measured" if high <= 1 + ALLOWED else "cannot tell", ""
    if verdict != "as measured" and busy > len(blocks) / 2:
        verdict, why = "cannot tell", "other programs kept the machine busy"
    if not alike:
        verdict, why = "not judged", f"it was measured on another CPU: {deployment['machine']['cpu']}"
    return {
        "batch": deployment["batch"],
        "median_ms": float(np.median(blocks)) * 1e3,
        "measured_ms": float(np.median(measured["block_medians_s"])) * 1e3,
        "ratio": ratio,
        "low": low,
        "high": high,
        "verdict": verdict,
        "why": why,
        "busy_blocks": busy,
        "blocks": len(blocks),
    }


def timed(call: Callable[[], object]) -> Iterator[tuple[float, float]]:
    """For each block: the median seconds of a call without waiting for a core, and the share of waiting."""
    until = time.perf_counter() + 0.5
    call()
    while time.perf_counter() < until:
        call()
    for _ in range(ROUNDS):
        samples: list[float] = []
        before = waited_s()
        began = end = time.perf_counter()
        while end - began < BLOCK_S or not samples:
            start = time.perf_counter()
            call()
            end = time.perf_counter()
            samples.append(end - start)
        share = min(0.9, max(0.0, waited_s() - before) / sum(samples))
        yield min(float(np.median(samples)), float(np.mean(samples)) * (1 - share)), share


def waited_s() -> float:
    """Seconds in which this thread was ready and had no core; 0 where the system does not tell."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]) * 1e-9
    except (OSError, IndexError, ValueError):
        return 0.0


def ratio_of(seconds: list[float], measured: list[float]) -> tuple[float, float, float]:
    """The ratio of two medians with its bootstrap interval: (ratio, low, high); above 1 is slower than measured.

    Efron and Tibshirani 1993, An Introduction to the Bootstrap, 13.3: percentiles over samples drawn with replacement from either list.
    """
    draw, ours, theirs = np.random.default_rng(0), np.asarray(seconds), np.asarray(measured)
    drawn = [np.median(draw.choice(part, (RESAMPLES, len(part))), axis=1) for part in (ours, theirs)]
    low, high = np.percentile(drawn[0] / drawn[1], [(100 - CONFIDENCE) / 2, (100 + CONFIDENCE) / 2])
    return float(np.median(ours) / np.median(theirs)), float(low), float(high)


def cpu() -> str:
    """The name of the CPU as Linux gives it; "" elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def report_lines(findings: Arrays) -> list[str]:
    """The findings as lines of text."""
    one = findings["answers"]
    text = f"answers: {'right' if one['right'] else 'WRONG'}, {one['calls']} calls, largest difference {one['largest_difference']:.2g}"
    lines = [f"{text} (allowed {one['tolerance']:.2g} of the largest value), {one['changed_classes']} other classes"]
    if one["missing"]:
        lines.append(f"  outputs that are missing or of another shape: {', '.join(one['missing'])}")
    if "speed" in findings:
        two = findings["speed"]
        lines.append(
            f"speed: {two['verdict']}{', ' + two['why'] if two['why'] else ''}: {two['median_ms']:.3g} ms at batch {two['batch']}, "
            f"measured {two['measured_ms']:.3g} ms, ratio {two['ratio']:.2f} [{two['low']:.2f}, {two['high']:.2f}]"
        )
        if two["busy_blocks"]:
            lines.append(f"  other programs kept the machine busy in {two['busy_blocks']} of {two['blocks']} blocks")
    return lines


if __name__ == "__main__":
    sys.exit(main())
