"""The page Export: the same without the panel, the results as files, and earlier runs."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path

from workbench.compare import comparison
from workbench.errors import WorkbenchError
from workbench.experiment import Experiment
from workbench.panel import figures as panel_figures
from workbench.panel import view, widgets
from workbench.panel.fields import field
from workbench.panel.saved_notebook import save_notebook
from workbench.records import Results
from workbench.store import Store

TABLES = ("csv", "markdown", "latex")
PICTURES = ("png", "svg", "pdf")
SUFFIXES = {"markdown": "md", "latex": "tex"}
MIME = {"csv": "text/csv", "markdown": "text/markdown", "latex": "text/x-tex", "png": "image/png", "svg": "image/svg+xml",
        "pdf": "application/pdf"}  # fmt: skip
# the line stands in the element itself, because a notebook's page runs no scripts of outputs that it was not told to trust
COPY = (
    "const box=this.parentElement,text=box.querySelector('code').textContent,done=()=>{this.textContent='Copied'};"
    "if(navigator.clipboard)navigator.clipboard.writeText(text).then(done);"
    "else{const all=document.createRange();all.selectNodeContents(box.querySelector('code'));"
    "getSelection().removeAllRanges();getSelection().addRange(all);document.execCommand('copy')&&done()}"
)


class ExportPage:
    """Files are made when they are asked for, and handed to the browser as a link."""

    def __init__(self, store: Store, experiment: Callable[[], Experiment]) -> None:
        self._store, self._experiment = store, experiment
        self._results: Results | None = None
        self._baseline: Callable[[], str] = lambda: ""
        self.commands = widgets.HTML()
        self.name = field(
            widgets.Text,
            "Notebook",
            "A new file, in the folder of this notebook",
            "experiment.ipynb",
            css="wb-wide",
        )
        self.save = widgets.Button(
            description="Save as notebook",
            icon="save",
            tooltip="A notebook with these settings as its parameters",
            css="wb-save",
        )
        self.saved = widgets.HTML()
        self.what = field(
            widgets.Dropdown, "What", "Which part of the results becomes a file", "table",
            options=["table"],
        )  # fmt: skip
        self.kind = field(widgets.Dropdown, "Format", "What kind of file", "csv", options=TABLES)
        self.make = widgets.Button(description="Make the file", icon="download", disabled=True, css="wb-make")
        self.link = widgets.HTML()
        self.widget = widgets.VBox([
            widgets.HTML("<h4>The same without this panel</h4>"), self.commands,
            widgets.HTML("<h4>As a notebook</h4>"),
            widgets.Box([self.name, self.save], css="wb-line"), self.saved,
            widgets.HTML("<h4>Results as a file</h4>"),
            widgets.Box([self.what, self.kind, self.make], css="wb-line"), self.link,
        ])  # fmt: skip
        self.what.observe(lambda _: self._offer(), "value")
        self.save.on_click(lambda _: self.save_now())
        self.make.on_click(lambda _: self.make_now())

    def show(self, results: Results | None, baseline: Callable[[], str], figures: Iterable[str] = ()) -> None:
        """What can become a file from now on."""
        self.what.options = ["table", *figures]
        self._results, self._baseline = results, baseline
        self.make.disabled = not (results and results.measured)
        self.link.value = view.hint("" if results and results.measured else "There are no results yet.")

    def refresh(self, experiment: Experiment, metric: str = "") -> None:
        """Show how to run this without the panel; ``metric`` is the name of a function that the panel was given."""
        call = experiment.python_call()
        told = ""
        if metric:
            call = f"{call.removesuffix(')')}, metric={metric})"
            told = view.hint(f"In a terminal and as a notebook without '{metric}': a function cannot be a parameter.")
        self.commands.value = (
            copyable("In a terminal", experiment.papermill_command()) + copyable("In Python", call) + told
        )

    def _offer(self) -> None:
        self.kind.options = TABLES if self.what.value == "table" else PICTURES

    def save_now(self) -> None:
        """Write the notebook."""
        try:
            path = save_notebook(self._experiment(), Path(self.name.value.strip() or "."), self._store)
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
            content = table_as(kind, self._results, self._baseline()).encode()
        else:
            content = panel_figures.saved(what, kind, self._results)
        self.link.value = download(f"{what}.{SUFFIXES.get(kind, kind)}", MIME[kind], content)


def table_as(kind: str, results: Results, baseline: str = "") -> str:
    """The whole table as "csv", "markdown" or "latex"; numbers as they were measured, absent ones empty.

    Raises:
        InputError: unknown baseline.
    """
    frame = comparison.table(results, baseline)
    if kind == "csv":
        return str(frame.to_csv(index=False))
    cells = frame.astype(object).where(frame.notna(), "")
    texts = [[_cell(value) for value in row] for row in cells.itertuples(index=False)]
    if kind == "markdown":
        rows = [list(frame.columns), ["---"] * len(frame.columns), *texts]
        return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |\n" for row in rows)
    rows = [[_latex(cell) for cell in row] for row in [list(frame.columns), *texts]]
    head, *body = (" & ".join(row) + r" \\" for row in rows)
    numeric = "".join("l" if name in comparison.WORDS else "r" for name in frame.columns)
    lines = [f"\\begin{{tabular}}{{{numeric}}}", "\\hline", head, "\\hline", *body, "\\hline", "\\end{tabular}", ""]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _latex(text: str) -> str:
    """Escaped for LaTeX (its ten special characters)."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {char: f"\\{char}" for char in "&%$#_{}"}
    return "".join(special.get(char, char) for char in text)


def download(name: str, mime: str, content: bytes) -> str:
    """A link that carries the file itself: it works wherever the panel is shown, without a server that knows of the file."""
    if not content:
        return view.message("There is nothing to draw in these results.", "warn")
    code = base64.b64encode(content).decode()
    return (
        f'<a class="wb-download" download="{escape(name)}" href="data:{mime};base64,{code}">'
        f"⬇ {escape(name)} ({len(content) / 1e3:,.1f} kB)</a>"
    )


def copyable(title: str, text: str) -> str:
    """A text with a button that copies it."""
    return (
        f'<div class="wb-copyable"><span>{escape(title)}</span>'
        f'<button type="button" class="wb-copy" onclick="{escape(COPY)}">Copy</button>'
        f"<pre><code>{escape(text)}</code></pre></div>"
    )
