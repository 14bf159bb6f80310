"""The clients of ``workbench loadtest`` beside Triton's own load generator: the median of one client's requests to one server by both.

The generator is perf_analyzer (PyPI's ``perf-analyzer``, 2.60.0 or later; an older pip takes an empty 0.1.0). Its program needs glibc 2.38, that of
Debian 13. On an older system it runs through the loader of Debian 13's packages libc6, libstdc++6 and libgcc-s1, unpacked by ``dpkg -x`` into one
folder LIB::

    python benchmarks/serving_client.py --command "LIB/ld-linux-x86-64.so.2 --library-path LIB:/usr/lib/x86_64-linux-gnu perf_analyzer"

Both send the same samples and ask in turns in random order; the ratio is that of neighbouring blocks. perf_analyzer takes three windows of half a second in a block.
The demo's calls are over in a fraction of a millisecond, so that the ratio shows what the clients themselves cost. Those of the other two take
milliseconds, as those of usual models do: sixteen convolutions on a small image (a request of 3 KB) and MobileNetV2 (a request of 600 KB, so that
the ratio also shows what sending a large body costs either client).
"""

from __future__ import annotations

import csv
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
from models import deep_cnn, mobilenetv2
from record import Section, interval_verdict, parser, rounds, tell
from serving import LIBRARIES, deployments

import workbench
from workbench.deploy.folder import deploy
from workbench.protocols import Caller
from workbench.serving.in_process import request
from workbench.serving.loadtest import TRANSPORTS
from workbench.serving.server import Server, served
from workbench.stats.estimates import ratio_interval
from workbench.store import Store
from workbench.timing import load

BLOCK_S, WINDOW_MS, WINDOWS, ANY_SPREAD = 1.5, 500, 3, 999
LOW, HIGH = 0.95, 1.05

MADE = {"sixteen convolutions": deep_cnn, "MobileNetV2": mobilenetv2}


def ours(server: Server, transport: str, place: Path) -> float:
    """Median milliseconds of a closed loop of one client, as the load test has it."""
    with closing(server.http() if transport == "http" else server.grpc()) as client:
        ask = client.prepared(request(place, 1))
        ask()
        found = load.closed_block([Caller(client.infer, lambda _: lambda: None)], [ask], BLOCK_S)
    return statistics.median(found.latencies_ns) * 1e-6


def theirs(server: Server, transport: str, place: Path, command: list[str]) -> float:
    """Median milliseconds of perf_analyzer with one client."""
    port = server.ports.http if transport == "http" else server.ports.grpc
    with tempfile.TemporaryDirectory() as folder:
        out, sent = Path(folder) / "out.csv", Path(folder) / "inputs.json"
        inputs = request(place, 1)
        sample = {
            name: {"content": array[0].ravel().tolist(), "shape": list(array.shape[1:])}
            for name, array in inputs.items()
        }
        sent.write_text(json.dumps({"data": [sample]}))
        words = [
            "-m", server.deployment.name, "-u", f"127.0.0.1:{port}", "-i", transport, "-b", "1", "--concurrency-range", "1:1",
            "-p", str(WINDOW_MS), "-r", str(WINDOWS), "-s", str(ANY_SPREAD), "--percentile=50", "-f", str(out),
            "--input-data", str(sent),
        ]  # fmt: skip
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        if not out.exists():
            sys.exit(f"perf_analyzer wrote no figures: {(done.stderr or done.stdout).strip()[-500:]}")
        with out.open(newline="") as file:
            return float(next(csv.DictReader(file))["p50 latency"]) * 1e-3


def deployed(name: str, folder: Path) -> Path:
    """One of the models in FP32, measured and deployed."""
    place, store = folder / name.replace(" ", "-"), Store(folder / "store").prepare()
    results = workbench.run(
        workbench.Experiment(
            model=str(MADE[name](folder / f"{place.name}.onnx")),
            data="random",
            backends="onnxruntime",
            precisions="fp32",
            batches="1",
            measure_s=0.3,
        ),
        store=store,
    )
    deploy(place, run=results.run, variant="onnxruntime fp32", batch=1, store=store, over_budget=True)
    return place


def compared(asks: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The medians of both in every round but the first, which warms up."""
    draw, found = np.random.default_rng(0), {name: list[float]() for name in asks}
    for number in range(rounds + 1):
        for name in draw.permutation(sorted(asks)):
            value = asks[name]()
            if number:
                found[name].append(value)
    return found


def row(model: str, transport: str, size: int, found: dict[str, list[float]]) -> list[str]:
    """The line of a model and a transport; ``size`` is that of a request in bytes."""
    ratios = [mine / other for mine, other in zip(found["ours"], found["theirs"], strict=True)]
    interval = ratio_interval(ratios)
    assert interval is not None
    medians = [f"{statistics.median(found[name]):.3f} ms" for name in ("ours", "theirs")]
    between = f"{interval[1]:.3f} to {interval[2]:.3f}"
    target = f"{LOW} to {HIGH}"
    return [
        model, transport, f"{size / 1000:.0f} KB", *medians, f"{interval[0]:.3f}", between, target, interval_verdict(interval, LOW, HIGH),
    ]  # fmt: skip


def main() -> None:
    """Measure, print and record."""
    made = parser(__doc__)
    made.add_argument("--command", default="perf_analyzer", help="how perf_analyzer is started")
    made.add_argument("--rounds", type=rounds, default=16)
    asked = made.parse_args()
    command, rows = shlex.split(asked.command), []
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    busy = f"Other programs kept {psutil.getloadavg()[0]:.0f} processes waiting or running on average when it began."
    with tempfile.TemporaryDirectory() as folder:
        places = {"demo, INT8": deployments(Path(folder))["int8"]}
        places |= {name: deployed(name, Path(folder)) for name in MADE}
        for model, place in places.items():
            size = sum(array.nbytes for array in request(place, 1).values())
            with served(place) as server:
                for transport in TRANSPORTS:
                    asks = {
                        "ours": lambda t=transport, p=place, s=server: ours(s, t, p),
                        "theirs": lambda t=transport, p=place, s=server: theirs(s, t, p, command),
                    }
                    rows.append(row(model, transport, size, compared(asks, asked.rounds)))
    method = f"One client, {asked.rounds} pairs of blocks of {BLOCK_S} s in random order; the ratio is that of neighbouring blocks."
    columns = (
        "model",
        "transport",
        "request",
        "loadtest, p50",
        "perf_analyzer, p50",
        "ratio",
        "interval",
        "target",
        "",
    )
    notes = (busy, f"perf_analyzer says: {(said.stdout + said.stderr).strip()}.")
    section = Section(
        "The load test beside perf_analyzer", "serving_client.py", method, columns, rows, LIBRARIES, notes
    )
    tell(section, record=asked.record)


if __name__ == "__main__":
    main()
