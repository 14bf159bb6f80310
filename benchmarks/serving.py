"""What serving costs, and whether a request is ever lost: the demo in INT8 and FP32 on ONNX Runtime, through Triton on this machine.

* Server overhead: what a client that is alone waits longer than for the engine in process (``workbench loadtest``), medians of rounds.
* Shadow: throughput of a server that has each 20th request answered by the FP32 source too, against one without; blocks take turns in random
  order, and the ratio is that of neighbouring blocks.
* Requests: two deployments behind the proxy of ``workbench canary``, with a reload of each model, a switch from one to the other, and a stop
  under load; the proxy's count is compared with the clients', and every answer with the reference.
* Memory: resident memory of the server and the model's process over as many requests, with a shadow and samples on disk.

``--requests`` is the number of requests of the last two; the clients run on the same cores as the servers.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import psutil
from record import ROOT, Section, interval_verdict, parser, rounds, tell, verdict

import workbench
from workbench.deploy.files.selftest import difference, reference
from workbench.deploy.folder import deploy, read
from workbench.errors import WorkbenchError
from workbench.records import LoadPlan
from workbench.serving.canary import NEW, OLD, Policy, canary
from workbench.serving.http_client import HttpClient
from workbench.serving.loadtest import LoadRequest, loadtest
from workbench.serving.protocol import RefusedError
from workbench.serving.server import Server, served
from workbench.serving.watch import Watch
from workbench.stats.estimates import ratio_interval

STORE = ROOT / ".workbench"
LIBRARIES = ("nvidia-pytriton", "onnxruntime", "numpy")
OVERHEAD_MS, SHADOW_SHARE, MEMORY_SHARE = 1.0, 0.95, 0.05
CLIENTS, BLOCK_S = 4, 0.5
WINDOW_S, WARM_S, STUCK_S = 5.0, 15.0, 60.0
"""Memory is first read when the window of recent samples, which takes ``WINDOW_S`` to fill, is full in every instance."""
LOG = logging.getLogger("serving")


def deployments(folder: Path) -> dict[str, Path]:
    """The demo in FP32 and INT8, measured and deployed."""
    asked = workbench.Experiment(
        backends="onnxruntime", precisions="fp32,int8", batches="1,8", measure_s=0.3, max_measure_s=0.3
    )
    results = workbench.run(asked, store=STORE)
    places = {precision: folder / precision for precision in ("fp32", "int8")}
    for precision, place in places.items():
        deploy(
            place,
            run=results.run,
            variant=f"onnxruntime {precision}",
            batch=8,
            store=STORE,
            over_budget=True,
        )
    return places


def overhead(place: Path, rounds: int) -> list[list[str]]:
    """A row for each transport."""
    rows = []
    for transport in ("http", "grpc"):
        plan = LoadPlan(concurrency=(1,), callers=1, rounds=rounds, block_s=BLOCK_S)
        (found,) = loadtest(place, LoadRequest(plan, transport=transport, batching=(True,)))
        inside, more = found.split.in_process, found.split.overhead
        rows.append([
            transport, f"{inside.value * 1e3:.3f} ms", f"{more.value * 1e3:.3f} ms", f"{more.low * 1e3:.3f} to {more.high * 1e3:.3f} ms",
            f"at most {OVERHEAD_MS:.1f} ms", verdict(more.value * 1e3, 0, OVERHEAD_MS),
        ])  # fmt: skip
    return rows


@dataclass
class Counted:
    """What the clients counted."""

    answered: int = 0
    refused: int = 0
    failed: int = 0
    wrong: int = 0
    reasons: list[str] = field(default_factory=list)


class Crew:
    """Clients that send the rows of references until they are stopped, and compare each answer with those that are right."""

    def __init__(self, port: int, places: list[Path]) -> None:
        deployment = read(places[0])
        inputs, _ = reference(places[0])
        self._name, self._output = deployment.name, deployment.outputs[0].name
        self._rows = {name: array.reshape(-1, *array.shape[2:]) for name, array in inputs.items()}
        self._right = [(self._expected(place), read(place).tolerance) for place in places]
        self._port, self._ended, self._lock, self.counted = port, threading.Event(), threading.Lock(), Counted()
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(CLIENTS)]

    def _expected(self, place: Path) -> np.ndarray:
        array = reference(place)[1][self._output]
        return array.reshape(-1, *array.shape[2:])

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def until(self, answered: int, look: Callable[[], None] = lambda: None) -> None:
        """Return after so many answers.

        Raises:
            SystemExit: no client was answered for :data:`STUCK_S`.
        """
        last, since = self.counted.answered, time.monotonic()
        while self.counted.answered < answered:
            look()
            time.sleep(0.05)
            if self.counted.answered > last:
                last, since = self.counted.answered, time.monotonic()
            elif time.monotonic() - since > STUCK_S:
                sys.exit(
                    f"No request was answered for {STUCK_S:.0f} s after {last:,}: {self.counted.reasons[-1:] or 'no error'}"
                )

    def _ask(self, number: int) -> None:
        client, place, found = HttpClient(self._port, self._name), number, self.counted
        count = len(next(iter(self._rows.values())))
        while not self._ended.is_set():
            row = place % count
            place += CLIENTS
            try:
                answer = client.infer({name: array[row : row + 1] for name, array in self._rows.items()})[self._output][
                    0
                ]
            except RefusedError:
                with self._lock:
                    found.refused += 1
                continue
            except WorkbenchError as error:
                with self._lock:
                    found.failed += 1
                    found.reasons = [*found.reasons[-5:], error.message]
                time.sleep(0.01)
                continue
            right = any(difference(answer, wanted[row], wanted) <= tolerance for wanted, tolerance in self._right)
            with self._lock:
                found.answered += 1
                found.wrong += not right


def shadow(place: Path, rounds: int) -> list[list[str]]:
    """The ratio of throughputs with and without a shadow."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = {
            "without": stack.enter_context(served(place)),
            "with": stack.enter_context(served(place, watch=Watch(folder, shadow_every=20, window=0))),
        }
        draw, speeds = np.random.default_rng(0), {name: list[float]() for name in servers}
        for number in range(rounds + 1):
            for name in draw.permutation(sorted(servers)):
                with Crew(servers[name].ports.http, [place]) as crew:
                    began = time.perf_counter()
                    time.sleep(BLOCK_S)
                    speed = crew.counted.answered / (time.perf_counter() - began)
                if number:  # the first round warms up
                    speeds[name].append(speed)
    ratios = [mine / base for mine, base in zip(speeds["with"], speeds["without"], strict=True)]
    interval = ratio_interval(ratios)
    assert interval is not None
    middle, low, high = interval
    medians = [f"{statistics.median(speeds[name]):,.0f}/s" for name in ("without", "with")]
    target = f"at least {SHADOW_SHARE:.2f}"
    return [
        [*medians, f"{middle:.3f}", f"{low:.3f} to {high:.3f}", target, interval_verdict(interval, SHADOW_SHARE, 2.0)]
    ]


