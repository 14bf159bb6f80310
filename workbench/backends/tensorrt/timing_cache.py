"""TensorRT's timing cache: how fast each kernel was on this GPU, kept from build to build in a file per machine.

It is valid for one library version and one GPU only. Builds time kernels and so differ from each other; with the cache of
an earlier build and the option ``error-on-timing-cache-miss`` the same kernels are chosen again. A cache that was built with
the option ``editable-timing-cache`` can be read (:func:`table`) and one layer's kernel (its tactic) fixed (:func:`choose`).
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.backends.tensorrt.flavours import FULL, Flavour, checked, library, made, why
from workbench.errors import InputError, writing
from workbench.store import Store, key_of
from workbench.system.machine import this_machine

if TYPE_CHECKING:
    import pandas as pd


def folder(base: str | Path | None = None) -> Path:
    """Where caches lie: below ``base``, ``XDG_CACHE_HOME`` (a store's folder ``cache``, in the process that builds),
    ``LOCALAPPDATA`` or ``~/.cache``.
    """
    base = base or os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(base) / "inference-workbench" / "timing"


def path(flavour: Flavour, version: str, base: str | Path | None = None) -> Path | None:
    """The file of this machine for a version of the library; ``None`` if its GPU has no name.

    The name of the GPU stands for its compute capability too. ``version`` is the full one, of four numbers.
    """
    gpu = this_machine().gpu
    return folder(base) / f"{key_of(flavour=flavour.module, version=version, gpu=gpu)}.bin" if gpu else None


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
    if known is not None:
        with suppress(OSError):
            write(bytes(known), file)


def write(known: bytes, file: Path) -> None:
    """Write a file whole or not at all; raises OSError where that is not possible."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as target:
            target.write(known)
        Path(name).replace(file)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


class TimedKernel(NamedTuple):
    """What the cache knows of one layer with its shapes and formats."""

    key: str  # hexadecimal, the same in every cache that knows this layer
    tactic: int  # hash of the kernel that was chosen
    seconds: float  # that it took


def table(store: Store | str | Path | None = None, flavour: Flavour = FULL) -> pd.DataFrame:
    """The entries of this machine's cache in a store: ``key``, ``tactic`` and ``seconds``. Opens the library in this process,
    which needs the GPU. Two builds that differ in speed can be compared by it.

    Raises:
        InputError: there is no cache yet, or it was not built with ``editable-timing-cache``.
    """
    import pandas as pd

    return pd.DataFrame(_Opened(store, flavour).entries(), columns=list(TimedKernel._fields))


def choose(key: str, tactic: int, store: Store | str | Path | None = None, flavour: Flavour = FULL) -> None:
    """Fix the kernel of one layer for all later builds on this machine. A kernel that the layer cannot use fails the next
    build; one from the table of another build of the same layer can be used.

    Raises:
        InputError: there is no such cache, or it does not know the key; nothing is changed then.
    """
    opened = _Opened(store, flavour)
    opened.choose(key, tactic)
    known = bytes(checked(opened.cache.serialize(), "The timing cache could not be written", opened.log))
    with writing(opened.file):
        write(known, opened.file)


class _Opened:
    """The cache of this machine, opened for reading and changing: ``ITimingCache`` with its keys, from 10.8 on."""

    def __init__(self, store: Store | str | Path | None, flavour: Flavour) -> None:
        place = Store.of(store)
        self.trt, self.log = library(flavour)
        file = path(flavour, str(self.trt.__version__), place.root / "cache")
        if file is None or not file.is_file():
            raise InputError(
                f"There is no timing cache of {flavour.title} {self.trt.__version__} for this machine's GPU in {place.root}. Build "
                "an engine with the option editable-timing-cache first."
            )
        self.file = file
        # the cache is used for as long as what made it
        self._builder = made(lambda: self.trt.Builder(self.log), f"{flavour.title} could not start", self.log)
        self._config = checked(self._builder.create_builder_config(), "The builder gave no configuration", self.log)
        self._config.set_flag(self.trt.BuilderFlag.EDITABLE_TIMING_CACHE)
        self.cache: Any = checked(
            self._config.create_timing_cache(file.read_bytes()), "The timing cache could not be read", self.log
        )
        if not hasattr(self.cache, "queryKeys"):
            raise InputError(f"{flavour.title} {self.trt.__version__} has no editable timing cache. Use 10.8 or later.")

    def entries(self) -> list[TimedKernel]:
        found = self.cache.queryKeys()
        if not found:
            raise InputError(
                "The timing cache does not list its keys. Build an engine with the option editable-timing-cache first."
            )
        values = [(str(key), self.cache.query(key)) for key in found]
        return sorted(TimedKernel(key, int(value.tacticHash), value.timingMSec * 1e-3) for key, value in values)

    def choose(self, key: str, tactic: int) -> None:
        known = {str(one): one for one in self.cache.queryKeys()}
        if key not in known:
            raise InputError(f"The timing cache has no key '{key}' ({len(known)} others). Take one from its table.")
        seconds = self.cache.query(known[key]).timingMSec
        value = self.trt.TimingCacheValue(tactic, seconds)
        if not self.cache.update(known[key], value):
            raise InputError(f"The timing cache did not take the tactic {tactic} for '{key}': {why(self.log)}.")
