"""Decide whether one engine is faster than another: from blocks to a ratio, its interval and a verdict.

The unit of evidence is the launch. Two processes of one engine differ systematically by their memory layout: on the machine
of ``benchmarks/verdicts.py`` by 0.3 % for weights that fit the caches, and by 17 % for 94 MB of weights. No number of rounds
within one launch averages that out (Kalibera and Jones, Rigorous benchmarking in reasonable time, ISMM 2013). Processes are
therefore restarted, in random order, and the interval is over launches:

* of a round, the logarithm of the ratio of both blocks' typical times (:meth:`workbench.records.Block.typical_ns`: the median, without
  waiting for a core): the blocks are taken within seconds, so that drift affects both sides;
* of a launch, the median of its rounds: one number, so that rounds within a launch need not be independent;
* of all launches, a trimmed mean with its t interval (:func:`workbench.stats.estimates.trimmed_center`).

A single launch contains no information about the spread of launches. Its interval (that of the rounds,
:func:`workbench.stats.estimates.ratio_interval`) is therefore widened by a fixed allowance of 25 % on both sides: it can show large
differences only. It gives no verdict if most of its rounds were spoiled: then four launches are needed.

Fresh launches vary the memory layout, but not everything: two copies of one engine have different files, page cache and places in
the starting order, and in ``benchmarks/verdicts.py`` differed by 0.2 % to 0.5 % in every launch. A difference that may be as small
as half a percent is therefore not a verdict, at any confidence.

Stopping as soon as the answer is known requires several looks at the data, which would raise the share of wrong verdicts. The looks
are fixed beforehand, after 4, 8, 16 ... launches, and share the 5 % in equal parts (alpha spending: Lan and DeMets 1983; with equal
parts it is Bonferroni's inequality and needs no independence). All variants of a batch size are compared with one baseline, and
those comparisons share a look's part by Holm's rule. Each interval that is shown has the level of its verdict.

Where a variant was built several times, the unit of evidence is the build: two builds of one model by a library that times its kernels
may differ by tens of percent, which no number of launches of one build shows. Of each build the ratio to one build of the baseline
is taken (:func:`center`), the builds of both sides are paired by their number (:func:`over_builds`), and the interval is over those
pairs, by the same trimmed mean. It takes at least three builds.

There is one more look, after the first launch, so that a large difference needs no further launch. It takes no part of the 5 % and
Holm's rule does not apply to it: its interval rests on the allowance, not on a level alone. For a wrong verdict the rounds of a
launch would have to differ by 25 % from 1, and two copies of an engine never differed by more than 17 %.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from workbench.records import Precision, Timing, Verdict
from workbench.records.blocks import without_spoiled
from workbench.stats import estimates

if TYPE_CHECKING:
    from workbench.records import Block, EngineSpec

ALPHA = 1 - estimates.CONFIDENCE
ALLOWANCE = 0.25
RESOLUTION = 0.005
SESSION = 0.10
"""How much a machine may differ from one hour to the next: an allowance where two timings were not taken in turn."""
LAUNCH_ROUNDS = 3
"""The number of usable rounds that a launch needs to count."""
BUILDS = 3
"""Fewest builds from which the spread between builds is estimated; the interval is then as wide as nine standard errors."""


class Evidence(NamedTuple):
    """The comparison data of two timings, as ratios baseline / variant."""

    launches: tuple[float, ...]  # logarithm of the ratio, of every launch that counts
    ratios: tuple[float, ...]  # of every usable round
    looks: int  # planned number of looks
    shared: int  # rounds with blocks of both
    disturbed: int  # of those, while other threads were active: left out
    spoiled: int  # of those, disturbed from outside
    kept: int  # spoiled rounds that are used, in launches with few others
    builds: bool = False  # ``launches`` holds one logarithm for each build

    @property
    def needed(self) -> int:
        """The fewest values in ``launches`` from which their spread is estimated."""
        return BUILDS if self.builds else estimates.LAUNCHES


class Judged(NamedTuple):
    """A verdict with its speed-up; above 1 is faster. ``None``: too few rounds."""

    verdict: Verdict
    speedup: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""

    @property
    def half_width(self) -> float:
        """Half the width of the interval, as a share of the ratio; infinite without an interval."""
        return math.inf if self.low is None or self.high is None else math.sqrt(self.high / self.low) - 1


class Lap(NamedTuple):
    """The block of one variant in one round, reduced to what the verdict needs."""

    launch: int
    seconds: float  # of a typical call; under load, of one result of all callers together
    quiet: bool = True  # no other threads were active, and there was no pause
    spoiled: bool = False  # disturbed from outside


def laps_of(blocks: Iterable[Block], *, alone: bool = True) -> dict[int, Lap]:
    """Blocks of timed calls as laps, by round; ``alone`` as in :meth:`workbench.records.Block.typical_ns`."""
    return {
        block.round: Lap(
            block.launch,
            block.typical_ns(alone=alone) * 1e-9,
            quiet=block.quiet and not block.interrupted,
            spoiled=bool(block.spoiled),
        )
        for block in blocks
    }


def evidence(ours: Timing, theirs: Timing) -> Evidence:
    """The evidence of two timings: :func:`between` their rounds."""
    mine, base = (laps_of(timing.blocks, alone=timing.alone) for timing in (ours, theirs))
    return between(mine, base, ours.looks)


def between(ours: Mapping[int, Lap], theirs: Mapping[int, Lap], looks: int = 1) -> Evidence:
    """The evidence of the rounds with blocks of both variants, without those that must not count.

    Every comparison uses this function: latency rounds, closed loops under load, and the races of a search for mixed precision. A
    round during which other threads were active or the process was stopped never counts. Rounds that were disturbed from outside are left out
    as in :func:`workbench.records.blocks.without_spoiled`. A launch needs at least three rounds to count.

    Args:
        ours: the variant's laps by round number.
        theirs: the baseline's laps by round number.
        looks: the planned number of looks, which share the error probability.
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


