"""Run Triton on a deployment: on loopback unless asked otherwise, checked by its reference before it is used, and stopped without losing requests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import files as resources
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import backends
from workbench.backends.base import Deployable
from workbench.deploy.folder import CONFIG, SERVING_FILES, read, version_folder
from workbench.deploy.source import FOLDER as SOURCE
from workbench.deploy.triton import config
from workbench.errors import BuildError, InputError, RunError, brief
from workbench.locks.scratch import Scratch
from workbench.serving.grpc_client import GrpcClient
from workbench.serving.http_client import HttpClient
from workbench.serving.installed import Installed, installed
from workbench.serving.protocol import HOST, columns_of
from workbench.serving.watch import Watch
from workbench.system.supervisor import supervised

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.records import Deployment
    from workbench.serving.protocol import Client

START_S, DRAIN_S, STOP_S = 180.0, 30, 40.0
POLL_S = 0.1
LOG_CHARACTERS = 50_000
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where the server has its tensors; it leaves them there if it is killed
NO_GPU = "CudaDriverHelper"
PURPOSES = ("http", "grpc", "metrics")
EVERYWHERE = "0.0.0.0"  # noqa: S104
"""All addresses of this machine."""


@dataclass(frozen=True)
class Ports:
    """The ports of a server, and the address that it listens on."""

    http: int
    grpc: int
    metrics: int
    address: str = HOST

    @property
    def host(self) -> str:
        """The address at which this machine reaches the server."""
        return HOST if self.address == EVERYWHERE else self.address


@dataclass(frozen=True)
class Checked:
    """The largest difference from the reference by transport, as a share of the largest value."""

    http: float
    grpc: float


class Server:
    """A running server with one deployment."""

    def __init__(self, process: subprocess.Popen[bytes], deployment: Deployment, ports: Ports, log: Path) -> None:
        self.deployment, self.ports = deployment, ports
        self.checked = Checked(0.0, 0.0)  # set by :func:`served` before the server is given out
        self._process, self._log = process, log

    @property
    def pid(self) -> int:
        """The process whose descendants are Triton and its models (:mod:`workbench.system.supervisor`)."""
        return self._process.pid

    def http(self) -> HttpClient:
        """A connection over HTTP."""
        return HttpClient(
            self.ports.http, self.deployment.name, host=self.ports.host, columns=columns_of(self.deployment)
        )

    def grpc(self) -> GrpcClient:
        """A connection over gRPC."""
        return GrpcClient(
            self.ports.grpc, self.deployment.name, host=self.ports.host, columns=columns_of(self.deployment)
        )

    def check_alive(self) -> None:
        """Raise RunError where the server has ended, with what its log says."""
        if self._process.poll() is not None:
            raise RunError(f"Triton ended with status {self._process.returncode}: {self._reason()}", log=self._tail())

    def wait(self) -> None:
        """Return when the server ends, which without a request happens on an error only; it is polled every tenth of a second."""
        while True:
            self.check_alive()
            time.sleep(POLL_S)

    def stop(self) -> bool:
        """End the server: it takes no new requests, answers those that it has, and closes the models.

        Returns:
            Whether it ended by itself in time; else it was killed.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            return False
        return True

    def until_ready(self, limit_s: float = START_S) -> None:
        """Return when the model can be used.

        Raises:
            RunError: the server ended, or was not ready in time.
        """
        deadline, client = time.monotonic() + limit_s, self.http()
        path = f"/v2/models/{self.deployment.name}/ready"
        while time.monotonic() < deadline:
            self.check_alive()
            try:
                if client.get(path)[0] == 200:
                    client.close()
                    return
            except RunError:  # it does not listen yet
                pass
            time.sleep(POLL_S)
        raise RunError(f"Triton was not ready within {limit_s:.0f} s: {self._reason()}", log=self._tail())

    def reload(self, folder: Path) -> None:
        """Load the model again, and check it by the reference in ``folder``. It answers no requests during that time.

        Raises:
            RunError: it does not load, or gives wrong answers.
        """
        client = self.http()
        try:
            for what in ("unload", "load"):
                client.post(f"/v2/repository/models/{self.deployment.name}/{what}")
        finally:
            client.close()
        self.until_ready()
        self.checked = self.check(folder)

    def check(self, folder: Path) -> Checked:
        """Send the reference through both transports and compare values.

        Raises:
            RunError: an answer is wrong or missing.
        """
        with ExitStack() as stack:
            clients: dict[str, Client] = {"HTTP": self.http(), "gRPC": self.grpc()}
            for client in clients.values():
                stack.callback(client.close)
            found = {name: compared(client, folder, self.deployment, name) for name, client in clients.items()}
        return Checked(found["HTTP"], found["gRPC"])

    def _tail(self) -> str:
        try:
            return self._log.read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS:]
        except OSError:
            return ""

    def _reason(self) -> str:
        """The first error in the server's log that is not about a missing GPU; later ones follow from it."""
        lines = self._tail().splitlines()
        errors = [line.partition("] ")[2].strip('"') for line in lines if line.startswith("E")]
        errors = [text.partition("\\n\\nAt:")[0] for text in errors if NO_GPU not in text]
        return brief(BuildError((errors or lines[-1:] or ["its log is empty"])[0]), 300)


