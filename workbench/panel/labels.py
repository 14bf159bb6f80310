"""Controls of the page History that name a run, note something about it, and delete it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from workbench.errors import WorkbenchError
from workbench.jobs.job import Job
from workbench.jobs.removal import remove_run
from workbench.panel import view, widgets
from workbench.panel.fields import button, field
from workbench.runs.archive import Run
from workbench.runs.labels import label_of, set_label
from workbench.store import Store

SURE = "Delete for good"


class HistoryEntry(NamedTuple):
    """A line of the list: a run with results, the job that was its process, or both."""

    line: str
    job: Job | None
    run: Run | None

    @property
    def key(self) -> str:
        """What names it in the store: its run, or the job that has no results."""
        return self.run.name if self.run else self.job.name if self.job else ""


class Labels(widgets.VBox):  # type: ignore[misc]
    """They are about the run that ``chosen`` returns; ``changed`` is called when the store has changed."""

    def __init__(self, store: Store, chosen: Callable[[], HistoryEntry | None], changed: Callable[[], None]) -> None:
        self._store, self._chosen, self._changed = store, chosen, changed
        self._of = ""  # the run whose label the fields hold
        self.name = field(widgets.Text, "Name", "A name for the chosen run", "", placeholder="of one run")
        self.note = field(
            widgets.Text, "Note", "What to remember about the chosen run", "", placeholder="of one run", css="wb-wide"
        )
        self.save = button("Save", "save", "Keep name and note", "wb-save-label")
        tip = "Remove the results of the chosen run from this store; its engines stay"
        self.delete = button("Delete", "trash", tip, "wb-delete-run")
        self.said = widgets.HTML()
        line = widgets.Box([self.name, self.note, self.save, self.delete], css="wb-line")
        super().__init__([line, self.said])
        self.save.on_click(lambda _: self.save_now())
        self.delete.on_click(lambda _: self.delete_now())
        self.follow()

    def follow(self) -> None:
        """Another run was chosen, or none."""
        chosen = self._chosen()
        for control in (self.name, self.note, self.save, self.delete):
            control.disabled = chosen is None
        run = chosen.key if chosen else ""
        if run != self._of:
            self._of = run
            self.name.value, self.note.value = label_of(self._store, run) if run else ("", "")
            self.delete.description, self.delete.button_style, self.said.value = "Delete", "", ""

    def save_now(self) -> None:
        """Keep what the fields say."""
        if chosen := self._chosen():
            try:
                set_label(self._store, chosen.key, self.name.value, self.note.value)
            except WorkbenchError as error:
                self.said.value = view.message(error.message)
                return
            self._changed()

    def delete_now(self) -> None:
        """Ask at the first press, delete at the second."""
        chosen = self._chosen()
        if chosen is None:
            return
        if self.delete.description != SURE:
            self.delete.description, self.delete.button_style = SURE, "danger"
            self.said.value = view.message("Press again to delete this run: its results cannot be restored.", "warn")
            return
        try:
            remove_run(self._store, chosen.run.name if chosen.run else "", chosen.job)
        except WorkbenchError as error:
            self.delete.description, self.delete.button_style = "Delete", ""
            self.said.value = view.message(error.message)
        else:
            self._changed()
