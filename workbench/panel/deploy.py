"""The section Deploy of the page Export: a measured variant as a folder that can be served, and the graphs of one that is served."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from markupsafe import Markup

from workbench.compare.advice import recommended
from workbench.display.html import join
from workbench.errors import WorkbenchError
from workbench.panel import view, widgets
from workbench.panel.fields import button, checkbox, field
from workbench.panel.monitor import Monitor
from workbench.panel.outcome import why_ended
from workbench.panel.work import BackgroundWork
from workbench.records import Result, Results
from workbench.settings.commands import deployment_commands
from workbench.store import Store

PORT = 9090
"""Of Prometheus, as ``workbench monitor`` has it."""
NO_RESULTS = view.hint("There are no results yet.")
WATCH = "The alerts, graphs and kept answers of a deployment, while workbench serve and workbench monitor run in two terminals."


class DeploySection:
    """Writes a deployment in a thread, and shows the :class:`~workbench.panel.monitor.Monitor` of one."""

    def __init__(self, store: Store) -> None:
        self._store, self._work = store, BackgroundWork(self._tick)
        self._run, self._rows, self._suggested = "", dict[str, Result](), ""
        self._offered: str | None = None  # the row that was chosen here
        self.row = field(widgets.Dropdown, "Variant", "A row that was measured", None, options=[])
        self.folder = field(widgets.Text, "Folder", "A new folder, beside this notebook", "", css="wb-wide")
        self.over = checkbox("Also over the budget", "Deploy a variant although it is over the accuracy budget")
        tip = "Write the folder, and check the answers of the model in it"
        self.make = button("Deploy", "cube", tip, "wb-deploy", disabled=True)
        self.state = widgets.HTML()
        self.served = field(widgets.Text, "Deployment", "The folder of a deployment that is served", "", css="wb-wide")
        self.port = field(
            widgets.IntText, "Port of Prometheus", "The port that workbench monitor was started with", PORT
        )
        self.watch = button("Watch", "play", "Draw its graphs every few seconds", "wb-watch")
        self.end = button("End watching", "stop", "Stop drawing the graphs", "wb-end-watch")
        self.seen, self.shown = widgets.HTML(), widgets.VBox(css="wb-monitor")
        self.widgets = (
            widgets.HTML("<h4>Deploy a variant</h4>"),
            widgets.Box([self.row, self.folder, self.over, self.make], css="wb-line"), self.state,
            widgets.HTML(f"<h4>Watch a deployment</h4>{view.hint(WATCH)}"),
            widgets.Box([self.served, self.port, self.watch, self.end], css="wb-line"), self.seen, self.shown,
        )  # fmt: skip
        widgets.keep_place(self.end, False)
        self.row.observe(lambda _: self._suggest(), "value")
        self.make.on_click(lambda _: self.deploy())
        self.watch.on_click(lambda _: self.watch_now())
        self.end.on_click(lambda _: self.end_watching())

    def show(self, results: Results | None) -> None:
        """Offer the measured rows of a run; the recommended one of the largest batch is chosen, unless a person chose one of them."""
        measured = results.measured if results and results.run else ()
        self._run = results.run if results else ""
        self._rows = {row.row: row for row in measured}
        before, chosen = self._offered, self.row.value
        best = recommended(results) if results and measured else {}
        self._offered = best[max(best)].row.row if best else measured[0].row if measured else None
        kept = chosen != before and chosen in self._rows
        widgets.offer(self.row, list(self._rows), chosen if kept else self._offered)
        if not measured or self.state.value == NO_RESULTS:  # what was said of a deployment stays beside a new run
            self.state.value = "" if measured else (self.state.value or NO_RESULTS)
        self._tick()

    def deploy(self) -> None:
        """Write the chosen row's deployment; :meth:`wait` says when it has ended."""
        row, folder = self._rows.get(str(self.row.value)), self.folder.value.strip()
        if row is None or self._work.busy:
            return
        if not folder:
            self.state.value = view.message("No folder was given. Enter the path of a new one at 'Folder'.")
            return
        self.state.value = view.hint("Writing the folder and checking its answers …")
        self._work.start(
            partial(self._write, row, Path(folder).expanduser()),
            failed=lambda error: self._say(view.message(*why_ended(error))),
        )
        self._tick()

    def wait(self, timeout_s: float | None = None) -> None:
        """Block until the deployment has ended."""
        self._work.wait(timeout_s)

    def watch_now(self) -> None:
        """Show the graphs of the deployment that was given, in the place of those that are shown."""
        self.end_watching()
        try:
            monitor = Monitor(Path(self.served.value.strip() or ".").expanduser(), port=int(self.port.value))
        except WorkbenchError as error:
            self.seen.value = view.message(error.message)
            return
        self.shown.children = (monitor,)
        widgets.keep_place(self.end, True)

    def end_watching(self) -> None:
        """Draw no more graphs."""
        self.seen.value = ""
        for child in self.shown.children:
            self.shown.children = ()
            widgets.close(child)
        widgets.keep_place(self.end, False)

    def _write(self, row: Result, folder: Path) -> None:
        """In the thread."""
        from workbench.deploy.folder import deploy

        made = deploy(
            folder,
            run=self._run,
            variant=row.spec.label,
            batch=row.batch,
            store=self._store,
            over_budget=bool(self.over.value),
        )
        note = f" It is bound to this type of machine: {made.bound}." if made.bound else ""
        text = view.message(
            f"{row.row} was deployed to {folder}; it gives the same answers as the engine that was measured.{note}",
            "good",
        )
        commands = deployment_commands(folder, self._store.root)
        copied = [view.copyable(title, words) for title, words in commands.items()]
        self._work.post(partial(self._say, join([text, *copied]), str(folder)))

    def _say(self, text: Markup, folder: str = "") -> None:
        self.state.value = text
        self.served.value = folder or self.served.value

    def _suggest(self) -> None:
        """A folder's name for the chosen row, unless a name was typed."""
        if self.folder.value == self._suggested and self.row.value:
            self._suggested = self.folder.value = "deployment-" + self.row.value.replace(" @", "-").replace(" ", "-")

    def _tick(self) -> None:
        self.make.disabled = self._work.busy or not self._rows
