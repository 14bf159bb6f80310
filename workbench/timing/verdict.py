"""Is one engine faster than another? From blocks to a ratio, its interval and a word.

The unit of evidence is the launch. Two processes of one engine differ for as long as they live, by where their memory came
to lie: on the machine of ``benchmarks/verdicts.py`` by 0.3 % for weights that fit the caches and by 17 % for 94 MB of
them. No number of rounds within one launch averages that out (Kalibera and Jones, Rigorous benchmarking in reasonable time,
ISMM 2013). So processes are started again, in random order, and the interval is over launches:

* of a round, the logarithm of the ratio of both blocks' typical times (:func:`typical_ns`: the median, without waiting for
  a core): taken within seconds, so that drift touches both sides;
* of a launch, the median of its rounds: one number, so that rounds may depend on each other as they like;
* of all launches, a trimmed mean with its t interval (:func:`workbench.statistics.estimates.trimmed_center`).

A single launch cannot know the spread of launches. Its interval (that of the rounds, :func:`workbench.statistics.estimates.ratio_interval`)
is widened by a fixed allowance of 25 % on both sides: it still tells large differences, and no small ones. It decides nothing where
most of its rounds were spoiled: then four launches are needed.

Fresh launches redraw where memory lies, and not everything: two copies of one engine have files, page cache and a place in the
order of starting of their own, and in ``benchmarks/verdicts.py`` came out apart by 0.2 % to 0.5 %, launch after launch. A difference
that may be as small as half a percent is therefore no verdict, however sure it is.

Stopping when the answer is known means looking several times, which would raise the share of wrong verdicts. The looks are
fixed beforehand, after 4, 8, 16 ... launches, and the 5 % are shared among them in equal parts (alpha spending: Lan and DeMets
1983; with equal parts it is Bonferroni's inequality and needs no independence). All variants of a batch size are compared with one
baseline, and those comparisons share a look's part by Holm's rule. Each interval shown has the level its verdict was taken at.

There is one more look, after the first launch, so that a large difference costs no further start. It takes no part of the 5 % and
is not shared by Holm's rule: its interval does not rest on a level alone but on the allowance. For a wrong verdict the rounds of a
launch would have to lie 25 % beyond 1, and two copies of an engine were never seen further apart than 17 %.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from workbench.records import Precision, Region, Timing, Verdict
from workbench.statistics import estimates

if TYPE_CHECKING:
    from workbench.records import Block, EngineSpec

ALPHA = 1 - estimates.CONFIDENCE
ALLOWANCE = 0.25
RESOLUTION = 0.005
LAUNCH_ROUNDS = 3  # usable rounds that make a launch count
SPOILED_SHARE = 0.5


class Evidence(NamedTuple):
    """What two timings say about each other, as baseline / this one."""

    launches: tuple[float, ...]  # logarithm of the ratio, of every launch that counts
    ratios: tuple[float, ...]  # of every usable round
    looks: int  # how often a verdict was to be asked for
    shared: int  # rounds that both took part in
    disturbed: int  # of those, beside threads of another variant: left out
    spoiled: int  # of those, by something outside
    kept: int  # of the spoiled, in launches that had little else: used all the same


class Judged(NamedTuple):
    """A ratio above 1 is faster; ``None`` where there is too little to say one."""

    verdict: Verdict
    speedup: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""

    @property
    def half_width(self) -> float:
        """Of the interval, as a share of the ratio; infinite where there is none."""
        return math.inf if self.low is None or self.high is None else math.sqrt(self.high / self.low) - 1


def evidence(ours: Timing, theirs: Timing) -> Evidence:
    """The rounds that both took part in, without those that must not count.

    Beside threads of another variant that had not come to rest a block is biased, so it never counts. What comes from
    outside hits all variants alike: rounds that it spoiled are left out, unless they are more than half of a launch's. A
    launch counts with at least three rounds.
    """
    mine, base = ({block.round: block for block in timing.blocks} for timing in (ours, theirs))
    took, base_took = _typical(ours), _typical(theirs)
    shared = sorted(mine.keys() & base.keys())
    quiet: dict[int, list[int]] = {}
    for number in shared:
        if mine[number].quiet and base[number].quiet and took[number] > 0:
            quiet.setdefault(mine[number].launch, []).append(number)
    launches: list[float] = []
    ratios: list[float] = []
    spoiled = kept = 0
    for numbers in quiet.values():
        bad = {number for number in numbers if mine[number].spoiled or base[number].spoiled}
        used = numbers if len(bad) > SPOILED_SHARE * len(numbers) else [each for each in numbers if each not in bad]
        found = [base_took[number] / took[number] for number in used]
        spoiled += len(bad)
        kept += len(bad & set(used))
        ratios += found
        if len(found) >= LAUNCH_ROUNDS:
            launches.append(math.log(statistics.median(found)))
    disturbed = len(shared) - sum(map(len, quiet.values()))
    looks = max(1, ours.looks)
    return Evidence(tuple(launches), tuple(ratios), looks, len(shared), disturbed, spoiled, kept)


def judged(found: Sequence[Evidence]) -> list[Judged]:
    """All comparisons of one batch size with one baseline, together."""
    p_values = [_p_value(each) for each in found]
    looks = max((each.looks for each in found), default=1)
    levels = estimates.holm(p_values, ALPHA / looks)
    return [_judged(each, level) for each, level in zip(found, levels, strict=True)]


def _several(found: Evidence) -> bool:
    return len(found.launches) >= estimates.LAUNCHES


def _p_value(found: Evidence) -> float:
    if _several(found):
        return estimates.trimmed_center(found.launches).p_value
    interval = _one_launch(found)
    return 1.0 if interval is None or found.kept or interval[1] <= 1 <= interval[2] else 0.0


def _one_launch(found: Evidence) -> tuple[float, float, float] | None:
    interval = estimates.ratio_interval(found.ratios)
    if interval is None:
        return None
    middle, low, high = interval
    return middle, low / (1 + ALLOWANCE), high * (1 + ALLOWANCE)


def _judged(found: Evidence, alpha: float) -> Judged:
    if _several(found):
        center = estimates.trimmed_center(found.launches)
        half = center.half_width(alpha)
        interval = math.exp(center.mean), math.exp(center.mean - half), math.exp(center.mean + half)
        why = f"the interval of the speed-up over {len(found.launches)} launches includes 1"
    else:
        single = _one_launch(found)
        if single is None:
            return Judged(Verdict.CANNOT_TELL, why=_too_few(found))
        interval = single
        why = (
            "the interval of the speed-up includes 1: in a single launch one engine may differ from itself by up to "
            f"{ALLOWANCE:.0%}"
        )
        if found.kept:
            return Judged(
                Verdict.CANNOT_TELL, *interval, f"{_busy(found)}; so {estimates.LAUNCHES} launches are needed"
            )
    speedup, low, high = interval
    if low > 1 + RESOLUTION:
        return Judged(Verdict.FASTER, speedup, low, high)
    if high < 1 / (1 + RESOLUTION):
        return Judged(Verdict.SLOWER, speedup, low, high)
    if low > 1 or high < 1:
        why = f"the difference may be as small as {RESOLUTION:.1%}, by which two copies of one engine may differ"
    if found.kept:
        why += f"; {_busy(found)}"
    return Judged(Verdict.CANNOT_TELL, speedup, low, high, why)


def _too_few(found: Evidence) -> str:
    why = f"{len(found.ratios)} usable rounds, at least {estimates.samples_needed(50)} are needed"
    parts = [
        f"{found.disturbed} were disturbed" if found.disturbed else "",
        f"{found.spoiled - found.kept} were spoiled" if found.spoiled > found.kept else "",
    ]
    told = " and ".join(filter(None, parts)).replace(" were", f" of {found.shared} were", 1)
    return f"{why} ({told})" if told else why


def _busy(found: Evidence) -> str:
    return f"the machine was busy with other things in {found.spoiled} of {found.shared} rounds, too many to leave out"


def typical_ns(block: Block, *, alone: bool = True) -> float:
    """Nanoseconds of one call of a block: the median; or the mean without the time waited for a core, where that is less.

    On a machine with more work than cores a call of some milliseconds is interrupted nearly every time, and the median then
    says how long others worked. The kernel counts how long the calling thread was ready and had no core; without it the
    mean is what the call itself took. Undisturbed calls are skewed to the right, so that their median is less than their mean and
    stands. It is never taken to be less than the thread's own CPU time. ``alone=False``: calls overlap or are timed by a GPU's clock, and the median stands always.
    """
    import numpy as np

    median = float(np.median(block.samples_ns))
    around = block.around
    if not alone or around is None or not around.waited_s or around.worked_s is None:
        return median
    total = float(np.sum(block.samples_ns))
    # reading the counters may have waited too: what is left of the calls is then too little, and the CPU time is right
    working = max(total - around.waited_s * 1e9, min(total, around.worked_s * 1e9))
    return min(median, working / len(block.samples_ns))


def _typical(timing: Timing) -> dict[int, float]:
    """By round: :func:`typical_ns`."""
    alone = timing.region != Region.DEVICE and timing.streams == 1
    return {block.round: typical_ns(block, alone=alone) for block in timing.blocks}


def first_baseline(specs: Iterable[EngineSpec]) -> EngineSpec | None:
    """What is compared with where nobody said: the plain TensorFlow function, else the first in FP32, else the first."""
    ranked = sorted(
        specs,
        key=lambda spec: (spec.backend_and_mode != "tensorflow", spec.precision != Precision.FP32, bool(spec.mode)),
    )
    return ranked[0] if ranked else None
