"""The clocks of one engine beside each other, which explains why a tool may be faster than a loop in Python.

* **compute**: the engine's inputs lie where it reads them and its outputs where it writes them, before the clock starts; what is
  timed is the engine and one call into its library. Tools such as ``benchmark_app`` and ``trtexec`` time about this.
* **library**: the library's own call with its own kind of inputs (a ``tf.Tensor``, an ``OrtValue``) made before, and results
  left as the library gives them. Examples in a library's documentation time this. It need not lie between the two others: a
  ``tf.function`` looks up its trace in every call, and ONNX Runtime's Python layer wraps every ``OrtValue`` again, which for
  small models takes longer than converting from and to NumPy by a shorter way.
* **host-to-host**: NumPy arrays in, NumPy arrays out. A user's own loop times this.
* **device**: on a GPU, its own time between two CUDA events.

An engine may lack one: a library without its own types has no call between the two others, and ``model.predict`` has only
the outermost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.compare.pairs import variant_name
from workbench.records import Region
from workbench.stats import estimates

if TYPE_CHECKING:
    from workbench.records import Clock, Results


class Read(NamedTuple):
    """One clock of one row, in milliseconds; the ratio is to the clock "compute" of the same rounds, ``None`` without one."""

    variant: str
    batch: int
    clock: str
    median_ms: float
    ratio: tuple[float, float, float] | None  # median over rounds, and its 95 % interval
    encloses: str


def reads(results: Results) -> tuple[Read, ...]:
    """Every clock that was measured, in the order of the results, from the most to the least that is enclosed."""
    found = []
    for row in results.measured:
        clocks = row.timing.clocks if row.timing else ()
        inner = next((clock for clock in clocks if clock.name == str(Region.COMPUTE)), None)
        for clock in clocks:
            ratio = None if inner is None or inner is clock else estimates.ratio_interval(_ratios(clock, inner))
            found.append(Read(variant_name(row.spec), row.batch, clock.name, _median_ms(clock), ratio, clock.encloses))
    return tuple(found)


def clock_rows(results: Results) -> list[dict[str, Any]]:
    """One row per clock of every variant and batch; empty unless they were requested (``Experiment.clocks``).

    ``times compute`` is this clock's time divided by that of "compute" in the same round: the median over rounds, with the 95 %
    interval of the sign test (missing under 6 rounds). See :mod:`workbench.compare.three_clocks` for what each clock is.
    """
    names = ("variant", "batch", "clock", "p50 ms", "times compute", "low", "high", "encloses")
    cells = ((*read[:4], *(read.ratio or (None, None, None)), read.encloses) for read in reads(results))
    return [dict(zip(names, row, strict=True)) for row in cells]


def _ratios(clock: Clock, inner: Clock) -> list[float]:
    import numpy as np

    pairs = zip(clock.rounds_ns, inner.rounds_ns, strict=True)
    return [float(np.median(outer) / np.median(within)) for outer, within in pairs if outer and within]


def _median_ms(clock: Clock) -> float:
    import numpy as np

    return float(np.median(np.concatenate([np.asarray(part) for part in clock.rounds_ns]))) * 1e-6
