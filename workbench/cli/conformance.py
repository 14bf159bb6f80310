"""The command ``conformance``: ONNX's own operator cases through each backend, against the outputs that ONNX defines."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.answer import Answer
from workbench.errors import InputError, writing
from workbench.settings.kinds import home
from workbench.settings.options import add_run_settings
from workbench.system.progress import ProgressBar

if TYPE_CHECKING:
    from workbench.conformance.outcomes import Conformance

LOG = logging.getLogger(__name__)
HELP = "run ONNX's own operator cases through each backend and compare with ONNX's definition"


def add_to(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "backends",
        nargs="*",
        default=[],
        metavar="BACKEND",
        help="backend or backend:mode (default: all that are ready and are built from ONNX files)",
    )
    add("--precisions", default="fp32", metavar="VALUE", help="fp32, fp16 or bf16, comma-separated (default: fp32)")
    add("--cases", default="*", metavar="PATTERN", help='only those that match, such as "resize_*"')
    add("--limit", type=int, default=0, metavar="N", help="at most so many cases (default: 0, all)")
    add("--again", action="store_true", help="run all cases, also those with outcomes in the store")
    add("--output", type=home, metavar="FOLDER", help="write each result into this folder, as a compact file")
    add(
        "--page",
        type=home,
        metavar="FILE",
        help="write a page, in Markdown, of the results that come with the workbench",
    )
    add_run_settings(parser, "store")


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """A summary for each backend and precision; the status is 0 whatever the outcomes are."""
    from workbench.conformance.outcomes import save
    from workbench.conformance.page import summary
    from workbench.runs import conformance
    from workbench.store import Store

    if options.limit < 0:
        raise InputError(f"The option --limit is {options.limit}. Give 0 for all cases, or a number above 0.")
    if options.page and not options.backends:
        return Answer(_write_page(Path(options.page)), {"results": [], "not_run": [], "page": options.page})
    addresses = [part for word in options.backends for part in word.split(",") if part]
    precisions = [part.strip() for part in options.precisions.split(",") if part.strip()]
    chosen, without = conformance.specs(addresses, precisions)
    results = conformance.run(
        chosen,
        store=Store(options.store or None),
        say=LOG.info,
        on_progress=bar.update,
        pattern=options.cases,
        limit=options.limit,
        again=options.again,
    )
    text: list[str] = []
    listed: list[dict[str, Any]] = []
    for result in results:
        file = save(result, Path(options.output)) if options.output else None
        text += [summary(result), *([f"  file: {file}"] if file else [])]
        listed.append(_document(result) | {"file": str(file) if file else None})
    text += [f"{label}: not run; {reason}" for label, reason in without.items()]
    if options.page:
        text.append(_write_page(Path(options.page)))
    not_run = [{"variant": label, "reason": reason} for label, reason in without.items()]
    return Answer("\n".join(text), {"results": listed, "not_run": not_run, "page": options.page})


def _document(result: Conformance) -> dict[str, Any]:
    return {
        "backend": result.backend,
        "library": result.title,
        "library_version": result.version,
        "precision": result.precision,
        "onnx": result.onnx,
        "cases": result.cases,
        "counts": {str(verdict): count for verdict, count in result.counts().items()},
        "counts_with_constants": {str(verdict): count for verdict, count in result.counts(constants=True).items()},
        "wrong": [
            {"case": each.case, "max_abs_diff": each.difference, "max_rel_diff": each.relative, "detail": each.detail}
            for each in result.wrong
        ],
    }


def _write_page(path: Path) -> str:
    from workbench.conformance.outcomes import known
    from workbench.conformance.page import page

    with writing(path, "option --page"):
        path.write_text(page(known()), encoding="utf-8")
    return f"page: {path}"
