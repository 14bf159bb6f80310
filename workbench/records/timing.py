"""Records of measuring: the plan, every raw duration, and its conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from workbench.records.blocks import Block, without_spoiled
from workbench.records.cost import Clock, InEffect
from workbench.records.terms import Ended, Region, Until, Wait
from workbench.stats import estimates

if TYPE_CHECKING:
    import numpy as np


RELAUNCH_ROUNDS = 4


@dataclass(frozen=True)
class TimingPlan:
    """The duration and the number of interleaved rounds of measuring every variant."""

    region: Region = Region.HOST_TO_HOST
    rounds: int = 12
    block_s: float = 0.08
    warm_up_s: float = 0.2
    seed: int = 0
    protocol: str = ""  # the protocol of these settings, such as "trtexec-10"; "": the workbench's own
    copies: bool = False  # region DEVICE: a call copies its inputs in and its outputs out, and their times are added
    wait: Wait = Wait.SPIN
    min_calls: int = 1  # timed calls in a block, at least
    cores: tuple[int, ...] = ()  # cores that every worker is limited to; empty: any that it may use
    clocks: bool = False  # measure the clocks of each engine too
    within: float = 0.02  # measuring ends where every interval has at most this half width, as a share of the ratio
    max_measure_s: float = 4.0  # timed seconds of one variant at one batch size, at most
    until: Until = Until.KNOWN

    @property
    def relaunch_rounds(self) -> int:
        """Rounds in every launch after the first: half as many, because further launches give more information than rounds."""
        return max(RELAUNCH_ROUNDS, self.rounds // 2)

    @property
    def launches(self) -> int:
        """Largest number of launches: as many as the time budget allows, or one.

        There is one launch under a protocol, whose time is fixed, and where the budget is too small for four launches, the fewest
        from which the spread is estimated.
        """
        rest_s = self.max_measure_s - self.rounds * self.block_s
        found = 1 + int(rest_s / (self.relaunch_rounds * self.block_s) + 1e-9) if rest_s > 0 else 1
        return 1 if self.protocol or found < estimates.LAUNCHES else found

    def launch_s(self, number: int) -> float:
        """Seconds that one variant takes in a launch, numbered from 0, by the plan: warming up and timed blocks.

        >>> TimingPlan(rounds=10, block_s=0.1, warm_up_s=0.5).launch_s(0)
        1.5
        """
        return self.warm_up_s + (self.relaunch_rounds if number else self.rounds) * self.block_s

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of launches after which a verdict is computed: 4, 8, 16 and so on, and the last; empty for a single launch."""
        if self.launches == 1:
            return ()
        found, at = [], estimates.LAUNCHES
        while at < self.launches:
            found.append(at)
            at *= 2
        return (*found, self.launches)


@dataclass(frozen=True)
class DeviceFacts:
    """Facts from a GPU session about one engine at one batch size, collected outside the timed calls.

    The three parts of a call come from CUDA events around a few calls that copy in, launch and copy out, made one after another
    after the timed calls, with one entry per call.
    """

    device: str  # "cuda:0, NVIDIA H100 80GB HBM3"
    copy_in_ns: tuple[int, ...]  # pinned memory to device
    compute_ns: tuple[int, ...]
    copy_out_ns: tuple[int, ...]  # device to pinned memory
    memory_bytes: int  # peak device memory of this process
    memory_basis: str  # source of that value
    graph: bool = False  # the launches of a captured run were replayed
    graph_note: str = ""  # why not, where a graph was requested
    runs: int = 1  # a sample is the mean over this many runs: captured ones too short for DEVICE, or as many as there are streams

    @property
    def split_s(self) -> tuple[float, float, float]:
        """Median seconds of copying in, computing and copying out."""
        import numpy as np

        parts = (self.copy_in_ns, self.compute_ns, self.copy_out_ns)
        copy_in, compute, copy_out = (float(np.median(part)) * 1e-9 if part else 0.0 for part in parts)
        return copy_in, compute, copy_out


@dataclass(frozen=True)
class Launch:
    """One start of an engine's process, with its cold times."""

    import_s: float  # importing the library; the processes of a launch do this in parallel
    load_s: float  # opening the engine, library already imported
    warm_up_ns: Sequence[int]  # the first is the first call of this engine at this batch size in this process

    @property
    def first_s(self) -> float | None:
        """Seconds of the first call."""
        return self.warm_up_ns[0] * 1e-9 if self.warm_up_ns else None


