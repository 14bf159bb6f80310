"""What is asked: one frozen value that the panel edits, the notebook's parameters make, and the pipeline runs."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from workbench.choices.budget import budget_of
from workbench.choices.limits import limits_of
from workbench.choices.methods import METHODS, Method
from workbench.choices.metrics import check_name
from workbench.choices.nodes import expanded as expanded_names
from workbench.choices.pixels import scaling
from workbench.choices.shapes import parse_shapes, parse_values
from workbench.errors import InputError
from workbench.records import Calibration, EngineSpec, LoadPlan, Precision, Region, TimingPlan, Until, Wait
from workbench.system.in_effect import expanded, ranges

MAX_BATCH = 65536
MAX_STREAMS = 64
MIN_ITERATIONS = 10
MAX_CALLERS = 64
SEARCH = "auto"
SCENARIOS = {"mlperf-singlestream": "SingleStream", "mlperf-offline": "Offline", "mlperf-server": "Server"}
"""Protocols under which LoadGen runs, and its name for each."""
LOADGEN_QUERIES = {"SingleStream": 100, "Offline": 100, "Server": 1000}
"""LoadGen's min_query_count where none is set; its early stopping asks for 662 queries for the 99th percentile of a Server."""
TRTEXEC_S = 3.0
PROTOCOLS = ("", "trtexec-10", "trtexec-11", *SCENARIOS)
"""Settings of others. Both of trtexec time the device for 3 s after a warm-up of 200 ms, with at least ten calls; version 10
copies inputs and outputs in every call, waits asleep and replays no CUDA graph; version 11 leaves the copies out, spins
and replays one. (NVIDIA/TensorRT, samples/common/sampleOptions; its calls overlap, and here they do not.) Under those of
MLPerf the latency rounds are the workbench's own, and LoadGen runs after them."""


