"""Monitor a served deployment: Prometheus with the rules of the deployment, and the measure of drift beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workbench.deploy import monitor
from workbench.deploy.dashboard import DashboardPanel, panels
from workbench.deploy.folder import read
from workbench.deploy.monitor import Targets
from workbench.deploy.rules import Windows
from workbench.errors import InputError, brief
from workbench.serving.drift import DriftExporter
from workbench.serving.prometheus import Prometheus, installed, running
from workbench.serving.server import free_port
from workbench.serving.watch import watched_folder


@dataclass(frozen=True)
class Monitoring:
    """What runs: Prometheus, the measure of drift, and the graphs to draw."""

    prometheus: Prometheus
    drift: DriftExporter
    panels: tuple[DashboardPanel, ...]
    folder: Path  # of Prometheus' files
    watched: Path  # of the server's samples


@contextmanager
def monitored(
    folder: Path,
    *,
    metrics_port: int = 8002,
    port: int = 9090,
    windows: Windows | None = None,
    watched: Path | None = None,
    output: Path | None = None,
) -> Iterator[Monitoring]:
    """Start Prometheus on 127.0.0.1 for the deployment in ``folder``, and end it with the block.

    Args:
        folder: a deployment that a server serves.
        metrics_port: the port for metrics of that server.
        port: of Prometheus; 0: a free one.
        windows: of rates and alerts; ``None``: minutes.
        watched: where the server keeps samples; by default ``DIR.watch``.
        output: where Prometheus' files are written; by default ``prometheus`` below ``watched``.

    Raises:
        InputError: ``folder`` is not a deployment, or a port is taken.
        MissingPackageError: Prometheus is not installed.
        RunError: it did not start.

    Example::

        with monitored(Path("digits")) as found:
            print(found.prometheus.firing())

    """
    windows = windows or Windows()
    installed()
    name, samples = read(folder).name, watched or watched_folder(folder)
    into, where = output or samples / "prometheus", free_port(port, "--port")
    with _exporter(folder, samples, windows) as drift:
        monitor.write(folder, into, Targets(metrics_port, drift.port), windows)
        with running(into, monitor.CONFIG, where) as prometheus:
            yield Monitoring(prometheus, drift, panels(name, windows.rate_s), into, samples)


def _exporter(folder: Path, samples: Path, windows: Windows) -> DriftExporter:
    try:
        return DriftExporter(folder, samples, 0, max(1.0, windows.rate_s / 10))
    except OSError as cause:
        raise InputError(f"No port can be opened for the measure of drift ({brief(cause)}).") from cause
