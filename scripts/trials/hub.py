"""Three real users log in to JupyterHub at once, open the panel's notebook, and measure: apart in their stores, one at a time in the queue.

Number 0 uses the protocol of a browser, and number 1 a real browser. Needs root (it makes three Unix users and removes them), Debian's Python
with venv, npm, Chromium, and the registries of Python and npm. Apart from the environment of the checkout it makes one with the wheel, JupyterHub
and ONNX Runtime, without TensorFlow.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import classroom
import hub_browser
import recording
import requests
import trial_model
import websocket
from recording import One, Outcome, Trial

USERS = ("wbclass-ann", "wbclass-ben", "wbclass-eva")
PYTHON = "/usr/bin/python3"
PORT = 18450
LIMIT_S = 420.0
BATCHES = "1,4,8"
CASES = ("three users", "three users in a browser")
CONFIG = """
import os
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {port} + 1
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{port2}"
c.ConfigurableHTTPProxy.command = ["{proxy}"]
c.JupyterHub.authenticator_class = "pam"  # accounts of the machine, with their passwords
c.PAMAuthenticator.open_sessions = False
c.Authenticator.allowed_users = {users}
c.JupyterHub.spawner_class = "jupyterhub.spawner.LocalProcessSpawner"  # each server runs as its Unix user
c.Spawner.cmd = ["{env}/bin/jupyterhub-singleuser"]
c.Spawner.environment = {{"WORKBENCH_LOCKS": "{locks}", "WORKBENCH_BOARD": "{board}"}}
c.Spawner.http_timeout = c.Spawner.start_timeout = 180
"""
CHECK = """
from workbench.lessons.board import CheckedPrediction, PredictionOutcome, publish
import os
print(publish(CheckedPrediction("Is it faster?", "faster", "slower", PredictionOutcome.FAILED)) or "on the board", os.getuid(), os.umask(0o077))
"""


def _call(*words: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], check=True, text=True, capture_output=True, **more)


def _environment(place: Path) -> tuple[Path, Path]:
    """An environment with the wheel and JupyterHub, and the proxy from npm."""
    tools, env, constraints = Path(sys.executable).parent, place / "env", recording.REPOSITORY / "requirements.lock"
    _call(tools / "hatchling", "build", "--target", "wheel", "--directory", place, cwd=recording.REPOSITORY)
    (wheel,) = place.glob("*.whl")
    _call(tools / "uv", "venv", "--python", PYTHON, env)
    _call(tools / "uv", "pip", "install", "--python", env / "bin/python", "-c", constraints, wheel, "jupyterhub>=6")
    _call("npm", "install", "--silent", "--prefix", place, "configurable-http-proxy")
    return env, place / "node_modules/.bin/configurable-http-proxy"


@contextlib.contextmanager
def _users(names: tuple[str, ...], homes: Path) -> Iterator[dict[str, str]]:
    """Unix users with passwords, removed at the end."""
    passwords = {name: secrets.token_urlsafe(12) for name in names}
    made = []
    try:
        for name in names:
            _call("useradd", "--create-home", "--base-dir", homes, "--shell", "/bin/bash", name)
            made.append(name)
        _call("chpasswd", input="".join(f"{name}:{word}\n" for name, word in passwords.items()))
        yield passwords
    finally:
        for name in made:
            subprocess.run(["userdel", "--force", "--remove", name], check=False, capture_output=True)


@contextlib.contextmanager
def _hub(place: Path, env: Path, proxy: Path, users: tuple[str, ...]) -> Iterator[str]:
    shared = {name: place / name for name in ("locks", "board")}
    for folder in shared.values():
        folder.mkdir()
        folder.chmod(0o1777)
    (place / "hub").mkdir(mode=0o700)
    words = {name: str(path) for name, path in shared.items()}
    text = CONFIG.format(port=PORT, port2=PORT + 2, proxy=proxy, users=set(users), env=env, **words)
    (place / "hub" / "jupyterhub_config.py").write_text(text)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WORKBENCH", "JUPYTER"))}
    clean |= {"PATH": f"{env}/bin:{os.environ['PATH']}"}
    clean.pop("TMPDIR", None)  # of the trial, which only root can write
    with (place / "hub" / "log").open("wb") as log:
        process = subprocess.Popen(
            [env / "bin" / "jupyterhub"], cwd=place / "hub", env=clean, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield f"http://127.0.0.1:{PORT}"
    finally:
        process.terminate()  # which stops the servers and the proxy
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


class Visitor:
    """One user's browser, as far as the protocol goes."""

    def __init__(self, hub: str, name: str, password: str) -> None:
        self._hub, self._name, self._session = hub, name, requests.Session()
        _until(lambda: self._session.get(f"{hub}/hub/login", timeout=5).status_code == 200)
        form = {"username": name, "password": password, "_xsrf": self._xsrf()}
        answer = self._session.post(f"{hub}/hub/login", data=form, timeout=60, allow_redirects=False)
        assert answer.status_code == 302, f"the log-in of {name} ended with {answer.status_code}"
        self._session.get(f"{hub}/hub/home", timeout=60)
        head = {"X-XSRFToken": self._xsrf(), "Referer": f"{hub}/hub/home"}
        made = self._session.post(
            f"{hub}/hub/api/users/{name}/tokens", headers=head, json={"note": "trial"}, timeout=60
        )
        made.raise_for_status()
        self._token = made.json()["token"]
        self.server = f"{hub}/user/{name}"
        self._api("POST", f"{hub}/hub/api/users/{name}/server")
        _until(lambda: self._api("GET", f"{self.server}/api/status").ok)

    def _xsrf(self) -> str:
        return next((each.value or "" for each in self._session.cookies if each.name == "_xsrf"), "")

    def _api(self, how: str, url: str, **body: Any) -> requests.Response:
        head = {"Authorization": f"token {self._token}"}
        return requests.request(how, url, headers=head, timeout=120, **({"json": body} if body else {}))

    def open(self, notebook: Path) -> None:
        """Put a notebook into the user's folder, and start its kernel."""
        content = json.loads(notebook.read_text(encoding="utf-8"))
        self._api("PUT", f"{self.server}/api/contents/wb.ipynb", type="notebook", format="json", content=content)
        self.notebook = self._api("GET", f"{self.server}/api/contents/wb.ipynb").json()["content"]
        session = {"path": "wb.ipynb", "name": "wb", "type": "notebook", "kernel": {"name": "python3"}}
        kernel = self._api("POST", f"{self.server}/api/sessions", **session).json()["kernel"]["id"]
        address = f"{self.server.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels"
        head = [f"Authorization: token {self._token}"]
        self._socket = websocket.create_connection(address, timeout=LIMIT_S, header=head, suppress_origin=True)

    def execute(self, code: str) -> tuple[str, set[str]]:
        """What a cell printed, and the kinds of its outputs.

        Raises:
            AssertionError: the cell ended in an error.
        """
        number = uuid.uuid4().hex
        head = {
            "msg_id": number,
            "msg_type": "execute_request",
            "username": self._name,
            "session": number,
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": True}
        message = {"header": head, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        self._socket.send(json.dumps(message))
        text, kinds = "", set[str]()
        while True:
            found = json.loads(self._socket.recv())
            if found["parent_header"].get("msg_id") != number:
                continue
            kind, said = found["msg_type"], found["content"]
            text += said.get("text", "") if kind == "stream" else ""
            kinds |= set(said.get("data", {}))
            assert kind != "error", f"{self._name}: {said.get('ename')}: {said.get('evalue')}"
            if kind == "status" and said["execution_state"] == "idle":
                return text, kinds


def _until(true: Any) -> None:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException):
            if true():
                return
        time.sleep(0.5)
    raise TimeoutError("JupyterHub did not answer")


def _visit(hub: str, name: str, password: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Log in, open the panel's notebook and execute its cells, measure, and check a prediction."""
    visitor = Visitor(hub, name, password)
    visitor.open(recording.REPOSITORY / "notebooks" / "workbench.ipynb")
    kinds = set[str]()
    for cell in visitor.notebook["cells"]:
        if cell["cell_type"] == "code":
            kinds |= visitor.execute("".join(cell["source"]))[1]
        if "parameters" in cell["metadata"].get("tags", []):
            visitor.execute("\n".join(f"{name} = {value!r}" for name, value in asked.items()))  # as papermill does
    said = "".join(visitor.execute(code)[0] for code in classroom.code_of(asked, "store"))
    checked, _ = visitor.execute(CHECK)
    return {"said": said, "panel": "application/vnd.jupyter.widget-view+json" in kinds, "checked": checked}


@contextlib.contextmanager
def session() -> Iterator[One]:
    """Three users of the machine."""

    def one(number: int, _: random.Random, place: Path) -> Outcome:
        if os.getuid() or not shutil.which("npm"):
            return Outcome(CASES[number % 2], held=False, found="root and npm are needed")
        for folder in (place, *place.parents[: len(place.parents) - 2]):
            folder.chmod(folder.stat().st_mode | 0o055)  # the users look through it
        env, proxy = _environment(place)
        model = trial_model.write_model(place / "small.onnx", seed=number)
        data = trial_model.write_data(place / "small.npz", seed=number)
        longer = {"measure_s": 1.0, "max_measure_s": 1.0, "rounds": 6, "batches": BATCHES}
        asked = trial_model.SETTINGS | {"model": str(model), "data": str(data)} | longer
        with _users(USERS, place) as passwords, _hub(place, env, proxy, USERS) as hub:
            visit = (_by_protocol, _by_browser)[number % 2]
            records, faults = visit(place, env, hub, passwords, asked)
            faults += classroom.faults_of(records, len(BATCHES.split(","))) + _open_to_others(place, records)
            left = sorted(path.name for path in (place / "locks").glob("[0-9]*-*"))
            faults += [f"left in the queue: {left}"] if left else []
        figures = {
            "users": len(USERS),
            "saw_a_wait": sum(bool(record["waits"]) for record in records),
            "timed_groups": sum(len(each["measured"]) for each in records),
        }
        return Outcome(CASES[number % 2], not faults, "; ".join(faults), figures)

    yield one


Found = tuple[list[dict[str, Any]], list[str]]
"""What :func:`classroom.record_of` gives of each user, with the path of the store, and faults."""


def _by_protocol(place: Path, env: Path, hub: str, passwords: dict[str, str], asked: dict[str, Any]) -> Found:
    with ThreadPoolExecutor(len(USERS)) as threads:
        visits = [threads.submit(_visit, hub, name, passwords[name], asked) for name in USERS]
        seen = [visit.result() for visit in visits]
    records, faults = [], []
    for name, each in zip(USERS, seen, strict=True):
        store = place / name / "store"
        records.append(classroom.record_of(store, each["said"]) | {"store": store})
        faults += [] if each["panel"] else [f"{name} saw no panel"]
        faults += [] if each["checked"].startswith("on the board") else [f"{name}: {each['checked']}"]
    shown = _call(env / "bin" / "workbench", "board", "--json", "--folder", place / "board")
    names = {check["participant"] for check in json.loads(shown.stdout)["checks"]}
    return records, faults + ([] if names == set(USERS) else [f"the board shows {sorted(names)}"])


def _by_browser(place: Path, env: Path, hub: str, passwords: dict[str, str], asked: dict[str, Any]) -> Found:
    _until(lambda: requests.get(f"{hub}/hub/login", timeout=5).ok)
    for name in USERS:
        hub_browser.hand_out(env, name, place / name, asked)
    records, faults = [], []
    for visit in hub_browser.visits(hub, passwords):
        store = place / visit.name / ".workbench"
        records.append(classroom.record_of(store, "\n".join(visit.waits)) | {"store": store})
        rows = len(BATCHES.split(","))
        faults += [] if f"{rows} done." in visit.said else [f"the panel of {visit.name} says at the end: {visit.said}"]
        others = [name for name in USERS if name != visit.name]
        if visit.waits and not any(name in text for text in visit.waits for name in others):
            faults.append(f"no wait of {visit.name} names another user: {visit.waits}")
        faults += [f"{visit.name}: {error}" for error in visit.errors]
    return records, faults


def _open_to_others(place: Path, records: list[dict[str, Any]]) -> list[str]:
    """Stores that do not belong to their users, or that others can look into."""
    faults = []
    for name, record in zip(USERS, records, strict=True):
        state = record["store"].stat()
        if state.st_uid != (place / name).stat().st_uid or state.st_mode & 0o077:
            faults.append(f"the store of {name} is open to others ({state.st_mode & 0o777:o})")
    return faults


TRIAL = Trial(
    "hub",
    session,
    2,
    "Three Unix users log in to JupyterHub at once, see the panel, and measure one at a time, each in a store of their own.",
)

if __name__ == "__main__":
    recording.exit_with(TRIAL)
