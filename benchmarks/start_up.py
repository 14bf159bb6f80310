"""How long does a person wait for ``import workbench``, and how long for the panel?

Method. The import: fresh interpreters in random order, one of each kind per round: one that times the import inside itself,
one that only imports, one that does nothing; the last is subtracted from the one before within its round. The panel: a fresh
IPython kernel per repetition, whose client allows input as JupyterLab does; timed from the kernel's "busy" for the cell until
the message that displays the widget arrives. Drawing it in the browser comes on top.

Target: the import under 0.3 s, the panel under 1.5 s (medians).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from record import ROOT, Section, parser, tell, verdict

IMPORT_TARGET_S = 0.3
PANEL_TARGET_S = 1.5
LIMIT_S = 60.0
WIDGET = "application/vnd.jupyter.widget-view+json"

PROGRAMS = {
    "inside": "import time; began = time.perf_counter(); import workbench; print(time.perf_counter() - began)",
    "import": "import workbench",
    "nothing": "pass",
}
CELL = """
import workbench
experiment = workbench.Experiment()
view = workbench.show(experiment, store={store!r})
"""


def imports(repetitions: int) -> tuple[list[float], list[float]]:
    """Seconds of the import inside the process, and what it adds to the whole process."""
    inside, added = [], []
    for _ in range(repetitions):
        wall, printed = {}, {}
        for kind in random.sample(list(PROGRAMS), len(PROGRAMS)):
            began = time.perf_counter()
            command = [sys.executable, "-c", PROGRAMS[kind]]
            printed[kind] = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
            wall[kind] = time.perf_counter() - began
        inside.append(float(printed["inside"]))
        added.append(wall["import"] - wall["nothing"])
    return inside, added


def panel() -> float:
    """Seconds from the start of the cell to the panel shown, in a fresh kernel."""
    with tempfile.TemporaryDirectory() as scratch:
        manager = KernelManager(kernel_name="python3", transport="ipc")
        spec = manager.kernel_spec
        assert spec is not None
        spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        env = {**os.environ, "IPYTHONDIR": str(Path(scratch) / "ipython")}
        env.pop("WORKBENCH_HEADLESS", None)
        manager.start_kernel(env=env, cwd=str(ROOT))
        client = manager.blocking_client()
        try:
            client.start_channels()
            client.wait_for_ready(timeout=LIMIT_S)
            return _until_shown(client, CELL.format(store=str(Path(scratch) / "store")))
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def _until_shown(client: BlockingKernelClient, code: str) -> float:
    request = client.execute(code, allow_stdin=True)
    began = None
    while True:
        message = client.get_iopub_msg(timeout=LIMIT_S)
        now = time.perf_counter()
        kind, content = message["msg_type"], message["content"]
        if message["parent_header"].get("msg_id") != request:
            continue
        if kind == "status" and content["execution_state"] == "busy":
            began = now
        elif kind == "display_data" and WIDGET in content["data"] and began is not None:
            return now - began
        elif kind == "error" or (kind == "status" and content["execution_state"] == "idle"):
            raise RuntimeError(f"No panel was shown: {content.get('evalue', 'the cell ended without one')}")


def row(what: str, seconds: list[float], target_s: float) -> tuple[str, ...]:
    return (
        what,
        f"{median(seconds) * 1e3:.1f} ms",
        f"{min(seconds) * 1e3:.1f} to {max(seconds) * 1e3:.1f} ms",
        str(len(seconds)),
        f"under {target_s * 1e3:.0f} ms",
        verdict(median(seconds), float("-inf"), target_s),
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--repetitions", type=int, default=15, help="of the import")
    options.add_argument("--kernels", type=int, default=7, help="repetitions of the panel, each in a fresh kernel")
    asked = options.parse_args()
    inside, added = imports(asked.repetitions)
    shown = [panel() for _ in range(asked.kernels)]
    section = Section(
        title="Start-up",
        script="start_up.py",
        method="Import in fresh interpreters, interleaved; the panel in a fresh kernel each time, from the start of its "
        "cell to the widget's display message. The first repetitions may read files from the disk: see the range.",
        columns=("what", "median", "range", "n", "target", ""),
        rows=(
            row("import workbench, inside the process", inside, IMPORT_TARGET_S),
            row("process that imports, minus one that does nothing", added, IMPORT_TARGET_S),
            row("panel: cell started to panel shown", shown, PANEL_TARGET_S),
        ),
        libraries=("ipykernel", "ipywidgets", "jupyter_client"),
    )
    tell(section, record=asked.record)


if __name__ == "__main__":
    main()
