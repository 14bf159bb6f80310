"""TensorRT's timing cache: how fast each kernel was on this GPU, kept from build to build in a file per machine.

It is valid for one library version and one GPU only. Builds time kernels and so differ from each other; with the cache of
an earlier build and the option ``error-on-timing-cache-miss`` the same kernels are chosen again.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from workbench.machine import this_machine
from workbench.store import key_of
from workbench.trt import Flavour


def folder() -> Path:
    """Where caches lie: below ``XDG_CACHE_HOME``, ``LOCALAPPDATA`` or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(base) / "inference-workbench" / "timing"


def path(flavour: Flavour, version: str) -> Path | None:
    """The file of this machine for a version of the library; None where its GPU has no name to tell it by.

    The name of the GPU stands for its compute capability too. ``version`` is the full one, of four numbers.
    """
    gpu = this_machine().gpu
    return folder() / f"{key_of(flavour=flavour.module, version=version, gpu=gpu)}.bin" if gpu else None


def give(config: Any, file: Path) -> bool:
    """Give the builder what earlier builds timed; False where the file was there and did not fit.

    The configuration has a cache in either case, an empty one where there was none that fits.
    """
    try:
        known = file.read_bytes()
    except OSError:
        known = b""
    cache = config.create_timing_cache(known)
    if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
        return True
    config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return False


def keep(config: Any, file: Path) -> None:
    """Write what the builder knows now, whole or not at all. A disk that refuses it costs the next build's time only."""
    cache = config.get_timing_cache()
    known = cache.serialize() if cache is not None else None
    if known is None:
        return
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as target:
                target.write(bytes(known))
            Path(name).replace(file)
        except OSError:
            Path(name).unlink(missing_ok=True)
