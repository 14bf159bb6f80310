"""The command ``gate``: is the new model, library or environment slower than the old one?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.answer import Answer, Exit
from workbench.errors import writing
from workbench.report.document import fields, machine
from workbench.settings.experiment import Experiment
from workbench.settings.options import add_run_settings, add_settings, given, path
from workbench.settings.output_files import check_output
from workbench.settings.table import SETTINGS
from workbench.system.progress import ProgressBar

if TYPE_CHECKING:
    from workbench.gating.outcome import Gate, GateRow

GROUPS = ("Model", "Data", "Engines", "Precision", "Measuring", "Limits")
WITHOUT = ("builds", "baseline", "until", "clocks", "roofline", "layers")
FIELDS = tuple(name for name, setting in SETTINGS.items() if setting.group in GROUPS and name not in WITHOUT)
"""Settings that have an effect on a gate."""
MEASURE_S = 20.0
FILES = {"benchmark_json": (".json",), "junit_xml": (".xml",), "summary": (".md",)}
STATUS = {"no worse": Exit.OK, "worse": Exit.FAILED, "cannot tell": Exit.CANNOT_TELL}
HELP = "say whether a new model, library or environment is slower than the old one, for continuous integration"


def share(text: str) -> float:
    """A share as a number or in percent: ``0.05`` or ``5%``."""
    number = float(text.strip().removesuffix("%"))
    return number / 100 if text.strip().endswith("%") else number


def add_to(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--old-model", default="", metavar="FILE", help="the old model, measured in turn with --model")
    add(
        "--old-environment",
        default="",
        metavar="NAME",
        help='the environment of the old libraries; "here" is this Python',
    )
    add(
        "--recorded",
        default="",
        metavar="RUN",
        help="a recorded run instead: its name in the history, or a .wbrun file",
    )
    add(
        "--allow-slower",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="accept a slowdown up to this, such as 2% (default: 0)",
    )
    add(
        "--exclude-slower",
        type=share,
        metavar="SHARE",
        help='"no worse" excludes a slowdown of this (default: 5%, recorded: 15%)',
    )
    add("--benchmark-json", type=path, metavar="FILE", help="write the rows in the shape of pytest-benchmark")
    add("--junit-xml", type=path, metavar="FILE", help="write the outcomes as JUnit XML")
    add("--summary", type=path, metavar="FILE", help="write a summary in Markdown")
    add_run_settings(parser, "store")
    add_settings(parser, FIELDS)


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """The outcome of each row; status 0: no worse, 1: worse, 3: cannot tell. At most 20 s are timed unless ``--max-measure-s`` is given."""
    from workbench.gating.gate import gate
    from workbench.gating.table import table

    experiment = Experiment(**{"max_measure_s": MEASURE_S, **given(options, FIELDS)})
    for name, file in _files(options).items():
        _check(name, file, [experiment.model, experiment.data, options.old_model])
    names = ("old_model", "old_environment", "recorded", "allow_slower", "exclude_slower")
    found = gate(
        experiment, store=options.store or None, on_event=bar, **{name: getattr(options, name) for name in names}
    )
    _write(found, options)
    text = f"{table(found).text()}\n{found.sentence}"
    return Answer(text, _document(found, options), STATUS[found.outcome])


def _files(options: argparse.Namespace) -> dict[str, Path]:
    """The files to write, by the name of the option."""
    return {name: file for name in FILES if (file := getattr(options, name)) is not None}


def _check(name: str, file: Path, inputs: list[str]) -> None:
    from workbench.gating.files import BEGINS

    begins, option = BEGINS[FILES[name][0]], f"--{name.replace('_', '-')}"
    check_output(
        file, option=option, endings=FILES[name], written_here=lambda start: start.startswith(begins), inputs=inputs
    )


def _write(gate: Gate, options: argparse.Namespace) -> None:
    from workbench.gating import files

    makers = {"benchmark_json": files.benchmark_json, "junit_xml": files.junit_xml, "summary": files.summary}
    for name, file in _files(options).items():
        with writing(file, f"option --{name.replace('_', '-')}"):
            file.write_text(makers[name](gate), encoding="utf-8")


def _document(gate: Gate, options: argparse.Namespace) -> dict[str, Any]:
    written = {name: str(getattr(options, name)) if getattr(options, name) else None for name in FILES}
    return {
        "outcome": str(gate.outcome),
        **fields(gate, "sentence", "old", "new", "in_turn"),
        "allow_slower": gate.limits.allowed,
        "exclude_slower": gate.limits.excluded,
        "machine": machine(gate.machine),
        "rows": [_row(row) for row in gate.rows],
        "wall_s": gate.wall_s,
        "files": written,
    }


def _row(row: GateRow) -> dict[str, Any]:
    sides = {
        f"{side}_median_s": result.timing.median_s if result and result.timing else None
        for side, result in (("old", row.old), ("new", row.new))
    }
    return {
        "row": row.name,
        **fields(row, "variant", "batch"),
        "outcome": str(row.outcome),
        **fields(row, "slowdown", "low", "high", "why"),
        **sides,
    }
