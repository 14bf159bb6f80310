"""The graphs and alerts of monitoring in a notebook, drawn again while they are shown, and the answers that differ from the source's."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from workbench.deploy.dashboard import Series, panels
from workbench.deploy.folder import read, version_folder
from workbench.deploy.rules import Windows
from workbench.display.html import image, tag
from workbench.display.plots.canvas import as_bytes
from workbench.display.plots.monitor import Drawn, Graph, monitor_figure, named
from workbench.errors import WorkbenchError
from workbench.panel import tables, view, widgets
from workbench.panel.fields import button
from workbench.panel.work import keep_showing
from workbench.serving.prometheus import Line, Prometheus
from workbench.serving.watch import disagreements, watched_folder

STEPS = 60
"""Points of a line."""
DPI = 90
ALT = "Graphs of monitoring over time"
START = "Is workbench monitor running, and is this its port?"


class Monitor(widgets.VBox):  # type: ignore[misc]
    """The dashboard of a deployment, from the Prometheus that ``workbench monitor`` runs.

    Args:
        folder: the deployment.
        port: of Prometheus.
        minutes: the time that the graphs show.
        windows: as given to ``workbench monitor``; by default its own.
        every_s: seconds between two drawings; 0: drawn by :meth:`refresh` only.

    Raises:
        InputError: ``folder`` is not a deployment.

    Example::

        Monitor("digits", port=9090)

    """

    def __init__(
        self,
        folder: str | Path,
        *,
        port: int = 9090,
        minutes: float = 15.0,
        windows: Windows | None = None,
        every_s: float = 5.0,
    ) -> None:
        self._stopped = threading.Event()  # first: a widget is closed also where this fails
        place = Path(folder)
        deployment = read(place)
        options = json.loads((version_folder(place, deployment.name) / "options.json").read_text(encoding="utf-8"))
        self._scores, self._watched = str(options["metrics"]["output"]), watched_folder(place)
        self._panels = panels(deployment.name, (windows or Windows()).rate_s)
        self._prometheus, self._seconds = Prometheus(port), minutes * 60
        self.alerts, self.figure, self.gallery = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.button = button("Draw again", "refresh", "Ask Prometheus again")
        self.button.on_click(lambda _: self.refresh())
        super().__init__([widgets.Box([self.button], css="wb-line"), self.alerts, self.figure, self.gallery])
        self.refresh()
        if every_s:
            keep_showing(self._seen, self._show, every_s, self._stopped)

    def close(self) -> None:
        """Draw no more."""
        self._stopped.set()
        super().close()

    def graphs(self) -> tuple[Graph, ...]:
        """The lines of every graph.

        Raises:
            RunError: Prometheus cannot be reached.
        """
        step = max(1.0, self._seconds / STEPS)
        asked = [
            (each, self._prometheus.over(each.expr, self._seconds, step))
            for panel in self._panels
            for each in panel.series
        ]
        lines, now = dict(asked), time.time()
        return tuple(
            Graph(
                panel.title, panel.unit, tuple(_drawn(each, line, now) for each in panel.series for line in lines[each])
            )
            for panel in self._panels
        )

    def refresh(self) -> None:
        """Ask again, and draw."""
        self._show(self._seen())

    def _seen(self) -> tuple[str, str, str]:
        """What is shown as alerts, figure and gallery; the last two are empty where Prometheus cannot be reached."""
        try:
            firing = sorted(self._prometheus.firing())
            figure = monitor_figure(self.graphs(), self._seconds)
        except WorkbenchError as error:
            return view.message(f"{error.message} {START}", "bad"), "", ""
        text = f"Alerts: {', '.join(firing)}" if firing else "No alert fires."
        flips = disagreements(self._watched, self._scores)
        head = tag("h4", "Answers that differ from those of the source")
        gallery = head + tables.gallery(flips, "served", "source") if flips.changed else ""
        return (
            view.message(text, "warn" if firing else "good"),
            str(image(as_bytes(figure, DPI), ALT, "max-width: 100%")),
            gallery,
        )

    def _show(self, found: tuple[str, str, str]) -> None:
        if not self._stopped.is_set():
            self.alerts.value, self.figure.value, self.gallery.value = found


def _drawn(series: Series, line: Line, now: float) -> Drawn:
    return Drawn(named(series.legend, line.labels), tuple(when - now for when in line.times), line.values)
