"""Tasks of worker processes for the search for mixed precision; ``questions`` names them by their addresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.accuracy.agreement import Comparable
from workbench.accuracy.budget import Budget
from workbench.accuracy.metrics import metric_of
from workbench.data.samples import load_samples
from workbench.errors import RunError, during
from workbench.protocols import Progress, Source
from workbench.records import Calibration, from_json, to_json
from workbench.search.mixed_precision.repair import RepairSearch
from workbench.search.mixed_precision.sensitivity import Study, StudySamples, study_of
from workbench.search.mixed_precision.sensitivity import scan as scan_tensors
from workbench.search.mixed_precision.sensitivity import sensitivity as measured
from workbench.search.mixed_precision.trial import TrialSetup, judge_by


@dataclass(frozen=True)
class StudyRequest:
    """The arguments of a study."""

    source: Source  # the FP32 ONNX file
    calibration: Path  # files of samples
    seen: Path
    unseen: Path
    method: Calibration
    backend: str
    threads: int
    batch: int
    folder: Path  # for models that are tried
    metric: str
    output: str  # to score; "": the run's choice
    comparable: Comparable
    together: bool  # the model does not take a batch of 1

    def opened(self, say: Callable[[str], None]) -> Study:
        """The calibrated model with the outputs of FP32; errors as :func:`workbench.search.mixed_precision.sensitivity.study_of`."""
        setup = TrialSetup(
            self.backend, self.source.inputs, self.source.outputs, self.folder,
            batch=self.batch, threads=self.threads, together=self.together, say=say,
        )  # fmt: skip
        samples = StudySamples(*(load_samples(path) for path in (self.calibration, self.seen, self.unseen)))
        judge = judge_by(metric_of(self.metric), self.output, self.comparable)
        return study_of(setup, self.source.path, samples, self.method, judge)


def scan(progress: Progress, source: str, samples: str, batch: int) -> Any:
    """The ranges of all inner tensors over the samples, as JSON."""
    progress("running real samples through the graph")
    with during("run", "the samples", RunError):
        return to_json(scan_tensors(Path(source), load_samples(Path(samples)), batch))


def sensitivity(progress: Progress, *, study: dict[str, Any], seconds: float, ways: Sequence[str]) -> Any:
    """The loss by INT8 of each layer: :class:`workbench.search.mixed_precision.sensitivity.Sensitivity` as JSON."""
    opened = from_json(StudyRequest, study).opened(progress)
    return to_json(measured(opened, limit_s=seconds, ways=ways, say=progress))


def repair(
    progress: Progress, *, study: dict[str, Any], budget: dict[str, Any], min_size: float, seconds: float
) -> Any:
    """The fastest mixed model within a budget: :class:`workbench.search.mixed_precision.records.Repair` as JSON."""
    opened = from_json(StudyRequest, study).opened(progress)
    found = measured(opened, limit_s=seconds, say=progress)
    search = RepairSearch(opened, budget=Budget(**budget), min_size=min_size, limit_s=seconds, say=progress)
    return to_json(search.run(found))
