"""The command ``app``: the panel alone in the browser, without code cells, by Voilà."""

from __future__ import annotations

import argparse

from workbench.cli import serving
from workbench.cli.answer import Answer
from workbench.system.progress import ProgressBar
from workbench.system.resources import notebook

WITH_TOKEN = ("--Voila.auto_token=True",)
"""Only the address with the token, which Voilà prints, opens the page: other users of the machine cannot. The option
``--token`` would take the next word as the token.
"""
HELP = "open the panel alone in the browser (Voilà)"


def add_to(parser: argparse.ArgumentParser) -> None:
    serving.add_options(parser, "Voilà")


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """The page that was open, when the server has ended. Each browser tab has a kernel of its own; runs outlive it."""
    return serving.serve("voila", options, WITH_TOKEN, notebook("app.ipynb"), bar)