@dataclass(frozen=True)
class Experiment:
    """One experiment. Every field is also a parameter of ``notebooks/workbench.ipynb`` and an option of the CLI.

    Lists may be given as tuples, lists, a single value or comma-separated text (``"1,8,32"``): that is what
    reaches a notebook through papermill's ``-p``. Checked on construction; a bad value raises ``InputError``.
    """

    model: str = "demo"
    signature: str = ""
    input_shapes: str = ""
    input_values: str = ""
    data: str = "auto"
    backends: tuple[str, ...] = (
        "tensorflow",
        "tensorflow:xla",
        "tensorflow:predict",
        "onnxruntime",
        "openvino",
        "tensorrt:rtx",
    )
    precisions: tuple[str, ...] = ("fp32", "fp16", "bf16", "int8")
    batches: tuple[int, ...] = (1, 8, 32)
    threads: int = 1
    shapes: str = "dynamic"
    calibration: str = "minmax"
    calibration_samples: int = 200
    optimization_level: int = -1
    workspace_mib: int = 0
    tf32: bool = True
    cuda_graph: bool = False
    streams: int = 1
    build_options: tuple[str, ...] = ()
    protocol: str = ""
    region: str = "host-to-host"
    measure_s: float = 1.0
    rounds: int = 12
    baseline: str = ""
    seed: int = 0
    within: float = 0.02
    max_measure_s: float = 4.0
    concurrency: tuple[int, ...] = (1,)
    rate: str = ""
    latency_limit_ms: float = 100.0
    latency_percentile: float = 99.0
    loadgen_s: float = 3.0
    loadgen_queries: int = 0
    cores: str = ""
    clocks: bool = False
    roofline: bool = False
    layers: bool = False
    quantize: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    budget: str = "0.5 points"
    metric: str = "auto"
    score_output: str = ""
    pixels: str = "0..1"
    until: str = "known"
    step_memory_mib: int = 0
    step_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("model", "data"):
            object.__setattr__(self, name, _path(name, getattr(self, name)))
        for name, kind in (("backends", str), ("precisions", str), ("batches", int), ("concurrency", int)):
            object.__setattr__(self, name, _listed(name, getattr(self, name), kind))
        for name in ("build_options", "quantize", "keep"):
            object.__setattr__(self, name, _listed(name, getattr(self, name), str, empty=True))
        whole = ("threads", "calibration_samples", "optimization_level", "workspace_mib", "streams", "rounds", "seed",
                 "loadgen_queries", "step_memory_mib")  # fmt: skip
        for name in whole:
            object.__setattr__(self, name, _number(name, getattr(self, name), int))
        for name in ("tf32", "cuda_graph", "clocks", "roofline", "layers"):
            object.__setattr__(self, name, _yes_or_no(name, getattr(self, name)))
        for name in (
            "measure_s",
            "within",
            "max_measure_s",
            "latency_limit_ms",
            "latency_percentile",
            "loadgen_s",
            "step_s",
        ):
            object.__setattr__(self, name, _number(name, getattr(self, name), float))
        for name in ("batches", "concurrency"):
            object.__setattr__(self, name, tuple(sorted(set(getattr(self, name)))))
        object.__setattr__(self, "rate", _rate(self.rate))
        object.__setattr__(self, "cores", _cores(self.cores))
        self._check()

    def _check(self) -> None:
        parse_shapes(self.input_shapes)
        parse_values(self.input_values)
        choose("precisions", self.precisions, METHODS)
        check_name(self.metric)
        scaling(self.pixels)
        budget_of(self.budget)
        limits_of(self.step_memory_mib, self.step_s)
        expanded_names(self.keep)
        choose("calibration", [self.calibration], list(Calibration))
        choose("shapes", [self.shapes], ["dynamic", "fixed"])
        choose("region", [self.region], list(Region))
        choose("until", [self.until], list(Until))
        choose("protocol", [self.protocol] if self.protocol else [], PROTOCOLS[1:])
        for option in self.build_options:
            if not re.fullmatch(r"[A-Za-z0-9_.=-]+", option):
                raise InputError(
                    f"'build_options' are names of letters, digits and _ . = -; found {json.dumps(option)}. "
                    "Separate several by commas."
                )
        for batch in self.batches:
            if not 1 <= batch <= MAX_BATCH:
                raise InputError(
                    f"Batch sizes must be whole numbers from 1 to {MAX_BATCH}; found {batch}. Choose for example 1,8,32."
                )
        for name, low in (
            ("threads", 1),
            ("calibration_samples", 1),
            ("optimization_level", -1),
            ("workspace_mib", 0),
            ("streams", 1),
            ("rounds", 1),
            ("seed", 0),
            ("loadgen_queries", 0),
        ):
            if getattr(self, name) < low:
                raise InputError(
                    f"'{name}' must be at least {low}; found {getattr(self, name)}. Choose a larger number."
                )
        if self.streams > MAX_STREAMS:
            raise InputError(f"'streams' must be at most {MAX_STREAMS}; found {self.streams}. Choose for example 4.")
        if self.cores and self.threads > len(expanded(self.cores)):
            raise InputError(
                f"'threads' is {self.threads} and 'cores' names {len(expanded(self.cores))}: threads would take turns on a core. "
                "Name as many cores as threads, or fewer threads."
            )
        self._check_time()
        self._check_load()

    def _check_time(self) -> None:
        if not 0 < self.within < 1:
            raise InputError(
                f"'within' must lie between 0 and 1; found {self.within}. Choose for example 0.02, which is 2 %."
            )
        if not 0 < self.max_measure_s < float("inf"):
            raise InputError(
                f"'max_measure_s' must be above 0 seconds; found {self.max_measure_s}. Choose for example 20."
            )

    def _check_load(self) -> None:
        """What is asked of engines under load, and the lengths of measuring."""
        for name, unit, such in (
            ("measure_s", "seconds", "1.0"),
            ("latency_limit_ms", "milliseconds", "100"),
            ("loadgen_s", "seconds", "3.0"),
        ):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(
                    f"'{name}' must be above 0 {unit}; found {getattr(self, name)}. Choose for example {such}."
                )
        if not 50 <= self.latency_percentile < 100:
            raise InputError(
                f"'latency_percentile' must be from 50 to below 100; found {self.latency_percentile:g}. Choose for example 99."
            )
        for callers in self.concurrency:
            if not 1 <= callers <= MAX_CALLERS:
                raise InputError(
                    f"'concurrency' must be whole numbers from 1 to {MAX_CALLERS}; found {callers}. Choose for example 1,2,4."
                )
        if self.protocol == "mlperf-server" and self.rate != SEARCH and len(self.rates) != 1:
            raise InputError(
                f"The protocol mlperf-server needs one 'rate' in queries per second; found {json.dumps(self.rate)}. "
                "Choose for example 100, or auto."
            )

    @property
    def kept(self) -> tuple[str, ...]:
        """``keep`` with the names in files."""
        return expanded_names(self.keep)

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
        """Every combination that was asked for, possible or not, in a fixed order."""
        groups: list[tuple[int | None, tuple[int, ...]]] = [(None, self.batches)]
        if self.shapes == "fixed":
            groups = [(batch, (batch,)) for batch in self.batches]
        return tuple(
            self._variant(name, METHODS[precision], fixed, served)
            for name in self.backends
            for precision in self.precisions
            for fixed, served in groups
        )

    def _variant(self, name: str, method: Method, fixed: int | None, served: tuple[int, ...]) -> EngineSpec:
        backend, _, mode = name.partition(":")
        rewritten = method.name != Precision.FP32
        return EngineSpec(
            backend=backend,
            mode=mode,
            precision=method.precision,
            method=method.way,
            batch=fixed,
            batches=served,
            threads=self.threads,
            optimization_level=None if self.optimization_level < 0 else self.optimization_level,
            workspace_bytes=self.workspace_mib * 2**20 or None,
            calibration=(method.calibration or Calibration(self.calibration)) if method.calibrated else None,
            calibration_samples=self.calibration_samples if method.calibrated else 0,
            tf32=self.tf32,
            cuda_graph=self.protocol == "trtexec-11" if self.plan.protocol else self.cuda_graph,
            streams=self.streams,
            build_options=self.build_options,
            quantize=self.quantize if rewritten else (),
            keep=self.kept if rewritten else (),
        )

    def parameters(self) -> dict[str, Any]:
        """The fields as papermill parameters: numbers and text only, lists as comma-separated text."""
        return {
            name: ",".join(map(str, value)) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

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


PARAMETERS = tuple(field.name for field in fields(Experiment))


def choose(what: str, asked: Iterable[str], valid: Iterable[str]) -> None:
    """Raise :class:`InputError` naming the unknown value and listing the valid ones."""
    choices = [str(choice) for choice in valid]
    for value in asked:
        if value not in choices:
            raise InputError(f"Unknown value '{value}' for '{what}'. Choose from: {', '.join(choices)}.")


def _path(name: str, value: Any) -> str:
    """A path as text. A live model or arrays do not fit into parameters, which are numbers and text."""
    if isinstance(value, (str, os.PathLike)):
        return str(os.fspath(value))
    raise InputError(
        f"'{name}' must be a path or a name; found a {type(value).__name__}. What lives in the notebook is given beside the "
        f"experiment: workbench.run(experiment, {name}=...)."
    )


def _listed(name: str, value: Any, kind: type, *, empty: bool = False) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.strip("[]() ").split(",") if part.strip()]
    elif not isinstance(value, Iterable):
        value = [value]
    items = tuple(dict.fromkeys(_number(name, item, int) if kind is int else str(item) for item in value))
    if not items and not empty:
        raise InputError(f"'{name}' is empty. Give at least one value.")
    return items


