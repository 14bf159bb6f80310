"""Run Prometheus on loopback, and ask it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import MissingPackageError, RunError, brief, writing
from workbench.serving.protocol import HOST
from workbench.system.supervisor import supervised

PROGRAM = "prometheus"
FIX = "apt-get install --no-install-recommends prometheus"
START_S, STOP_S, ASK_S, POLL_S = 60.0, 20.0, 10.0, 0.1


class Line(NamedTuple):
    """One series of an answer: its labels, and values by time (seconds since 1970), ascending."""

    labels: dict[str, str]
    times: tuple[float, ...]
    values: tuple[float, ...]


class Prometheus:
    """A running Prometheus on this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            return self._get("/-/ready")[0] == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    def query(self, expr: str) -> list[Line]:
        """The values of an expression now.

        Raises:
            RunError: the expression is not valid, or Prometheus cannot be reached.
        """
        found = self._asked("query", {"query": expr})["result"]
        if found and isinstance(found[0], int | float):  # a scalar
            return [Line({}, (float(found[0]),), (float(found[1]),))]
        return [Line(each["metric"], (float(each["value"][0]),), (float(each["value"][1]),)) for each in found]

    def over(self, expr: str, seconds: float, step_s: float) -> list[Line]:
        """The values of an expression over the last ``seconds``.

        Raises:
            RunError: as :meth:`query`.
        """
        now = time.time()
        asked = {"query": expr, "start": f"{now - seconds:.3f}", "end": f"{now:.3f}", "step": f"{step_s:g}"}
        found = self._asked("query_range", asked)["result"]
        pairs = [(each["metric"], each["values"]) for each in found]
        return [Line(labels, *_columns(values)) for labels, values in pairs]

    def firing(self) -> frozenset[str]:
        """Names of the alerts that fire.

        Raises:
            RunError: Prometheus cannot be reached.
        """
        found = self._asked("alerts", {})["alerts"]
        return frozenset(each["labels"]["alertname"] for each in found if each["state"] == "firing")

    def _asked(self, what: str, asked: Mapping[str, str]) -> Any:
        try:
            status, content = self._get(f"/api/v1/{what}?{urllib.parse.urlencode(asked)}")
        except (OSError, http.client.HTTPException) as cause:
            raise RunError(f"Prometheus at port {self.port} cannot be reached: {brief(cause)}.") from cause
        answer = json.loads(content)
        if status != http.client.OK or answer["status"] != "success":
            raise RunError(f"Prometheus refused {asked.get('query', what)}: {answer.get('error', status)}")
        return answer["data"]

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=ASK_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _columns(values: list[tuple[float, str]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(float(when) for when, _ in values), tuple(float(value) for _, value in values)


def installed() -> str:
    """The program.

    Raises:
        MissingPackageError: it is not on the path.
    """
    found = shutil.which(PROGRAM)
    if found is None:
        raise MissingPackageError(f"Prometheus is not on the path (PATH). To install it: {FIX}")
    return found


@contextmanager
def running(folder: Path, config: str, port: int) -> Iterator[Prometheus]:
    """Start Prometheus on 127.0.0.1 with the configuration ``config`` in ``folder``, which also keeps its data and its log.

    Raises:
        MissingPackageError: it is not installed.
        RunError: it did not start; the text has what its log says.
    """
    program, log = installed(), folder / "prometheus.log"
    command = [
        program, f"--config.file={folder / config}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={HOST}:{port}",
    ]  # fmt: skip
    command = supervised(command, stop_s=STOP_S)
    with writing(log), log.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    try:
        found = Prometheus(port)
        _until_ready(found, process, log)
        yield found
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _until_ready(prometheus: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if prometheus.ready():
            return
        time.sleep(POLL_S)
    text = log.read_text(encoding="utf-8", errors="replace")
    errors = [line for line in text.splitlines() if "level=error" in line] or text.splitlines()[-1:]
    raise RunError(f"Prometheus did not start: {' '.join(errors)[:300] or 'its log is empty'}", log=text)
