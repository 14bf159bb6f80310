"""What a plan is about and all that its keys depend on: the model, digests of the samples, the machine and its libraries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from workbench import backends
from workbench.data.dataset import Dataset
from workbench.data.samples import Samples
from workbench.precision import modelopt
from workbench.records import Machine, Model
from workbench.store import key_of
from workbench.system.machine import this_machine, version_of

CHECK_SAMPLES = 16
"""Test samples on which a conversion is compared with its source."""
FILE_SAMPLES = 1000
"""Test samples that a file is scored on: run unoptimized it may take long, and the interval is narrow enough."""
TENSORFLOW_LIBRARIES = ("tensorflow-cpu", "tensorflow")
LIBRARIES = (*TENSORFLOW_LIBRARIES, "keras", "tf2onnx", "onnx", "ai-edge-litert", "numpy", "onnxruntime", "openvino")
"""Packages besides the backends' own whose versions are part of keys."""


@dataclass(frozen=True)
class SampleFacts:
    """What keys take of the samples: digests (SHA-256), each "" where the samples have not been read or do not exist."""

    real: bool  # not random ones
    calibrates: bool  # some are set aside for calibration
    test: str = ""
    truth: str = ""  # of what the labels are
    check: str = ""  # of those that a conversion is compared on
    scored: str = ""  # of those that a file is scored on
    calibration: str = ""  # of all calibration samples
    ranges: str = ""  # of those that ranges are calibrated on: the first ``count``
    count: int = 0

    @classmethod
    def of(cls, data: Dataset, count: int) -> Self:
        """Those of samples that were read; ``count`` is how many calibrate ranges."""
        calibration = data.calibration
        return cls(
            data.real,
            calibration is not None,
            data.test.digest,
            data.test.truth_digest,
            _first(data.test, CHECK_SAMPLES) if data.real else "",
            _first(data.test, FILE_SAMPLES) if data.real else "",
            calibration.digest if calibration else "",
            _first(calibration, count) if calibration else "",
            count,
        )


def _first(samples: Samples, count: int) -> str:
    return (samples.take(slice(0, count)) if count < samples.count else samples).digest


@dataclass(frozen=True)
class Platform:
    """The machine and the installed packages; a value, so that a plan for another machine can be made from a description."""

    machine: Machine
    versions: Mapping[str, str]  # of packages, by name; "" where one is not installed
    modelopt: str = ""  # versions of the environment that has NVIDIA's ModelOpt

    @classmethod
    def here(cls) -> Self:
        """Of this machine and this Python. Reads files of packages, and imports none."""
        found = [backends.get(name) for name in backends.names()]
        of_backends = (one for each in found for one in (*each.distributions, *each.builders))
        names = {*LIBRARIES, *backends.packages(), *of_backends}
        versions = {name: version_of(name) for name in sorted(names)}
        return cls(this_machine(), versions, modelopt.identity())

    def version(self, *names: str) -> str:
        """Of the first of these packages that is installed, or "".

        Raises:
            KeyError: the description says nothing about one of them.
        """
        return next((found for name in names if (found := self.versions[name])), "")

    @property
    def tensorflow(self) -> str:
        return self.version(*TENSORFLOW_LIBRARIES)


@dataclass(frozen=True)
class Subject:
    """The model, its samples, and the platform on which engines are built."""

    model: Model  # with the user's path
    samples: SampleFacts
    platform: Platform = field(default_factory=Platform.here)
    batches: tuple[
        int, ...
    ] = ()  # requested batch sizes: a conversion is compared there if the model ran at no batch size when it was opened
    asked: tuple[str, str, str] = ("", "", "")  # signature, input_shapes and input_values of the experiment

    @property
    def compared_at(self) -> tuple[int, ...]:
        """The batches at which a conversion is compared, where opening the model has shown none."""
        return () if self.model.probe and self.model.probe.worked else self.batches


def known_key(*parts_known: str, **parts: object) -> str:
    """The key of these parts; "" where one of ``parts_known``, on which it depends, is ""."""
    return key_of(**parts) if all(parts_known) else ""
