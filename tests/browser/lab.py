"""A real JupyterLab with scratch settings, and a real Chromium to drive it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from workbench.cli.app import WITH_TOKEN

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "workbench.ipynb"
SHOTS = Path(__file__).resolve().parents[2] / "reports" / "screenshots"
SMALL: dict[str, Any] = {
    "backends": "onnxruntime", "precisions": "fp32,int8", "batches": "1", "measure_s": 0.1, "max_measure_s": 0.1, "rounds": 6,
    "calibration_samples": 32,
}  # fmt: skip
"""Parameters with which the demo runs in seconds."""
SPARE_CELL = "6 * 7"
LOOKS = Path(__file__).with_name("looks.js")
UNREADABLE = """() => {
    const box = document.createElement('div');
    const one = '<button style="position: absolute; left: 9px; width: 90px; background: #fff; color: #000">one</button>';
    box.innerHTML = '<span style="color: #777; background: #555">dim</span>';
    const found = [];
    document.body.append(box);
    found.push(looks.dim(box, 4.5).length);
    box.innerHTML = '<button style="width: 9px; padding: 0; overflow: hidden">too narrow</button>';
    found.push(looks.cut(box).length);
    box.innerHTML = one + one;
    found.push(looks.cut(box).length);
    box.remove();
    return found;
}"""
"""A text nearly as dark as its background, a button too narrow for its text, and one button upon another."""
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
}
BROWSER_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
START_S = 60


class Lab(NamedTuple):
    url: str
    token: str
    root: Path

    def page_of(self, notebook: str) -> str:
        # a workspace of its own, or JupyterLab would open the notebooks of earlier pages as well
        return f"{self.url}/lab/workspaces/{Path(notebook).stem}/tree/{notebook}?token={self.token}"


def chromium() -> str | None:
    """Path of a Chromium that is installed on this machine."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def jupyter_lab(scratch: Path, store: Path, theme: str = "JupyterLab Light") -> Iterator[Lab]:
    """Start JupyterLab on a free port with the folder ``scratch/root``; its kernels run this interpreter."""
    lab = Lab(f"http://127.0.0.1:{_free_port()}", secrets.token_hex(16), scratch / "root")
    lab.root.mkdir(parents=True)
    _settings(scratch / "settings", theme)
    folders = {f"JUPYTER_{name}_DIR": str(scratch / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    env = os.environ | folders | {
        "JUPYTER_TOKEN": lab.token,
        "JUPYTERLAB_SETTINGS_DIR": str(scratch / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(scratch / "workspaces"),
        "IPYTHONDIR": str(scratch / "ipython"),
        "WORKBENCH_STORE": str(store),
    }  # fmt: skip
    env.pop("WORKBENCH_HEADLESS", None)
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={lab.url.rpartition(':')[2]}"]
    options += ["--ServerApp.port_retries=0", "--ServerApp.terminals_enabled=False", "--KernelManager.transport=ipc"]
    command = ["jupyterlab", *options, f"--ServerApp.root_dir={lab.root}"]
    with _serving(command, env, scratch / "lab.log", lab.url, f"/api?token={lab.token}"):
        yield lab


@contextlib.contextmanager
def _serving(module: list[str], env: dict[str, str], log: Path, address: str, path: str) -> Iterator[None]:
    """Run a Python module that serves a page, from when it answers below ``path`` to the end of the block."""
    with log.open("wb") as output:
        server = subprocess.Popen([sys.executable, "-m", *module], env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            _await_answer(server, address, log, path=path)
            yield
        finally:
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@contextlib.contextmanager
def voila(scratch: Path, store: Path, **parameters: object) -> Iterator[str]:
    """Start Voilà on a free port with the notebook of ``workbench app`` and these parameters; gives its address with its token."""
    app = scratch / "app.ipynb"
    app.write_text(json.dumps(_with_parameters(NOTEBOOK.with_name("app.ipynb"), parameters)), encoding="utf-8")
    address = f"http://127.0.0.1:{_free_port()}"
    env = os.environ | {"WORKBENCH_STORE": str(store), "IPYTHONDIR": str(scratch / "ipython")}
    env.pop("WORKBENCH_HEADLESS", None)
    options = [*WITH_TOKEN, "--no-browser", "--Voila.ip=127.0.0.1", f"--port={address.rpartition(':')[2]}"]
    command, log = ["voila", *options, str(app)], scratch / "voila.log"
    with _serving(command, env, log, address, "/voila/static/main.js"):
        token = re.findall(r"\?token=\w+", log.read_text(encoding="utf-8"))
        yield f"{address}/{token[0] if token else ''}"


def put_notebook(lab: Lab, name: str, **parameters: object) -> str:
    """A copy of the workbench notebook below the lab's root, parameters set and a spare cell added; returns its name."""
    notebook = _with_parameters(NOTEBOOK, parameters)
    extra = {
        "cell_type": "code",
        "id": "spare",
        "metadata": {},
        "source": SPARE_CELL,
        "outputs": [],
        "execution_count": None,
    }
    notebook["cells"].append(extra)
    (lab.root / name).write_text(json.dumps(notebook), encoding="utf-8")
    return name


def _with_parameters(path: Path, parameters: dict[str, object]) -> Any:
    """The notebook as JSON, with these values at the end of its parameters' cell."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell = next(cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", ()))
    cell["source"] = [*cell["source"], *(f"\n{key} = {value!r}" for key, value in parameters.items())]
    return notebook


def open_panel(page: Any, lab: Lab, notebook: str, patience_ms: int = 15_000) -> Any:
    """Open the notebook, run all its cells, and return the panel's locator.

    JupyterLab may drop queued cells while it connects to a fresh kernel, so a run that shows nothing gets a second chance.
    """
    page.goto(lab.page_of(notebook))
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    panel = page.locator(".wb").first
    for last in (False, False, True):
        idle(page)
        page.wait_for_timeout(1000)
        menu(page, "Run", "Run All Cells")
        try:
            panel.wait_for(timeout=patience_ms)
        except Exception:
            if last:
                raise
        else:
            break
    idle(page)
    return panel


def idle(page: Any) -> None:
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=120_000)


def menu(page: Any, title: str, *entries: str) -> None:
    """Choose an entry of a menu, or one of a menu below it."""
    page.locator(f'.lm-MenuBar-itemLabel:text-is("{title}")').click()
    for entry in entries:
        page.locator(f'.lm-Menu-itemLabel:text-is("{entry}")').click()


def look(page: Any) -> None:
    """Give the page ``looks.dim(element, ratio)`` and ``looks.cut(element)``, and see that they find what they are for."""
    page.evaluate(LOOKS.read_text(encoding="utf-8"))
    assert page.evaluate(UNREADABLE) == [1, 1, 1]


def _settings(folder: Path, theme: str) -> None:
    for plugin, values in (SETTINGS | {"@jupyterlab/apputils-extension/themes": {"theme": theme}}).items():
        path = folder / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_answer(server: subprocess.Popen[bytes], url: str, log: Path, path: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{url}{path}", timeout=2).close()
        except urllib.error.HTTPError as refused:
            refused.close()
            return  # it answers, whatever it thinks of the question
        except OSError:
            time.sleep(0.2)
        else:
            return
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise RuntimeError(f"The server did not answer within {START_S} s; the end of its log:\n{tail}")
