"""The command ``conformance``: ONNX's own operator cases through each backend, against the outputs that ONNX defines."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from workbench.errors import InputError, writing
from workbench.settings_table.kinds import home
from workbench.settings_table.options import add_run_settings

PRECISION = "fp32"


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "conformance", help="run ONNX's own operator cases through each backend and compare with ONNX's definition"
    )
    parser.add_argument(
        "backends",
        nargs="*",
        default=[],
        metavar="BACKEND",
        help="backend or backend:mode (default: all that are ready and are built from ONNX files)",
    )
    parser.add_argument(
        "--precisions", default=PRECISION, metavar="VALUE", help="fp32, fp16 or bf16, comma-separated (default: fp32)"
    )
    parser.add_argument("--cases", default="*", metavar="PATTERN", help='only those that match, such as "resize_*"')
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="at most so many cases (default: 0, all)")
    parser.add_argument("--anew", action="store_true", help="run again what the store has outcomes for")
    parser.add_argument(
        "--output", type=home, metavar="FOLDER", help="write each result into this folder, as a compact file"
    )
    parser.add_argument(
        "--page",
        type=home,
        metavar="FILE",
        help="write a page, in Markdown, of the results that come with the workbench",
    )
    add_run_settings(parser, "store")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print a summary for each backend and precision; the status is 0 whatever the outcomes are."""
    from workbench.conformance.outcomes import save
    from workbench.conformance.page import summary
    from workbench.runs import conformance
    from workbench.store import Store

    if options.limit < 0:
        raise InputError(f"The option --limit is {options.limit}. Give 0 for all cases, or a number above 0.")
    if options.page and not options.backends:
        _write_page(Path(options.page))
        return 0
    addresses = [part for word in options.backends for part in word.split(",") if part]
    precisions = [part.strip() for part in options.precisions.split(",") if part.strip()]
    chosen, without = conformance.specs(addresses, precisions)
    results = conformance.run(
        chosen,
        store=Store(options.store or None),
        say=lambda text: print(f"… {text}", file=sys.stderr),
        pattern=options.cases,
        limit=options.limit,
        anew=options.anew,
    )
    for result in results:
        print(summary(result))
        if options.output:
            print(f"  file: {save(result, Path(options.output))}")
    for label, reason in without.items():
        print(f"{label}: not run; {reason}")
    if options.page:
        _write_page(Path(options.page))
    return 0


def _write_page(path: Path) -> None:
    """A page of the results that come with the package."""
    from workbench.conformance.outcomes import known
    from workbench.conformance.page import page

    with writing(path, "option --page"):
        path.write_text(page(known()), encoding="utf-8")
    print(f"page: {path}")
