"""From an ONNX file to a TensorRT engine's plan, by one code path for every flavour.

The precision is in the ONNX file (casts or Q/DQ). Networks are strongly typed and there are no precision flags, except in 8.x
(:mod:`workbench.backends.tensorrt.weak_typing`).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from workbench.backends.tensorrt import options, timing_cache, weak_typing
from workbench.backends.tensorrt.flavours import (
    FULL,
    Flavour,
    checked,
    library,
    made,
    network_flags,
    version_in_words,
    why,
)
from workbench.errors import BuildError
from workbench.models.onnx_file import graphs
from workbench.protocols import Progress, Refusal, Source
from workbench.records import EngineSpec, TensorSpec

STEP_S = 0.1  # least time between two reports of steps within one phase
DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT8": "int8", "INT32": "int32",
          "INT64": "int64", "BOOL": "bool", "UINT8": "uint8"}  # fmt: skip
"""NumPy's names (bfloat16: ml_dtypes') of TensorRT's types that arrays can have."""


class BuiltPlan(NamedTuple):
    """A plan, the network it was built from, and what a reader should know."""

    plan: bytes
    network: Any
    version: str
    notes: tuple[str, ...]
    weak: bool = False  # the builder chose each layer's format among those that were allowed


def build_plan(
    flavour: Flavour,
    source: Source,
    spec: EngineSpec,
    progress: Progress,
    instead: Callable[[str], bytes | None] = lambda _: None,
) -> BuiltPlan:
    """Parse, configure and build. ``instead`` gets the library's version and may give a plan for this network that need not be
    built.

    Raises:
        BuildError: what was refused, and the plain cause.
        MissingPackageError: the library is absent or broken.
    """
    trt, log = library(flavour)
    builder = made(lambda: trt.Builder(log), f"{flavour.title} could not start", log)
    progress("parse ONNX")
    network = _parsed(trt, builder, source.path, log)
    weak, version = weak_typing.is_weak(trt), version_in_words(trt)
    notes = list(_notes(source.path, source.inputs))
    there = instead(str(trt.__version__))
    if there is not None:
        return BuiltPlan(there, network, version, tuple(notes), weak)
    config = _config(trt, builder, spec, log)
    if weak:
        weak_typing.allow(trt, config, network, source.path)
        weak_typing.share_profile(trt, config)
    profile = _profile(builder, network, source.inputs, spec)
    number = config.add_optimization_profile(profile)
    checked(number, f"The batch range {spec.batches[0]} to {spec.batches[-1]} was refused", log)
    monitor = _monitor(trt, progress)
    if monitor is not None:
        config.progress_monitor = monitor
    cached = flavour == FULL and not spec.build  # each of several builds times its kernels itself
    cache = timing_cache.path(flavour, trt.__version__) if cached else None
    if cache and not timing_cache.give(config, cache):
        notes.append("the timing cache did not fit and was replaced by an empty one")
    progress("build engine")
    plan = builder.build_serialized_network(network, config)
    if monitor is not None and monitor.stopped_by:
        raise monitor.stopped_by
    checked(plan, f"{flavour.title} could not build '{spec.label}'", log)
    if cache:
        timing_cache.keep(config, cache)
    notes += _of_weights(log.warnings())
    return BuiltPlan(bytes(plan), network, version, tuple(notes), weak)


def _of_weights(warnings: list[str]) -> list[str]:
    """The library's warnings about weights that FP16 cannot represent: "56 weights are affected by this issue"."""
    kinds = {
        "subnormal": "are subnormal in FP16 and lose digits",
        "finite FP16": "are beyond the range of FP16 and were cut",
    }
    found = []
    for line in warnings:
        number = re.search(r"(\d+) weights are affected", line)
        kind = next((text for word, text in kinds.items() if word in line), "")
        if number and kind:
            found.append(f"{number[1]} weight tensors hold values that {kind}")
    return found


def refused_nodes(flavour: Flavour, onnx: Path) -> tuple[Refusal, ...]:
    """The nodes that the parser does not take; one without a node stands for the whole file."""
    trt, log = library(flavour)
    builder = made(lambda: trt.Builder(log), f"{flavour.title} could not start", log)
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not hasattr(parser, "supports_model_v2"):  # before 10.1
        return weak_typing.refused(parser.supports_model(onnx.read_bytes(), str(onnx)), onnx)
    if parser.supports_model_v2(onnx.read_bytes(), str(onnx)):
        return ()
    problems = [parser.get_error(number) for number in range(parser.num_errors)]
    found = {(p.node_name(), p.node_operator()): _said(p) for p in problems}
    refused = tuple(Refusal(node, op, said) for (node, op), said in found.items())
    return refused or (Refusal("", "", f"{flavour.title}'s parser refuses the file: {why(log)}"),)


def _fact(problem: Any, what: str) -> str:
    """A fact of a parser's error; "" before 10.0, where errors name no nodes."""
    ask = getattr(problem, what, None)
    return str(ask()) if ask is not None else ""


def _said(problem: Any) -> str:
    """A parser's error as a phrase. Its text is often the bare condition that failed, such as ``false``."""
    said = re.search(r'&& "(.+)"$', problem.desc())
    text = said[1] if said else problem.desc()
    if " " not in text.strip():
        return f"TensorRT does not support it here ({problem.func()})"
    return f"TensorRT does not take it: {' '.join(text.split())[:300]}"


