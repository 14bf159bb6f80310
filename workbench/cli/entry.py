"""Run one command of the command line. Bad input ends in one sentence and status 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module

from workbench import __version__
from workbench.cli.answer import MEANINGS, Answer, Exit, as_json, failed
from workbench.cli.surroundings import EndedBySignal, ends_by_signal, open_streams
from workbench.errors import Cancelled, InputError, StoreError, WorkbenchError
from workbench.errors.printable import Lost, tell, unless_lost
from workbench.records import Progress
from workbench.settings.options import PROGRAM, Parser, UsageExit, as_options
from workbench.store import Store
from workbench.store.sharing import SHARED, TRUST
from workbench.system import logs
from workbench.system.progress import ProgressBar

NAMES = (
    "report",
    "grid",
    "run",
    "inspect",
    "lab",
    "app",
    "notebook",
    "history",
    "store",
    "environment",
    "worker",
    "repair",
    "search",
    "gate",
    "deploy",
    "serve",
    "loadtest",
    "monitor",
    "canary",
    "conformance",
    "board",
    "doctor",
)
"""Commands in the order of ``--help``."""
WORKING = ("report", "grid", "run", "inspect", "repair", "search", "gate", "deploy", "conformance")
"""Commands that show progress from their start: importing libraries alone can take seconds."""
COMMANDS = tuple(import_module(f"workbench.cli.{name}") for name in NAMES)
"""The module of each command. It has a line of ``HELP``, ``add_to(parser)``, which adds its options, and
``run(options, bar)``, which gives an :class:`Answer`.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status is one of :class:`workbench.cli.answer.Exit`."""
    open_streams()
    Lost.cause = None
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        options = _parser().read(words)
    except UsageExit as error:
        if "--json" in words:
            command = next((word for word in words if not word.startswith("-")), "")
            tell(as_json("error", failed(command, "UsageError", error.message, Exit.USAGE).document))
        raise
    answer = _answer(options)
    if answer.error:
        tell(f"{PROGRAM}: {as_options(answer.error)}", file=sys.stderr)
    schema = "error" if answer.error and not answer.text else answer.schema or options.name
    if text := as_json(schema, answer.document) if options.json else as_options(answer.text):
        tell(text)
    with unless_lost(sys.stdout):
        sys.stdout.flush()
    return Exit.FAILED if Lost.cause and not answer.status else answer.status


def _answer(options: argparse.Namespace) -> Answer:
    """What the command answers, or the error that it ended in."""
    # variables, because the kernel and the jobs of this run have to know it too
    os.environ.update({TRUST: "1"} if options.trust_store else {})
    os.environ.update({SHARED: options.shared_store} if options.shared_store else {})
    try:
        level = logs.level(verbose=options.verbose, quiet=options.quiet)
        bar = ProgressBar(sys.stderr, show=not options.quiet)
        # whatever a library prints goes to standard error: standard output is for the answer alone
        with (
            ends_by_signal(),
            bar,
            logs.shown(lambda text: bar.write(as_options(text)), level),
            redirect_stdout(sys.stderr),
        ):
            if options.shared_store:
                Store(getattr(options, "store", None) or None).prepare()
            if options.name in WORKING:
                bar.update(Progress("load the libraries"))
            answer: Answer = options.command(options, bar)
    except WorkbenchError as error:
        status = Exit.USAGE if isinstance(error, (InputError, StoreError)) else Exit.FAILED
        status = Exit.INTERRUPTED if isinstance(error, Cancelled) else status
        return failed(options.name, type(error).__name__, error.message, status)
    except PermissionError as error:  # of a store or a file of another user
        message = f"There is no permission to use '{error.filename}'. Ask its owner, or choose another one."
        return failed(options.name, "PermissionError", message, Exit.USAGE)
    except EndedBySignal as end:
        return _stopped(options, f"Ended by {end.name}", Exit(128 + end.number))
    except KeyboardInterrupt:
        tell(file=sys.stderr)  # below the ^C of a terminal
        return _stopped(options, "Interrupted", Exit.INTERRUPTED)
    return answer


def _stopped(options: argparse.Namespace, how: str, status: Exit) -> Answer:
    root = Store(getattr(options, "store", None) or None).root
    kept = f"What was finished is kept in the store {root}" if root.is_dir() else "Nothing was kept"
    return failed(options.name, "Interrupted", f"{how}. {kept}; the same command continues from there.", status)


def _parser() -> Parser:
    statuses = "; ".join(f"{status.value}: {meaning}" for status, meaning in MEANINGS.items())
    parser = Parser(prog=PROGRAM, description=sys.modules["workbench"].__doc__, epilog=f"exit status: {statuses}")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, module in zip(NAMES, COMMANDS, strict=True):
        command = commands.add_parser(name, help=module.HELP)
        module.add_to(command)
        command.set_defaults(name=name, command=module.run)
        output = command.add_argument_group("output")
        output.add_argument(
            "--json", action="store_true", help="print one JSON document on standard output; docs/cli.md describes it"
        )
        amount = output.add_mutually_exclusive_group()
        amount.add_argument("--verbose", action="store_true", help="show every step on standard error")
        amount.add_argument("--quiet", action="store_true", help="show only warnings and errors, and no progress")
        command.add_argument(
            "--trust-store", action="store_true", help="use entries of the store that another user or machine signed"
        )
        command.add_argument(
            "--shared-store", default="", metavar="GROUP", help="share the store with this Unix group, or join in; once"
        )
    return parser