@dataclass(frozen=True)
class Timing:
    """Every raw duration of one engine at one batch size, and its conditions."""

    engine_key: str
    batch: int
    region: Region
    group: str  # variants of one group were interleaved with each other; only those may be compared
    blocks: tuple[Block, ...]
    warm_up_ns: Sequence[int]
    load_s: float  # opening the engine, library already imported
    peak_rss_bytes: int  # high-water mark of the worker's resident memory, library included
    base_rss_bytes: int  # the same process after importing the library, before opening the engine
    measured_at: str  # UTC, ISO 8601
    device: DeviceFacts | None = None  # of engines that ran on a GPU
    streams: int = 1  # calls in flight at once
    protocol: str = ""  # of the plan; it determines how percentiles are computed
    launches: tuple[Launch, ...] = ()  # every start of its process
    looks: int = 0  # planned number of verdicts, at most
    ended: Ended = Ended.FIXED
    in_effect: tuple[InEffect, ...] = ()  # settings read in the worker
    clocks: tuple[Clock, ...] = ()  # of the same engine and batch, where they were requested

    @property
    def samples_s(self) -> np.ndarray:
        """All timed calls in seconds, in the order they were made, shape (n,), float64."""
        import numpy as np

        return np.concatenate([np.asarray(b.samples_ns, dtype=np.float64) for b in self.blocks]) * 1e-9

    @property
    def block_medians_s(self) -> dict[int, float]:
        """Median seconds of one call, by round."""
        import numpy as np

        return {b.round: float(np.median(b.samples_ns)) * 1e-9 for b in self.blocks}

    @property
    def alone(self) -> bool:
        """Whether calls follow each other and are timed by the host's clock: see :meth:`Block.typical_ns`."""
        return self.region != Region.DEVICE and self.streams == 1

    @cached_property
    def counted(self) -> tuple[Block, ...]:
        """The blocks from which latency figures, samples/s and the speed-up are computed.

        Blocks during which threads of another variant were running or that hold a pause are left out, and spoiled blocks as in
        :func:`without_spoiled`, launch by launch. Under a protocol, which has its own rules, and where no other blocks remain, all blocks count.
        """
        quiet: dict[int, list[int]] = {}
        for place, block in enumerate(self.blocks):
            if block.quiet and not block.interrupted:
                quiet.setdefault(block.launch, []).append(place)
        if self.protocol or not quiet:
            return self.blocks
        bad = {place for place, block in enumerate(self.blocks) if block.spoiled}
        kept = sorted(place for places in quiet.values() for place in without_spoiled(places, bad))
        return tuple(self.blocks[place] for place in kept)

    @property
    def not_single(self) -> str:
        """Why a sample is not the time of a single call, as a short phrase; "" where it is."""
        if self.streams > 1:
            return f"{self.streams} calls were in flight at once"
        runs = max([self.device.runs if self.device else 1, *(block.runs for block in self.blocks)])
        if runs > 1:
            return f"each time is the mean over {runs} runs"
        return ""

    def no_percentile(self, percent: float) -> str:
        """Why a latency percentile is not known, as a short phrase; "" where it is. This is the only place that determines it.

        For samples that are not single calls (:attr:`not_single`) only the median is known: their spread differs from that of calls.
        """
        if percent != 50 and self.not_single:
            return self.not_single
        if self.protocol.startswith("trtexec"):
            return ""  # the protocol's rule does not require a sample size
        count = sum(len(block.samples_ns) for block in self.counted)
        return "too few calls" if count < estimates.samples_needed(percent) else ""

    def percentile_s(self, percent: float) -> float | None:
        """Latency percentile in seconds, or ``None`` where :meth:`no_percentile` gives a reason.

        Taken over the blocks that count (:attr:`counted`). Up to the median, calls that waited for a core are shortened by the
        share of waiting in their block (:meth:`Block.typical_ns`), as in the speed-up; above it calls are used as measured, because
        a caller waits for the slow ones. Under a protocol of trtexec its own rule is used, on all calls.
        """
        import numpy as np

        if self.no_percentile(percent):
            return None
        if self.protocol.startswith("trtexec"):
            return estimates.trtexec_percentile(self.samples_s, percent)
        return float(np.percentile(self._calls_s(as_they_were=percent > 50), percent))

    def _calls_s(self, *, as_they_were: bool) -> np.ndarray:
        """Seconds of the calls that count, shape (n,), float64; without waiting for a core unless ``as_they_were``."""
        import numpy as np

        parts = []
        for block in self.counted:
            samples = np.asarray(block.samples_ns, dtype=np.float64)
            if not as_they_were and self.alone and (median := float(np.median(samples))):
                samples = samples * (block.typical_ns() / median)
            parts.append(samples)
        return np.concatenate(parts) * 1e-9

    @cached_property
    def median_s(self) -> float:
        """Seconds of a typical call: the median over the blocks that count, without waiting for a core.

        :attr:`samples_per_s` and the speed-up (:mod:`workbench.measure.verdict`) have the same basis, so that the three are
        consistent in a row also on a busy machine. Under a protocol, which has its own rules, it is the median of all calls.
        """
        import numpy as np

        return float(np.median(self.samples_s if self.protocol else self._calls_s(as_they_were=False)))

    def calls_in(self, block: Block) -> int:
        """Calls inside the timed part of a block; where a sample is the mean of several runs of a GPU, each of those."""
        return len(block.samples_ns) * (block.runs or (self.device.runs if self.device else 1))

    @property
    def queries_per_s(self) -> float:
        """Calls per second, one after another, at the pace of a typical call: 1 / :attr:`median_s`.

        With several calls in flight it is answers per second over all timed calls. Over the region device it uses the host's time,
        as ``trtexec`` does: the GPU's own time does not include the host's work between two calls. Under a protocol every call
        counts.
        """
        if self.region == Region.DEVICE:
            return float(sum(map(self.calls_in, self.counted)) / sum(block.wall_s for block in self.counted))
        if self.streams == 1 and not self.protocol:
            return 1 / self.median_s if self.median_s else 0.0
        samples = self._calls_s(as_they_were=True)
        return float(len(samples) / samples.sum())

    @property
    def samples_per_s(self) -> float:
        return self.queries_per_s * self.batch

    @property
    def cores_used(self) -> float:
        """CPU seconds per wall second inside the timed blocks: 1.0 means one busy core."""
        wall = sum(b.wall_s for b in self.blocks)
        return sum(b.cpu_s for b in self.blocks) / wall if wall else 0.0

    @property
    def noisy_blocks(self) -> int:
        return sum(not b.quiet for b in self.blocks)

    @property
    def spoiled_blocks(self) -> dict[str, int]:
        """Causes outside the worker that spoiled blocks, with the number of blocks."""
        return dict(Counter(reason for block in self.blocks if (reason := block.spoiled)))

    @property
    def outliers(self) -> int:
        """Calls beyond the outer fence of their own block: :func:`workbench.stats.estimates.outliers`. They count in every figure."""
        import numpy as np

        return sum(
            int(estimates.outliers(np.asarray(block.samples_ns, dtype=np.float64)).sum()) for block in self.blocks
        )

    @property
    def timed_s(self) -> float:
        return sum(block.wall_s for block in self.blocks)

    @property
    def sm_mhz(self) -> tuple[int, int] | None:
        """Lowest and highest clock of the GPU's multiprocessors after a block, in MHz; ``None`` where it is not available."""
        clocks = [block.gpu.sm_mhz for block in self.blocks if block.gpu]
        return (min(clocks), max(clocks)) if clocks else None

    @property
    def throttled_blocks(self) -> dict[str, int]:
        """Reasons for reduced GPU clocks, with the number of blocks after which they were present."""
        return dict(Counter(reason for block in self.blocks if block.gpu for reason in block.gpu.throttled))

    @property
    def typical_median_s(self) -> tuple[float, float, float] | None:
        """Median call of a typical launch in seconds, and its 95 % interval: (center, low, high); ``None`` for too few launches and
        rounds.

        It is computed from the medians of launches where there are enough to estimate their spread, by a trimmed mean of their
        logarithms (:func:`workbench.stats.estimates.trimmed_center`). Else it is computed from the medians of rounds,
        distribution-free (:func:`workbench.stats.estimates.ratio_interval`); that interval does not include the spread of launches.

        The interval is that of this center, and must not be shown with :attr:`median_s`: where launches have two levels the median
        of all calls is one of the two, and the typical launch lies between them.
        """
        import numpy as np

        of_launches: dict[int, list[float]] = {}
        for block in self.counted:
            of_launches.setdefault(block.launch, []).append(block.typical_ns(alone=self.alone) * 1e-9)
        if len(of_launches) >= estimates.LAUNCHES:
            center = estimates.trimmed_center([float(np.log(np.median(medians))) for medians in of_launches.values()])
            half = center.half_width(1 - estimates.CONFIDENCE)
            low, middle, high = np.exp([center.mean - half, center.mean, center.mean + half])
            return float(middle), float(low), float(high)
        return estimates.ratio_interval([median for medians in of_launches.values() for median in medians])
