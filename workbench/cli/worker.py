"""The command ``worker``: this machine becomes a worker of a cluster, until it is interrupted."""

from __future__ import annotations

import argparse
import logging

from workbench.cli.answer import Answer
from workbench.settings.options import add_run_settings
from workbench.store import Store
from workbench.system.progress import ProgressBar

LOG = logging.getLogger(__name__)
HELP = "carry out parts of runs for a Dask cluster, until interrupted (Ctrl-C)"


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scheduler", metavar="ADDRESS", help="the scheduler: tls://HOST:PORT, or tcp:// on the loopback interface"
    )
    parser.add_argument("--name", default="", help="the worker's name in results (default: its address)")
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        help="a word by which runs choose workers, such as gpu:H200; may be repeated",
    )
    add_run_settings(parser, "store")


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """Nothing: the command ends when it is interrupted."""
    from workbench.cluster.certificates import WORKER, check_authority, check_certificates
    from workbench.cluster.starting import command, serve

    bar.close()  # Dask writes to the same terminal
    words = command(options.scheduler, options.name, options.label)
    check_certificates(options.scheduler, WORKER)
    check_authority(options.scheduler, WORKER)
    store = Store(options.store or None).prepare()
    LOG.info("worker of %s with the store %s", options.scheduler, store.root)
    serve(words, store.root, LOG.warning)
    return Answer("", {"scheduler": options.scheduler, "store": str(store.root)})