def compared(client: Client, folder: Path, deployment: Deployment, how: str) -> float:
    """The largest difference of a client's answers from the reference, as the self-test computes it.

    Raises:
        RunError: it is larger than the deployment's tolerance, or an output is missing.
    """
    import numpy as np

    from workbench.deploy.files.selftest import difference, reference

    inputs, expected = reference(folder)
    worst = 0.0
    for call in range(len(next(iter(expected.values())))):
        answer = client.infer({name: np.ascontiguousarray(array[call]) for name, array in inputs.items()})
        for name, array in expected.items():
            if name not in answer or answer[name].size != array[call].size:
                raise RunError(
                    f"The server's answer over {how} has no output '{name}' of the expected size. Deploy the variant again."
                )
            worst = max(worst, difference(answer[name].reshape(array[call].shape), array[call], array))
    if worst > deployment.tolerance:
        raise RunError(
            f"The server's answers over {how} differ from the reference by up to {worst:.2g} of the largest value, and "
            f"{deployment.tolerance:.2g} is accepted. Are the libraries those of deployment.json ({', '.join(deployment.packages)})?"
        )
    return worst


@contextmanager
def served(
    folder: Path,
    *,
    ports: dict[str, int] | None = None,
    batching: bool | None = None,
    watch: Watch | None = None,
    address: str = HOST,
) -> Iterator[Server]:
    """Start Triton on the deployment in ``folder``, check its answers, and stop it at the end of the block.

    Args:
        folder: what ``workbench deploy`` wrote.
        ports: by purpose ("http", "grpc", "metrics"); those that are missing or 0 are chosen.
        batching: whether requests are joined; ``None``: as deployed.
        watch: what is kept of the requests; ``None``: nothing.
        address: an IPv4 address of this machine that HTTP, gRPC and metrics listen on; ``0.0.0.0``: all of them.

    Raises:
        InputError: ``folder`` is not a deployment of this version, a port is taken, or ``address`` is not one of this machine.
        MissingPackageError: the server is not installed.
        RunError: it did not start, or gives wrong answers.

    Example::

        with served(Path("digits")) as server:
            answers = server.http().infer({"image": images})

    """
    deployment = read(folder)
    check_code(folder, deployment)
    triton, chosen = installed(), free_ports(ports or {}, address)
    with Scratch() as scratch:
        text = config(deployment, batching=batching, watch=watch.settings if watch else None)
        process = _started(triton, folder.absolute(), deployment, chosen, scratch, text)
        server = Server(process, deployment, chosen, scratch / "log")
        try:
            server.until_ready()
            server.checked = server.check(folder)
            yield server
        finally:
            server.stop()


