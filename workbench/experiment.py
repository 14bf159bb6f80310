"""What is asked: one frozen value that the panel edits, the notebook's parameters make, and the pipeline runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Self

from workbench.choices.methods import METHODS, Method
from workbench.choices.nodes import expanded as expanded_names
from workbench.errors import InputError
from workbench.records import Calibration, EngineSpec, LoadPlan, Precision, Region, TimingPlan, Until, Wait
from workbench.settings_table.measuring import SCENARIOS, SEARCH
from workbench.settings_table.notebook import check_injected
from workbench.settings_table.table import SETTINGS, Settings
from workbench.system.in_effect import expanded

MIN_ITERATIONS = 10
LOADGEN_QUERIES = {"SingleStream": 100, "Offline": 100, "Server": 1000}
"""LoadGen's min_query_count where none is set; its early stopping asks for 662 queries for the 99th percentile of a Server."""
TRTEXEC_S = 3.0
"""Both protocols of trtexec time the device for 3 s after a warm-up of 200 ms, with at least ten calls. Version 10 copies
inputs and outputs in every call, waits asleep and replays no CUDA graph; version 11 leaves the copies out, spins and replays
one (NVIDIA/TensorRT, samples/common/sampleOptions; its calls overlap, and here they do not). Under the protocols of MLPerf the
latency rounds are the workbench's own, and LoadGen runs after them."""


