"""Artefacts that are being written, and those that a step has made or found."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import StoreError
from workbench.store.manifest import MANIFEST


class Made(NamedTuple):
    """An artefact's folder, its facts, and whether it existed before."""

    folder: Path
    facts: Any
    reused: bool


def discard(folder: Path) -> None:
    """Remove an artefact that is not needed any more; it is renamed first, so that a partly removed one is never found.

    Raises:
        OSError: it cannot be renamed.
    """
    old = folder.with_name(f".{folder.name}.old-{uuid.uuid4().hex[:8]}")
    folder.rename(old)
    shutil.rmtree(old, ignore_errors=True)


class Draft:
    """An artefact being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: Any = None
        self.step = ""  # the step that makes it, for the history of durations; "": no single step
        self.began = time.monotonic()  # when its making began
        self.published = False

    def publish(self, final: Path, manifest: str, instead: Callable[[], bool]) -> None:
        """Write the manifest and move the folder to ``final``. An artefact that exists there by then is replaced, unless ``instead``
        returns False: then this one is discarded.
        """
        with (self.folder / MANIFEST).open("w", encoding="utf-8") as file:
            file.write(manifest)
            file.flush()
            os.fsync(file.fileno())
        try:
            self.folder.rename(final)
        except OSError as cause:
            if not final.exists():
                raise
            if not instead():
                return  # another process published the same content first
            # the caller measures again, or the existing artefact may not be used: publish the newer one
            old = final.with_name(f".{final.name}.old-{uuid.uuid4().hex[:8]}")
            final.rename(old)
            self.folder.rename(final)
            shutil.rmtree(old, ignore_errors=True)
            if not final.exists():
                raise StoreError(f"Could not write {final}.") from cause
        self.published = True
