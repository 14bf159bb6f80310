"""Files of the kernel below ``/proc`` and ``/sys``."""

from __future__ import annotations

from pathlib import Path


def text_of(path: Path) -> str:
    """The text of a file without white space at its ends; "" where it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
