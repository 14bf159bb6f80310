"""Prometheus' configuration, alert rules with their tests and a dashboard of Grafana for a served deployment.

The files are YAML in the form of JSON, which Prometheus reads. ``promtool test rules`` runs the tests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.deploy.dashboard import dashboard
from workbench.deploy.folder import read, version_folder
from workbench.deploy.rule_tests import tests
from workbench.deploy.rules import Windows, rules
from workbench.errors import InputError, writing

CONFIG, RULES, TESTS, DASHBOARD = "prometheus.yml", "rules.yml", "rules_test.yml", "dashboard.json"


@dataclass(frozen=True)
class Targets:
    """The ports that Prometheus reads on this machine: the server's for metrics, and that of the measure of drift."""

    metrics: int = 8002
    drift: int = 8003


def write(folder: Path, into: Path, targets: Targets, windows: Windows) -> tuple[str, ...]:
    """Write the configuration, the rules, their tests and the dashboard for the deployment in ``folder``; the names of the files.

    Raises:
        InputError: ``folder`` is not a deployment, or ``into`` is a file.
        StoreError: ``into`` cannot be written.
    """
    deployment = read(folder)
    if into.exists() and not into.is_dir():
        raise InputError(f"'{into}' is not a folder. Give the path of one (options --write-only and --output).")
    known = json.loads((version_folder(folder, deployment.name) / "options.json").read_text(encoding="utf-8"))[
        "metrics"
    ]
    files = {
        CONFIG: config(targets, windows),
        RULES: {"groups": [{"name": deployment.name, "rules": rules(deployment, known, windows)}]},
        TESTS: tests(deployment, known, windows, RULES),
        DASHBOARD: dashboard(deployment.name, windows.rate_s),
    }
    with writing(into, "option --write-only"):
        into.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (into / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return tuple(files)


def config(targets: Targets, windows: Windows) -> dict[str, Any]:
    """``prometheus.yml``: what is read on this machine, and the rules beside it."""
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        for name, port in (("triton", targets.metrics), ("drift", targets.drift))
    ]
    every = f"{windows.scrape_s}s"
    intervals = {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
    return {"global": intervals, "rule_files": [RULES], "scrape_configs": jobs}
