"""Triton serves deployments: right values over both transports, on loopback only, and no request is lost when it stops."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest

from workbench import cli
from workbench.deploy.files.selftest import reference
from workbench.deploy.folder import RECORD
from workbench.errors import InputError, MissingPackageError, RunError
from workbench.serving import installed as wheel
from workbench.serving.installed import FIX, installed
from workbench.serving.server import free_ports, served, statistics
from workbench.store import file_digest


def test_values_are_the_references_over_both_transports(server, wide) -> None:
    assert server.checked.http < 1e-6
    assert server.checked.grpc < 1e-6
    inputs, expected = reference(wide)
    for client in (server.http(), server.grpc()):
        one = client.infer({"x": inputs["x"][0][:1]})
        np.testing.assert_allclose(one["y"], expected["y"][0][:1], rtol=1e-5)
        client.close()


def test_every_service_listens_on_loopback_only(server) -> None:
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    listening = [one.laddr for each in processes for one in each.net_connections() if one.status == psutil.CONN_LISTEN]
    assert {place.ip.removeprefix("::ffff:") for place in listening} == {
        "127.0.0.1"
    }  # IPv4 addresses, also on IPv6 sockets
    assert {server.ports.http, server.ports.grpc, server.ports.metrics} <= {place.port for place in listening}


def test_requests_that_arrive_together_are_joined_and_each_gets_its_own_answer(server, wide) -> None:
    inputs, expected = reference(wide)
    rows = inputs["x"].reshape(-1, inputs["x"].shape[-1])
    wanted = expected["y"].reshape(-1, expected["y"].shape[-1])

    def counted() -> dict:
        with closing(server.http()) as client:
            return statistics(client, "wide")

    def ask(number: int) -> np.ndarray:
        with closing(server.http()) as client:
            return np.concatenate([client.infer({"x": rows[number : number + 1]})["y"] for _ in range(20)])

    before, sent, joined = counted(), 0, False
    deadline = time.monotonic() + 60
    while not joined and time.monotonic() < deadline:  # whether they meet is the scheduler's affair
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(8)))
        for number, answer in enumerate(answers):
            np.testing.assert_allclose(answer, np.repeat(wanted[number : number + 1], 20, 0), rtol=1e-4, atol=1e-7)
        after, sent = counted(), sent + 160
        assert after["inference_count"] - before["inference_count"] == sent
        joined = after["execution_count"] - before["execution_count"] < sent
    assert joined


def test_a_request_that_does_not_fit_is_an_error_and_the_server_goes_on(server) -> None:
    for client in (server.http(), server.grpc()):
        with pytest.raises(RunError, match=r"The server answered .*\[-1,512\]"):
            client.infer({"x": np.zeros((1, 3), np.float32)})
        with pytest.raises(RunError, match="The server answered"):
            client.infer({"x": np.zeros((64, 512), np.float32)})  # more than the largest batch
        assert client.infer({"x": np.zeros((1, 512), np.float32)})["y"].shape == (1, 512)
        client.close()


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_port_that_is_taken_is_one_sentence(taken_port) -> None:
    says = rf"The port {taken_port} for grpc cannot be used .*Set --grpc-port to another one, or to 0"
    with pytest.raises(InputError, match=says):
        free_ports({"grpc": taken_port})


def test_serving_on_a_port_that_is_taken_is_one_sentence(triton, wide, taken_port, capsys) -> None:
    assert cli.main(["serve", str(wide), "--http-port", str(taken_port)]) == 2
    assert f"The port {taken_port} for http" in capsys.readouterr().err


@pytest.mark.long
def test_another_address_is_used_where_it_is_asked_for_and_only_one_of_this_machine(triton, wide, capsys) -> None:
    with served(wide, address="127.0.0.2") as other:
        assert other.checked.http < 1e-6
        with socket.socket() as loopback:
            assert loopback.connect_ex(("127.0.0.1", other.ports.http)) != 0
    assert free_ports({}, "0.0.0.0").host == "127.0.0.1"
    for wrong in ("192.0.2.1", "localhost", "::"):  # 192.0.2.1: for documentation, RFC 5737
        with pytest.raises(InputError, match=rf"'--address' must be an IPv4 address of this machine.*found '{wrong}'"):
            free_ports({}, wrong)
    assert cli.main(["serve", str(wide), "--address", "nowhere"]) == 2
    assert "'--address' must be" in capsys.readouterr().err


def test_a_missing_wheel_is_one_sentence_with_the_line_that_installs_it(wide, monkeypatch, capsys) -> None:
    monkeypatch.setattr(wheel, "find_spec", lambda _: None)
    assert cli.main(["serve", str(wide), "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]) == 1
    assert FIX in capsys.readouterr().err


def test_an_interpreter_without_a_shared_library_is_one_sentence(triton, monkeypatch, tmp_path) -> None:
    if sys.version_info[:2] >= wheel.BRINGS_LIBPYTHON:
        monkeypatch.setattr(wheel, "BRINGS_LIBPYTHON", (4, 0))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(wheel.sysconfig, "get_config_var", lambda _: None)
    with pytest.raises(MissingPackageError, match=r"has no shared library libpython3.*--enable-shared"):
        installed()


def test_a_python_without_a_stub_is_one_sentence(triton, monkeypatch) -> None:
    monkeypatch.setattr(wheel.sys, "version_info", (3, 20))
    with pytest.raises(MissingPackageError, match=r"runs models in Python 3\.10, 3\.11.*and this is 3\.20"):
        installed()


def changed(wide: Path, place: Path, name: str, content: bytes) -> Path:
    """A copy of the deployment with another file, whose digest is that of the record."""
    copy = shutil.copytree(wide, place)
    (copy / name).write_bytes(content)
    record = json.loads((copy / RECORD).read_text())
    record["files"][name] = file_digest(copy / name)
    (copy / RECORD).write_text(json.dumps(record))
    return copy


def test_code_of_others_is_not_run(wide, tmp_path) -> None:
    for name in ("model.py", "runner.py"):
        inner = f"repository/wide/1/{name}"
        copy = changed(wide, tmp_path / name, inner, (wide / inner).read_bytes() + b"\nimport os\n")
        with (
            pytest.raises(InputError, match=rf"'{name}' of the deployment .* is not that of this version"),
            served(copy),
        ):
            pass


@pytest.mark.long
def test_wrong_answers_are_never_ready(triton, wide, tmp_path) -> None:
    with np.load(wide / "reference.npz") as file:
        arrays = dict(file)
    arrays["output:y"] = arrays["output:y"][:, :, ::-1]
    np.savez(tmp_path / "other.npz", **arrays)
    copy = changed(wide, tmp_path / "copy", "reference.npz", (tmp_path / "other.npz").read_bytes())
    with (
        pytest.raises(RunError, match=r"answers over HTTP differ from the reference by up to .* is accepted"),
        served(copy),
    ):
        pass


def test_a_model_that_does_not_load_is_said_in_its_own_words(triton, wide, tmp_path) -> None:
    copy = changed(wide, tmp_path / "copy", "repository/wide/1/model.onnx", b"no model")
    with (
        pytest.raises(RunError, match=r"Triton ended with status 1: .*(INVALID_PROTOBUF|Protobuf parsing failed)"),
        served(copy),
    ):
        pass


@pytest.mark.long
def test_sigterm_answers_what_is_in_flight_and_ends(triton, wide) -> None:
    command = [
        sys.executable,
        "-m",
        "workbench",
        "serve",
        str(wide),
        "--http-port",
        "0",
        "--grpc-port",
        "0",
        "--metrics-port",
        "0",
    ]
    process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ready = next(line for line in process.stderr if "ready:" in line)
    port = int(ready.partition("127.0.0.1:")[2].partition("/")[0])
    answered, wrong, stopped = [0] * 4, [], threading.Event()

    def ask(place: int) -> None:
        from workbench.serving.http_client import HttpClient

        client, x = HttpClient(port, "wide"), np.full((1, 512), place, np.float32)
        first = client.infer({"x": x})["y"]
        while True:
            try:
                found = client.infer({"x": x})["y"]
            except RunError as error:  # of the others, only what comes after the signal
                if not stopped.is_set():
                    wrong.append(repr(error))
                return
            if not np.allclose(found, first):
                wrong.append("another answer")
            answered[place] += 1

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while min(answered) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    stopped.set()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=90)
    for thread in threads:
        thread.join(60)
    assert (process.returncode, wrong, min(answered) >= 5) == (0, [], True)
    assert json.loads(out)["drained"]
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.1", port)) != 0
