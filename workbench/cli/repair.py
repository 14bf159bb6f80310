"""The command ``repair``: the layers that lose too much accuracy in INT8, and the fastest mixed model that keeps its accuracy."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.answer import Answer, Exit
from workbench.errors.printable import one_line
from workbench.models.describe import counted
from workbench.records import Progress
from workbench.report.document import fields
from workbench.settings.experiment import Experiment
from workbench.settings.kinds import home
from workbench.settings.options import add_run_settings, add_settings, given
from workbench.settings.output_files import check_output
from workbench.settings.table import SETTINGS
from workbench.system.progress import ProgressBar

if TYPE_CHECKING:
    from workbench.search.mixed_precision.records import Repair, Tried
    from workbench.search.mixed_precision.sensitivity import Sensitivity

LOG = logging.getLogger(__name__)
GROUPS = ("Model", "Data", "Accuracy", "Limits")
FIELDS = (
    *(name for name, setting in SETTINGS.items() if setting.group in GROUPS),
    *("batches", "threads", "calibration", "calibration_samples", "seed"),
)
"""Settings that have an effect on a repair."""
WORST = 8
HELP = "find the layers that must stay in FP32 for INT8 to keep its accuracy, and be fast"


def add_to(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--backend", default="", help="the backend to search with: onnxruntime (default) or openvino")
    add("--samples", type=int, default=256, help="samples to search with; up to 8 times as many others confirm")
    add("--limit-s", type=float, default=300.0, help="seconds for each half of the search, about")
    add("--output", type=home, default="keep.json", help="the list of nodes, as JSON")
    add_run_settings(parser, "store")
    add_settings(parser, FIELDS)


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """The layers by damage and what was tried; writes the list of nodes. Status 1 where nothing was found."""
    from workbench.search.mixed_precision import answers, questions

    experiment = Experiment(**given(options, FIELDS))
    check_output(
        Path(options.output),
        option="--output",
        endings=(".json",),
        written_here=lambda start: start.startswith(b'{\n "keep": ['),
        inputs=[experiment.model, experiment.data],
    )
    bar.update(Progress("search"))
    common: dict[str, Any] = {"store": options.store, "backend": options.backend, "samples": options.samples}
    repaired = questions.mixed_precision(experiment, **common, limit_s=options.limit_s, say=LOG.info)
    if repaired.best is not None:
        answers.save_keep(repaired, Path(options.output))
    document = _document(repaired, options.output if repaired.best else None)
    return Answer(_text(repaired, options.output), document, Exit.OK if repaired.best else Exit.FAILED)


def _text(repaired: Repair, output: str) -> str:
    text = _layers(repaired.sensitivity) if repaired.sensitivity is not None else []
    text += ["", f"tried on {repaired.backend}, against FP32 in turns:"]
    text += [f"  {tried.summary}{'' if tried.within else ' – over the budget'}" for tried in repaired.tried]
    if repaired.best is None:
        return "\n".join(map(one_line, [*text, "", f"No answer: {repaired.why}"]))
    text += ["", f"found: {repaired.best.summary}"]
    if not repaired.best.shown:
        text.append(
            f"That it holds {repaired.budget} is not shown: {counted(repaired.unseen, 'unseen sample')} are too few for that. "
            "Give more data, or a larger budget."
        )
    text.append(f"{len(repaired.keep)} nodes stay in FP32; their names are in {output}")
    text.append(f"To build and measure it: report --precisions fp32,int8 --keep {output}, with the same model and data")
    return "\n".join(map(one_line, text))


def _layers(sensitivity: Sensitivity) -> list[str]:
    text = [
        f"{sensitivity.metric}: FP32 {sensitivity.fp32_quality:.4f}, all in INT8 {sensitivity.int8_quality:.4f}, {sensitivity.samples} samples",
        "layers by what INT8 in them alone does to the outputs, the worst first:",
    ]
    for each in sensitivity.ranked()[:WORST]:
        noise = "no change" if each.sqnr_db is None else f"{each.sqnr_db:.1f} dB"
        text.append(f"  {each.what} ({each.op}): {noise}, {sensitivity.metric} {each.quality:.4f}")
    if sensitivity.diverges_at:
        text.append(f"inner values first diverge at {sensitivity.diverges_at}")
    if sensitivity.untried:
        text.append(f"not tried within the limit of time: {len(sensitivity.untried)} layers")
    return text


def _document(repaired: Repair, output: str | None) -> dict[str, Any]:
    layers = repaired.sensitivity.ranked() if repaired.sensitivity is not None else ()
    return {
        **fields(repaired, "backend", "metric", "budget", "samples"),
        "unseen_samples": repaired.unseen,
        "fp32_quality": repaired.fp32_quality,
        "layers": [
            {"layer": each.what, "operator": each.op, "sqnr_db": each.sqnr_db, "quality": each.quality}
            for each in layers
        ],
        "tried": [_tried(each) for each in repaired.tried],
        "found": _tried(repaired.best) if repaired.best else None,
        "shown": repaired.best.shown if repaired.best else False,
        "why": repaired.why,
        "keep": list(repaired.keep),
        "output": output,
    }


def _tried(tried: Tried) -> dict[str, Any]:
    speed = tried.speed
    return {
        **fields(tried, "name", "quality"),
        "within_budget": tried.within,
        "size_ratio": tried.size_ratio,
        "speedup": {"ratio": speed.ratio, "low": speed.low, "high": speed.high} if speed else None,
        "confirmed_quality": tried.confirmed,
        "error": tried.error,
    }
