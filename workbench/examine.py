"""What a model's ONNX form is made of, and which backends would refuse which of its nodes. Runs in a child process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from workbench import backends
from workbench.conformance.warnings import warnings_of
from workbench.errors import WorkbenchError, brief
from workbench.graph.facts import GraphFacts, graph_facts
from workbench.graph.picture import svg
from workbench.protocols import Progress, Refusal
from workbench.records import EngineSpec, Model, Precision

SHOWN = 6
"""Refused nodes that are told one by one for each backend."""


@dataclass(frozen=True)
class Examination:
    """What the Model section shows of a graph. Each part stands alone: where one failed, ``problems`` says why."""

    facts: GraphFacts | None = None
    svg: str = ""
    refusals: dict[str, tuple[Refusal, ...]] = field(
        default_factory=dict
    )  # by backend built from ONNX; empty: it takes every node
    problems: tuple[str, ...] = ()  # sentences
    differences: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # by backend and mode: what it is known to compute differently from ONNX's definition, as sentences


def examine(onnx: Path, model: Model, progress: Progress, results: Path | None = None) -> Examination:
    """Facts, picture, refusals and known differences for the ONNX form of ``model`` in ``onnx``. Backends that are not ready
    here, or not built from ONNX, are left out. ``results`` is the folder where the user's own conformance results lie.

    Never raises for what a library or the graph is like: that becomes one of ``problems``.
    """
    facts, picture, problems = None, "", []
    progress("count operators")
    try:
        facts = graph_facts(onnx, model)
    except Exception as cause:
        problems.append(_sentence("The graph could not be counted", cause))
    progress("draw graph")
    try:
        picture = svg(onnx, model.name)
    except Exception as cause:
        problems.append(_sentence("The graph could not be drawn", cause))
    refusals = {}
    for name in backends.names():
        backend = backends.get(name)
        built_from_onnx = backend.source(EngineSpec(name, Precision.FP32), model).startswith("onnx")
        if not built_from_onnx or not any(backend.status(mode) for mode in backend.modes):
            continue
        progress(f"ask {backend.title}")
        try:
            refusals[name] = backend.preflight(onnx)
        except Exception as cause:
            problems.append(_sentence(f"{backend.title} could not be asked what it takes", cause))
    progress("compare with ONNX's own cases")
    differences: dict[str, tuple[str, ...]] = {}
    try:
        differences = warnings_of(onnx, model, [results] if results else [])
    except Exception as cause:
        problems.append(_sentence("The operators could not be compared with ONNX's own cases", cause))
    return Examination(facts, picture, refusals, tuple(problems), differences)


def _sentence(what: str, cause: Exception) -> str:
    said = cause.message if isinstance(cause, WorkbenchError) else f"{type(cause).__name__}: {brief(cause, 200)}"
    return f"{what}: {said.rstrip('.')}."


def described(found: Examination) -> list[tuple[str, tuple[str, ...]]]:
    """What was found as (heading, lines), for the command line, the panel and the report alike."""
    told = _facts(found.facts) if found.facts is not None else []
    for name, refused in found.refusals.items():
        lines = tuple(_refused(refusal) for refusal in refused[:SHOWN])
        more = (f"… and {len(refused) - SHOWN} more",) if len(refused) > SHOWN else ()
        lines = (*lines, *more) or ("takes every node",)
        told.append((backends.get(name).title, (*lines, *_differences(found, name))))
    return told + [("Not found out", found.problems)] * bool(found.problems)


def _differences(found: Examination, backend: str) -> tuple[str, ...]:
    """Of all modes of a backend."""
    return tuple(
        text for address, told in found.differences.items() if address.partition(":")[0] == backend for text in told
    )


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
        ("ONNX parameters", (f"{facts.parameters:,}",)),
        ("Work", work),
        ("Memory", (f"weights {scaled(facts.weight_bytes)}B as stored", memory)),
        ("Dynamic axes", facts.dynamic_axes or ("none",)),
    ]


def _refused(refusal: Refusal) -> str:
    if not refusal.node:
        return refusal.reason
    return f"{refusal.op} '{refusal.node}': {refusal.reason}"


def scaled(number: float) -> str:
    """Three digits and a decimal prefix, ready for a unit: ``7.72 G``."""
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {prefix}"
    return f"{number:.0f} "
