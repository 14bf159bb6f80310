"""Two deployments behind one proxy: every request is counted on both sides, and the new one is promoted or rolled back for a reason."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import jsonschema
import numpy as np
import psutil
import pytest
from faulty import faulty, served_as_it_is
from working_thread import in_thread

from workbench.cli.answer import schema
from workbench.deploy.folder import RECORD
from workbench.errors import InputError, WorkbenchError
from workbench.serving import proxy as haproxy
from workbench.serving.canary import Policy, canary, share
from workbench.serving.http_client import HttpClient
from workbench.serving.proxy import parsed

QUICK = Policy(share=50, round_s=0.4, limit_s=120)


@pytest.fixture(scope="module", autouse=True)
def program(triton) -> None:
    try:
        haproxy.installed()
    except WorkbenchError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(error.message)


@dataclass
class Clients:
    """What the clients counted."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)


@contextmanager
def traffic(port: int, count: int = 2) -> Iterator[Clients]:
    """Requests with one random sample each, until the end of the block."""
    ended, found, lock = threading.Event(), Clients(), threading.Lock()

    def ask(place: int) -> None:
        draw, client = np.random.default_rng(place), HttpClient(port, "wide")
        while not ended.is_set():
            try:
                client.infer({"x": draw.normal(size=(1, 512)).astype(np.float32)})
                with lock:
                    found.answered += 1
            except WorkbenchError as error:
                with lock:
                    found.failed.append(error.message)
        client.close()

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.long
def test_the_same_deployment_is_promoted_reloaded_and_every_request_is_counted_on_both_sides(wide) -> None:
    with canary(wide, wide, QUICK, port=0) as found:
        with traffic(found.proxy.port) as clients:
            decision = found.decide()
            found.reload("old")
            time.sleep(0.5)
        time.sleep(0.3)
    assert decision.promoted, decision.reason
    assert decision.changed.hits == 0
    assert decision.changed.of > 200
    counts = found.proxy.counts
    assert clients.failed == []
    assert (clients.answered, 0) == (counts.total, sum(counts.refused.values()))
    assert set(counts.answered) == {"old", "new"}


@pytest.mark.long
def test_other_answers_roll_back(wide, int8) -> None:
    with canary(wide, int8, replace(QUICK, most_changed=0.002, limit_s=600), port=0) as found:
        with traffic(found.proxy.port) as clients:
            decision = found.decide()
        before = dict(found.proxy.counts.answered)
        with traffic(found.proxy.port):
            time.sleep(1)
        time.sleep(0.3)
        after = found.proxy.counts.answered
    assert not decision.promoted
    assert "of its answers are other ones" in decision.reason
    assert clients.failed == []
    assert after["old"] > before["old"] + 5
    assert after["new"] - before["new"] <= 2  # those whose line was still on its way


@pytest.mark.long
def test_a_slow_one_and_a_broken_one_are_rolled_back(wide, tmp_path) -> None:
    fault = faulty(wide, tmp_path / "made")
    for seconds, reason in ((0.1, "it is slower"), (-1, "ended in an error")):
        with served_as_it_is(), canary(wide, tmp_path / "made", replace(QUICK, limit_s=600), port=0) as found:
            fault.write_text(str(seconds))
            with traffic(found.proxy.port):
                decision = found.decide()
            fault.write_text("")
        assert not decision.promoted
        assert reason in decision.reason


@pytest.mark.long
def test_one_whose_processes_are_killed_is_rolled_back(wide) -> None:
    with canary(wide, wide, replace(QUICK, limit_s=600), port=0) as found:

        def kill(ended: threading.Event) -> None:
            while not ended.wait(0.2):
                with suppress(psutil.Error, ProcessLookupError):
                    for each in psutil.Process(found.servers["new"].pid).children(recursive=True):
                        if "python_backend_stub" in " ".join(each.cmdline()):
                            os.kill(each.pid, signal.SIGKILL)

        with in_thread(kill), traffic(found.proxy.port):
            decision = found.decide()
    assert not decision.promoted
    assert "ended in an error" in decision.reason


@pytest.mark.long
def test_the_command_gives_one_document_and_ends_when_it_is_decided(wide) -> None:
    words = ["--port", "0", "--share", "50", "--round-s", "0.4", "--limit-s", "120", "--until-decided", "--json"]
    command = [sys.executable, "-m", "workbench", "canary", str(wide), str(wide), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ready = next(line for line in process.stderr if "ready:" in line)
    with traffic(int(ready.partition("127.0.0.1:")[2].partition("/")[0])):
        out, _ = process.communicate(timeout=180)
    document = json.loads(out)
    jsonschema.validate(document, schema("canary"), cls=jsonschema.Draft202012Validator)
    assert process.returncode == 0
    assert document["decision"] == "promoted", document["reason"]
    assert document["answered"]["new"] > 20


def test_deployments_of_different_models_are_refused(wide, tmp_path) -> None:
    copy = shutil.copytree(wide, tmp_path / "copy")
    record = json.loads((copy / RECORD).read_text())
    record["inputs"][0]["shape"] = [None, 7]
    (copy / RECORD).write_text(json.dumps(record))
    with pytest.raises(InputError, match="of different models"), canary(wide, copy, QUICK, port=0):
        pass


@pytest.mark.parametrize("wrong", [{"share": 0}, {"share": 100}, {"most_changed": 0.0}, {"round_s": 0.0}])
def test_a_policy_that_cannot_be_followed_is_refused(wrong) -> None:
    with pytest.raises(InputError, match="must be"):
        Policy(**wrong)


def test_lines_of_the_proxy_are_requests() -> None:
    line = "workbench new 200 1000000 1002500 ---- POST /v2/models/m/infer"
    assert parsed(line)[:2] == ("new", 200)
    assert parsed(line).seconds == pytest.approx(0.0025)
    assert parsed(line.replace("new", "<NOSRV>").replace("200", "503").replace("1002500", "-")).server == ""
    assert parsed("[WARNING] something") is None
    assert parsed("workbench <NOSRV> 400 - - CR-- <BADREQ> <BADREQ>") is None


def test_intervals_of_shares_are_exact_and_of_one_look() -> None:
    assert share(0, 0)[2:] == (0.0, 1.0)
    found = share(0, 300)
    assert found.high == pytest.approx(1 - 0.00625 ** (1 / 300), rel=1e-6)
    assert share(30, 300).low < 0.1 < share(30, 300).high


def test_a_missing_program_is_one_sentence(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(haproxy, "PLACES", (str(tmp_path),))
    with pytest.raises(WorkbenchError, match="apt-get install haproxy"):
        haproxy.installed()
