"""Records of the machine, which must be equal for two results to be compared, and of a worker of a cluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """Facts about the machine that must be equal for two results to be compared."""

    cpu: str
    cores: int
    instructions: tuple[str, ...]
    memory_bytes: int
    system: str
    python: str
    gpu: str = ""  # "": no GPU

    @property
    def label(self) -> str:
        gib = self.memory_bytes / 2**30
        return f"{self.cpu}, {self.cores} cores, {gib:.0f} GiB, {self.gpu or 'no GPU'}, {self.system}"


@dataclass(frozen=True)
class ClusterWorker:
    """The worker of a cluster that measured a row."""

    name: str  # as the cluster's scheduler names it
    host: str
    machine: Machine
    fingerprint: (
        str  # digest of the machine, the versions of libraries and the environments: only equal ones are compared
    )
    labels: tuple[str, ...] = ()
    devices: str = ""  # CUDA_VISIBLE_DEVICES of its process; "": not set
    process: str = ""  # identifies its process: another one that has the same address is another worker

    @property
    def label(self) -> str:
        where = f"{self.name} on {self.host}"
        return f"{where}, device {self.devices}" if self.devices else where
