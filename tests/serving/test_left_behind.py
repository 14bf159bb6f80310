"""Whichever process of a served deployment is killed, no other one of it stays, and no shared memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

import psutil
import pytest

from workbench.serving.proxy import PLACES

LIMIT_S = 60
SHARED = Path("/dev/shm")  # where Triton has its tensors
TEXT = """
import sys, time
from pathlib import Path
from workbench.serving.server import served
with served(Path(sys.argv[1])) as server:
    print(server.pid, flush=True)
    time.sleep(600)
"""
HAPROXY = """
import sys, time
from pathlib import Path
from workbench.serving.proxy import proxied
from workbench.serving.server import free_port
with proxied(Path(sys.argv[1]), free_port(0, ""), {"old": (1, 50), "new": (2, 50)}):
    print(flush=True)
    time.sleep(600)
"""
PROMETHEUS = """
import sys, time
from pathlib import Path
from workbench.serving.prometheus import running
from workbench.serving.server import free_port
with running(Path(sys.argv[1]), "prometheus.yml", free_port(0, "")):
    print(flush=True)
    time.sleep(600)
"""


@pytest.fixture
def family(triton, wide) -> Iterator[dict[str, list[psutil.Process]]]:
    """The processes of a deployment that another process serves, by what they are."""
    parent = subprocess.Popen([sys.executable, "-c", TEXT, str(wide)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    top = psutil.Process(int(parent.stdout.readline()))
    below = top.children(recursive=True)
    found = {
        "parent": [psutil.Process(parent.pid)],
        "supervisor": [top],
        "Triton": [each for each in below if each.name() == "tritonserver"],
        "model": [each for each in below if "python_backend_stub" in " ".join(each.cmdline())],
    }
    yield found
    parent.kill()
    parent.communicate()
    for each in chain.from_iterable(found.values()):
        with suppress(psutil.Error):
            each.kill()
    for path in SHARED.glob(f"workbench_{parent.pid}_*"):
        path.unlink()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended after a minute; one that was not collected yet has ended too."""
    deadline = time.monotonic() + LIMIT_S
    while (left := [each for each in processes if running(each)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def running(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


AT_ONCE = pytest.param(("parent", "supervisor", "Triton"), marks=pytest.mark.flaky(reruns=1))
"""A process of the model stayed once, for a reason that is not known: it must end in one of two trials."""


@pytest.mark.long
@pytest.mark.parametrize("killed", [("Triton",), ("parent",), ("supervisor",), ("supervisor", "Triton"), AT_ONCE])
def test_no_process_of_a_deployment_stays(family, killed) -> None:
    assert [len(family[name]) for name in ("supervisor", "Triton")] == [1, 1]
    assert family["model"]
    for name in killed:
        for each in family[name]:
            each.kill()
    assert alive([*family["supervisor"], *family["Triton"], *family["model"]]) == []
    if killed in {("Triton",), ("parent",)}:  # else nothing is left that could remove it
        assert list(SHARED.glob(f"workbench_{family['parent'][0].pid}_*")) == []


@pytest.mark.long
@pytest.mark.parametrize(("program", "text"), [("haproxy", HAPROXY), ("prometheus", PROMETHEUS)])
def test_what_watches_a_deployment_ends_with_a_killed_parent(tmp_path, program, text) -> None:
    if not shutil.which(program, path=os.pathsep.join([os.environ["PATH"], *PLACES])):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{program} is not installed")
    (tmp_path / "prometheus.yml").write_text("scrape_configs: []\n")
    parent = subprocess.Popen([sys.executable, "-c", text, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "\n"
    below = psutil.Process(parent.pid).children(recursive=True)
    assert program in {each.name() for each in below}
    parent.kill()
    parent.communicate()
    assert alive(below) == []
