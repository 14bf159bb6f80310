"""The experiment: a frozen value that the panel edits, the notebook's parameters define, and the pipeline runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Self

from workbench.errors import InputError
from workbench.records import (
    Calibration,
    EngineSpec,
    LoadPlan,
    Precision,
    Region,
    TimingPlan,
    Until,
    Wait,
    split_address,
)
from workbench.records.methods import METHODS, Method
from workbench.settings.measuring import SCENARIOS, SEARCH
from workbench.settings.nodes import expanded as expanded_names
from workbench.settings.notebook import check_injected
from workbench.settings.table import SETTINGS, Settings
from workbench.system.in_effect import expanded

MIN_ITERATIONS = 10
LOADGEN_QUERIES = {"SingleStream": 100, "Offline": 100, "Server": 1000}
"""LoadGen's min_query_count where none is set; its early stopping needs 662 queries for the 99th percentile of a Server."""
TRTEXEC_S = 3.0
"""Both protocols of trtexec time the device for 3 s after a warm-up of 200 ms, with at least ten calls. Version 10 copies
inputs and outputs in every call, waits by blocking and does not replay a CUDA graph; version 11 leaves out the copies, spins and
replays a graph (NVIDIA/TensorRT, samples/common/sampleOptions; its calls overlap, and here they do not). Under the protocols of
MLPerf the latency rounds are the workbench's own, and LoadGen runs after them."""


@dataclass(frozen=True)
class Experiment(Settings):
    """One experiment. Its fields are the settings of ``workbench.settings``; ``docs/settings.md`` lists them.

    Every field is also a parameter of ``notebooks/workbench.ipynb`` and an option of the command line. Lists may be given as
    tuples, lists, a single value or comma-separated text (``"1,8,32"``), the form of papermill's ``-p``. Values are checked on
    construction, and no file is read.

    >>> Experiment(batches="1,8", threads=2).batches
    (1, 8)

    Raises:
        InputError: a value is not valid; the message says which values are.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cores and self.threads > len(expanded(self.cores)):
            raise InputError(
                f"'threads' is {self.threads} and 'cores' lists {len(expanded(self.cores))}: threads would share a core. "
                "Give at least as many cores as threads, or fewer threads."
            )
        if self.protocol == "mlperf-server" and self.rate != SEARCH and len(self.rates) != 1:
            raise InputError(
                f"The protocol mlperf-server needs one 'rate' in queries per second; found {json.dumps(self.rate)}. "
                "Choose for example 100, or auto."
            )

    @classmethod
    def of(cls, namespace: Mapping[str, Any]) -> Self:
        """The experiment from the variables of a notebook: ``Experiment.of(globals())``.

        Variables that are not settings are ignored. A parameter that papermill injected and that is not a setting is an error.

        Raises:
            InputError: there is such a parameter, or a value is not valid.
        """
        check_injected(map(str, namespace.get("In", ())))
        return cls(**{name: namespace[name] for name in SETTINGS if name in namespace})

    def resolved(self) -> Self:
        """The same experiment with the files in ``keep`` replaced by the node names in them.

        A run calls this once; later changes of such a file do not affect the run.

        Raises:
            InputError: the file does not exist, or is not a list of nodes.
        """
        names = expanded_names(self.keep)
        return self if names == self.keep else replace(self, keep=names)

    @property
    def plan(self) -> TimingPlan:
        """The plan of measuring. A protocol overrides the fields for region, time and waiting."""
        plan = TimingPlan(
            region=Region(self.region),
            rounds=self.rounds,
            block_s=self.measure_s / self.rounds,
            seed=self.seed,
            cores=tuple(expanded(self.cores)) if self.cores else (),
            clocks=self.clocks,
        )
        if self.protocol and self.protocol not in SCENARIOS:
            old = self.protocol == "trtexec-10"
            return replace(
                plan,
                region=Region.DEVICE,
                block_s=TRTEXEC_S / self.rounds,
                protocol=self.protocol,
                copies=old,
                wait=Wait.BLOCK if old else Wait.SPIN,
                min_calls=-(-MIN_ITERATIONS // self.rounds),
            )
        return replace(plan, within=self.within, max_measure_s=self.max_measure_s, until=Until(self.until))

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates of the open loops in queries per second, ascending; empty for a search, or without open loops."""
        return () if self.rate in ("", SEARCH) else tuple(float(part) for part in self.rate.split(","))

    @property
    def load_plan(self) -> LoadPlan:
        """The plan of measuring under load, which is empty unless it is requested.

        A single caller is measured by the latency rounds. The search for a rate begins at the throughput of a closed loop.
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

    def variants(self) -> tuple[EngineSpec, ...]:
        """Every requested combination, possible or not, in a fixed order.

        A backend that lacks a setting gets one variant for each of its values all the same:
        :func:`workbench.plan.variants.variants_of` leaves such duplicates out.
        """
        groups: list[tuple[int | None, tuple[int, ...]]] = [(None, self.batches)]
        if self.shapes == "fixed":
            groups = [(batch, (batch,)) for batch in self.batches]
        settings = list(product(self.optimization_level, self.workspace_mib))
        builds = range(1, self.builds + 1) if self.builds > 1 else (0,)
        return tuple(
            replace(
                self._variant(name, METHODS[precision]),
                batch=fixed,
                batches=served,
                optimization_level=None if level < 0 else level,
                workspace_bytes=workspace * 2**20 or None,
                build=build,
            )
            for name in self.backends
            for precision in self.precisions
            for level, workspace in settings
            for build in builds
            for fixed, served in groups
        )

    def _variant(self, name: str, method: Method) -> EngineSpec:
        backend, mode, environment = split_address(name)
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
            environment=environment,
        )

    def changes(self) -> dict[str, Any]:
        """The :meth:`parameters` that differ from the defaults."""
        default = Experiment().parameters()
        return {name: value for name, value in self.parameters().items() if value != default[name]}


PARAMETERS = tuple(SETTINGS)
