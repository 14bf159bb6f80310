"""Buttons of the page History by which a run leaves as a file and another comes in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.models.describe import size
from workbench.panel import view, widgets
from workbench.panel.fields import button
from workbench.panel.upload import Upload
from workbench.runs import run_file
from workbench.runs.archive import Run
from workbench.runs.travel import export_run, import_run
from workbench.store import Store

MOST_BYTES = 9 * 2**20
"""Of a file that a page hands over; Jupyter drops the connection at a message of 10 MiB (Tornado's default)."""


class Travel(widgets.VBox):  # type: ignore[misc]
    """Export of the run that ``chosen`` returns, and import of a file; ``taken`` is called with the name of an imported run."""

    def __init__(self, store: Store, chosen: Callable[[], Run | None], taken: Callable[[str], None]) -> None:
        self._store, self._chosen, self._taken = store, chosen, taken
        tip = "The chosen run as one file, for another machine: every duration and record, without the model"
        self.export = button("Export", "upload", tip, "wb-export-run")
        self.file = Upload(store.root / "uploads", (run_file.ENDING,))
        self.said = widgets.HTML()
        label = widgets.HTML('<span class="wb-label">Import a run that was exported elsewhere</span>')
        super().__init__([widgets.Box([self.export], css="wb-line"), label, self.file, self.said])
        self.export.on_click(lambda _: self.export_now())
        self.file.observe(lambda _: self.import_now(), "value")

    def export_now(self) -> None:
        """Make the file, and a link that hands it over."""
        run = self._chosen()
        if run is None:
            return
        try:
            with tempfile.TemporaryDirectory() as folder:
                found = export_run(run.name, Path(folder) / f"{run.name}{run_file.ENDING}", self._store)
                if found.size_bytes > MOST_BYTES:
                    self.said.value = view.message(
                        f"The file would have {size(found.size_bytes)}, too much for this page. In a terminal: workbench history --export "
                        f"{run.name} {found.path.name}",
                        "warn",
                    )
                    return
                self.said.value = view.download(found.path.name, "application/zip", found.path.read_bytes())
        except WorkbenchError as error:
            self.said.value = view.message(error.message)

    def import_now(self) -> None:
        """Take the uploaded file in."""
        if not self.file.value:
            return
        try:
            found = import_run(self.file.value, self._store)
        except WorkbenchError as error:
            self.said.value = view.message(error.message)
            return
        had = "" if found.new else " It was in the store already."
        what = found.results.imported or "it was measured on this machine"
        self._taken(found.run)
        self.said.value = view.message(f"Run {found.run}: {what}.{had}", "good")
