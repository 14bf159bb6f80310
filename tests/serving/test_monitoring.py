"""Prometheus runs for real: alerts fire for a fault of the engine or of its inputs, and none fires during ordinary traffic."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from faulty import fault_of, faulty, served_as_it_is
from working_thread import in_thread

from workbench.deploy.folder import RECORD, version_folder
from workbench.deploy.rules import Windows
from workbench.errors import RunError, WorkbenchError
from workbench.panel.monitor import Monitor
from workbench.serving.drift import compared, reference
from workbench.serving.monitoring import Monitoring, monitored
from workbench.serving.server import Server, served
from workbench.serving.watch import Watch, watched_folder
from workbench.store import file_digest

WINDOWS = Windows(rate_s=10, hold_s=2, scrape_s=1)
LIMIT_S = 0.05


@pytest.fixture(scope="module")
def made(triton, wide, tmp_path_factory) -> Path:
    """A copy of the deployment that was measured as slow, so that a busy machine raises no alert."""
    if not shutil.which("prometheus"):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("prometheus is not installed")
    copy = tmp_path_factory.mktemp("monitored") / "made"
    faulty(wide, copy)
    record = json.loads((copy / RECORD).read_text())
    for each in record["measured"]:
        each["percentiles_s"] |= {"p99": LIMIT_S / 2}
    options = version_folder(copy, "wide") / "options.json"
    served_options = json.loads(options.read_text())
    served_options["metrics"]["seconds"] = sorted({*served_options["metrics"]["seconds"], LIMIT_S, 4 * LIMIT_S})
    options.write_text(json.dumps(served_options))
    record["files"][options.relative_to(copy).as_posix()] = file_digest(options)
    (copy / RECORD).write_text(json.dumps(record))
    return copy


@pytest.fixture(scope="module")
def pair(made) -> Iterator[tuple[Server, Monitoring]]:
    watch = Watch(watched_folder(made), shadow_every=0, window=200, window_s=4.0)
    with (
        served_as_it_is(),
        served(made, watch=watch) as server,
        monitored(made, metrics_port=server.ports.metrics, port=0, windows=WINDOWS) as found,
    ):
        yield server, found


@contextmanager
def traffic(server: Server, change: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> Iterator[None]:
    """Requests with samples as they were tested, about a hundred in a second; errors are passed over."""
    rows = reference(FOLDERS[0])[0]["x"]

    def ask(ended: threading.Event) -> None:
        with closing(server.http()) as client:
            place = 0
            while not ended.is_set():
                with suppress(WorkbenchError):
                    client.infer({"x": change(rows[place : place + 1])})
                place = (place + 1) % len(rows)
                time.sleep(0.01)

    with in_thread(ask):
        yield


FOLDERS: list[Path] = []


@pytest.fixture(autouse=True)
def known_folder(made) -> None:
    FOLDERS[:] = [made]


def until(found: Monitoring, name: str, limit_s: float = 90.0) -> None:
    """Wait for the alert."""
    deadline = time.monotonic() + limit_s
    while name not in found.prometheus.firing():
        assert time.monotonic() < deadline, f"{name} did not fire; firing: {sorted(found.prometheus.firing())}"
        time.sleep(0.5)


@pytest.mark.long
def test_alerts_fire_for_faults_and_for_nothing_else(pair, made) -> None:
    server, found = pair
    with traffic(server):
        time.sleep(WINDOWS.rate_s + WINDOWS.hold_s + 8)
        assert found.prometheus.query("wb_drift_samples")[0].values[0] >= 50
        assert found.prometheus.firing() == frozenset()
    with traffic(server, lambda x: x + 3):
        until(found, "WorkbenchInputDrift")
        until(found, "WorkbenchDrift")
    for seconds, name in ((3 * LIMIT_S, "WorkbenchSlow"), (-1, "WorkbenchErrors")):
        fault_of(made).write_text(str(seconds))
        try:
            with traffic(server):
                until(found, name)
        finally:
            fault_of(made).write_text("")
    server.stop()
    until(found, "WorkbenchDown")


@pytest.fixture(scope="module")
def running(pair) -> Monitoring:
    """Monitoring after a few requests."""
    server, found = pair
    with traffic(server):
        deadline = time.monotonic() + 60
        while not found.prometheus.query("wb:errors:share") and time.monotonic() < deadline:
            time.sleep(0.5)
    return found


@pytest.mark.long
def test_every_expression_of_the_dashboard_is_answered(known_folder, pair) -> None:
    server, found = pair
    with traffic(server):
        deadline = time.monotonic() + 90
        while not found.prometheus.query("wb:errors:share") and time.monotonic() < deadline:
            time.sleep(0.5)
    dashboard = json.loads((found.folder / "dashboard.json").read_text())
    answers = {
        target["expr"]: found.prometheus.query(target["expr"])
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }
    assert len(answers) >= 14
    without = {expr for expr, lines in answers.items() if not lines}
    # what needs a source, an alert or a hundred samples may have no lines yet
    assert not [
        expr
        for expr in without
        if not any(word in expr for word in ("ALERTS", "shadow", "disagreements", "gap", "drift"))
    ]
    with pytest.raises(RunError, match="Prometheus refused"):
        found.prometheus.query("sum(")
    (line,) = found.prometheus.over("wb:errors:share", 20, 1)
    assert line.labels["model"] == "wide"
    assert len(line.times) == len(line.values) > 0


@pytest.mark.long
def test_the_same_graphs_are_drawn_in_a_notebook(pair, made) -> None:
    server, found = pair
    with traffic(server):
        deadline = time.monotonic() + 60
        while not found.prometheus.query("wb:model_seconds:p99") and time.monotonic() < deadline:
            time.sleep(0.5)
    shown = Monitor(made, port=found.prometheus.port, minutes=1, windows=WINDOWS, every_s=0)
    titles = [graph.title for graph in shown.graphs() if graph.lines]
    assert {"Seconds of a request in the model", "Requests", "Share of errors", "Predicted classes"} <= set(titles)
    assert "data:image/png;base64" in shown.figure.value
    assert "lert" in shown.alerts.value
    shown.close()


def test_without_prometheus_the_notebook_says_so(made) -> None:
    shown = Monitor(made, port=1, every_s=0)
    assert "Prometheus at port 1 cannot be reached" in shown.alerts.value
    shown.close()


def test_prometheus_listens_on_loopback_only(pair) -> None:
    _, found = pair
    listening = [
        one.laddr
        for each in psutil.Process().children(recursive=True)
        if each.name() == "prometheus"
        for one in each.net_connections()
        if one.status == psutil.CONN_LISTEN
    ]
    assert {place.ip.removeprefix("::ffff:") for place in listening} == {"127.0.0.1"}
    assert found.prometheus.port in {place.port for place in listening}


def test_drift_is_of_the_samples_of_the_deployment(made) -> None:
    inputs, outputs = reference(made)
    rows = np.concatenate([inputs["x"]] * 2)
    same, count = compared((inputs, outputs), ({"x": rows}, {"y": np.concatenate([outputs["y"]] * 2)}), "y")
    assert count == len(rows)
    assert not any(each.alert for each in same)
    assert compared((inputs, outputs), ({}, {})) == ((), 0)
    assert compared((inputs, outputs), ({"x": rows[:, :5]}, {}))[0] == ()  # of another size
