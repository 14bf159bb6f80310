"""Addresses of schedulers and workers: a user who reaches one can run code there, so that only loopback and TLS are used."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from workbench.errors import InputError

TLS, TCP = "tls", "tcp"


def check_address(address: str) -> str:
    """The address of a scheduler or worker, if it may be used.

    >>> check_address("tcp://127.0.0.1:8786")
    'tcp://127.0.0.1:8786'

    Raises:
        InputError: it is not an address, or is reached without TLS beyond the loopback interface.
    """
    parts = urlsplit(address)
    try:
        complete = bool(parts.hostname and parts.port)
    except ValueError:
        complete = False
    if parts.scheme not in (TLS, TCP) or not complete:
        raise InputError(
            f"'{address}' is not the address of a Dask scheduler. Give one such as tls://scheduler.example.org:8786, or "
            "tcp://127.0.0.1:8786 on this machine."
        )
    if parts.scheme == TCP and not is_loopback(str(parts.hostname)):
        raise InputError(
            f"'{address}' is beyond this machine and has no TLS: a user who reaches it can run programs as you. Start the scheduler and "
            "the workers with certificates, and give an address that begins with tls:// (docs/cluster.md)."
        )
    return address


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its loopback interface."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