@dataclass(frozen=True)
class Experiment(Settings):
    """One experiment. Its fields are the settings of ``workbench.settings_table``; ``docs/settings.md`` lists them.

    Every field is also a parameter of ``notebooks/workbench.ipynb`` and an option of the command line. Lists may be given as
    tuples, lists, a single value or comma-separated text (``"1,8,32"``), which is what reaches a notebook through papermill's
    ``-p``. Values are checked on construction, and no file is read.

    >>> Experiment(batches="1,8", threads=2).batches
    (1, 8)

    Raises:
        InputError: a value that is not valid; the sentence says what is.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cores and self.threads > len(expanded(self.cores)):
            raise InputError(
                f"'threads' is {self.threads} and 'cores' names {len(expanded(self.cores))}: threads would take turns on a core. "
                "Name as many cores as threads, or fewer threads."
            )
        if self.protocol == "mlperf-server" and self.rate != SEARCH and len(self.rates) != 1:
            raise InputError(
                f"The protocol mlperf-server needs one 'rate' in queries per second; found {json.dumps(self.rate)}. "
                "Choose for example 100, or auto."
            )

    @classmethod
    def of(cls, namespace: Mapping[str, Any]) -> Self:
        """The experiment that the variables of a notebook describe: ``Experiment.of(globals())``.

        Variables that are not settings are left alone, except parameters that papermill injected: one that the notebook does not
        have is an error.

        Raises:
            InputError: such a parameter, or a value that is not valid.
        """
        check_injected(map(str, namespace.get("In", ())))
        return cls(**{name: namespace[name] for name in SETTINGS if name in namespace})

    def resolved(self) -> Self:
        """The same experiment with the files in ``keep`` replaced by the node names in them.

        Whoever runs an experiment calls this once; a later change of such a file has no influence on the run.

        Raises:
            InputError: there is no such file, or it is not a list of nodes.
        """
        names = expanded_names(self.keep)
        return self if names == self.keep else replace(self, keep=names)

    @property
    def plan(self) -> TimingPlan:
        """How to measure; under a protocol its own region, time and way of waiting, whatever the fields say."""
        if self.protocol and self.protocol not in SCENARIOS:
            old = self.protocol == "trtexec-10"
            return TimingPlan(
                region=Region.DEVICE,
                rounds=self.rounds,
                block_s=TRTEXEC_S / self.rounds,
                seed=self.seed,
                protocol=self.protocol,
                copies=old,
                wait=Wait.BLOCK if old else Wait.SPIN,
                min_calls=-(-MIN_ITERATIONS // self.rounds),
                cores=self._held_to,
                clocks=self.clocks,
            )
        return TimingPlan(
            region=Region(self.region),
            rounds=self.rounds,
            block_s=self.measure_s / self.rounds,
            seed=self.seed,
            within=self.within,
            max_measure_s=self.max_measure_s,
            until=Until(self.until),
            cores=self._held_to,
            clocks=self.clocks,
        )

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates of the open loops in queries per second, ascending; none where they are searched for, or off."""
        return () if self.rate in ("", SEARCH) else tuple(float(part) for part in self.rate.split(","))

    @property
    def load_plan(self) -> LoadPlan:
        """What to measure under load: nothing beyond the latency rounds unless it is asked for.

        One caller alone is measured by the latency rounds. The search for a rate begins from what a closed loop reaches.
        """
        region, scenario = self.plan.region, SCENARIOS.get(self.protocol, "")
        search = self.rate == SEARCH
        return LoadPlan(
            concurrency=self.concurrency if self.concurrency != (1,) or search else (),
            callers=self.concurrency[-1],
            region=Region.COMPUTE if region == Region.DEVICE else region,
            rounds=self.rounds,
            block_s=self.measure_s / self.rounds,
            warm_up_s=self.plan.warm_up_s,
            seed=self.seed,
            rates=self.rates,
            search=search,
            limit_s=self.latency_limit_ms * 1e-3,
            percent=self.latency_percentile,
            scenario=scenario,
            loadgen_s=self.loadgen_s,
            loadgen_queries=self.loadgen_queries or LOADGEN_QUERIES.get(scenario, 0),
        )

    @property
    def _held_to(self) -> tuple[int, ...]:
        return tuple(expanded(self.cores)) if self.cores else ()

    def variants(self) -> tuple[EngineSpec, ...]:
        """Every combination that was asked for, possible or not, in a fixed order.

        A backend that lacks a setting gets one variant for each of its values all the same:
        :func:`workbench.runs.variants.variants_of` leaves such duplicates out.
        """
        groups: list[tuple[int | None, tuple[int, ...]]] = [(None, self.batches)]
        if self.shapes == "fixed":
            groups = [(batch, (batch,)) for batch in self.batches]
        builds = list(product(self.optimization_level, self.workspace_mib))
        return tuple(
            replace(
                self._variant(name, METHODS[precision]),
                batch=fixed,
                batches=served,
                optimization_level=None if level < 0 else level,
                workspace_bytes=workspace * 2**20 or None,
            )
            for name in self.backends
            for precision in self.precisions
            for level, workspace in builds
            for fixed, served in groups
        )

    def _variant(self, name: str, method: Method) -> EngineSpec:
        backend, _, mode = name.partition(":")
        rewritten = method.name != Precision.FP32
        return EngineSpec(
            backend=backend,
            mode=mode,
            precision=method.precision,
            method=method.way,
            threads=self.threads,
            calibration=(method.calibration or Calibration(self.calibration)) if method.calibrated else None,
            calibration_samples=self.calibration_samples if method.calibrated else 0,
            tf32=self.tf32,
            cuda_graph=self.protocol == "trtexec-11" if self.plan.protocol else self.cuda_graph,
            streams=self.streams,
            build_options=self.build_options,
            quantize=self.quantize if rewritten else (),
            keep=self.keep if rewritten else (),
        )

    def changes(self) -> dict[str, Any]:
        """Those :meth:`parameters` that differ from the defaults."""
        default = Experiment().parameters()
        return {name: value for name, value in self.parameters().items() if value != default[name]}

    def papermill_command(self, notebook: str = "notebooks/workbench.ipynb", output: str = "out.ipynb") -> str:
        """The shell line that runs the same experiment without a panel."""
        words = ["papermill", notebook, output]
        for name, value in self.changes().items():
            # papermill's -p reads numbers as numbers; -r keeps text as text ("8" stays a list of one batch)
            words += ["-r" if isinstance(value, str) else "-p", name, str(value)]
        return shlex.join(words)

    def python_call(self) -> str:
        """The Python expression that runs the same experiment."""
        changed = {name: getattr(self, name) for name in self.changes()}
        arguments = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        return f"workbench.run(workbench.Experiment({arguments}))"


PARAMETERS = tuple(SETTINGS)
