"""What ``lab`` and ``app`` share: a Jupyter server in the foreground, and its answer when it has ended."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.cli.answer import Answer, Exit
from workbench.cli.surroundings import EndedBySignal
from workbench.errors import MissingPackageError
from workbench.errors.printable import one_line
from workbench.settings.options import add_run_settings
from workbench.store import Store
from workbench.system.progress import ProgressBar
from workbench.system.supervisor import end_with_parent
from workbench.workers.fork_server import PYTHON


def add_options(parser: Any, server: str) -> None:
    """Add what both commands have: the store, and options that go to the server as they are."""
    parser.epilog = f"options after -- go to {server}, such as: workbench ... -- --no-browser --port=9000"
    parser.passes_on = True
    add_run_settings(parser, "store")


def serve(module: str, options: argparse.Namespace, own: Sequence[str], page: Path, bar: ProgressBar) -> Answer:
    """Run ``python -m module`` with ``own`` options and those of the user until it ends; status 1 where it failed.

    Kernels get the store of ``options`` as the variable ``WORKBENCH_STORE``, because their folder is that of the notebook.

    Raises:
        MissingPackageError: the server is not installed.
    """
    if find_spec(module) is None:
        raise MissingPackageError(
            f"'workbench {options.name}' needs the package '{module}', which is not installed: pip install {module}"
        )
    bar.close()  # the server writes to the same terminal
    store = Store(options.store or None).root.resolve()
    env = os.environ | {"WORKBENCH_STORE": str(store)}
    command = [*PYTHON, "-m", module, *own, str(page), *options.passed_on]
    # this process has one thread; killed, it takes the server and its kernels with it, and runs go on
    status = _ended(subprocess.Popen(command, env=env, preexec_fn=end_with_parent))  # noqa: PLW1509
    error = f"{module} ended with status {status}; its messages are above." if status else ""
    document = {"page": str(page), "server_status": status}
    text = f"The server has ended. Runs that it started go on, and their results are in the store {one_line(store)}."
    return Answer(text, document, Exit.FAILED if status else Exit.OK, error)


def _ended(process: subprocess.Popen[bytes]) -> int:
    """The exit status of the process, when it has ended. Ctrl-C reaches it as well, and it asks whether to end."""
    while True:
        try:
            return process.wait()
        except EndedBySignal:
            process.terminate()
            process.wait()
            raise
        except KeyboardInterrupt:
            continue
