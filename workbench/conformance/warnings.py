"""Where a model uses a form that a library is known to compute differently from ONNX's definition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench import backends
from workbench.conformance.forms import Form, Use, uses_of
from workbench.conformance.outcomes import KNOWN, Conformance, known
from workbench.graph.shapes import Shapes, inferred, prepared
from workbench.records import Model
from workbench.system.machine import version_of

NAMED = 3
"""Nodes that a warning names."""


def warnings_of(onnx: Path, model: Model, folders: Iterable[Path] = ()) -> dict[str, tuple[str, ...]]:
    """Sentences by backend (``backend`` or ``backend:mode``), for the installed versions of the libraries.

    Args:
        onnx: the ONNX form of the model.
        model: what it is the form of; free axes are taken at its usual sizes, for one sample.
        folders: where results lie that count more than those that come with the package, such as the user's own.

    Nothing is said of a library in a version for which there is no result. Backends without a warning are left out.
    """
    results = current(known((*folders, KNOWN)))
    if not results:
        return {}
    uses = _uses(onnx, model)
    found: dict[str, list[str]] = {}
    told: list[tuple[str, Form]] = []
    for result in results:
        for form in result.forms:
            matching = [use for use in uses if form.matches(use)]
            # what is wrong in FP32 is not told again for a lower precision, which comes later in the list
            if matching and not any(backend == result.backend and form.within(other) for backend, other in told):
                told.append((result.backend, form))
                found.setdefault(result.backend, []).append(sentence(result, form, matching))
    return {backend: tuple(texts) for backend, texts in found.items()}


def current(results: Iterable[Conformance]) -> tuple[Conformance, ...]:
    """Of each backend and precision the first result for the installed version of its library, FP32 before the others."""
    found: dict[tuple[str, str], Conformance] = {}
    for result in results:
        name = result.backend.partition(":")[0]
        if name in backends.names() and result.version == installed(result.backend):
            found.setdefault((result.backend, result.precision), result)
    return tuple(sorted(found.values(), key=lambda each: (each.backend, each.precision != "fp32", each.precision)))


def installed(address: str) -> str:
    """Version of the library of ``backend`` or ``backend:mode`` that is installed; ``""`` for none."""
    backend = backends.get(address.partition(":")[0])
    names: Sequence[str] = getattr(backend, "distributions", ())
    chosen: Mapping[str, Sequence[str]] = getattr(backend, "mode_distributions", {})
    return version_of(*(chosen.get(address.partition(":")[2]) or names))


def sentence(result: Conformance, form: Form, uses: Sequence[Use]) -> str:
    """One warning: what is computed differently, by how much, in which form, and the nodes of the model that have it."""
    verb = "can compute" if form.sometimes else "computes"
    lower = "" if result.precision == "fp32" else f" in {result.precision.upper()}"
    by = f"by {form.difference:.3g}" if form.difference is not None else form.detail
    text = f"{result.library} {verb} {form.op} differently from ONNX's definition{lower}: {by} on ONNX's own case '{form.cases[0]}'"
    if form.properties:
        text += f", with {form.shown}"
    others = sorted({use.version for use in uses} - {form.version})
    if others:
        text += f", of version {form.version} of the operator (the model has version {', '.join(map(str, others))})"
    names = [f"'{use.node}'" for use in uses if use.node][:NAMED]
    more = f" and {len(uses) - len(names)} more" if names and len(uses) > len(names) else ""
    return text + (f"; here: {', '.join(names)}{more}" if names else "")


def _uses(path: Path, model: Model) -> list[Use]:
    """How each node of the file uses its operator, under the names in the file."""
    import onnx

    from workbench.models.onnx_file import graphs

    proto = onnx.load(path, load_external_data=False)
    names = [node.name or next(iter(node.output), "") for part in graphs(proto.graph) for node in part.node]
    proto = _sized(proto, model)
    numbered = {f"n{number}": name for number, name in enumerate(names)}
    return [
        Use(numbered.get(use.node, use.node), use.op, use.version, use.properties)
        for use in uses_of(proto, Shapes(proto.graph))
    ]


def _sized(proto: Any, model: Model) -> Any:
    """Shapes for one sample, as far as they can be worked out."""
    proto = prepared(proto, model)
    try:
        return inferred(proto)
    except Exception:  # too large, or what inference does not take: types and sizes are then no property
        return proto
