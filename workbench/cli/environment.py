"""The command ``environment``: other Pythons that engines are built and run in."""

from __future__ import annotations

import argparse
from typing import Any

from workbench.cli.answer import Answer, Exit
from workbench.errors.printable import one_line
from workbench.report.document import fields
from workbench.system.progress import ProgressBar

HELP = "keep other Python environments, whose engines are named BACKEND[:MODE]@NAME and measured in the same run"


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("add", "list", "check", "remove"), help="what to do")
    parser.add_argument("name", nargs="?", default="", help="how addresses name it, such as trt8")
    parser.add_argument("python", nargs="?", default="", help="for add: path of its python, such as ~/trt8/bin/python")


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:  # noqa: ARG001 - as every command
    """The environments in question, each with what is ready in it; status 1 where one that was checked cannot be used."""
    from workbench.environments import adding, registry
    from workbench.errors import InputError

    needed = {"add": ("name", "python"), "list": (), "check": ("name",), "remove": ("name",)}[options.action]
    missing = [each for each in needed if not getattr(options, each)]
    if missing:
        raise InputError(
            f"'environment {options.action}' needs {' and '.join(missing)}: workbench environment add NAME /path/to/python"
        )
    if options.action == "add":
        found = [adding.add(options.name, options.python)]
    elif options.action == "list":
        found = list(registry.known().values())
    else:
        found = [registry.named(options.name)]
    problems = {each.name: adding.problem(each) for each in found} if options.action == "check" else {}
    if options.action == "remove":
        registry.remove(options.name)
        return Answer(f"Removed '{options.name}'.", {"environments": []})
    listed = [_document(each, problems.get(each.name, "")) for each in found]
    text = "\n".join(one_line(line) for each in listed for line in _lines(each))
    status = Exit.FAILED if any(problems.values()) else Exit.OK
    return Answer(
        text or "No environments. Add one: workbench environment add NAME /path/to/python",
        {"environments": listed},
        status,
    )


def _document(environment: Any, problem: str) -> dict[str, Any]:
    from workbench.environments.start import TOOLS

    return {
        **fields(environment, "name", "python", "version", "architecture", "packages"),
        "ready": [f"{address}@{environment.name}" for address in environment.ready],
        "rewrites": [name for name in TOOLS if name in environment.packages],
        "problem": problem,
    }


def _lines(environment: dict[str, Any]) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    lines = [
        f"{environment['name']:14}{environment['python']}",
        f"{'':14}Python {environment['version']}, {environment['architecture']}; {packages}",
        f"{'':14}ready: {', '.join(environment['ready']) or 'nothing'}",
        *([f"{'':14}rewrites models: {', '.join(environment['rewrites'])}"] if environment["rewrites"] else []),
    ]
    if environment["problem"]:
        lines.append(f"{'':14}cannot be used: {environment['problem']}")
        lines.append(f"{'':14}fix: workbench environment add {environment['name']} {environment['python']}")
    return lines