def between_sessions(ours: Timing, theirs: Timing, factor: float = 1.0) -> Judged:
    """The verdict on two timings that were not taken in turn, with our times divided by ``factor``.

    The ends of the interval are the quotients of the ends of both typical times, widened on both sides by :data:`SESSION`, or by
    :data:`ALLOWANCE` where one of them has too few launches to show their spread. It shows large differences only.
    """
    mine, base = ours.typical_median_s, theirs.typical_median_s
    if mine is None or base is None:
        return Judged(Verdict.CANNOT_TELL, why=f"too few rounds: at least {estimates.samples_needed(50)} are needed")
    several = min(len(ours.launches), len(theirs.launches)) >= estimates.LAUNCHES
    wider = 1 + (SESSION if several else ALLOWANCE)
    speedup, low, high = base[0] / mine[0], base[1] / mine[2] / wider, base[2] / mine[1] * wider
    why = f"they were not measured in turn, and a machine may differ by {wider - 1:.0%} from itself".replace("%", " %")
    return _by_ends(factor * speedup, factor * low, factor * high, why)


def _by_ends(speedup: float, low: float, high: float, why: str) -> Judged:
    """The verdict by the ends of the interval; ``why`` says why neither of the two is known to be faster, where that is so."""
    if low > 1 + RESOLUTION:
        return Judged(Verdict.FASTER, speedup, low, high)
    if high < 1 / (1 + RESOLUTION):
        return Judged(Verdict.SLOWER, speedup, low, high)
    return Judged(Verdict.CANNOT_TELL, speedup, low, high, why)


def center(evidence: Evidence) -> float | None:
    """The logarithm of the ratio of two builds, over all launches; ``None`` without a usable round."""
    if evidence.launches:
        return statistics.median(evidence.launches)
    return math.log(statistics.median(evidence.ratios)) if evidence.ratios else None


def over_builds(ours: Sequence[float], theirs: Sequence[float]) -> Evidence:
    """The evidence of several builds of a variant against several of the baseline, each as a :func:`center` against one and the same build.

    The first of ours is paired with the first of theirs, and so on: builds are independent, so that any pairing is valid.
    """
    logs = tuple(mine - base for mine, base in zip(ours, theirs, strict=False))
    return Evidence(logs, (), 1, 0, 0, 0, 0, builds=True)


