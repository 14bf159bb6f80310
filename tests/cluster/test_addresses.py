from __future__ import annotations

import pytest

from workbench.cluster.addresses import check_address
from workbench.cluster.starting import command
from workbench.errors import InputError


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:8786",
        "tcp://127.8.0.9:1",
        "tcp://[::1]:8786",
        "tcp://localhost:8786",
        "tls://h200.example.org:8786",
    ],
)
def test_loopback_and_tls_are_used(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize("address", ["tcp://10.0.0.5:8786", "tcp://0.0.0.0:8786", "tcp://h200.example.org:8786"])
def test_other_machines_need_tls(address: str) -> None:
    with pytest.raises(InputError, match=r"has no TLS.*begins with tls://"):
        check_address(address)


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:8786", "http://127.0.0.1:8786", "tcp://127.0.0.1", "tcp://127.0.0.1:x", "inproc://1/2/3"]
)
def test_what_is_not_an_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="is not the address of a Dask scheduler"):
        check_address(address)


def test_a_worker_stays_on_loopback_and_has_no_memory_limit() -> None:
    words = command("tcp://localhost:8786", "w", ["gpu:H200", "fast"])
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[words.index("--memory-limit") + 1] == "0"
    assert words[words.index("--resources") + 1] == "gpu:H200=1 fast=1"
    assert "--host" not in command("tls://h200.example.org:8786")


@pytest.mark.parametrize("label", ["a b", "gpu=1", "", "-x"])
def test_a_label_is_a_word(label: str) -> None:
    with pytest.raises(InputError, match="A label is a word"):
        command("tcp://localhost:8786", labels=[label])
