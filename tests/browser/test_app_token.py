"""What ``make app`` serves without its token: a page that asks for it, and nothing else."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from lab import voila
from small_model import small_onnx
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

pytestmark = [pytest.mark.browser, pytest.mark.long]
PATHS = (
    "/", "/?token=", "/?token=...", "/?token=notebooks/app.ipynb", "/voila", "/voila/tree", "/voila/render/app.ipynb",
    "/voila/files/app.ipynb", "/api/kernels", "/api/kernels/x", "/api/contents/app.ipynb", "/api/sessions", "/api/status",
)  # fmt: skip


def answer(address: str, *, method: str = "GET") -> tuple[int, str, str]:
    """Status, the address after redirections, and the text."""
    request = urllib.request.Request(address, method=method, data=b"{}" if method == "POST" else None)
    try:
        with urllib.request.urlopen(request, timeout=120) as found:
            return found.status, found.url, found.read().decode("utf-8", errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.url, error.read().decode("utf-8", errors="replace")


def opens_channels(address: str, kernel: str, query: str = "") -> bool:
    """Whether the websocket of a kernel can be opened."""

    async def connect() -> bool:
        place = f"{address.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels{query}"
        try:
            channel = await websocket_connect(HTTPRequest(place, request_timeout=20))
            channel.close()
            while await channel.read_message() is not None:  # the end comes when its socket is closed
                pass
        except HTTPClientError:
            return False
        return True

    return asyncio.run(connect())


def kernels() -> list[str]:
    """Identifiers of the kernels that children of this process have started, by their connection files."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            words = process.cmdline()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):  # it ended since the list was made
            continue
        found += [Path(word).stem.removeprefix("kernel-") for word in words if Path(word).name.startswith("kernel-")]
    return found


def test_without_the_token_nothing_is_served_and_no_kernel_starts(tmp_path: Path) -> None:
    model = small_onnx(tmp_path / "small.onnx")
    with voila(tmp_path, tmp_path / "store", model=str(model), data="random") as url:
        origin, _, token = url.partition("/?token=")
        assert len(token) >= 32
        for path in PATHS:
            status, at, text = answer(f"{origin}{path}")
            assert status in (403, 404) or "/login" in at, path
            assert "jupyter-config-data" not in text, path  # of a page that was rendered
            assert token not in text
        assert answer(f"{origin}/api/kernels", method="POST")[0] in (403, 404, 405)
        assert kernels() == []
        status, at, text = answer(url)
        assert status == 200
        assert "/login" not in at
        assert "jupyter-config-data" in text
        running = kernels()
        assert len(running) == 1
        assert answer(f"{origin}/api/kernels/{running[0]}")[0] in (403, 404)
        assert not opens_channels(origin, running[0])
        assert opens_channels(origin, running[0], f"?token={token}")
