"""The command ``repair``: which layers cannot bear INT8, and the fastest mixed model that keeps its quality."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from workbench.experiment import Experiment
from workbench.models.describe import counted
from workbench.outputs import check_output
from workbench.printable import one_line
from workbench.printable import tell as print  # noqa: A004 - names of layers may hold escape sequences
from workbench.search.sensitivity import Sensitivity
from workbench.settings_table.kinds import home
from workbench.settings_table.options import add_run_settings, add_settings, given
from workbench.settings_table.table import SETTINGS

GROUPS = ("Model", "Data", "Accuracy", "Limits")
FIELDS = (
    *(name for name, setting in SETTINGS.items() if setting.group in GROUPS),
    *("batches", "threads", "calibration", "calibration_samples", "seed"),
)
"""Settings that have an effect on a repair."""
WORST = 8


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "repair", help="find the layers that must stay in FP32 for INT8 to keep its accuracy, and be fast"
    )
    parser.add_argument("--backend", default="onnxruntime", help="onnxruntime or openvino (default: onnxruntime)")
    parser.add_argument(
        "--samples", type=int, default=256, help="samples to search with; up to 8 times as many others confirm"
    )
    parser.add_argument("--limit-s", type=float, default=300.0, help="seconds for each half of the search, about")
    parser.add_argument("--output", type=home, default="keep.json", help="the list of nodes, as JSON")
    add_run_settings(parser, "store")
    add_settings(parser, FIELDS)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print the layers by damage and what was tried, and write the list; 1 where nothing was found."""
    from workbench import study

    experiment = Experiment(**given(options, FIELDS))
    check_output(
        Path(options.output),
        option="--output",
        endings=(".json",),
        written_here=lambda start: start.startswith(b'{\n "keep": ['),
        inputs=[experiment.model, experiment.data],
    )
    common: dict[str, Any] = {"store": options.store, "backend": options.backend, "samples": options.samples}
    common |= {"limit_s": options.limit_s, "say": lambda text: print(f"… {text}", file=sys.stderr)}
    repaired = study.mixed_precision(experiment, **common)
    if repaired.sensitivity is not None:
        _tell(repaired.sensitivity)
    print(f"\ntried on {repaired.backend}, against FP32 in turns:")
    for tried in repaired.tried:
        print(f"  {tried.told}{'' if tried.within else ' – over the budget'}")
    if repaired.found is None:
        print(f"\nNo answer: {repaired.why}")
        return 1
    study.save_keep(repaired, Path(options.output))
    print(f"\nfound: {repaired.found.told}")
    if not repaired.found.shown:
        print(
            f"That it holds {repaired.budget} is not shown: {counted(repaired.unseen, 'unseen sample')} are too few for that. "
            "Give more data, or a larger budget."
        )
    print(f"{len(repaired.keep)} nodes stay in FP32; their names are in {options.output}")
    print(
        f"To build and measure it: report --precisions fp32,int8 --keep {options.output}, with the same model and data"
    )
    return 0


def _tell(found: Sensitivity) -> None:
    print(
        f"{found.metric}: FP32 {found.fp32_quality:.4f}, all in INT8 {found.int8_quality:.4f}, {found.samples} samples"
    )
    print("layers by what INT8 in them alone does to the outputs, the worst first:")
    for each in found.ranked()[:WORST]:
        noise = "no change" if each.sqnr_db is None else f"{each.sqnr_db:.1f} dB"
        print(f"  {one_line(each.what)} ({one_line(each.op)}): {noise}, {found.metric} {each.quality:.4f}")
    if found.diverges_at:
        print(f"inner values come apart first at {found.diverges_at}")
    if found.untried:
        print(f"not tried within the limit of time: {len(found.untried)} layers")
