"""Switch usage reports of other libraries off before the libraries are imported.

ONNX Runtime sends reports from every process that imports it: it starts a thread, writes a device identifier below the home
folder and contacts a server, also while code is being timed. OpenVINO and NNCF start a process for the same purpose.
``import workbench`` calls :func:`turn_off`; child processes inherit the environment and import the package themselves.
"""

from __future__ import annotations

import os
import sys

OFF = {
    "DO_NOT_TRACK": "1",  # a convention that several tools follow (consoledonottrack.com)
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",  # Hugging Face libraries
    "DISABLE_TELEMETRY": "1",  # their older name for it
}
"""Environment variables and the values that switch reports off. A value that the user has set is kept."""

BLOCKED = ("openvino_telemetry",)
"""Packages that only send reports and have no variable to switch them off. OpenVINO and NNCF work without them."""


def turn_off() -> None:
    """Switch reports off in this process and in all processes that it starts."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
    for name in BLOCKED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None makes the import fail with ImportError
