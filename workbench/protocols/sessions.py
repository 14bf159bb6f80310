"""Open engines: what a session takes and gives, and what it may offer beyond that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, runtime_checkable

from workbench.records import DeviceFacts, GpuState, InEffect, Region, Wait
from workbench.records.layers import LayerTime

if TYPE_CHECKING:
    import numpy as np

    from workbench.system.energy import EnergyCounter


class Closing:
    """A context manager that calls :meth:`close` at its end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Free all resources; a subclass drops its references in the order that its library needs."""


class Session(Protocol):
    """An open engine, as a context manager. A process opens one.

    All methods are called in the thread that opened the session, one at a time. Several threads call an engine only through
    :class:`LoadSession`.

    Feeds have one array for every input of the model, by the model's names, C-contiguous, with the dtype that ``Source.inputs``
    declares. Batches are full: the batch axis has exactly one of the sizes in ``spec.batches`` (or ``spec.batch``). The caller
    pads samples that do not fill the last batch, and cuts the outputs. Other free axes may differ between calls.
    """

    def __enter__(self) -> Self:
        """Return the session; the engine is open already."""
        ...

    def __exit__(self, *exc: object) -> None:
        """Free the engine, its threads and its memory."""
        ...

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the engine once, from host memory to host memory; return when the outputs are complete.

        The outputs have the names and the order of ``Source.outputs``, and the dtypes that the model declares. A quantized output
        is returned as the real numbers that it represents. The feeds belong to the caller, which may change them as soon as this
        returns. The outputs belong to the caller too: a later call must not write into them.
        """
        ...

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """Put the inputs where the engine reads them; return a callable that runs the engine once and waits for it.

        The caller may free or change the feeds after this returns, so a session copies them, or keeps a reference where the library
        borrows their memory. The return value of the callable is ignored, and the next call may overwrite the outputs.
        Calls of :meth:`run` in between must not change what is staged.
        """
        ...


@runtime_checkable
class GpuSession(Session, Protocol):
    """An open engine on a GPU, which can be timed over more regions and describes the device."""

    def timed(
        self,
        feeds: Mapping[str, np.ndarray],
        region: Region,
        *,
        wait: Wait = Wait.SPIN,
        copies: bool = False,
        together: bool = True,
    ) -> Callable[[], int | None]:
        """Return a callable that runs the engine once over this region.

        The feeds are as for :meth:`Session.run`. The session keeps them, and the caller must not change them until :meth:`timed` is
        called again: over host-to-host every call copies them. The calls are made in the same thread.

        Args:
            feeds: one array for each input.
            region: what a call includes.
            wait: how a call waits for the GPU.
            copies: over ``DEVICE``, count the copies to and from the device as well.
            together: over ``DEVICE``, a call may be the mean over several short runs.

        Returns:
            A callable that returns the nanoseconds that the GPU counted for the region ``DEVICE``, and ``None`` for the other regions,
            which the caller times. With several streams it waits for as many results as there are streams, and returns the mean
            nanoseconds between them.
        """
        ...

    def drain(self) -> None:
        """Wait until no call is in progress."""
        ...

    def state(self) -> GpuState | None:
        """Clocks, power and temperature of the GPU now; ``None`` if its driver does not report them."""
        ...

    def facts(self) -> DeviceFacts:
        """Facts of the device for the inputs that :meth:`timed` was last called with; runs the engine a few more times."""
        ...


@dataclass(frozen=True)
class Caller:
    """A way to call an open engine from one thread at a time; the threads of several callers may call the engine at once.

    ``run`` and ``stage`` are as those of a :class:`Session`. ``stage``, and the first run with inputs of another shape, are called
    while no other caller is active.
    """

    run: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
    stage: Callable[[Mapping[str, np.ndarray]], Callable[[], object]]
    enter: Callable[[], object] = lambda: None  # in the caller's own thread, before its first call
    leave: Callable[[], object] = lambda: None  # in that thread, after its last call


@dataclass(frozen=True)
class Callers:
    """Several callers of one engine, and a short description of how they share it."""

    each: tuple[Caller, ...]
    note: str = ""


@runtime_checkable
class LoadSession(Session, Protocol):
    """An open engine that serves several callers at once. A session without this is called by one thread only."""

    def callers(self, count: int) -> Callers:
        """Return ``count`` callers, at most ``streams`` of the spec that the engine was opened with. Earlier callers become unused.

        Raises:
            RunError: the engine was opened for fewer callers.
        """
        ...


@runtime_checkable
class ReportsSettings(Protocol):
    """A session whose library reports the settings under which it runs."""

    def in_effect(self) -> tuple[InEffect, ...]:
        """Settings read back from the library, or determined by a test; called after the engine has run. Names that have the same
        meaning in every library are the same: "threads", "denormals", "memory arena", "thread pinning", "oneDNN".
        """
        ...


@runtime_checkable
class HasLibraryCall(Protocol):
    """A session whose library has a call with its own types, between the bare engine and NumPy."""

    def library_call(self, feeds: Mapping[str, np.ndarray]) -> tuple[Callable[[], object], str]:
        """Return a callable with inputs of the library's own type, whose results are not converted, and a description of it.
        Ownership is as for :meth:`Session.stage`.
        """
        ...


@runtime_checkable
class MetersEnergy(Protocol):
    """A session on a device that counts its energy."""

    def energy_counters(self) -> list[EnergyCounter]:
        """The counters; empty if the device has none."""
        ...


class LayerTimings(NamedTuple):
    """The layers of an engine as its library reports them."""

    layers: tuple[LayerTime, ...]  # in the order in which they ran, each with a time for every call
    # by layer: names of the nodes or tensors of the source that the library gives for it
    words: Mapping[str, tuple[str, ...]]
    basis: str  # a description of the source of the times


class ProfiledSession(Protocol):
    """An open engine with its library's profiling on, which makes it slower than usual."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """As :meth:`Session.stage`."""
        ...

    def begin(self) -> None:
        """Discard the calls made so far."""
        ...

    def collect(self) -> None:
        """Called after every call, outside the timed region."""
        ...

    def end(self) -> LayerTimings:
        """The layers in the calls since :meth:`begin`; the session cannot be used afterwards."""
        ...
