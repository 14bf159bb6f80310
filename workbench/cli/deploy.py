"""The command ``deploy``: write the folder with which a measured variant is served."""

from __future__ import annotations

import argparse
from typing import Any

from workbench.cli.answer import Answer
from workbench.errors.printable import one_line
from workbench.records import Deployment, Progress
from workbench.report.document import fields
from workbench.settings.options import add_run_settings, path
from workbench.system.progress import ProgressBar

HELP = "write a measured variant with its server configuration and checks to a folder"


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=path, metavar="DIR", help="the folder to write: new or empty")
    parser.add_argument("--run", default="latest", help="the run: its name, the end of it, or latest (default)")
    parser.add_argument("--variant", default="", help='the variant as in the tables, such as "onnxruntime int8"')
    parser.add_argument("--batch", type=int, default=None, help="a batch size that was measured")
    parser.add_argument("--over-budget", action="store_true", help="also where the variant is over the accuracy budget")
    add_run_settings(parser, "store")


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """The deployment; its answers were checked before the folder was put in its place."""
    from workbench.deploy.folder import deploy

    bar.update(Progress("deploy"))
    made = deploy(
        options.folder,
        run=options.run,
        variant=options.variant,
        batch=options.batch,
        store=options.store,
        over_budget=options.over_budget,
    )
    return Answer(_text(made, options.folder), document(made, str(options.folder)))


def _text(made: Deployment, folder: Any) -> str:
    one = made.at(made.batch)
    lines = [
        f"{made.variant} at batch {made.batch}: {one_line(folder)}",
        f"measured: {one.median_s * 1e3:.3g} ms, {one.samples_per_s:,.0f} samples/s, on {made.machine.label}",
        f"accuracy: {made.accuracy or 'not known'}; budget {made.budget or 'none'}",
        "its answers are those of the engine that was measured",
    ]
    lines += [f"bound to this type of machine: {made.bound}"] if made.bound else []
    lines += [f"to check it: python {folder}/selftest.py", f"to serve it: workbench serve {folder}"]
    return "\n".join(map(one_line, lines))


def document(made: Deployment, folder: str) -> dict[str, Any]:
    """The fields of a deployment that other commands print too."""
    one = made.at(made.batch)
    return {
        "folder": folder,
        **fields(made, "name", "run", "variant", "batch", "library", "library_version", "built"),
        "measured": {"p50_s": one.median_s, "samples_per_s": one.samples_per_s, "measured_at": one.measured_at},
        **fields(made, "accuracy", "budget", "bound"),
        "files": sorted(made.files),
    }
