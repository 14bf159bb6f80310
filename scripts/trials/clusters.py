"""A Dask cluster on the loopback interface: a scheduler and workers as processes, each worker with a store, a key and a measuring lock of its own,
as if it were another machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import psutil

START_S = 180


class Cluster:
    """Start as a context manager; ``path`` is a folder that is put on the path of the workers' Python, ``protocol`` is tcp or tls."""

    def __init__(
        self,
        folder: Path,
        workers: int = 2,
        *,
        labels: Sequence[str] = (),
        path: Path | None = None,
        protocol: str = "tcp",
    ) -> None:
        self.folder, self._protocol = folder, protocol
        self._path, self._processes = path, dict[str, subprocess.Popen[bytes]]()
        self._labels, self._count = labels, workers
        self.address = ""

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.start_scheduler()
            for number in range(self._count):
                self.add(f"w{number}", self._labels)
            if self._count:
                self.wait_for(self._count)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start_scheduler(self) -> None:
        """Start the scheduler; a second time at the same address."""
        place = self.folder / "scheduler.json"
        place.unlink(missing_ok=True)
        port = self.address.rpartition(":")[2] or "0"
        words = ["--protocol", self._protocol, "--host", "127.0.0.1", "--port", port, "--scheduler-file", str(place)]
        words += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        self._start("scheduler", [sys.executable, "-m", "distributed.cli.dask_scheduler", *words], {})
        began = time.monotonic()
        while not self.address or not place.exists():
            if time.monotonic() - began > START_S:
                raise TimeoutError(self.log("scheduler"))
            with contextlib.suppress(OSError, ValueError):
                self.address = json.loads(place.read_text(encoding="utf-8"))["address"]
            time.sleep(0.05)

    def add(self, name: str, labels: Sequence[str] = (), *, cores: Sequence[int] = (), devices: str = "") -> None:
        """Start one more worker, which may be limited to some cores, and is then another kind of machine, or to some GPUs."""
        own = self.folder / name
        own.mkdir(exist_ok=True)
        env = {"XDG_CONFIG_HOME": str(own / "config"), "WORKBENCH_LOCKS": str(own / "locks")}
        if devices:
            env["CUDA_VISIBLE_DEVICES"] = devices
        words = [
            sys.executable,
            "-m",
            "workbench",
            "worker",
            self.address,
            "--name",
            name,
            "--store",
            str(own / "store"),
        ]
        words += [word for label in labels for word in ("--label", label)]
        self._start(name, words, env, cores)

    def _start(self, name: str, words: list[str], env: dict[str, str], cores: Sequence[int] = ()) -> None:
        before = os.sched_getaffinity(0)
        path = os.pathsep.join(filter(None, [str(self._path or ""), os.environ.get("PYTHONPATH", "")]))
        try:
            if cores:
                os.sched_setaffinity(0, cores)  # a child inherits it
            with (self.folder / f"{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "PYTHONPATH": path, **env},
                    cwd=self.folder,
                    start_new_session=True,
                )
        finally:
            os.sched_setaffinity(0, before)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def workers(self) -> dict[str, dict[str, Any]]:
        """What the scheduler knows of each worker, by name."""
        from distributed import Client

        with Client(self.address, set_as_default=False, timeout=START_S) as client:
            found = client.scheduler_info(n_workers=-1)["workers"]
        return {str(about["name"]): dict(about) for about in found.values()}

    def wait_for(self, count: int) -> None:
        """Wait until so many workers have joined."""
        from distributed import Client

        with Client(self.address, set_as_default=False, timeout=START_S) as client:
            client.wait_for_workers(count, timeout=START_S)

    def process_of(self, name: str) -> psutil.Process:
        """The process of a worker in which parts of runs are carried out: below the command, its supervisor and Dask's nanny."""
        command = psutil.Process(self._processes[name].pid)
        nannies = [each for each in command.children(recursive=True) if "distributed.cli.dask_worker" in _words(each)]
        below = [each for nanny in nannies for each in nanny.children() if "spawn_main" in " ".join(_words(each))]
        if not below:
            raise LookupError(f"{name} has no process now")
        return below[-1]

    def kill(self, name: str) -> None:
        """Kill that process; the nanny starts another one."""
        self.process_of(name).send_signal(signal.SIGKILL)

    def end(self, name: str) -> None:
        """End the scheduler, or a worker with all its processes."""
        process = self._processes.pop(name)
        every = [] if process.poll() is not None else psutil.Process(process.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for each in every:  # the supervisor has a group of its own, and would end the worker in peace
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()
        psutil.wait_procs(every, timeout=START_S)

    def close(self) -> None:
        for name in [*self._processes]:
            self.end(name)


def _words(process: psutil.Process) -> list[str]:
    """The command of a process; none where it has ended."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
