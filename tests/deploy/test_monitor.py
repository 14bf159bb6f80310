"""Alert rules are checked and tested by Prometheus' own tool."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import deployed
import pytest

from workbench import cli
from workbench.deploy.folder import deploy
from workbench.store import Store


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("promtool"):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "promtool is not installed (apt-get install prometheus)"
        )
    root = tmp_path_factory.mktemp("monitor")
    store = Store(root / "store").prepare()
    deployed.measured(root, store.root)
    deploy(root / "made", batch=4, store=store)
    assert cli.main(["monitor", str(root / "made"), "--write-only", str(root / "out"), "--metrics-port", "9102"]) == 0
    return root / "out"


def promtool(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True, check=False)


def test_the_configuration_is_valid_and_scrapes_the_port(written) -> None:
    done = promtool(written, "check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "127.0.0.1:9102" in (written / "prometheus.yml").read_text()


def test_alerts_are_raised_by_what_they_are_for_and_by_nothing_else(written, tmp_path) -> None:
    done = promtool(written, "test", "rules", "rules_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    copy = shutil.copytree(written, tmp_path / "copy")
    for old, new in (
        ("> 0.1", "> 1.1"),
        ("> 0.01", "> 0.5"),
        (" > ", " < "),
        (">= wb_drift_limit", "< wb_drift_limit"),
        ("== 0", "== 2"),
    ):
        text = (written / "rules.yml").read_text()
        assert old in text
        (copy / "rules.yml").write_text(text.replace(old, new))
        assert promtool(copy, "test", "rules", "rules_test.yml").returncode != 0, new


def test_rules_of_short_windows_pass_their_tests_too(written, tmp_path) -> None:
    words = ["--write-only", str(tmp_path), "--window-s", "10", "--hold-s", "2", "--scrape-s", "1"]
    assert cli.main(["monitor", str(written.parent / "made"), *words]) == 0
    assert "[10s]" in (tmp_path / "rules.yml").read_text()
    done = promtool(tmp_path, "test", "rules", "rules_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_prometheus_the_files_are_written_and_the_line_that_installs_it_is_given(
    written, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["monitor", str(written.parent / "made"), "--output", str(tmp_path / "out")]
    monkeypatch.setenv("CI", "")
    assert cli.main(words) == 0
    assert "apt-get install --no-install-recommends prometheus" in capsys.readouterr().out
    assert (tmp_path / "out" / "dashboard.json").is_file()
    monkeypatch.setenv("CI", "true")
    assert cli.main(words) == 1
    assert "apt-get install" in capsys.readouterr().err


def test_each_graph_of_the_dashboard_has_an_expression(written) -> None:
    found = json.loads((written / "dashboard.json").read_text())
    assert len(found["panels"]) == 10
    for panel in found["panels"]:
        assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])
    assert len({panel["id"] for panel in found["panels"]}) == 10


def test_there_is_a_rule_for_each_decile_of_each_statistic(written) -> None:
    (group,) = json.loads((written / "rules.yml").read_text())["groups"]
    assert sum(rule.get("record") == "wb:input:gap" for rule in group["rules"]) == 18
