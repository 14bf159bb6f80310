"""Records of measuring: the plan, every raw duration, and what was around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench import stats
from workbench.terms import Region, Wait

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TimingPlan:
    """How long and in how many interleaved rounds every variant is measured."""

    region: Region = Region.HOST_TO_HOST
    rounds: int = 12
    block_s: float = 0.08
    warm_up_s: float = 0.2
    seed: int = 0
    protocol: str = ""  # whose settings these are, such as "trtexec-10"; "": the workbench's own
    copies: bool = False  # region DEVICE: a call copies its inputs in and its outputs out, and their times are added
    wait: Wait = Wait.SPIN
    min_calls: int = 1  # timed calls in a block, at least


@dataclass(frozen=True)
class GpuState:
    """What NVML read right after the last timed call of a block."""

    sm_mhz: int
    memory_mhz: int
    power_w: float
    temperature_c: int
    throttled: tuple[str, ...] = ()  # what held the clocks down, such as "power cap"; an idle GPU is not throttled


@dataclass(frozen=True)
class DeviceFacts:
    """What a GPU session told of one engine at one batch size, outside the timed calls.

    The three parts of a call come from CUDA events around a few calls that copy in, launch and copy out, made one after
    another once the timed calls were over; one entry per call in each.
    """

    device: str  # "cuda:0, NVIDIA H100 80GB HBM3"
    copy_in_ns: tuple[int, ...]  # pinned memory to device
    compute_ns: tuple[int, ...]
    copy_out_ns: tuple[int, ...]  # device to pinned memory
    memory_bytes: int  # of the device, taken by this process when it was largest
    memory_basis: str  # how that was found
    graph: bool = False  # the launches of a captured run were replayed
    graph_note: str = ""  # why not, where a graph was asked for
    runs: int = 1  # region DEVICE: a sample is the mean over so many captured runs, because one was too short

    @property
    def split_s(self) -> tuple[float, float, float]:
        """Median seconds of copying in, computing and copying out."""
        import numpy as np

        parts = (self.copy_in_ns, self.compute_ns, self.copy_out_ns)
        copy_in, compute, copy_out = (float(np.median(part)) * 1e-9 if part else 0.0 for part in parts)
        return copy_in, compute, copy_out


@dataclass(frozen=True)
class Block:
    """One uninterrupted run of timed calls of one variant inside one round."""

    round: int
    position: int  # place in the round's random order
    samples_ns: Sequence[int]  # duration of every call; with several streams, between two that came to their end
    cpu_s: float  # CPU time of the worker's process over the block, all threads
    wall_s: float
    quiet: bool  # the worker's own threads were asleep again before the next variant began
    gpu: GpuState | None = None


@dataclass(frozen=True)
class Timing:
    """Every raw duration of one engine at one batch size, and what was around it."""

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
    protocol: str = ""  # that of the plan; it decides how percentiles are taken

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

    def percentile_s(self, percent: float) -> float | None:
        """Latency percentile in seconds, or ``None`` where the sample is too small to support it.

        Under a protocol of trtexec its own rule is used, which asks for no size of the sample.
        """
        if self.protocol.startswith("trtexec"):
            return stats.trtexec_percentile(self.samples_s, percent)
        return stats.percentile(self.samples_s, percent)

    @property
    def median_s(self) -> float:
        import numpy as np

        return float(np.median(self.samples_s))

    @property
    def queries_per_s(self) -> float:
        """Calls per second, one after another. Over the region device by the host's time, as ``trtexec`` counts them: the
        GPU's own time leaves out what the host does between two calls.
        """
        samples = self.samples_s
        if self.region == Region.DEVICE:
            runs = self.device.runs if self.device else 1
            return float(len(samples) * runs / sum(block.wall_s for block in self.blocks))
        return float(len(samples) / samples.sum())

    @property
    def samples_per_s(self) -> float:
        return self.queries_per_s * self.batch

    @property
    def cores_used(self) -> float:
        """CPU seconds per wall second inside the timed blocks: 1.0 is one core kept busy."""
        wall = sum(b.wall_s for b in self.blocks)
        return sum(b.cpu_s for b in self.blocks) / wall if wall else 0.0

    @property
    def noisy_blocks(self) -> int:
        return sum(not b.quiet for b in self.blocks)

    @property
    def sm_mhz(self) -> tuple[int, int] | None:
        """Lowest and highest clock of the GPU's multiprocessors after a block; ``None`` where nobody told."""
        clocks = [block.gpu.sm_mhz for block in self.blocks if block.gpu]
        return (min(clocks), max(clocks)) if clocks else None

    @property
    def throttled_blocks(self) -> dict[str, int]:
        """What held the GPU's clocks down, and after how many blocks it did."""
        found: dict[str, int] = {}
        for reason in (reason for block in self.blocks if block.gpu for reason in block.gpu.throttled):
            found[reason] = found.get(reason, 0) + 1
        return found
