"""A worker of a cluster on this machine: Dask's own program, without what would disturb a measurement or end a build."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from workbench.cluster.addresses import check_address, is_loopback
from workbench.cluster.connection import INSTALL
from workbench.errors import InputError, optional
from workbench.system.supervisor import supervised

LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]*")
AGAIN_S, STOP_S = 2.0, 10.0
SETTINGS = {
    "DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",  # it would interrupt the process a hundred times a second
    "DISTRIBUTED__WORKER__MEMORY__TARGET": "False",
    "DISTRIBUTED__WORKER__MEMORY__SPILL": "False",
    "DISTRIBUTED__WORKER__MEMORY__PAUSE": "False",
    "DISTRIBUTED__WORKER__MEMORY__TERMINATE": "False",  # a build may take more memory than Dask expects
    "DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
}


def command(scheduler: str, name: str = "", labels: Sequence[str] = ()) -> list[str]:
    """The command that starts a worker: one process with one thread and no memory limit, on loopback where the scheduler is.

    Raises:
        InputError: the address must not be used, or a label is not a word.
        MissingPackageError: Dask is not installed.
    """
    check_address(scheduler)
    optional("distributed", INSTALL)
    for label in labels:
        if not LABEL.fullmatch(label):
            raise InputError(
                f"A label is a word of letters, digits and _ . : + -, such as gpu:H200; found '{label}'. Choose another one."
            )
    found = [sys.executable, "-P", "-m", "distributed.cli.dask_worker", scheduler]
    found += ["--nworkers", "1", "--nthreads", "1", "--memory-limit", "0", "--no-dashboard"]
    found += ["--preload", "workbench.cluster.preloaded"]
    host = str(urlsplit(scheduler).hostname)
    found += ["--host", "127.0.0.1" if host == "localhost" else host] if is_loopback(host) else []
    found += ["--name", name] if name else []
    return found + (["--resources", " ".join(f"{label}=1" for label in labels)] if labels else [])


def variables(store: Path) -> dict[str, str]:
    """The environment variables of a worker, with the folder of its store."""
    return {**os.environ, **{f"DASK_{name}": value for name, value in SETTINGS.items()}, "WORKBENCH_STORE": str(store)}


def serve(words: Sequence[str], store: Path, say: Callable[[str], None]) -> None:
    """Run a worker until this process is interrupted. Where its scheduler ends, it waits for the next one at the same address."""
    while True:
        attended = supervised(words, stop_s=STOP_S)
        process = subprocess.Popen(attended, env=variables(store), stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            status = process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise
        say(f"the worker's process ended with status {status}; it starts again and waits for the scheduler")
        time.sleep(AGAIN_S)
