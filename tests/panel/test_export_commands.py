"""The commands that the page Export shows, as a user copies them into other folders."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import nbformat
import pytest
from small_model import small_onnx

from workbench.panel.panel import Panel
from workbench.settings.experiment import Experiment
from workbench.store import Store

pytestmark = pytest.mark.slow


def shell(command: list[str] | str, folder: Path) -> str:
    """Run in a folder, without the variable that names a store and with a path that has no papermill."""
    folder.mkdir()
    env = {name: value for name, value in os.environ.items() if name != "WORKBENCH_STORE"} | {"PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, cwd=folder, env=env, shell=isinstance(command, str), check=True, capture_output=True, text=True
    ).stdout


def table_of(executed: Path) -> str:
    cells = nbformat.read(executed, as_version=4).cells
    shown = next(cell for cell in cells if "summary" in cell.metadata.get("tags", ()))
    return next(output.data["text/plain"] for output in shown.outputs if "data" in output)


@pytest.mark.long
def test_all_run_in_other_folders_and_give_the_panels_table(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_onnx(tmp_path / "small.onnx")
    monkeypatch.chdir(tmp_path)
    asked = {"data": "random", "backends": "onnxruntime", "precisions": "fp32", "batches": "1,2", "measure_s": 0.06}
    panel = Panel(Experiment(model="small.onnx", max_measure_s=0.06, rounds=6, **asked), store=store)
    panel.benchmark()
    panel.wait(120)
    report, command, call = map(
        unescape, re.findall(r"<code>(.*?)</code>", panel._run.export.commands.value, re.DOTALL)
    )
    table = str(panel.results.table())
    shell(command, tmp_path / "one")
    assert table.strip() in shell(report, tmp_path / "third")
    assert (tmp_path / "third" / "reports" / "workbench.html").exists()
    printed = shell([sys.executable, "-c", f"{call}\nprint(results.table())"], tmp_path / "other")
    assert table.strip() in table_of(tmp_path / "one" / "out.ipynb")
    assert printed.strip() == table.strip()
    assert not list((tmp_path / "one").glob(".workbench"))
