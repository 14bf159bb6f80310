"""The workers of a run on a cluster, as the page Run shows them while the run lasts."""

from __future__ import annotations

from workbench.display.html import tag
from workbench.records import ClusterState, WorkerState

HEADS = ("Worker", "Does", "Rows", "Last step", "For")


def workers(state: ClusterState, now_s: float) -> str:
    """A table with a line for each worker, and how many parts wait; ``now_s`` are seconds since 1970."""
    heads = [tag("th", text, scope="col") for text in HEADS]
    lines = [_line(worker, now_s) for worker in state.workers]
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *lines), class_="wb-table")
    return tag("div", tag("p", f"{state}."), tag("div", table, class_="wb-scroll"), class_="wb-workers")


def _line(worker: WorkerState, now_s: float) -> str:
    lasted = f"{max(0.0, now_s - worker.since):.0f} s" if worker.phase else ""
    cells = [tag("td", text) for text in (worker.label, worker.phase or "idle", ", ".join(worker.rows))]
    step = tag("td", worker.step, class_="wb-step")  # which may hold a long path
    return tag("tr", *cells, step, tag("td", lasted), data_phase=worker.phase or "idle")
