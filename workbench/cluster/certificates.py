"""The certificates of TLS, which Dask's configuration names."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from workbench.cluster.addresses import TLS
from workbench.errors import InputError, brief

CLIENT, WORKER = "client", "worker"
ANSWER_S = 10.0


def check_certificates(address: str, role: str) -> None:
    """Refuse an address with TLS where Dask has no certificates for this role (:data:`CLIENT` or :data:`WORKER`).

    Raises:
        InputError: the configuration lacks one, or names a file that does not exist.
    """
    if not address.startswith(f"{TLS}://"):
        return
    from distributed.security import Security

    files = Security().get_tls_config_for_role(role)  # type: ignore[no-untyped-call]
    names = {"ca_file": "ca-file", "cert": f"{role}.cert", "key": f"{role}.key"}
    for kind, name in names.items():
        setting, file = f"distributed.comm.tls.{name}", files.get(kind)
        if not file:
            raise InputError(
                f"'{address}' needs certificates, and Dask's configuration has no {setting}. Name the files there (docs/cluster.md)."
            )
        if "\n" not in file and not Path(file).expanduser().is_file():  # the text of a certificate has lines
            raise InputError(
                f"There is no file '{file}', which {setting} of Dask's configuration names. Correct it there."
            )


def check_authority(address: str, role: str) -> None:
    """Refuse a scheduler with TLS that does not accept the certificates of this role, or whose certificate is of another authority.

    One that does not answer is not refused: it may be started later.

    Raises:
        InputError: one of the two does not accept the other.
    """
    if not address.startswith(f"{TLS}://"):
        return
    from distributed.security import Security

    context = Security().get_connection_args(role)["ssl_context"]  # type: ignore[no-untyped-call]
    where = urlsplit(address)
    try:
        with (
            socket.create_connection((str(where.hostname), int(where.port or 0)), ANSWER_S) as plain,
            context.wrap_socket(plain) as secure,
        ):
            secure.recv(1)  # with TLS 1.3 a certificate is refused after the handshake
    except ssl.SSLError as cause:
        raise InputError(
            f"The scheduler at {address} and this {role} do not accept each other's certificates ({brief(cause, 200)}). Give all processes of "
            "the cluster certificates of one authority (docs/cluster.md)."
        ) from cause
    except OSError:
        return