def check_code(folder: Path, deployment: Deployment) -> None:
    """Refuse a deployment whose Python files are not those of this package: the server would run them.

    Raises:
        InputError: the text names the file.
    """
    backend = backends.get(deployment.backend)
    inner = version_folder(folder, deployment.name)
    own = resources("workbench.deploy.files")
    known = {name: own.joinpath(name).read_bytes() for name in SERVING_FILES}
    known["runner.py"] = backend.runner.read_bytes() if isinstance(backend, Deployable) else b""
    sources = [backends.get(deployment.source_backend)] if deployment.source else []
    known |= {f"{SOURCE}/runner.py": each.runner.read_bytes() for each in sources if isinstance(each, Deployable)}
    for name in known:
        if not (inner / name).is_file() or (inner / name).read_bytes() != known[name]:
            raise InputError(
                f"'{name}' of the deployment '{folder}' is not that of this version of the workbench, and it would be run. Deploy the "
                "variant again."
            )
    for path in sorted(inner.iterdir()):
        if path.name != SOURCE:
            backend.check_files(path)
        for each in sources if path.name == SOURCE else ():
            for part in sorted(path.iterdir()):
                each.check_files(part)


def free_ports(asked: dict[str, int], address: str = HOST) -> Ports:
    """The ports that are asked for, and free ones for the others.

    Raises:
        InputError: one is taken, or the address is not one of this machine.
    """
    _check_address(address)
    held, found = [], {}
    try:
        for purpose in PURPOSES:
            one = socket.socket()
            held.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((address, asked.get(purpose, 0)))
            except OSError as cause:
                raise InputError(
                    f"The port {asked.get(purpose, 0)} for {purpose} cannot be used on {address} ({brief(cause)}). Set --{purpose}-port to "
                    "another one, or to 0 for a free one."
                ) from cause
            found[purpose] = one.getsockname()[1]
    finally:
        for one in held:
            one.close()
    return Ports(**found, address=address)


def _check_address(address: str) -> None:
    """Raises InputError where no socket of this machine can have the address."""
    try:
        with socket.socket() as one:
            one.bind((str(IPv4Address(address)), 0))
    except (OSError, ValueError) as cause:
        raise InputError(
            f"'--address' must be an IPv4 address of this machine, such as {HOST}, or {EVERYWHERE} for all; found '{address}' ({brief(cause)})."
        ) from cause


def free_port(asked: int, option: str) -> int:
    """The port that is asked for, or a free one for 0.

    Raises:
        InputError: it is taken.
    """
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((HOST, asked))
        except OSError as cause:
            raise InputError(
                f"The port {asked} cannot be used on {HOST} ({brief(cause)}). Set {option} to another one, or to 0 for a free one."
            ) from cause
        return int(one.getsockname()[1])


def _started(
    triton: Installed, folder: Path, deployment: Deployment, ports: Ports, scratch: Path, configured: str
) -> subprocess.Popen[bytes]:
    """Start the server on a view of the deployment's repository, whose own folder is not written to."""
    place = scratch / "backends" / "python"
    shutil.copytree(triton.root / "backends" / "python", place)
    shutil.copy(triton.stub, place)
    model = scratch / "repository" / deployment.name
    model.mkdir(parents=True)
    (model / CONFIG).write_text(configured, encoding="utf-8")
    (model / "1").symlink_to(version_folder(folder, deployment.name))
    shared = f"workbench_{os.getpid()}_{ports.http}_"
    command = [
        str(triton.binary),
        f"--model-repository={model.parent}",
        f"--backend-directory={place.parent}",
        *_listening(ports),
        f"--exit-timeout-secs={DRAIN_S}",
        "--model-control-mode=explicit",
        "--load-model=*",
        f"--backend-config=python,shm-region-prefix-name={shared}",
        "--metrics-config=summary_latencies=true",
    ]
    command = supervised(command, stop_s=STOP_S, files=f"{SHARED_MEMORY}/{shared}")
    with (scratch / "log").open("wb") as log:
        # a group of its own: Ctrl-C in a terminal reaches this process, which stops the server in order
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=triton.environment(), start_new_session=True
        )


def _listening(ports: Ports) -> list[str]:
    """Options that make every service listen on the one address; gRPC listens everywhere without."""
    names = {"http": ports.http, "grpc": ports.grpc, "metrics": ports.metrics}
    return [
        word for name, port in names.items() for word in (f"--{name}-address={ports.address}", f"--{name}-port={port}")
    ]


def statistics(client: HttpClient, name: str) -> dict[str, Any]:
    """What the server counted of a model so far (Triton's statistics extension)."""
    found: dict[str, Any] = client.json(f"/v2/models/{name}/stats")["model_stats"][0]
    return found
