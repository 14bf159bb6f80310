"""A file as the browser sends it to the panel, part by part."""

from __future__ import annotations

import base64
import json

from workbench.panel.upload import PART_BYTES, Upload


def upload(into: Upload, name: str, content: bytes, part_bytes: int = PART_BYTES) -> None:
    for at in range(0, max(1, len(content)), part_bytes):
        data = base64.b64encode(content[at : at + part_bytes]).decode()
        into.sent.value = json.dumps({"id": name, "name": name, "size": len(content), "at": at, "data": data})
