"""A grid of reports: each experiment of a grid's file as a report of its own, and a page that links them.

What is finished is noted beside each report with the key of all that it depends on, so that the same grid continues after it was ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from workbench.display.html import STYLE, tag
from workbench.errors import Cancelled, InputError, WorkbenchError, writing
from workbench.report import page, written
from workbench.report.grid_file import GridCell
from workbench.report.progress import ProgressBar
from workbench.runs.sources import DEMO
from workbench.settings.cluster import ClusterSettings
from workbench.settings.commands import BUILT_IN
from workbench.settings.options import command_line
from workbench.settings.output_files import replace_text
from workbench.store import key_of

INDEX, NOTES = "index.html", ".json"
WAITING, RUNNING, DONE, FAILED, ENDED = "waiting", "running", "done", "failed", "ended"
NOT_MEASURED = "no row was measured; the report says of each why not"


@dataclass(frozen=True)
class CellState:
    """What is known of one report of a grid. ``headline`` are the sentences of its result, ``reused`` says that it was there already."""

    model: str
    group: str
    state: str = WAITING
    report: str = ""  # the path of the page; "": there is none
    notebook: str = ""
    run: str = ""  # the name of the run in the store
    headline: tuple[str, ...] = ()
    error: str = ""
    wall_s: float = 0.0
    reused: bool = False


@dataclass(frozen=True)
class Grid:
    """How the reports of a grid are made: into a folder, with a store, on this machine or a cluster."""

    cells: Sequence[GridCell]
    folder: Path
    store: str = ""
    remeasure: bool = False
    where: ClusterSettings = field(default_factory=ClusterSettings)
    minutes: str = ""  # the time limit of each; "": none

    @property
    def index(self) -> Path:
        return self.folder / INDEX

    def check(self) -> None:
        """Find what cannot be read or written before anything is measured.

        Raises:
            InputError, StoreError: as ``workbench report`` with each of the experiments.
        """
        page.check_page(self.index)
        for cell in self.cells:
            try:
                written.check_inputs(cell.experiment, here=not self.where.cluster)
            except InputError as error:
                raise InputError(f"'{cell.model}, {cell.group}': {error.message}") from error
            written.check_place(cell.experiment, self.store, self._html(cell), writes=True)

    def make(self, bar: ProgressBar, tell: Callable[[str], None] = lambda _: None) -> list[CellState]:
        """Make the reports that are not finished yet, one after another; an experiment that fails does not end the others.

        Raises:
            Cancelled: a run was cancelled.
        """
        states = [self._kept(cell) or CellState(cell.model, cell.group) for cell in self.cells]
        try:
            for place, cell in enumerate(self.cells):
                if states[place].state == DONE:
                    tell(f"{cell.name}: finished before")
                    continue
                tell(f"{cell.name}: {place + 1} of {len(states)}")
                states[place] = replace(states[place], state=RUNNING)
                self._write_index(states)
                states[place] = self._made(cell, bar)
        finally:
            states = [replace(each, state=ENDED) if each.state == RUNNING else each for each in states]
            self._write_index(states)
        return states

    def _made(self, cell: GridCell, bar: ProgressBar) -> CellState:
        html = self._html(cell)
        found = CellState(cell.model, cell.group)
        more = {"store": self.store, "remeasure": self.remeasure, "minutes": self.minutes, **asdict(self.where)}
        key = self._key(cell)
        self._note(cell).unlink(missing_ok=True)
        try:
            made = written.write_report(cell.experiment, html, more, bar)
        except Cancelled:
            raise
        except WorkbenchError as error:
            return replace(found, state=FAILED, error=error.message)
        found = replace(found, report=str(html), notebook=str(made.notebook), wall_s=made.wall_s)
        results = made.results
        if results is None or not any(row["timing"] for row in results["rows"]):
            return replace(found, state=FAILED, error=NOT_MEASURED)
        found = replace(found, state=DONE, run=results["run"], headline=_headline(made.notebook))
        with writing(self.folder, "option --output"):
            replace_text(self._note(cell), json.dumps({"key": key, "state": asdict(found)}, indent=1))
        return found

    def _kept(self, cell: GridCell) -> CellState | None:
        """What is known of a finished report that has what it was made from still; ``None``: it is to be made."""
        if self.remeasure or self.where.retry_failed or not self._html(cell).is_file():
            return None
        try:
            noted = json.loads(self._note(cell).read_text(encoding="utf-8"))
            state = CellState(**noted["state"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        if noted["key"] != self._key(cell):
            return None
        return replace(state, headline=tuple(state.headline), report=str(self._html(cell)), reused=True)

    def _key(self, cell: GridCell) -> str:
        """Of all that a report depends on: settings, the files of model and data, the cluster and the version."""
        experiment = cell.experiment
        return key_of(
            what="report of a grid",
            parameters=experiment.parameters(),
            files=[_digest(experiment.model), _digest(experiment.data)],
            where=[self.where.cluster_label, self.where.cohort, bool(self.where.cluster)],
            version=page.product(),
            **({"minutes": self.minutes} if self.minutes else {}),
        )

    def _html(self, cell: GridCell) -> Path:
        return self.folder / f"{cell.name}.html"

    def _note(self, cell: GridCell) -> Path:
        return self.folder / f"{cell.name}{NOTES}"

    def _write_index(self, states: Sequence[CellState]) -> None:
        with writing(self.index, "option --output"):
            replace_text(self.index, _index(self.cells, states))


def _digest(path: str) -> str:
    from workbench.models.inspection import digest_of

    place = Path(path).expanduser()
    return digest_of(place) if path not in ("", DEMO, *BUILT_IN) and place.exists() else path


def _headline(notebook: Path) -> tuple[str, ...]:
    """The sentences of the results that a notebook holds."""
    from workbench.compare.headline import headlines
    from workbench.report.embedded import read

    try:
        return tuple(f"Batch {each.batch}: {each.text}" for each in headlines(read(notebook)))
    except WorkbenchError:
        return ()


def _index(cells: Sequence[GridCell], states: Sequence[CellState]) -> str:
    """The page: a row for each report with a link, its state, and its result."""
    heads = [tag("th", text, scope="col") for text in ("Model", "Settings", "State", "Result", "Time")]
    rows = [_row(cell, state) for cell, state in zip(cells, states, strict=True)]
    done = sum(state.state == DONE for state in states)
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="wb-table")
    mark = '<meta name="generator" content="Inference Workbench">'
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    title = f"{done} of {len(states)} reports"
    body = STYLE + tag("h1", "Grid of reports") + tag("p", f"{title} are finished.")
    body += tag("div", table, class_="wb-scroll")
    head = f'<meta charset="utf-8">{mark}{policy}<title>{title}</title>'
    look = "<style>body{font-family:system-ui,sans-serif;margin:2em}pre{white-space:pre-wrap}</style>"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}{look}</head><body>{body}</body></html>\n'


def _row(cell: GridCell, state: CellState) -> Markup:
    link = tag("a", cell.model, href=quote(Path(state.report).name)) if state.report else tag("span", cell.model)
    lines: list[str] = [tag("div", text) for text in (*state.headline, *filter(None, [state.error]))]
    lines.append(
        tag(
            "details",
            tag("summary", "command"),
            tag("pre", command_line("report", cell.experiment.changes())),
        )
    )
    took = f"{state.wall_s:.0f} s" if state.wall_s else ""
    cells = [
        tag("td", link),
        tag("td", cell.group),
        tag("td", state.state),
        tag("td", *lines, class_="wb-long"),
        tag("td", took),
    ]
    return tag("tr", *cells, data_state=state.state)
