"""The certificates of TLS, which Dask's configuration names."""

from __future__ import annotations

from pathlib import Path

from workbench.cluster.addresses import TLS
from workbench.errors import InputError

CLIENT, WORKER = "client", "worker"


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
