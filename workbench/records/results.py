"""Records of an experiment's rows, their comparison, and all of its results."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from workbench.errors.printable import lines, one_line
from workbench.records.accuracy import Accuracy
from workbench.records.cost import Peaks
from workbench.records.engine import EngineRecord, EngineSpec
from workbench.records.layers import LayerProfile
from workbench.records.load import Load
from workbench.records.machine import ClusterWorker, Machine
from workbench.records.model import ExportCheck, Model
from workbench.records.served import ServedLoad
from workbench.records.terms import Status, Verdict
from workbench.records.timing import Timing, TimingPlan
from workbench.records.values import InputValues

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workbench.display.of_results import Explanations, Headline, Table


NOT_BUILT = "not built"
"""The step of a row whose engine was not built, because the time of the run was over."""


@dataclass(frozen=True)
class Failure:
    """The reason why a row has no result: the step, a sentence, the end of the log, and how to reproduce it."""

    step: str
    message: str
    log: str = ""
    repro: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", one_line(self.message))
        object.__setattr__(self, "log", lines(self.log))


@dataclass(frozen=True)
class Result:
    """One row: a variant at a batch size, with the results so far."""

    spec: EngineSpec
    batch: int
    status: Status = Status.PLANNED
    engine: EngineRecord | None = None
    timing: Timing | None = None
    accuracy: Accuracy | None = None
    failure: Failure | None = None
    reused: bool = False  # the timing was measured by an earlier run
    # of the baseline: its timings in the further cohorts that did not fit beside the first
    also: tuple[Timing, ...] = ()
    load: Load | None = None  # several callers at once, arrivals at a rate, LoadGen
    worker: ClusterWorker | None = None  # of a cluster, that measured ``timing``; None: this machine

    @property
    def row(self) -> str:
        """Identity of the row within one experiment."""
        return f"{self.spec.label} @{self.batch}"

    @property
    def left_out(self) -> bool:
        """Whether the time of the run was over before its engine was built."""
        return self.status == Status.CANCELLED and self.failure is not None and self.failure.step == NOT_BUILT

    @property
    def device(self) -> str:
        """The device of its engine; "" while there is no engine."""
        return self.engine.device if self.engine else ""


@dataclass(frozen=True)
class Row:
    """One variant compared with the baseline at one batch size."""

    result: Result
    verdict: Verdict
    speedup: float | None = None  # baseline's time divided by this row's: above 1 is faster
    low: float | None = None
    high: float | None = None
    why: str = ""  # for "cannot tell": the reason
    across: str = ""  # the other device, where the baseline runs on another one
    note: str = ""  # a remark on the verdict


@dataclass(frozen=True)
class Comparison:
    """All rows compared with one baseline, and the pairs that must not be compared, with the reasons."""

    baseline: str
    rows: tuple[Row, ...]
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Tally:
    """Counts of the work that a run did and of the results that it took from the store."""

    built: int = 0
    reused_builds: int = 0
    measured: int = 0
    reused_timings: int = 0
    scored: int = 0
    reused_scores: int = 0
    build_s: float = 0.0  # exporting, rewriting and building, this run
    measure_s: float = 0.0  # warming up and measuring, this run
    wall_s: float = 0.0

    def plus(self, **amounts: float) -> Tally:
        return replace(self, **{name: getattr(self, name) + more for name, more in amounts.items()})

    def __str__(self) -> str:
        return (
            f"built {self.built} (reused {self.reused_builds}), "
            f"measured {self.measured} (reused {self.reused_timings}), "
            f"scored {self.scored} (reused {self.reused_scores}) in {self.wall_s:.1f} s"
        )


@dataclass(frozen=True)
class Results:
    """The results of an experiment, from which all tables and figures are made."""

    model: Model
    machine: Machine
    rows: tuple[Result, ...]
    baseline: str
    data: str  # description of the samples
    plan: TimingPlan = field(default_factory=TimingPlan)
    tally: Tally = field(default_factory=Tally)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # shown before all numbers
    export: ExportCheck | None = None  # the conversion to ONNX, where there was one
    examination: Any = None  # facts about its graph from workbench.conformance.examination, as JSON
    peaks: Peaks | None = None  # peak rates of this machine, where they were requested
    layer_profiles: tuple[LayerProfile, ...] = ()  # of the engines whose layers were timed
    budget: str = ""  # the accuracy budget; "": none, as for generated samples
    run: str = ""  # name of the run in the store and its history
    tested_digest: str = ""  # SHA-256 of the samples for timing and scoring, and of their labels
    calibrated_digest: str = ""  # SHA-256 of the calibration samples; "" where no variant needs any
    imported: str = ""  # where it was measured, of a run that was imported from another machine
    values: tuple[InputValues, ...] = ()  # smallest, largest and mean value of each numeric input
    served: tuple[ServedLoad, ...] = ()  # load tests of deployments of these rows, in the order of measuring

    @property
    def measured(self) -> tuple[Result, ...]:
        return tuple(row for row in self.rows if row.timing is not None)

    @property
    def under_load(self) -> bool:
        """Whether anything was measured under load: an engine in process, or a deployment through its server."""
        return bool(self.served) or any(row.load for row in self.rows)

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(sorted({row.batch for row in self.rows}))

    # The methods below show the results. Each imports the packages that it needs, which are above the records, when it is called.

    def table(self, baseline: str = "") -> Table:
        """A row for each variant and batch, compared with a baseline; by default with the experiment's own.

        Raises:
            InputError: unknown baseline.
        """
        from workbench.display import of_results

        return of_results.table(self, baseline)

    def compare(self, baseline: str = "") -> Comparison:
        """The verdict of every measured row against the baseline's row with the same batch, and the pairs that are refused.

        Raises:
            InputError: unknown baseline.
        """
        from workbench.display import of_results

        return of_results.compare(self, baseline)

    def headlines(self) -> tuple[Headline, ...]:
        """For each batch size, in ascending order: the row that is recommended, in a sentence, and why faster ones are not.

        Empty where nothing was measured.
        """
        from workbench.display import of_results

        return of_results.headlines(self)

    def figures(self, only: str = "") -> dict[str, Figure]:
        """Matplotlib figures by name, each where there is data for it, in the order of the report; ``only`` the one of that name."""
        from workbench.display import of_results

        return of_results.figures(self, only=only)

    def builds(self) -> Table:
        """The spread between the builds of each variant (``Experiment.builds``), the fastest of them, and the verdict over builds."""
        from workbench.display import of_results

        return of_results.builds(self)

    @property
    def fastest_builds(self) -> dict[str, EngineRecord]:
        """By variant the engine of its fastest build: the smallest geometric mean of the medians at all batch sizes.

        Only builds that were measured at every batch size of their variant count. The engine's folder is
        ``Store.path("engine", record.key)``. Being chosen as the fastest of several flatters its time: another measurement of the same
        engine will on average be slower.
        """
        times: dict[str, dict[str, dict[int, float]]] = {}
        engines: dict[str, EngineRecord] = {}
        for row in self.rows:
            if row.spec.build and row.timing and row.engine:
                name = replace(row.spec, build=0).label  # with fixed shapes there is an engine for each batch
                times.setdefault(name, {}).setdefault(row.engine.key, {})[row.batch] = row.timing.median_s
                engines[row.engine.key] = row.engine
        found = {}
        for variant, builds in times.items():
            batches = set().union(*builds.values())
            means = {key: math.prod(each.values()) for key, each in builds.items() if set(each) == batches}
            if means:
                found[variant] = engines[min(means, key=lambda key: means[key])]
        return found

    def costs(self) -> Table:
        """The cost of every variant: memory, CPU time, energy, share of the machine's peak rates."""
        from workbench.display import of_results

        return of_results.costs(self)

    def settings(self) -> Table:
        """Every setting in effect in the engines' processes; the notes say where two engines differ."""
        from workbench.display import of_results

        return of_results.settings(self)

    def clocks(self) -> Table:
        """The clocks of every engine, where ``Experiment.clocks`` is set."""
        from workbench.display import of_results

        return of_results.clocks(self)

    def losses(self) -> Table:
        """The loss of each variant by class and by group of samples, the largest first."""
        from workbench.display import of_results

        return of_results.losses(self)

    def layers(self) -> Table:
        """Every layer that was timed (``Experiment.layers``), with its time, format and origin."""
        from workbench.display import of_results

        return of_results.layers(self)

    def load(self, baseline: str = "") -> tuple[Table, ...]:
        """The measurements under load: callers at once, arrivals at a rate, LoadGen, and deployments through their server."""
        from workbench.display import of_results

        return of_results.load(self, baseline)

    def why_not_faster(self) -> Explanations:
        """For each variant of lower precision that is not faster than FP32: the evidence for each possible cause, ranked."""
        from workbench.display import of_results

        return of_results.why_not_faster(self)
