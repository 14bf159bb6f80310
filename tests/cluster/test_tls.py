"""A cluster with TLS: certificates are made here, and who has none is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import clusters
import dask
import distributed  # noqa: F401 - first: imported within dask.config.set, its settings would be gone after it
import pytest
from small_runs import ask, statuses, write_dense

from workbench import run_on_cluster
from workbench.cli import main
from workbench.cluster import connection
from workbench.errors import InputError
from workbench.records import ClusterState, Event, Status

pytestmark = pytest.mark.slow
FEW = {"measure_s": 0.06, "max_measure_s": 0.06, "rounds": 6}


def authority(folder: Path) -> Path:
    """A folder with a certificate authority and a certificate of it, as docs/cluster.md makes them."""
    folder.mkdir()
    commands = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=cluster -keyout ca.key -out ca.pem",
        "openssl req -newkey rsa:2048 -nodes -subj /CN=machine -keyout machine.key -out machine.csr",
        "openssl x509 -req -in machine.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out machine.pem",
    )
    for command in commands:
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


def settings(folder: Path) -> dict[str, object]:
    """What Dask's configuration holds."""
    roles = {
        f"distributed.comm.tls.{role}.{kind}": str(folder / f"machine.{ending}")
        for role in ("scheduler", "worker", "client")
        for kind, ending in (("cert", "pem"), ("key", "key"))
    }
    shared = {"distributed.comm.require-encryption": True, "distributed.comm.tls.ca-file": str(folder / "ca.pem")}
    return {**shared, **roles}


def variables(folder: Path) -> dict[str, str]:
    """The same as variables for processes."""
    named = settings(folder).items()
    return {f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": str(value) for name, value in named}


def configured(folder: Path) -> dask.config.set:
    """The same in this process."""
    return dask.config.set(settings(folder))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def cluster(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[clusters.Cluster]:
    with pytest.MonkeyPatch.context() as patch, configured(certificates):
        for name, value in variables(certificates).items():
            patch.setenv(name, value)
        with clusters.Cluster(tmp_path_factory.mktemp("machines"), 1, protocol="tls") as started:
            yield started


@pytest.mark.long
def test_a_run_over_tls_tells_what_its_worker_does(
    cluster: clusters.Cluster, certificates: Path, tmp_path: Path
) -> None:
    assert cluster.address.startswith("tls://127.0.0.1:")
    states: list[ClusterState] = []

    def watch(event: Event) -> None:
        states.extend(filter(None, [event.cluster]))

    asked = ask(write_dense(tmp_path), backends="onnxruntime", batches="1", **FEW)
    found = run_on_cluster(asked, cluster.address, store=tmp_path / "store", on_event=watch)
    assert set(statuses(found).values()) == {Status.DONE}
    done = {(worker.label, worker.phase, row) for state in states for worker in state.workers for row in worker.rows}
    (label,) = {row.worker.label for row in found.rows if row.worker}
    assert done == {(label, phase, row.row) for phase in ("build", "measure") for row in found.rows}
    assert any(
        state.workers[0].phase and state.waiting == 1 for state in states
    )  # one of two engines waits for the other


@pytest.mark.long
@pytest.mark.usefixtures("cluster")
def test_without_certificates_nothing_is_reached(
    cluster: clusters.Cluster, tmp_path: Path, monkeypatch, capsys
) -> None:
    asked = ask(write_dense(tmp_path), **FEW)
    none = {"distributed.comm.tls.ca-file": None, "distributed.comm.tls.worker.cert": None}
    with dask.config.set(none):
        with pytest.raises(InputError, match=r"needs certificates.*no distributed\.comm\.tls\.ca-file"):
            run_on_cluster(asked, cluster.address, store=tmp_path / "store")
        assert main(["worker", cluster.address, "--store", str(tmp_path / "worker")]) == 2
        assert "needs certificates" in capsys.readouterr().err
    monkeypatch.setattr(connection, "CONNECT_S", 3.0)
    with configured(authority(tmp_path / "others")), pytest.raises(InputError, match="certificates of one authority"):
        run_on_cluster(asked, cluster.address, store=tmp_path / "store")
    plain = cluster.address.replace("tls://", "tcp://")
    with (
        dask.config.set({"distributed.comm.require-encryption": False}),
        pytest.raises(InputError, match="No Dask scheduler answers"),
    ):
        run_on_cluster(asked, plain, store=tmp_path / "store")


@pytest.mark.long
@pytest.mark.parametrize("same", ["nothing", "authority file"])
def test_a_worker_with_certificates_of_another_authority_is_refused(
    cluster: clusters.Cluster, certificates: Path, tmp_path: Path, same: str
) -> None:
    others = variables(authority(tmp_path / "others"))
    if same == "authority file":  # it accepts the scheduler, and the scheduler does not accept it
        others["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"] = str(certificates / "ca.pem")
    words = [sys.executable, "-m", "workbench", "worker", cluster.address, "--store", str(tmp_path / "worker")]
    done = subprocess.run(words, env=os.environ | others, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "do not accept each other's certificates" in done.stderr
    assert "certificates of one authority" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(cluster.workers()) == 1


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with (
        configured(tmp_path),
        pytest.raises(InputError, match=r"no file '.*ca\.pem', which distributed\.comm\.tls\.ca-file"),
    ):
        run_on_cluster(ask(tmp_path), "tls://127.0.0.1:1", store=tmp_path / "store")
