"""Draw thousands of outputs and labels for every metric; each must equal plain loops over the same numbers, or be refused.

``python scripts/differential_metrics.py --draws 2000`` takes some minutes on two cores. Prints one line per metric and every number
that differs; the exit status is 1 where there is one.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import drawn_metrics
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--draws", type=int, default=2000, help="per metric")
    parser.add_argument("--metric", default="all", choices=["all", *drawn_metrics.NAMES])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    broken = 0
    print(f"{'metric':12}{'draws':>7}{'equal':>7}{'refused':>9}{'wrong':>7}{'seconds':>9}")
    for name in drawn_metrics.NAMES:
        if options.metric in ("all", name):
            broken += _checked(name, options.draws, options.seed)
    return 1 if broken else 0


def _checked(name: str, draws: int, start: int) -> int:
    """Draw for one metric and print its line; how many were wrong."""
    counts = {"equal": 0, "refused": 0}
    wrong: list[str] = []
    began = time.monotonic()

    @seed(start)
    @settings(
        max_examples=draws,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def check(data: st.DataObject) -> None:
        case = data.draw(drawn_metrics.cases(name))
        problem = drawn_metrics.problem(case)
        if problem:
            wrong.append(problem)
        else:
            counts["refused" if isinstance(drawn_metrics.outcome(case), Exception) else "equal"] += 1

    check()
    print(
        f"{name:12}{counts['equal'] + counts['refused'] + len(wrong):7}{counts['equal']:7}{counts['refused']:9}{len(wrong):7}"
        f"{time.monotonic() - began:9.0f}",
        flush=True,
    )
    for text in list(dict.fromkeys(wrong))[:10]:
        print(f"  {text}", flush=True)
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())
