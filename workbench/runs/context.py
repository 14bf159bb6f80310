"""What the parts of one run share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from workbench.accuracy.agreement import Comparable
from workbench.data.dataset import Dataset
from workbench.plan.scoring import PLAIN, Scoring
from workbench.plan.step import Plan
from workbench.records import Model
from workbench.runs.executor import Executor
from workbench.runs.run_rows import RunRows
from workbench.settings.experiment import Experiment
from workbench.store import Store
from workbench.system.stop import Stop
from workbench.workers.pool import Pool


@dataclass(frozen=True)
class RunContext:
    """One run: the experiment, the model and data, the means, and the rows that it fills."""

    experiment: Experiment  # with the batches that the model takes
    data: Dataset
    plan: Plan
    executor: Executor
    run_rows: RunRows
    remeasure: bool = False  # time again what the store has timings for
    scoring: Scoring = PLAIN

    @property
    def store(self) -> Store:
        return self.executor.means.store

    @property
    def pool(self) -> Pool:
        """The processes that prepare and build; closed before anything is measured."""
        return self.executor.means.pool

    @property
    def stop(self) -> Stop:
        """Set when the run is to end; it can end single rows as well."""
        return self.run_rows.stop

    @property
    def model(self) -> Model:
        return self.executor.model

    @cached_property
    def samples(self) -> str:
        """The path of the file with the test samples."""
        return str(self.executor.samples_file(self.data.test))

    @cached_property
    def comparable(self) -> Comparable:
        """What opening the model, and its conversion to ONNX, have shown of its outputs."""
        return self.executor.comparable

    def wait(self, text: str) -> None:
        """Report that the run waits for another process."""
        self.run_rows.report_wait(text)

    def say(self, text: str) -> None:
        """Report a step within a step."""
        self.run_rows.report_progress(text)
