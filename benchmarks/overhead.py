"""Is the median that the workbench reports the same as that of a bare loop?

Method. Chains of MatMul and Relu of growing size, and the demo, become ONNX Runtime FP32 engines through ``workbench.run``.
Each engine file is opened by three processes: the workbench's worker, with the commands of ``workbench.runs.measure``, and two of
``bare_loop.py``. In every round each times one block, in random order, one at a time; a ratio is taken within a round. Two
processes that do the very same differ by several percent for as long as they live, by where their memory came to lie, so all
three are started again after a few rounds: a start's ratio is the median of its rounds, and the 95 % interval
(``workbench.stats.estimates.ratio_interval``) is over starts. The second bare loop against the first is the control. One thread, and the
workbench's own block length and pauses.

The workbench's region is host to host: NumPy arrays in, a dict of NumPy arrays out. So its calls also hold one Python call
and the making of that dict, which the bare loop does not.

Target: within 3 % where a bare call takes over 0.2 ms, within 10 microseconds where it takes less (medians).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from models import SIZES, chain, store_with_demo
from record import Section, parser, tell, verdict
from turns import BATCH, Found, built, measured

from workbench.stats.estimates import ratio_interval
from workbench.store import Store

SMALL_NS = 200_000
SHARE, LIMIT_US = 0.03, 10.0


def row(name: str, starts: list[Found]) -> tuple[str, ...]:
    bare = float(np.median(np.concatenate([block for start in starts for block in start.bare])))
    own = float(np.median(np.concatenate([block for start in starts for block in start.workbench])))
    ratio = _over_starts([_ratio(start.workbench, start.bare) for start in starts])
    control = _over_starts([_ratio(start.again, start.bare) for start in starts])
    more_us = (own - bare) * 1e-3
    if bare > SMALL_NS:
        target, answer = f"within {SHARE:.0%}", verdict(ratio[0], 1 - SHARE, 1 + SHARE)
    else:
        target, answer = f"within {LIMIT_US:.0f} µs", verdict(more_us, -LIMIT_US, LIMIT_US)
    medians = f"{bare * 1e-3:.1f} µs", f"{own * 1e-3:.1f} µs", f"{more_us:+.1f} µs"
    return (name, *medians, _told(ratio), _told(control), target, answer)


def _ratio(above: list[list[int]], below: list[list[int]]) -> float:
    """Of one start: the median of the rounds' ratios."""
    return float(np.median([np.median(a) / np.median(b) for a, b in zip(above, below, strict=True)]))


def _over_starts(ratios: list[float]) -> tuple[float, float, float]:
    interval = ratio_interval(ratios)
    if interval is None:
        raise SystemExit("Too few starts for an interval; give at least 6.")
    return interval


def _told(ratio: tuple[float, float, float]) -> str:
    return f"{ratio[0]:.3f} ({ratio[1]:.3f} to {ratio[2]:.3f})"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--starts", type=int, default=15, help="times that all three processes are started again")
    options.add_argument("--rounds", type=int, default=5, help="rounds after every start")
    options.add_argument(
        "--without-demo", action="store_true", help="leave out the demo, whose export loads TensorFlow"
    )
    asked = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        store = Store(scratch / "store") if asked.without_demo else store_with_demo(scratch / "store")
        models = {f"{n} × MatMul {width}": str(chain(scratch / f"{width}.onnx", n, width)) for n, width in SIZES}
        for name, model in (models if asked.without_demo else {**models, "demo": "demo"}).items():
            engine, samples = built(model, store)
            starts = [measured(engine, samples, store, scratch, asked.rounds) for _ in range(asked.starts)]
            rows.append(row(name, starts))
            print(*rows[-1], sep="  ", flush=True)
    section = Section(
        title="What the workbench adds to a call",
        script="overhead.py",
        method=f"The same ONNX Runtime engine file, batch {BATCH}, one thread: a block by the workbench's worker against a "
        f"block by a bare loop in a process of its own, {asked.rounds} interleaved rounds after each of {asked.starts} fresh "
        "starts. Medians over all calls; ratios within rounds, with their 95 % interval over starts. Control: a second bare "
        "loop against the first.",
        columns=("model", "bare loop", "workbench", "more", "ratio", "control", "target", ""),
        rows=rows,
        libraries=("onnxruntime", "onnx", "numpy"),
    )
    tell(section, record=asked.record)


if __name__ == "__main__":
    main()
