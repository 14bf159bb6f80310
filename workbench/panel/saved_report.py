"""A part of the page Export: the report of the shown run, as a file that can be sent."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.panel import view, widgets
from workbench.panel.fields import button, field
from workbench.panel.work import BackgroundWork
from workbench.records import Results
from workbench.store import Store

GOES_ON = "Writing the report. Nothing is measured; it takes about half a minute."


class SavedReport(widgets.VBox):  # type: ignore[misc]
    """A name and a button; the file is written by the command ``report --run`` in a process of its own."""

    def __init__(self, store: Store) -> None:
        self._store, self._run, self.work = store, "", BackgroundWork()
        tip = "An HTML file, in the folder of this notebook; its notebook is written beside it"
        self.name = field(widgets.Text, "Report", tip, "report.html", css="wb-wide")
        self.save = button("Save the report", "save", tip, "wb-save-report")
        self.saved = widgets.HTML()
        super().__init__([widgets.Box([self.name, self.save], css="wb-line"), self.saved])
        self.save.on_click(lambda _: self.save_now())
        self.show(None)

    def show(self, results: Results | None) -> None:
        """These results are what would be saved."""
        self._run = results.run if results else ""
        self.save.disabled, self.saved.value = not self._run, ""

    def save_now(self) -> None:
        """Write the file; the panel can be used at the same time."""
        if self.work.busy:
            return
        path = Path(self.name.value.strip() or "report.html").expanduser().absolute()
        self.save.disabled, self.saved.value = True, view.hint(GOES_ON)
        self.work.start(partial(self._write, self._run, path), failed=self._failed)

    def _write(self, run: str, path: Path) -> None:
        """In the thread.

        Raises:
            WorkbenchError: nothing was written.
        """
        before = _written_at(path)
        options = ["--run", run, "--store", str(self._store.root), "--output", str(path), "--quiet"]
        command = [sys.executable, "-m", "workbench", "report", *options]
        variables = {**os.environ, "WORKBENCH_HEADLESS": "1"}  # those of Voilà ask for a panel in place of a report
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
        if _written_at(path) == before:
            raise WorkbenchError((done.stderr or done.stdout).strip().rpartition("\n")[2])
        link = view.download(path.name, "text/html", path.read_bytes())
        self.work.post(partial(self._say, view.message(f"Saved as {path}.", "good") + link))

    def _failed(self, error: Exception) -> None:
        self._say(view.message(f"The report could not be written. {error}"))

    def _say(self, html: Any) -> None:
        self.save.disabled, self.saved.value = False, html


def _written_at(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0