def requests(places: dict[str, Path], count: int) -> list[list[str]]:
    """Requests while models are loaded again, the deployment is switched, and the proxy is stopped."""
    policy = Policy(share=50, limit_s=10.0)
    with canary(places["int8"], places["fp32"], policy, port=0) as found:
        with Crew(found.proxy.port, [places["int8"], places["fp32"]]) as crew:
            crew.until(count // 4)
            found.reload(OLD)
            crew.until(count // 2)
            found.reload(NEW)
            crew.until(count * 3 // 4)
            found.switch(NEW)
            crew.until(count)
            found.proxy.stop()  # under load: SIGTERM of the command does the same
        counted, seen = crew.counted, found.proxy.counts
    answered = sum(seen.answered.values())
    lost = seen.total - counted.answered - counted.refused
    for reason in dict.fromkeys(counted.reasons):
        LOG.info("after the stop: %s", reason)
    return [[
        f"{counted.answered:,}", f"{answered:,}", f"{counted.refused:,}", f"{sum(seen.refused.values()):,}", f"{lost:,}", f"{counted.wrong:,}",
        "0 lost, 0 wrong", verdict(lost + counted.wrong, 0, 0),
    ]]  # fmt: skip


def resident(server: Server) -> int:
    """Bytes of the server and the processes of its models."""
    root = psutil.Process(server.pid)
    return sum(each.memory_info().rss for each in (root, *root.children(recursive=True)))


def memory(place: Path, count: int) -> list[list[str]]:
    """Resident memory from a tenth of the requests on, and :data:`WARM_S` at least, against that at first."""
    with tempfile.TemporaryDirectory() as folder, served(place, watch=Watch(Path(folder), window_s=WINDOW_S)) as server:
        with Crew(server.ports.http, [place]) as crew:
            time.sleep(WARM_S)
            crew.until(count // 10)
            first, seen = resident(server), []
            crew.until(count, lambda: seen.append(resident(server)))
            seen.append(resident(server))
        mib, last = 2**20, statistics.median(seen[-10:])
        change = max(abs(min(seen) / first - 1), abs(max(seen) / first - 1))
        return [[
            f"{crew.counted.answered:,}", f"{first / mib:.1f} MiB", f"{min(seen) / mib:.1f} to {max(seen) / mib:.1f} MiB", f"{last / mib:.1f} MiB",
            f"{change:.1%}", f"within {MEMORY_SHARE:.0%}", verdict(change, 0, MEMORY_SHARE),
        ]]  # fmt: skip


def main() -> None:
    """Measure, print and record."""
    made = parser(__doc__)
    made.add_argument("--requests", type=int, default=100_000, help="requests of the parts 'requests' and 'memory'")
    made.add_argument("--rounds", type=rounds, default=24, help="rounds of the parts 'overhead' and 'shadow'")
    made.add_argument(
        "--parts", default="overhead,shadow,requests,memory", help="which parts, with commas between them"
    )
    asked = made.parse_args()
    parts = asked.parts.split(",")
    busy = f"Other programs kept {psutil.getloadavg()[0]:.0f} processes waiting or running on average when it began."
    with tempfile.TemporaryDirectory() as folder:
        places = deployments(Path(folder))
        found = {
            "overhead": lambda: ("Server overhead", f"One client, one sample, {asked.rounds} rounds in random order; 95 % intervals over rounds.",
                         ("transport", "in process, p50", "overhead, p50", "interval", "target", ""), overhead(places["int8"], asked.rounds)),
            "shadow": lambda: ("Shadowing each 20th request", f"{CLIENTS} clients, {asked.rounds} pairs of blocks of {BLOCK_S} s in random order; the ratio is that of neighbouring blocks.",
                       ("without", "with", "ratio", "interval", "target", ""), shadow(places["int8"], asked.rounds)),
            "requests": lambda: ("Requests with two reloads, a switch and a stop", f"{CLIENTS} clients through HAProxy to INT8 and FP32; lost is what the proxy took and no client got.",
                         ("answered (clients)", "answered (proxy)", "refused (clients)", "refused (proxy)", "lost", "wrong", "target", ""), requests(places, asked.requests)),
            "memory": lambda: ("Memory of a server", f"{CLIENTS} clients; the server and the model's process, with a shadow and samples on disk.",
                       ("requests", "at first", "later", "at the end", "largest change", "target", ""), memory(places["int8"], asked.requests)),
        }  # fmt: skip
        for name in parts:
            title, method, columns, rows = found[name]()
            tell(Section(title, "serving.py", method, columns, rows, LIBRARIES, (busy,)), record=asked.record)


if __name__ == "__main__":
    main()
