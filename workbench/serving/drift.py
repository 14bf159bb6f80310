"""Compare recent samples of a server with the test samples of its deployment, and give the result to Prometheus."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from workbench.deploy.folder import DRIFT, read, version_folder
from workbench.errors import brief, optional
from workbench.serving.protocol import HOST
from workbench.serving.watch import named, window
from workbench.stats.drift import Signal, signals

if TYPE_CHECKING:
    from workbench.serving.watch import Arrays

LOG = logging.getLogger(__name__)
FIX = "pip install prometheus-client"


def reference(folder: Path) -> tuple[Arrays, Arrays]:
    """Test samples and their answers by name, of the deployment in ``folder``."""
    with np.load(folder / DRIFT, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return named(arrays, "input:"), named(arrays, "output:")


def compared(
    known: tuple[Arrays, Arrays], live: tuple[Arrays, Arrays], scores: str = ""
) -> tuple[tuple[Signal, ...], int]:
    """All signals, and the number of live samples; ``scores`` names the output with scores of classes."""
    found: list[Signal] = []
    for name, array in known[0].items():
        recent = live[0].get(name)
        if recent is None or recent.shape[1:] != array.shape[1:]:
            continue
        answers = (known[1][scores], live[1][scores]) if scores and not found else None
        found += signals(array, recent, answers, name)
    return tuple(found), len(next(iter(live[0].values()), ()))


class DriftExporter:
    """Computes the signals every ``period_s`` seconds in a thread, and gives them at a port on loopback. A context manager."""

    def __init__(self, folder: Path, watched: Path, port: int, period_s: float) -> None:
        """``folder`` is the deployment, ``watched`` where its server keeps samples.

        Raises:
            InputError: ``folder`` is not a deployment.
            MissingPackageError: ``prometheus_client`` does not import.
            OSError: the port is taken.
        """
        import json

        client: Any = optional("prometheus_client", FIX)
        self._name, self._watched, self._period_s = read(folder).name, watched, period_s
        options = json.loads((version_folder(folder, self._name) / "options.json").read_text(encoding="utf-8"))
        self._scores, self._known = options["metrics"]["output"], reference(folder)
        registry = client.CollectorRegistry()
        labels = ("model", "signal", "feature")
        texts = {
            "wb_drift": "Effect size of the difference between recent and test samples",
            "wb_drift_p": "Its p-value",
            "wb_drift_limit": "The effect size of an alert",
        }
        self._gauges = {name: client.Gauge(name, text, labels, registry=registry) for name, text in texts.items()}
        self._samples = client.Gauge("wb_drift_samples", "Recent samples", labels[:1], registry=registry)
        self._server, _ = client.start_http_server(port, HOST, registry)
        self.port: int = self._server.server_port
        self.signals: tuple[Signal, ...] = ()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="drift", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._server.shutdown()
        self._server.server_close()

    def look(self) -> tuple[Signal, ...]:
        """Compute the signals now."""
        self.signals, count = compared(self._known, window(self._watched), self._scores)
        self._samples.labels(self._name).set(count)
        for each in self.signals:
            values = {"wb_drift": each.effect, "wb_drift_p": each.p, "wb_drift_limit": each.limit}
            for name, value in values.items():
                self._gauges[name].labels(self._name, each.kind, each.feature).set(value)
        return self.signals

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                self.look()
            except Exception as cause:  # a window that is being written, or values that a test cannot take
                LOG.warning("drift was not computed: %s", brief(cause))
            self._stopped.wait(self._period_s)
