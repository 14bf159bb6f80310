"""Warnings about operators in a model that a library computes differently from ONNX's definition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workbench import backends
from workbench.conformance.deviations import Deviation, Use, uses_of
from workbench.conformance.outcomes import KNOWN, Conformance, known
from workbench.graph.shapes import Shapes, inferred_or_same, prepared
from workbench.models.onnx_file import graphs
from workbench.records import EngineSpec, Model
from workbench.system.machine import version_of

NAMED = 3
"""The most nodes that a warning names."""


@dataclass(frozen=True)
class Difference:
    """A form in a model that a library computes differently from ONNX's definition."""

    precision: str  # of the engines in which it was found; "fp32" concerns those of every precision
    text: str  # a sentence


def of_engine(differences: Mapping[str, Iterable[Difference]], spec: EngineSpec) -> Iterator[str]:
    """The sentences that concern an engine; none for an engine of another environment, whose library is of another version."""
    for address in () if spec.environment else (spec.backend, f"{spec.backend}:{spec.mode}"):
        for each in differences.get(address, ()):
            if each.precision in ("fp32", spec.precision):
                yield each.text


def warnings_of(onnx: Path, model: Model, folders: Iterable[Path] = ()) -> dict[str, tuple[Difference, ...]]:
    """Warnings by backend (``backend`` or ``backend:mode``), for the installed versions of the libraries.

    Args:
        onnx: the ONNX form of the model.
        model: the source model; its free axes have their usual sizes, for one sample.
        folders: folders of results that take precedence over those of the package, such as the user's own.

    A library version without results gives no warnings. Backends without a warning are left out.
    """
    results = current(known((*folders, KNOWN)))
    if not results:
        return {}
    uses = _uses(onnx, model)
    found: dict[str, list[Difference]] = {}
    given: list[tuple[str, Deviation]] = []
    for result in results:
        for deviation in result.deviations:
            matching = [use for use in uses if deviation.matches(use)]
            # a deviation that is wrong in FP32 is not repeated for a lower precision, which comes later in the list
            if matching and not any(backend == result.backend and deviation.within(other) for backend, other in given):
                given.append((result.backend, deviation))
                text = sentence(result, deviation, matching)
                found.setdefault(result.backend, []).append(Difference(result.precision, text))
    return {backend: tuple(differences) for backend, differences in found.items()}


def current(results: Iterable[Conformance]) -> tuple[Conformance, ...]:
    """The first result of each backend and precision for the installed version of its library, FP32 first."""
    found: dict[tuple[str, str], Conformance] = {}
    for result in results:
        name = result.backend.partition(":")[0]
        if name in backends.names() and result.version == installed(result.backend):
            found.setdefault((result.backend, result.precision), result)
    return tuple(sorted(found.values(), key=lambda each: (each.backend, each.precision != "fp32", each.precision)))


def installed(address: str) -> str:
    """The installed version of the library of ``backend`` or ``backend:mode``; ``""``: it is not installed."""
    backend = backends.get(address.partition(":")[0])
    names: Sequence[str] = getattr(backend, "distributions", ())
    chosen: Mapping[str, Sequence[str]] = getattr(backend, "mode_distributions", {})
    return version_of(*(chosen.get(address.partition(":")[2]) or names))


def sentence(result: Conformance, deviation: Deviation, uses: Sequence[Use]) -> str:
    """One warning: the operator, the difference, the deviation, and the nodes of the model that have it."""
    verb = "can compute" if deviation.sometimes else "computes"
    lower = "" if result.precision == "fp32" else f" in {result.precision.upper()}"
    by = f"by {deviation.difference:.3g}" if deviation.difference is not None else deviation.detail
    text = f"{result.library} {verb} {deviation.op} differently from ONNX's definition{lower}: {by} on ONNX's own case '{deviation.cases[0]}'"
    if deviation.properties:
        text += f", with {deviation.shown}"
    others = sorted({use.version for use in uses} - {deviation.version})
    if others:
        text += (
            f", of version {deviation.version} of the operator (the model has version {', '.join(map(str, others))})"
        )
    names = [f"'{use.node}'" for use in uses if use.node][:NAMED]
    more = f" and {len(uses) - len(names)} more" if names and len(uses) > len(names) else ""
    return text + (f"; here: {', '.join(names)}{more}" if names else "")


def _uses(path: Path, model: Model) -> list[Use]:
    """The use of its operator by each node of the file, with the names in the file."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    names = [node.name or next(iter(node.output), "") for part in graphs(proto.graph) for node in part.node]
    proto = inferred_or_same(prepared(proto, model))  # without shapes, types and sizes are not properties
    numbered = {f"n{number}": name for number, name in enumerate(names)}
    return [replace(use, node=numbered.get(use.node, use.node)) for use in uses_of(proto, Shapes(proto.graph))]