def judged(pairs: Sequence[Evidence]) -> list[Judged]:
    """Judge all comparisons of one batch size with one baseline together; one verdict for each."""
    p_values = [_p_value(each) for each in pairs]
    looks = max((each.looks for each in pairs), default=1)
    levels = estimates.holm(p_values, ALPHA / looks)
    return [_judged(each, level) for each, level in zip(pairs, levels, strict=True)]


def _several(evidence: Evidence) -> bool:
    return len(evidence.launches) >= evidence.needed


def _p_value(evidence: Evidence) -> float:
    if _several(evidence):
        return estimates.trimmed_center(evidence.launches).p_value
    interval = _one_launch(evidence)
    return 1.0 if interval is None or evidence.kept or interval[1] <= 1 <= interval[2] else 0.0


def _one_launch(evidence: Evidence) -> tuple[float, float, float] | None:
    interval = estimates.ratio_interval(evidence.ratios)
    if interval is None:
        return None
    middle, low, high = interval
    return middle, low / (1 + ALLOWANCE), high * (1 + ALLOWANCE)


def _judged(evidence: Evidence, alpha: float) -> Judged:
    if _several(evidence):
        center = estimates.trimmed_center(evidence.launches)
        half = center.half_width(alpha)
        interval = math.exp(center.mean), math.exp(center.mean - half), math.exp(center.mean + half)
        unit = "builds" if evidence.builds else "launches"
        why = f"the interval of the speed-up over {len(evidence.launches)} {unit} includes 1"
    else:
        single = _one_launch(evidence)
        if single is None:
            return Judged(Verdict.CANNOT_TELL, why=_too_few(evidence))
        interval = single
        why = (
            "the interval of the speed-up includes 1: in a single launch one engine may differ from itself by up to "
            f"{ALLOWANCE:.0%}"
        )
        if evidence.kept:
            return Judged(Verdict.CANNOT_TELL, *interval, f"{_busy(evidence)}; {_one_is_too_few(evidence, interval)}")
    speedup, low, high = interval
    if low > 1 or high < 1:
        why = f"the difference may be as small as {RESOLUTION:.1%}, by which two copies of one engine may differ"
    if evidence.kept:
        why += f"; {_busy(evidence)}"
    return _by_ends(speedup, low, high, why)


def _one_is_too_few(evidence: Evidence, interval: tuple[float, float, float]) -> str:
    """Why there is no verdict on launches that were mostly spoiled, whatever their interval, and what to do."""
    _, low, high = interval
    although = "the interval excludes 1, but " if low > 1 or high < 1 else ""
    count = max(1, len(evidence.launches))
    return (
        f"{although}{count} launch{'es' * (count > 1)} of the process {'are' if count > 1 else 'is'} then too few for a verdict, which needs at "
        f"least {estimates.LAUNCHES}: measure longer (a larger max_measure_s; in the panel, the preset Thorough) or on a quieter machine"
    )


def _too_few(evidence: Evidence) -> str:
    if evidence.builds:
        return f"{len(evidence.launches)} builds of both, at least {BUILDS} are needed"
    why = f"{len(evidence.ratios)} usable rounds, at least {estimates.samples_needed(50)} are needed"
    parts = [
        f"{evidence.disturbed} were disturbed" if evidence.disturbed else "",
        f"{evidence.spoiled - evidence.kept} were spoiled" if evidence.spoiled > evidence.kept else "",
    ]
    parts_text = " and ".join(filter(None, parts)).replace(" were", f" of {evidence.shared} were", 1)
    return f"{why} ({parts_text})" if parts_text else why


def _busy(evidence: Evidence) -> str:
    return (
        f"other programs kept the machine busy in {evidence.spoiled} of {evidence.shared} rounds, too many to leave out"
    )


def first_baseline(specs: Iterable[EngineSpec], rank: Callable[[EngineSpec], int]) -> EngineSpec | None:
    """The default baseline: the lowest ``rank``, of those the first in FP32, else the first."""
    ranked = sorted(specs, key=lambda spec: (rank(spec), spec.precision != Precision.FP32, bool(spec.mode)))
    return ranked[0] if ranked else None
