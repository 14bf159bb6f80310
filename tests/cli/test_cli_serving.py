"""The commands ``lab``, ``app`` and ``notebook``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import jsonschema
import psutil
import pytest

from workbench.cli import main, serving
from workbench.cli.answer import schema
from workbench.system.resources import notebook, notebooks


def document(capsys, *words: str, status: int = 0) -> dict:
    assert main([*words, "--json"]) == status
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, schema(words[0]), cls=jsonschema.Draft202012Validator)
    return found


@pytest.mark.parametrize("page", notebooks())
def test_a_copy_is_the_notebook_of_the_package(page, tmp_path, capsys):
    copy = tmp_path / "copy.ipynb"
    found = document(capsys, "notebook", str(copy), "--page", page)
    assert copy.read_bytes() == notebook(page).read_bytes()
    assert (found["notebook"], found["page"]) == (str(copy), page)


def test_a_copy_replaces_no_file_and_follows_no_link(tmp_path, capsys):
    kept, link = tmp_path / "mine.ipynb", tmp_path / "link.ipynb"
    kept.write_text("mine")
    link.symlink_to(tmp_path / "nothing")
    for place in (kept, link):
        assert main(["notebook", str(place)]) == 2
        assert "exists already. Choose another name" in capsys.readouterr().err
    assert kept.read_text() == "mine"
    assert not (tmp_path / "nothing").exists()


def test_a_copy_needs_the_ending_of_notebooks_and_a_folder(tmp_path, capsys):
    assert main(["notebook", str(tmp_path / "copy.json")]) == 2
    assert "does not end in .ipynb" in capsys.readouterr().err
    assert main(["notebook", str(tmp_path / "no" / "copy.ipynb")]) == 2
    assert "a part of the path cannot be created" in capsys.readouterr().err


def test_a_server_that_is_not_installed_is_named_with_its_fix(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    assert main(["app", "--store", str(tmp_path)]) == 1
    assert (
        "'workbench app' needs the package 'voila', which is not installed: pip install voila"
        in capsys.readouterr().err
    )


@pytest.mark.slow
def test_a_server_that_fails_gives_its_status(tmp_path, capfd):
    place = tmp_path / "mine.ipynb"
    assert main(["lab", str(place), "--json", "--", "--port=none"]) == 1
    out, err = capfd.readouterr()
    assert json.loads(out) == {"schema": "workbench/lab/1", "page": str(place), "server_status": 1}
    assert "jupyterlab ended with status 1; its messages are above." in err
    assert place.is_file()


@pytest.mark.long
@pytest.mark.parametrize("command", ["lab", "app"])
def test_a_server_answers_until_it_is_ended(command, tmp_path):
    env = os.environ | {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    env |= {"IPYTHONDIR": str(tmp_path / "ipython")}
    root = ["--allow-root"] if command == "lab" else []
    words = [sys.executable, "-m", "workbench", command, "--", "--no-browser", *root]
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(words, cwd=tmp_path, env=env, stdout=output, stderr=output)
    try:
        address = wait_for(r"http://localhost:\d+/\S*\?token=\w+", log, server)[0]
        page = opened(address)
        assert "Inference Workbench" in page if command == "app" else "jupyter-config-data" in page
        assert "Inference Workbench" not in without_token(address)
        assert "jupyter-config-data" not in without_token(address)
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 143, log.read_text(errors="replace")
    with pytest.raises(OSError, match="refused"):  # the server has ended with the command
        urllib.request.urlopen(address, timeout=30)


def test_a_server_ends_with_a_killed_command():
    text = "from argparse import Namespace; from pathlib import Path; from workbench.cli import serving\n"
    text += "from workbench.system.progress import ProgressBar\n"
    text += "options = Namespace(name='lab', store='', passed_on=[])\n"
    text += "serving.serve('http.server', options, ['--bind', '127.0.0.1'], Path('0'), ProgressBar())"
    command = subprocess.Popen([sys.executable, "-u", "-c", text], stdout=subprocess.PIPE, text=True)
    assert "Serving HTTP" in command.stdout.readline()
    (server,) = psutil.Process(command.pid).children()
    command.kill()
    command.communicate(timeout=60)
    _, alive = psutil.wait_procs([server], timeout=60)
    assert all(each.status() == psutil.STATUS_ZOMBIE for each in alive)


def without_token(address: str) -> str:
    """What another user of the machine gets: the page on which one signs in, or a refusal."""
    try:
        return opened(address.partition("?")[0])
    except urllib.error.HTTPError as refused:
        with refused:
            return f"refused: {refused.code}"


def opened(address: str) -> str:
    """The page at an address, which is printed shortly before the server answers there."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return answer.read().decode(errors="replace")
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no answer at {address}")


def wait_for(pattern: str, log: Path, server: subprocess.Popen[bytes]) -> re.Match[str]:
    for _ in range(600):
        found = re.search(pattern, log.read_text(errors="replace"))
        if found:
            return found
        assert server.poll() is None, log.read_text(errors="replace")
        time.sleep(0.2)
    raise AssertionError(log.read_text(errors="replace"))