def _parsed(trt: Any, builder: Any, path: Path, log: Any) -> Any:
    """The network, which keeps its parser and with it the weights. Junk parses too, and gives one without outputs."""
    network = checked(builder.create_network(network_flags(trt)), "The builder made no network", log)
    parser = trt.OnnxParser(network, log)
    taken = parser.parse_from_file(str(path))
    problems = [parser.get_error(number) for number in range(parser.num_errors)]
    if not taken:
        named = [(_fact(p, "node_operator"), _fact(p, "node_name")) for p in problems]
        nodes = [f"{operator} '{name}'" for operator, name in named if operator or name]
        nodes = nodes or weak_typing.parsing(log.errors())
        at = f": {'; '.join(dict.fromkeys(nodes[:3]))}" if nodes else ""
        # the node's error as a phrase, because the first line of the log only names the node
        both = zip(problems, named, strict=True)
        said = [_said(p) if op else p.desc() for p, (op, _) in both if op or " " in p.desc().strip()]
        raise BuildError(f"TensorRT's parser refused the ONNX file{at}: {why(log, *said)}.", log=log.text())
    if network.num_outputs == 0:
        raise BuildError(
            "TensorRT's parser refused the ONNX file: it has no outputs, or is not an ONNX model. Export it again.",
            log=log.text(),
        )
    return network


def _config(trt: Any, builder: Any, spec: EngineSpec, log: Any) -> Any:
    config = checked(builder.create_builder_config(), "The builder gave no configuration", log)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # otherwise the inspector reports names only
    options.apply(trt, config, spec.build_options)
    if not spec.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if spec.optimization_level is not None:
        if not hasattr(config, "builder_optimization_level"):  # before 8.6
            raise BuildError(f"TensorRT {trt.__version__} has no optimization levels. Leave the level at its default.")
        config.builder_optimization_level = spec.optimization_level
    if spec.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, spec.workspace_bytes)
    return config


def _profile(builder: Any, network: Any, inputs: tuple[TensorSpec, ...], spec: EngineSpec) -> Any:
    """The range of sizes: smallest batch, and the largest as the usual one too. A wrong name is taken in silence."""
    profile = builder.create_optimization_profile()
    known = {one.name: one for one in inputs}
    first, last = spec.batches[0], spec.batches[-1]
    for tensor in map(network.get_input, range(network.num_inputs)):
        one = known.get(tensor.name)
        if one is None:
            raise BuildError(
                f"The ONNX file has an input '{tensor.name}' that the model does not list ({', '.join(known)}). "
                "Open the model again."
            )
        if tensor.is_shape_tensor:
            raise BuildError(
                f"The input '{tensor.name}' decides the shape of something inside the model, and this version builds "
                "no range for such inputs. Make it a constant of the model."
            )
        found = DTYPES.get(tensor.dtype.name, tensor.dtype.name)
        if found != one.dtype:
            raise BuildError(
                f"The input '{tensor.name}' is {one.dtype} in the model and {found} in TensorRT, which would read its "
                f"bytes as something else. Cast it to {found} in the model."
            )
        profile.set_shape(tensor.name, one.sized(first, "min"), one.sized(last, "opt"), one.sized(last, "max"))
    return profile


def _notes(path: Path, inputs: tuple[TensorSpec, ...]) -> list[str]:
    """What TensorRT does without a message: it computes FP64 in FP32, and keeps 64-bit integers."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    double = onnx.TensorProto.DOUBLE
    count = 0
    for part in graphs(proto.graph):
        count += sum(tensor.data_type == double for tensor in part.initializer)
        count += sum(value.type.tensor_type.elem_type == double for value in (*part.value_info, *part.output))
        for attribute in (one for node in part.node if node.op_type in ("Cast", "Constant") for one in node.attribute):
            count += (attribute.name == "to" and attribute.i == double) or attribute.t.data_type == double
    wide = [one.name for one in inputs if one.dtype == "int64"]
    notes = [f"{count} tensors of the model are FP64, which TensorRT computes in FP32"] if count else []
    return notes + ([f"takes 64-bit integers: {', '.join(wide)}"] if wide else [])


def _monitor(trt: Any, progress: Progress) -> Any:
    """Reports phases and steps, "Optimizing graph 12/30"; ends the build where ``progress`` raises. None before 10.0, where a build is
    cancelled by ending its process.
    """
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class ProgressMonitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped_by: Exception | None = None
            self._steps: dict[str, int] = {}
            self._reported = 0.0
            self._lock = threading.Lock()  # TensorRT calls from several of its threads at once

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._lock:
                self._steps[phase_name] = num_steps
                self._tell(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            """Whether to continue. ``step`` counts from 0."""
            with self._lock:
                steps = self._steps.get(phase_name, 0)
                if steps > 1 and time.monotonic() - self._reported >= STEP_S:
                    self._tell(f"{phase_name} {step + 1}/{steps}")
                return self.stopped_by is None

        def _tell(self, text: str) -> None:
            self._reported = time.monotonic()
            try:
                progress(text)
            except Exception as cause:  # an exception must not reach the library's threads
                self.stopped_by = cause

    return ProgressMonitor()
