"""What is asked: one frozen value that the panel edits, the notebook's parameters make, and the pipeline runs."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from workbench.budget import budget_of
from workbench.errors import InputError
from workbench.methods import METHODS, Method
from workbench.metrics import check_name
from workbench.pixels import scaling
from workbench.records import Calibration, EngineSpec, Precision, Region, TimingPlan, Wait
from workbench.shapes import parse_shapes, parse_values

MAX_BATCH = 65536
MAX_STREAMS = 64
MIN_ITERATIONS = 10
TRTEXEC_S = 3.0
PROTOCOLS = ("", "trtexec-10", "trtexec-11")
"""Settings of others. Both of trtexec time the device for 3 s after a warm-up of 200 ms, with at least ten calls; version 10
copies inputs and outputs in every call, waits asleep and replays no CUDA graph; version 11 leaves the copies out, spins
and replays one. (NVIDIA/TensorRT, samples/common/sampleOptions; its calls overlap, and here they do not.)"""


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
    calibration: str = "entropy"
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
    quantize: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    budget: str = "0.5 points"
    metric: str = "auto"
    score_output: str = ""
    pixels: str = "0..1"

    def __post_init__(self) -> None:
        for name, kind in (("backends", str), ("precisions", str), ("batches", int)):
            object.__setattr__(self, name, _listed(name, getattr(self, name), kind))
        for name in ("build_options", "quantize", "keep"):
            object.__setattr__(self, name, _listed(name, getattr(self, name), str, empty=True))
        whole = ("threads", "calibration_samples", "optimization_level", "workspace_mib", "streams", "rounds", "seed")
        for name in whole:
            object.__setattr__(self, name, _number(name, getattr(self, name), int))
        for name in ("tf32", "cuda_graph"):
            object.__setattr__(self, name, _yes_or_no(name, getattr(self, name)))
        object.__setattr__(self, "measure_s", _number("measure_s", self.measure_s, float))
        object.__setattr__(self, "batches", tuple(sorted(set(self.batches))))
        self._check()

    def _check(self) -> None:
        parse_shapes(self.input_shapes)
        parse_values(self.input_values)
        choose("precisions", self.precisions, METHODS)
        check_name(self.metric)
        scaling(self.pixels)
        budget_of(self.budget)
        choose("calibration", [self.calibration], list(Calibration))
        choose("shapes", [self.shapes], ["dynamic", "fixed"])
        choose("region", [self.region], list(Region))
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
        ):
            if getattr(self, name) < low:
                raise InputError(
                    f"'{name}' must be at least {low}; found {getattr(self, name)}. Choose a larger number."
                )
        if self.streams > MAX_STREAMS:
            raise InputError(f"'streams' must be at most {MAX_STREAMS}; found {self.streams}. Choose for example 4.")
        if not 0 < self.measure_s < float("inf"):
            raise InputError(f"'measure_s' must be above 0 seconds; found {self.measure_s}. Choose for example 1.0.")

    @property
    def plan(self) -> TimingPlan:
        """How to measure; under a protocol its own region, time and way of waiting, whatever the fields say."""
        if self.protocol:
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
            )
        return TimingPlan(
            region=Region(self.region),
            rounds=self.rounds,
            block_s=self.measure_s / self.rounds,
            seed=self.seed,
        )

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
            cuda_graph=self.protocol == "trtexec-11" if self.protocol else self.cuda_graph,
            streams=self.streams,
            build_options=self.build_options,
            quantize=self.quantize if rewritten else (),
            keep=self.keep if rewritten else (),
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


def _listed(name: str, value: Any, kind: type, *, empty: bool = False) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.strip("[]() ").split(",") if part.strip()]
    elif not isinstance(value, Iterable):
        value = [value]
    items = tuple(dict.fromkeys(_number(name, item, int) if kind is int else str(item) for item in value))
    if not items and not empty:
        raise InputError(f"'{name}' is empty. Give at least one value.")
    return items


def _yes_or_no(name: str, value: Any) -> bool:
    """A truth value, which papermill and the command line may give as text."""
    found = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    text = str(value).strip().lower()
    if text not in found:
        raise InputError(f"'{name}' must be true or false; found {json.dumps(value, default=str)}.")
    return found[text]


def _number(name: str, value: Any, kind: type) -> Any:
    try:
        if isinstance(value, bool) or (kind is int and float(value) != int(float(value))):
            raise ValueError
        return kind(float(value)) if kind is int else kind(value)
    except (TypeError, ValueError, OverflowError) as cause:
        noun = "a whole number" if kind is int else "a number"
        noun = "whole numbers with commas, such as 1,8,32" if name == "batches" else noun
        raise InputError(f"'{name}' must be {noun}; found {json.dumps(value, default=str)}.") from cause
