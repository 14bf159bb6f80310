"""What a model's ONNX form is made of, and which backends would refuse which of its nodes. Runs in a child process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from workbench import backends
from workbench.conformance.warnings import Difference, warnings_of
from workbench.errors import WorkbenchError, brief
from workbench.graph.facts import GraphFacts, graph_facts
from workbench.graph.picture import svg
from workbench.graph.provenance import source_graph
from workbench.protocols import Progress, Refusal
from workbench.records import EngineSpec, Model, Precision

T = TypeVar("T")

SHOWN = 6
"""Refused nodes that are listed for each backend."""


@dataclass(frozen=True)
class Examination:
    """What the Model section shows of a graph. The parts are independent: where one failed, ``problems`` has the reason."""

    facts: GraphFacts | None = None
    svg: str = ""
    refusals: dict[str, tuple[Refusal, ...]] = field(default_factory=dict)
    """By backend built from ONNX; empty: it takes every node."""
    problems: tuple[str, ...] = ()  # sentences
    differences: dict[str, tuple[Difference, ...]] = field(default_factory=dict)
    """By backend and mode: what it computes differently from ONNX's definition, by ONNX's own cases."""


def examine(onnx: Path, model: Model, progress: Progress, results: Sequence[Path] = ()) -> Examination:
    """Facts, picture, refusals and known differences for the ONNX form of ``model`` in ``onnx``. Backends that are not ready
    here, or not built from ONNX, are left out. ``results`` are folders where the user's own conformance results lie.

    Never raises for what a library or the graph is like: that becomes one of ``problems``.
    """
    problems: list[str] = []

    def attempt(phase: str, failure: str, call: Callable[[], T]) -> T | None:
        progress(phase)
        try:
            return call()
        except Exception as cause:
            said = (
                cause.message if isinstance(cause, WorkbenchError) else f"{type(cause).__name__}: {brief(cause, 200)}"
            )
            problems.append(f"{failure}: {said.rstrip('.')}.")
            return None

    facts = attempt("count operators", "The graph could not be counted", lambda: graph_facts(onnx, model))
    picture = attempt(
        "draw graph", "The graph could not be drawn", lambda: svg(onnx, model.name, work=_work(onnx, model))
    )
    refusals = {}
    for name in backends.names():
        backend = backends.get(name)
        built_from_onnx = backend.source(EngineSpec(name, Precision.FP32), model).startswith("onnx")
        if not built_from_onnx or not any(backend.status(mode) for mode in backend.modes):
            continue
        failure = f"{backend.title} could not be asked what it takes"
        refused = attempt(f"ask {backend.title}", failure, partial(backend.preflight, onnx))
        if refused is not None:
            refusals[name] = refused
    failure = "The operators could not be compared with ONNX's own cases"
    differences = attempt("compare with ONNX's own cases", failure, lambda: warnings_of(onnx, model, results))
    return Examination(facts, picture or "", refusals, tuple(problems), differences or {})


def _work(onnx: Path, model: Model) -> dict[str, int]:
    """FLOPs of nodes for one sample, by name; those that are not known are left out."""
    return {node.name: node.flops for node in source_graph(onnx, model.inputs).nodes if node.flops}


def described(examination: Examination) -> list[tuple[str, tuple[str, ...]]]:
    """The examination as (heading, lines), for the command line, the panel and the report."""
    sections = _facts(examination.facts) if examination.facts is not None else []
    for name, refused in examination.refusals.items():
        lines = tuple(_refused(refusal) for refusal in refused[:SHOWN])
        more = (f"… and {len(refused) - SHOWN} more",) if len(refused) > SHOWN else ()
        lines = (*lines, *more) or ("supports every node",)
        differing = [each for address, each in examination.differences.items() if address.partition(":")[0] == name]
        sections.append((backends.title(name), (*lines, *(each.text for found in differing for each in found))))
    return sections + [("Not determined", examination.problems)] * bool(examination.problems)


def _facts(facts: GraphFacts) -> list[tuple[str, tuple[str, ...]]]:
    ops = ", ".join(f"{name} {count:,}" for name, count in facts.ops.items())
    if facts.flops is None:
        work: tuple[str, ...] = (facts.flops_source,)
    else:
        work = (f"{scaled(facts.flops)}FLOPs for one sample, a multiply-add counted as two", facts.flops_source)
        if facts.uncounted:
            work += (f"not counted: {', '.join(facts.uncounted)}",)
    if facts.activation_bytes is None:
        memory = facts.activation_source
    else:
        of = "one sample" if facts.batch == 1 else f"a batch of {facts.batch}"
        memory = f"activations {scaled(facts.activation_bytes)}B at most for {of} ({facts.activation_source})"
    return [
        ("Operators", (f"{facts.nodes:,} node{'s' * (facts.nodes != 1)}, opset {facts.opset}: {ops}",)),
        ("ONNX parameters", (f"{facts.parameters:,} (the conversion merges some and adds constants)",)),
        ("Work", work),
        ("Memory", (f"weights {scaled(facts.weight_bytes)}B as stored", memory)),
        ("Dynamic axes", facts.dynamic_axes or ("none",)),
    ]


def _refused(refusal: Refusal) -> str:
    return f"{refusal.op} '{refusal.node}': {refusal.reason}" if refusal.node else refusal.reason


def scaled(number: float) -> str:
    """Three digits and a decimal prefix, ready for a unit: ``7.72 G``."""
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {prefix}"
    return f"{number:.0f} "
