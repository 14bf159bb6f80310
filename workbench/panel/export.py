"""The page Export: the same without the panel, the results as files, and a variant as a deployment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from workbench.display.plots.canvas import enclosed
from workbench.errors import WorkbenchError
from workbench.panel import figures as panel_figures
from workbench.panel import view, widgets
from workbench.panel.compare import ComparePage
from workbench.panel.deploy import DeploySection
from workbench.panel.fields import button, field
from workbench.panel.saved_notebook import save_notebook
from workbench.panel.saved_report import SavedReport
from workbench.panel.summary import title
from workbench.records import Results
from workbench.settings.commands import papermill_command, python_call, report_command
from workbench.settings.experiment import Experiment
from workbench.store import Store

TABLES = ("csv", "markdown", "latex")
PICTURES = ("png", "svg", "pdf")
SUFFIXES = {"markdown": "md", "latex": "tex"}
MIME = {"csv": "text/csv", "markdown": "text/markdown", "latex": "text/x-tex", "png": "image/png", "svg": "image/svg+xml",
        "pdf": "application/pdf"}  # fmt: skip


CHOSEN = "Markdown and LaTeX: the rows, columns, order and baseline that are chosen on the page Compare. CSV: every row and column."


class ExportPage:
    """Files are made when they are asked for, and handed to the browser as a link."""

    def __init__(self, store: Store, experiment: Callable[[], Experiment], chosen: ComparePage) -> None:
        self._store, self._experiment, self._chosen = store, experiment, chosen
        self._results: Results | None = None
        self._minutes = ""
        self.commands = widgets.HTML()
        tip = "A new file, in the folder of this notebook"
        self.name = field(widgets.Text, "Notebook", tip, "experiment.ipynb", css="wb-wide")
        self.save = button("Save as notebook", "save", "A notebook with these settings as its parameters", "wb-save")
        self.saved = widgets.HTML()
        tip = "Which part of the results becomes a file"
        self.what = field(widgets.Dropdown, "What", tip, "table", options=["table"])
        self.kind = field(widgets.Dropdown, "Format", "What kind of file", "csv", options=TABLES)
        self.make = widgets.Button(description="Make the file", icon="download", disabled=True, css="wb-make")
        self.link = widgets.HTML()
        self.report, self.deploy = SavedReport(store), DeploySection(store)
        self.widget = widgets.VBox([
            widgets.HTML("<h4>A report to send</h4>"), self.report,
            widgets.HTML("<h4>The same without this panel</h4>"), self.commands,
            widgets.HTML("<h4>As a notebook</h4>"),
            widgets.Box([self.name, self.save], css="wb-line"), self.saved,
            widgets.HTML("<h4>Results as a file</h4>"), widgets.HTML(view.hint(CHOSEN)),
            widgets.Box([self.what, self.kind, self.make], css="wb-line"), self.link,
            *self.deploy.widgets,
        ])  # fmt: skip
        self.what.observe(lambda _: self._offer(), "value")
        self.save.on_click(lambda _: self.save_now())
        self.make.on_click(lambda _: self.make_now())

    def show(self, results: Results | None, figures: Iterable[str] = ()) -> None:
        """What can become a file from now on."""
        self.what.options = ["table", *figures]
        self._results = results
        self.make.disabled = not (results and results.measured)
        self.link.value = view.hint("" if results and results.measured else "There are no results yet.")
        self.report.show(results)
        self.deploy.show(results)

    def refresh(self, experiment: Experiment, metric: str = "", minutes: str = "") -> None:
        """Show how to run this without the panel; ``metric`` is the name of a function that the panel was given, ``minutes`` the time limit."""
        self._minutes = minutes
        text = f"The command and the notebook leave out '{metric}', because a function cannot be a parameter."
        self.commands.value = (
            view.copyable("In a terminal", report_command(experiment, self._store.root, minutes=minutes))
            + view.copyable("With papermill", papermill_command(experiment, self._store.root, minutes=minutes))
            + view.copyable("In Python", python_call(experiment, self._store.root, metric, minutes))
            + view.hint(text if metric else "")
        )

    def _offer(self) -> None:
        self.kind.options = TABLES if self.what.value == "table" else PICTURES

    def save_now(self) -> None:
        """Write the notebook."""
        try:
            path = save_notebook(self._experiment(), Path(self.name.value.strip() or "."), self._store, self._minutes)
        except WorkbenchError as error:
            self.saved.value = view.message(error.message)
        else:
            self.saved.value = view.message(f"Saved as {path}.", "good")

    def make_now(self) -> None:
        """Make the file, and a link that hands it over."""
        if self._results is None:
            return
        what, kind = self.what.value, self.kind.value
        if what == "table":
            content = table_as(kind, self._chosen, caption(self._results)).encode()
        else:
            content = panel_figures.saved(what, kind, self._results)
        self.link.value = view.download(f"{what}.{SUFFIXES.get(kind, kind)}", MIME[kind], content)


def table_as(kind: str, chosen: ComparePage, about: str = "") -> str:
    """The table as "csv" (every row and column, numbers as they were measured, absent ones empty), "markdown" or "latex" (what is
    chosen, as it is shown).
    """
    if kind == "csv":
        return str(chosen.whole().frame().to_csv(index=False))
    table = chosen.paper()
    return table.markdown() if kind == "markdown" else table.latex(len(table.columns), about)


def caption(results: Results) -> str:
    """What a table in a paper has to say of its numbers: model, machine, day, samples, timed region, threads and baseline."""
    threads = ", ".join(map(str, sorted({row.spec.threads for row in results.measured})))
    about = [title(results), str(results.data), enclosed(results), f"threads: {threads}"]
    return "; ".join([*about, f"baseline: {results.baseline}."])
