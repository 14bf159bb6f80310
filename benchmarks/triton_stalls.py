"""How often Triton's batcher leaves a request waiting for half a second.

Clients call a served deployment as fast as they are answered. Configurations differ in the number of instances, and in whether the server
joins requests; they take turns, in random order. A request counts as left waiting where its answer takes longer than :data:`LONG_S`, a
hundred times the usual answer.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import threading
import time
from pathlib import Path

from record import Section, parser, tell

from workbench.deploy.folder import RECORD
from workbench.serving.in_process import request
from workbench.serving.protocol import Client
from workbench.serving.server import served

LONG_S = 0.3
CLIENTS = (1, 3, 16)
CONFIGURATIONS = {
    "1 instance": (1, True),
    "2 instances": (2, True),
    "3 instances": (3, True),
    "1 instance, without batching": (1, False),
}


def counted(folder: Path, clients: int, seconds: float, *, batching: bool) -> tuple[int, int, float]:
    """Answers, answers that took long, and the longest in seconds."""
    times: list[float] = []
    with served(folder, batching=batching) as server:
        callers = [server.grpc() for _ in range(clients)]
        feeds = request(folder, 1)
        for caller in callers:
            caller.infer(feeds)
        end = time.perf_counter() + seconds

        def call(caller: Client) -> None:
            while (start := time.perf_counter()) < end:
                caller.infer(feeds)
                times.append(time.perf_counter() - start)

        threads = [threading.Thread(target=call, args=(caller,)) for caller in callers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for caller in callers:
            caller.close()
    return len(times), sum(each > LONG_S for each in times), max(times)


def variant(deployment: Path, into: Path, instances: int) -> Path:
    """A copy of the deployment with so many instances and a queue that refuses nothing."""
    copy = shutil.copytree(deployment, into)
    record = json.loads((copy / RECORD).read_text())
    record["queue"] |= {"instances": instances, "length": 64}
    (copy / RECORD).write_text(json.dumps(record))
    return copy


def main() -> None:
    options = parser(__doc__)
    options.add_argument("deployment", type=Path, help="a folder that 'workbench deploy' wrote")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=8.0)
    chosen = options.parse_args()
    variants = [(name, clients) for name in CONFIGURATIONS for clients in CLIENTS]
    found: dict[tuple[str, int], list[tuple[int, int, float]]] = {each: [] for each in variants}
    draw = random.Random(0)  # noqa: S311 - the order of measurements
    with tempfile.TemporaryDirectory() as scratch:
        folders = {
            name: variant(chosen.deployment, Path(scratch) / name, count) for name, (count, _) in CONFIGURATIONS.items()
        }
        for _ in range(chosen.rounds):
            for name, clients in draw.sample(variants, len(variants)):
                batching = CONFIGURATIONS[name][1]
                found[name, clients].append(counted(folders[name], clients, chosen.seconds, batching=batching))
    tell(section(found, chosen.rounds, chosen.seconds), record=chosen.record)


def section(found: dict[tuple[str, int], list[tuple[int, int, float]]], rounds: int, seconds: float) -> Section:
    rows = [
        (
            name,
            str(clients),
            str(sum(answers for answers, _, _ in each)),
            str(sum(late for _, late, _ in each)),
            f"{max(longest for _, _, longest in each) * 1e3:.0f}",
        )
        for (name, clients), each in found.items()
    ]
    return Section(
        "Requests that Triton's batcher leaves waiting",
        Path(__file__).name,
        f"One small model, requests of one sample over gRPC, {rounds} rounds of {seconds:g} s in random order, a new server each time.",
        ("configuration", "clients", "answers", f"longer than {LONG_S * 1e3:.0f} ms", "longest, ms"),
        rows,
        ("nvidia-pytriton", "onnxruntime"),
    )


if __name__ == "__main__":
    main()
