"""The sections of a report and of the notebook, in groups: each group is what one cell displays."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from workbench.display.html import tag
from workbench.panel.parts import PARTS, CellOutput, Ran
from workbench.panel.summary import first_screen, summary_text
from workbench.records import Results, Status

Shows = Callable[[Results], Any]


class Section(NamedTuple):
    """A heading, how to read the section, and the parts that are displayed.

    ``there`` says whether the results hold anything for it; where they do not, ``without`` is listed among what was not measured.
    """

    title: str
    parts: tuple[str, ...]
    about: str = ""
    there: Shows = bool
    without: str = ""

    @property
    def anchor(self) -> str:
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


_measured, _load = attrgetter("measured"), attrgetter("under_load")


def _drawn(*names: str) -> Shows:
    return lambda results: bool(results.measured and any(results.figures(name) for name in names))


GROUPS: dict[str, tuple[Section, ...]] = {
    "speed": (
        Section("Throughput", ("throughput",), "Samples per second against the batch: where a line becomes flat, a larger batch only increases the latency.", _measured),
        Section(
            "Latency against throughput",
            ("tradeoff",),
            "Every row in one picture: up and to the left is better. The dashed line joins the rows that no other beats in both.",
            _measured,
        ),
        Section("The tail", ("distribution",), "The share of calls that took longer than a given time, on scales on which rare slow calls are visible. Percentiles can be read off; no call is left out.", _measured),
        Section("Every call over time", ("calls",), "One dot per call, at the smallest batch. Crosses are outliers (above the third quartile of their block by three times the quartiles' distance); they count like all others. Grey: blocks that something disturbed, such as other programs; the comparison leaves them out unless they are the majority. Dashed lines: the processes were started again.", _measured),
        Section("Cold and steady", ("cold",), "Importing the library, opening the engine, and the first call. None of it is in the figures above. With several launches these are medians over them; libraries are imported side by side, so an import alone may be quicker.", _measured),
        Section("What disturbed the measurement", ("noise",), "Counted around every block by the operating system. A block is spoiled if other programs were running, the engine had to wait for a core, a hypervisor withheld one, a disk was read, or heat lowered the clock rate.", _measured),
        Section("Under load", ("load", "load figures"), "Several callers at once (concurrency), queries that arrive at a rate (rate), and MLPerf LoadGen (protocol). Throughput is of all callers together; the ring is the knee, beyond which waiting grows more than throughput. At a rate, latency counts from a query's arrival; a rate holds where the whole interval of the percentile is within the limit.", _load, "load: set 'concurrency', 'rate' or 'protocol'"),
    ),
    "answers": (
        Section("Accuracy against speed", ("accuracy",), "Higher and nearer to the fast side is better. A variant that is below the others, with an interval that does not overlap theirs, is less accurate.", _drawn("accuracy"), "accuracy: the data has no labels, or nothing was scored"),
    ),
    "costs": (
        Section("Costs", ("cost",), "Peak MiB is the highest resident memory of the engine's process, engine MiB the part of it that was allocated after its library was imported. CPU ms is the time of one call over all threads. Energy is shown only where a counter was read and its windows were long enough. % of limit is the share of what this machine can attain with the model's operations and bytes (Williams, Waterman and Patterson, 2009).", _measured),
        Section("Roofline", ("roofline",), "A point below the flat part is limited by computing, one below a slope by moving bytes; the further it is below its roof, the more can be gained.", _drawn("roofline"), "roofline: set 'roofline'"),
        Section("Clocks", ("clocks",), "One engine, timed three ways in turn. Compute: inputs and outputs are in place, as most tools time. Library: the library's own call with its own objects. Host-to-host: NumPy in, NumPy out.", _drawn("clocks"), "clocks: set 'clocks'"),
        Section("Settings of the build", ("build settings",), "Latency and build time against 'optimization_level' and 'workspace_mib'.", _drawn("optimization level", "workspace"), "settings of the build: give 'optimization_level' or 'workspace_mib' several values"),
        Section("Builds", ("builds",), "How much independent builds of one variant differ: a library that times its kernels while it builds may choose different ones each time. Speed-up and verdict are over builds, in the other tables too.", lambda results: any(row.spec.build for row in results.measured), "spread between builds: set 'builds' to 3 or more"),
        Section("Layers", ("layers",), "Where the time goes inside an engine, where its library reports it. Profiling slows a call; each table says by how much. A layer may stand for several nodes of the model: 'from' lists them.", lambda results: bool(results.layer_profiles), "layers: set 'layers'"),
    ),
    "details": (
        Section("All values", ("table",), "One row per variant and batch. p95 and p99 are shown only where there are enough calls to determine them. Speed-up is the baseline's time divided by this one's, with its 95 % interval; the verdict is 'cannot tell' where the interval includes 1 or the launches are too few. Built is the number format read back from the engine. Agrees is the share of samples with the same answer as the source model. Budget says whether the loss against the source model is shown to be within the allowed loss: by its interval, or because the outputs are those of the source model."),
        Section("The model", ("model",), "As it was read from the file. A dynamic axis (?) takes any size. The digest identifies the file: results are only ever reused for the same digest."),
        Section("Settings in effect", ("settings",), "The settings that each engine ran with, read back from its process after it had run, and those in which engines differ.", _measured),
        Section("What was not possible here", ("not possible",), there=lambda results: any(row.status == Status.UNSUPPORTED for row in results.rows)),
        Section("What failed", ("failures",), "The step, the reason, the end of the log, and the command that tries it again.", lambda results: any(row.failure and not row.left_out and row.status in (Status.FAILED, Status.CANCELLED) for row in results.rows)),
        Section("Machine, samples and work done", ("work",), "Compare numbers only with numbers from the same machine and the same timed region. Reused counts what came from the store."),
        Section("Repeat this run", ("repeat",), "Commands that repeat this run and make a report or the executed notebook, and the call in Python that does the same. Paths are those of the machine that it ran on."),
    ),
}  # fmt: skip
"""By the name that :meth:`show_group` takes."""
SUMMARY = "summary"


def names() -> tuple[str, ...]:
    """The groups in the order of the report."""
    return (SUMMARY, *GROUPS)


def show_group(name: str, results: Results, ran: Ran) -> list[Any]:
    """What a cell displays of a group."""
    if name == SUMMARY:
        contents = [(each.title, each.anchor) for group in GROUPS.values() for each in group if each.there(results)]
        return [CellOutput(first_screen(results, contents), summary_text(results))]
    found: list[Any] = []
    for section in GROUPS[name]:
        if section.there(results):
            head = tag("h2", section.title, id=section.anchor) + (tag("p", section.about) if section.about else "")
            found.append(CellOutput(head, f"{section.title}\n"))
            found += [item for part in section.parts for item in PARTS[part](results, ran)]
    if name == list(GROUPS)[-1]:
        found.append(_not_measured(results))
    return found


def _not_measured(results: Results) -> CellOutput:
    missing = [each.without for group in GROUPS.values() for each in group if each.without and not each.there(results)]
    text = f"Not measured: {'; '.join(missing)}." if missing else ""
    return CellOutput(tag("p", text) if text else "", text)
