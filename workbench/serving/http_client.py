"""A client of the v2 protocol over HTTP, on Python's own library."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any

from workbench.errors import RunError, brief
from workbench.serving.protocol import HOST, TIMEOUT_S, RefusedError, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import numpy as np

LENGTH = "Inference-Header-Content-Length"
"""The header of the binary extension: the bytes of JSON before the tensors."""
UNAVAILABLE = 503
HEAD_END, SIZE = b"\r\n\r\n", b"content-length:"


class HttpClient:
    """One connection, which stays open between requests."""

    def __init__(
        self, port: int, model: str, *, host: str = HOST, timeout_s: float = TIMEOUT_S, columns: Collection[str] = ()
    ) -> None:
        """``columns`` as in :func:`workbench.serving.protocol.encoded`."""
        self._path, self._columns = f"/v2/models/{model}/infer", columns
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout_s)

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and content of a GET request."""
        return self._sent("GET", path, b"", {})[:2]

    def post(self, path: str) -> None:
        """A POST request without content.

        Raises:
            RunError: the server answers with an error.
        """
        status, content, _ = self._sent("POST", path, b"", {})
        if status != http.client.OK:
            raise RunError(f"The server answered {path} with status {status}: {_reason(content)}")

    def json(self, path: str) -> Any:
        """The JSON that the server gives for a path.

        Raises:
            RunError: it gives an error.
        """
        status, content = self.get(path)
        if status != http.client.OK:
            raise RunError(f"The server answered {path} with status {status}: {content.decode(errors='replace')[:300]}")
        return json.loads(content)

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As :meth:`workbench.serving.protocol.Client.infer`, with tensors as bytes behind the JSON."""
        body, headers = _encoded(feeds, self._columns)
        status, content, length = self._sent("POST", self._path, body, headers)
        _check(status, content)
        end = int(length) if length else len(content)
        found = {}
        for output in json.loads(content[:end])["outputs"]:
            size = output["parameters"]["binary_data_size"]
            found[output["name"]] = decoded(output["datatype"], output["shape"], content[end : end + size])
            end += size
        return found

    def prepared(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """As :meth:`workbench.serving.protocol.Client.prepared`. Bytes go to the socket and come from it without Python's library, whose
        reading of an answer's head takes as long as a small model.
        """
        body, headers = _encoded(feeds, self._columns)
        lines = [f"POST {self._path} HTTP/1.1", f"Host: {self._connection.host}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        whole = "\r\n".join([*lines, "", ""]).encode() + body

        def ask() -> None:
            try:
                sock = self._opened()
                sock.sendall(whole)
                status, content = _received(sock)
            except (OSError, ValueError) as cause:
                raise self._unreachable(cause) from cause
            _check(status, content)

        return ask

    def _opened(self) -> Any:
        """The socket of the connection."""
        connection = self._connection
        if connection.sock is None:
            connection.connect()
            opened: Any = connection.sock
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection.sock

    def _unreachable(self, cause: Exception) -> RunError:
        self._connection.close()  # the next request connects again
        return RunError(f"The server at port {self._connection.port} cannot be reached: {brief(cause)}.")

    def _sent(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, str | None]:
        connection = self._connection
        try:
            self._opened()
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.getheader(LENGTH)
        except (OSError, http.client.HTTPException) as cause:
            raise self._unreachable(cause) from cause


def _encoded(feeds: Mapping[str, np.ndarray], columns: Collection[str]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request: tensors as bytes behind the JSON."""
    tensors = encoded(feeds, columns)
    inputs = [
        {
            "name": each.name,
            "datatype": each.kind,
            "shape": each.shape,
            "parameters": {"binary_data_size": len(each.content)},
        }
        for each in tensors
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    return head + b"".join(each.content for each in tensors), headers


def _received(sock: Any) -> tuple[int, bytes]:
    """Status and content of an answer whose length is in its head, as Triton writes all.

    Raises:
        OSError: the connection ended before.
        ValueError: it is not such an answer.
    """
    found = bytearray()
    while (end := found.find(HEAD_END)) < 0:
        found += _part(sock)
    head = bytes(found[:end]).lower().split(b"\r\n")
    length = next((int(line[len(SIZE) :]) for line in head if line.startswith(SIZE)), None)
    if length is None:
        raise ValueError("the answer has no Content-Length")
    whole = end + len(HEAD_END) + length
    while len(found) < whole:
        found += _part(sock)
    return int(head[0].split()[1]), bytes(found[end + len(HEAD_END) :])


def _part(sock: Any) -> bytes:
    part: bytes = sock.recv(65536)
    if not part:
        raise ConnectionError("the server closed the connection")
    return part


def _check(status: int, content: bytes) -> None:
    if status != http.client.OK:
        kind_of_error = RefusedError if status == UNAVAILABLE else RunError
        raise kind_of_error(f"The server answered with status {status}: {_reason(content)}")


def _reason(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")[:300]