def _cores(value: Any) -> str:
    """Cores as the kernel writes them, ``0-2,5``, of text, of a number or of several."""
    text = str(value) if isinstance(value, str | int) else ",".join(map(str, value))
    try:
        return ranges(sorted(set(expanded(text)))) if text.strip() else ""
    except ValueError as cause:
        raise InputError(f"'cores' must be numbers of cores, such as 0,2 or 0-3; found {json.dumps(text)}.") from cause


def _yes_or_no(name: str, value: Any) -> bool:
    """A truth value, which papermill and the command line may give as text."""
    found = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    text = str(value).strip().lower()
    if text not in found:
        raise InputError(f"'{name}' must be true or false; found {json.dumps(value, default=str)}.")
    return found[text]


def _rate(value: Any) -> str:
    """Rates as text: ``""`` (0 too), ``"auto"``, or numbers above 0, ascending, with commas."""
    parts = [str(part).strip() for part in (value if isinstance(value, list | tuple) else str(value).split(","))]
    if parts == [SEARCH]:
        return SEARCH
    try:
        rates = sorted({float(part) for part in parts if part})
        if rates not in ([], [0.0]) and not all(0 < rate < float("inf") for rate in rates):
            raise ValueError
    except ValueError as cause:
        raise InputError(
            f"'rate' must be queries per second, such as 100 or 50,100,200, or auto; found {json.dumps(value, default=str)}."
        ) from cause
    return ",".join(f"{rate:.10g}" for rate in rates if rate)


def _number(name: str, value: Any, kind: type) -> Any:
    try:
        if isinstance(value, bool) or (kind is int and float(value) != int(float(value))):
            raise ValueError
        return kind(float(value)) if kind is int else kind(value)
    except (TypeError, ValueError, OverflowError) as cause:
        noun = "a whole number" if kind is int else "a number"
        such = {"batches": "1,8,32", "concurrency": "1,2,4"}
        noun = f"whole numbers with commas, such as {such[name]}" if name in such else noun
        raise InputError(f"'{name}' must be {noun}; found {json.dumps(value, default=str)}.") from cause
