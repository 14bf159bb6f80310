"""The command ``inspect``: what a model is, how it becomes ONNX, and which backends take it."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from workbench.cli.answer import Answer
from workbench.errors.printable import one_line
from workbench.models.describe import batches_text, export_notes, output_notes, size
from workbench.models.formats import TITLES
from workbench.records import Model, Progress, TensorSpec, from_json
from workbench.report import document
from workbench.settings.experiment import Experiment
from workbench.settings.kinds import home
from workbench.settings.options import add_run_settings, add_settings, given
from workbench.settings.table import SETTINGS
from workbench.store import Store
from workbench.system.limits import limits_of
from workbench.system.progress import ProgressBar

if TYPE_CHECKING:
    from workbench.conformance.examination import Examination
    from workbench.runs.sources import Opened

LOG = logging.getLogger(__name__)
OF_INPUTS = ("signature", "input_shapes", "input_values")
"""Settings that decide how a model is opened."""
OF_LIMITS = ("step_memory_mib", "step_s")
HELP = "say what a model is, how it becomes ONNX, and which backends take it"


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=home, help=SETTINGS["model"].help)
    add_run_settings(parser, "store")
    add_settings(parser, (*OF_INPUTS, *OF_LIMITS))


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """One line, or field, for each fact of the model."""
    from workbench.conformance.examination import Examination
    from workbench.runs.sources import examine_model

    read = Experiment(model=options.model, **given(options, (*OF_INPUTS, *OF_LIMITS)))
    bar.update(Progress("inspect the model"))
    opened = examine_model(
        read.model,
        read.signature,
        read.input_shapes,
        read.input_values,
        store=Store(options.store or None),
        say=LOG.info,
        limits=limits_of(read.step_memory_mib, read.step_s),
    )
    examined = from_json(Examination, opened.examination) if opened.examination is not None else None
    return Answer(_text(opened, examined), _document(opened, examined or Examination()))


def _text(opened: Opened, examined: Examination | None) -> str:
    from workbench.conformance.examination import described

    found = described(examined) if examined else []
    known = {heading.lower() for heading, _ in found}  # these say more, because they come from the graph
    facts = [line for line in _model_lines(opened.model) if line[0] not in known]
    for heading, texts in found:
        facts += [(heading.lower() if number == 0 else "", text) for number, text in enumerate(texts)]
    if opened.check:
        facts += [("to onnx" if number == 0 else "", note) for number, note in enumerate(export_notes(opened.check))]
    facts += [("to onnx", opened.problem)] if opened.problem else []
    return "\n".join(f"{name:18}{one_line(value)}" for name, value in facts)


def _document(opened: Opened, found: Examination) -> dict[str, Any]:
    model, check = opened.model, opened.check
    facts = found.facts
    return {
        "model": document.model(model),
        "signature": model.signature,
        "signatures": list(model.signatures),
        "inputs": [_tensor(spec) for spec in model.inputs],
        "outputs": [_tensor(spec) for spec in model.outputs],
        "precision": model.quantized or "fp32",
        "batch": model.fixed_batch,
        "onnx": {
            **document.fields(check, "route", "opset", "max_rel_diff", "tolerance"),
            "repairs": list(check.repairs),
        }
        if check
        else None,
        "problem": opened.problem,
        "graph": {
            **document.fields(facts, "nodes", "opset"),
            "operators": dict(facts.ops),
            **document.fields(facts, "flops", "weight_bytes", "activation_bytes"),
        }
        if facts
        else None,
        "refusals": {
            name: [{"node": one.node, "operator": one.op, "reason": one.reason} for one in refused]
            for name, refused in found.refusals.items()
        },
        "differences": {
            address: [each.text for each in differences] for address, differences in found.differences.items()
        },
        "notes": [*model.notes, *output_notes(model)],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape), "batch_axis": spec.batch_axis}


def _model_lines(model: Model) -> list[tuple[str, str]]:
    lines = [("model", model.path), ("format", TITLES[model.format])]
    if model.signatures:
        lines.append(("signature", f"{model.signature} (of: {', '.join(model.signatures)})"))
    elif model.signature and model.format == "frozen_graph":
        lines.append(("tensors", model.signature))
    lines += [("input", str(spec)) for spec in model.inputs]
    lines += [("output", str(spec)) for spec in model.outputs]
    lines += [
        (
            "dynamic axes",
            "; ".join(f"{s.name} {list(s.dynamic_axes)}" for s in model.inputs if s.dynamic_axes) or "none",
        ),
        ("batches", batches_text(model)),
        ("parameters", f"{model.parameters:,}"),
        ("size", size(model.size_bytes)),
        ("sha256", model.digest),
    ]
    if model.quantized_how:
        lines.append(("precision", f"{model.quantized or 'fp32'}: {model.quantized_how}"))
    return lines + [("note", note) for note in (*model.notes, *output_notes(model))]
