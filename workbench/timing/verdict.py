"""Is one engine faster than another? From blocks to a ratio, its interval and a word.

The unit of evidence is the launch. Two processes of one engine differ for as long as they live, by where their memory came
to lie: on the machine of ``benchmarks/verdicts.py`` by 0.3 % for weights that fit the caches and by 17 % for 94 MB of
them. No number of rounds within one launch averages that out (Kalibera and Jones, Rigorous benchmarking in reasonable time,
ISMM 2013). So processes are started again, in random order, and the interval is over launches:

* of a round, the logarithm of the ratio of both blocks' typical times (:meth:`workbench.records.Block.typical_ns`: the median, without
  waiting for a core): taken within seconds, so that drift touches both sides;
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
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from workbench.records import Precision, Timing, Verdict
from workbench.records.blocks import without_spoiled
from workbench.statistics import estimates

if TYPE_CHECKING:
    from workbench.records import Block, EngineSpec

ALPHA = 1 - estimates.CONFIDENCE
ALLOWANCE = 0.25
RESOLUTION = 0.005
LAUNCH_ROUNDS = 3
"""Usable rounds that make a launch count."""


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


class Lap(NamedTuple):
    """One variant's part in one round: what the verdict needs of it."""

    launch: int
    seconds: float  # of a typical call; under load, of each answer of all callers together
    quiet: bool = True  # no thread of another variant, or of its own from before, was still at work
    spoiled: bool = False  # something outside disturbed it


def laps_of(blocks: Iterable[Block], *, alone: bool = True) -> dict[int, Lap]:
    """Blocks of timed calls as laps, by round; ``alone`` as in :meth:`workbench.records.Block.typical_ns`."""
    return {
        block.round: Lap(block.launch, block.typical_ns(alone=alone) * 1e-9, block.quiet, bool(block.spoiled))
        for block in blocks
    }


def evidence(ours: Timing, theirs: Timing) -> Evidence:
    """What two timings say about each other: :func:`between` their rounds."""
    mine, base = (laps_of(timing.blocks, alone=timing.alone) for timing in (ours, theirs))
    return between(mine, base, ours.looks)


def between(ours: Mapping[int, Lap], theirs: Mapping[int, Lap], looks: int = 1) -> Evidence:
    """The rounds that both took part in, without those that must not count.

    Every comparison of the workbench goes through here: latency rounds, closed loops under load, and the races of a search for
    mixed precision. Beside threads of another variant that had not come to rest a round is biased, so it never counts. Rounds
    that something outside spoiled are left out as in :func:`workbench.records.blocks.without_spoiled`. A launch counts with at
    least three rounds.

    Args:
        ours: by round number, the variant's parts.
        theirs: by round number, the baseline's.
        looks: how often a verdict is asked for, at most; the error probability is shared among them.
    """
    shared = sorted(ours.keys() & theirs.keys())
    quiet: dict[int, list[int]] = {}
    for number in shared:
        mine, base = ours[number], theirs[number]
        if mine.quiet and base.quiet and mine.seconds > 0 and base.seconds > 0:
            quiet.setdefault(mine.launch, []).append(number)
    launches: list[float] = []
    ratios: list[float] = []
    spoiled = kept = 0
    for numbers in quiet.values():
        bad = {number for number in numbers if ours[number].spoiled or theirs[number].spoiled}
        used = without_spoiled(numbers, bad)
        found = [theirs[number].seconds / ours[number].seconds for number in used]
        spoiled += len(bad)
        kept += len(bad & set(used))
        ratios += found
        if len(found) >= LAUNCH_ROUNDS:
            launches.append(math.log(statistics.median(found)))
    disturbed = len(shared) - sum(map(len, quiet.values()))
    return Evidence(tuple(launches), tuple(ratios), max(1, looks), len(shared), disturbed, spoiled, kept)


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


def first_baseline(specs: Iterable[EngineSpec]) -> EngineSpec | None:
    """What is compared with where nobody said: the plain TensorFlow function, else the first in FP32, else the first."""
    ranked = sorted(
        specs,
        key=lambda spec: (spec.backend_and_mode != "tensorflow", spec.precision != Precision.FP32, bool(spec.mode)),
    )
    return ranked[0] if ranked else None
