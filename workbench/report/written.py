"""One experiment as a report: checked before a kernel is started for it, executed as a notebook, and written as a page."""

from __future__ import annotations

import logging
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.errors import InputError, writing
from workbench.errors.printable import one_line
from workbench.records import Progress
from workbench.report import page
from workbench.settings.experiment import Experiment
from workbench.store import Store

if TYPE_CHECKING:
    from workbench.system.progress import ProgressBar

LOG = logging.getLogger(__name__)


class Written(NamedTuple):
    """A report: its notebook, the document of its results (``None``: there are none), and how long it took."""

    notebook: Path
    results: dict[str, Any] | None
    wall_s: float


def write_report(experiment: Experiment, html: Path, more: dict[str, Any], bar: ProgressBar) -> Written:
    """Execute the notebook of the workbench with an experiment and ``more`` parameters, and write it beside its page ``html``.

    Raises:
        WorkbenchError: as :func:`workbench.report.page.execute` and :func:`workbench.report.page.html_from_notebook`.
    """
    from workbench.system.resources import notebook

    executed, began = html.with_suffix(".ipynb"), time.monotonic()
    relay = partial(LOG.log, LOG.getEffectiveLevel())  # the kernel has chosen what to print
    bar.update(Progress("start the notebook"))
    parameters = experiment.parameters() | more
    results = page.execute(notebook("workbench.ipynb"), executed, parameters, progress=relay, on_event=bar)
    bar.update(Progress("write the report"))
    page.html_from_notebook(executed, html)
    return Written(executed, results, time.monotonic() - began)


def check_inputs(experiment: Experiment, *, here: bool) -> None:
    """Find bad input before a kernel is started for it; ``here``: the run is on this machine."""
    from workbench.data.dataset import check_exists
    from workbench.models.inspection import recognize
    from workbench.runs.pipeline import check
    from workbench.runs.sources import DEMO

    if here:
        check(experiment)
    if experiment.model != DEMO:
        recognize(experiment.model)
    check_exists(experiment.data)


def _check_names(given: dict[str, Any]) -> None:
    """Refuse names with bytes that are not text: a notebook, which is UTF-8, cannot hold them."""
    for name, value in given.items():
        try:
            str(value).encode("utf-8")
        except UnicodeEncodeError as cause:
            encoding = sys.getfilesystemencoding()
            other = "" if encoding == "utf-8" else f", or set PYTHONUTF8=1, because names are read as {encoding} here"
            raise InputError(
                f"'{name}' is '{one_line(value)}', which has bytes that are not text, and a notebook cannot hold them. Rename the "
                f"file or folder{other}."
            ) from cause


def check_place(experiment: Experiment, store: str, html: Path, *, writes: bool) -> None:
    """Find a place that cannot be written to, or a name that a notebook cannot hold, before a kernel is started."""
    _check_names({**experiment.parameters(), "store": store, "output": html})
    page.check_page(html, [experiment.model, experiment.data, *experiment.keep])
    page.check_notebook(html.with_suffix(".ipynb"))
    if writes:  # a run that is shown as it was is only read
        Store(store or None).prepare()
    with writing(html, "option --output"):
        html.parent.mkdir(parents=True, exist_ok=True)
        probe = html.with_name(f".{html.name}.{os.getpid()}.probe")
        probe.write_bytes(b"x")
        probe.unlink()
