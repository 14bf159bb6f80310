"""Ways to call the workbench that ended in a Python error."""

from __future__ import annotations

import subprocess
import sys

import case_runs
import pytest

pytestmark = pytest.mark.long

RUN = """
import workbench
from workbench.errors import InputError
asked = workbench.Experiment(model="m.onnx", backends="onnxruntime", precisions="fp32", batches="1", measure_s=0.1, max_measure_s=0.1, rounds=2)
try:
    print("rows:", [str(row.status) for row in workbench.run(asked, store="kept/store").rows])
except InputError as error:
    print("refused:", error)
"""


def test_a_store_may_be_given_as_a_path(tmp_path):
    import numpy as np

    case_runs.linear(tmp_path / "m.onnx", np.eye(4, 3))
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-500:]
    ran = "rows: ['done']" in done.stdout and (tmp_path / "kept" / "store").is_dir()
    assert ran or ("refused:" in done.stdout and "store" in done.stdout)


def test_the_help_of_repair_is_shown(tmp_path):
    done = case_runs.command(tmp_path, "repair", "--help")
    assert done.status == 0
    assert "--budget" in done.text
    assert "%" in done.text
