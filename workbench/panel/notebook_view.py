"""What :func:`workbench.show` gives a notebook, whose cells display parts of the last results with it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from workbench.panel import sections
from workbench.panel.parts import NOTHING_YET, PARTS
from workbench.panel.shown_run import ShownRun
from workbench.records import Results
from workbench.report.embedded import bundle
from workbench.settings.experiment import Experiment


class Finished(NamedTuple):
    """A run whose results are known."""

    ran: Experiment
    results: Results


class View:
    """What :func:`show` gives a notebook: the last results, and ways to display parts of them in a cell."""

    place: Path  # the folder of the store
    _run: ShownRun | Finished

    @property
    def results(self) -> Results | None:
        """The last results; ``None`` before the first run has ended."""
        return self._run.results

    @property
    def ran(self) -> Experiment:
        """What the results are of."""
        return self._run.ran

    def display(self, part: str) -> None:
        """Display one of ``PARTS`` or of ``sections.names()``, or one sentence where nothing has been run yet."""
        from IPython.display import display

        results = self.results
        if results is None:
            if part not in sections.GROUPS:  # the summary says it once for all cells
                print(NOTHING_YET)
            return
        shown = PARTS[part](results, self) if part in PARTS else sections.show_group(part, results, self)
        for item in shown:
            display(item)  # type: ignore[no-untyped-call]
        if part == "summary":
            display(bundle(results, self.place), raw=True)  # type: ignore[no-untyped-call]


class Report(View):
    """The results of a run without a person."""

    def __init__(self, experiment: Experiment, results: Results, place: Path) -> None:
        self.experiment, self.place = experiment, place
        self._run = Finished(experiment, results)
