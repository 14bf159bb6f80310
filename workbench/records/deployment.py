"""Record of a deployment: what was measured of the engine that it takes along, and what its files are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from workbench.records.machine import Machine
from workbench.records.model import TensorSpec


@dataclass(frozen=True)
class Measured:
    """Times of one call at one batch size, host to host, as the run measured them."""

    batch: int
    median_s: float  # of a typical call
    samples_per_s: float
    block_medians_s: tuple[float, ...]  # of each block that counts, without waiting for a core
    percentiles_s: dict[str, float] = field(default_factory=dict)  # by name, "p50"; without those that are not known
    launches: int = 1
    measured_at: str = ""  # UTC, ISO 8601


@dataclass(frozen=True)
class Queue:
    """How the server forms batches and when it refuses requests; made from what was measured."""

    max_batch: int  # 0: the first axis of the inputs is not a batch, and requests are not joined
    preferred_batch: int
    delay_us: int  # longest time that a request waits for others
    length: int  # requests that may wait; more are refused
    instances: int = 1
    batching: bool = True


@dataclass(frozen=True)
class Deployment:
    """A deployed variant. The file ``deployment.json`` holds it as JSON."""

    name: str  # of the model on the server
    model: str
    model_sha256: str
    run: str
    variant: str
    batch: int  # the batch size that it was deployed for
    backend: str
    asked: str  # the precision that was asked for
    built: str  # the precision that was read back from the engine
    library: str
    library_version: str
    packages: tuple[str, ...]  # what pip installs where it runs: "onnxruntime==1.32.0"
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    fixed_batch: int | None  # the only batch size that the engine takes
    options: dict[str, Any]  # of the runner
    measured: tuple[Measured, ...]  # ascending by batch
    queue: Queue
    machine: Machine
    accuracy: str  # in words; "": not known
    budget: str  # the accuracy budget, and whether the variant is within it, in words
    tolerance: float  # largest difference from the reference, as a share of its largest absolute value
    bound: str = ""  # the reason why it runs on machines like this one only
    source: str = ""  # the variant in FP32 that answers a share of the requests too; "": none
    source_backend: str = ""
    agreement: float | None = None  # share of the test samples with the answers of the source model; None: not known
    files: dict[str, str] = field(default_factory=dict)  # SHA-256 by path within the folder

    def at(self, batch: int) -> Measured:
        """What was measured at this batch size."""
        return next(one for one in self.measured if one.batch == batch)
