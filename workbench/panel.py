"""The panel: it edits an Experiment and shows Results. It measures nothing; everything it does can be called without it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from workbench import backends, panel_parts, panel_view, pipeline, sources
from workbench.errors import Cancelled, WorkbenchError, brief
from workbench.experiment import Experiment
from workbench.guard import advice
from workbench.machine import this_machine
from workbench.panel_form import Form
from workbench.panel_job import Job
from workbench.panel_parts import Report, View
from workbench.records import FINAL, Event, Model, Result, Results, Row, Status
from workbench.store import Store

OTHER_SETTINGS = "The controls have changed since: these are the results of the settings before."


class Outputs:
    """The panel's buttons and everything that only shows."""

    def __init__(self, *, remeasure: bool) -> None:
        self.facts = widgets.HTML()
        self.problem = widgets.HTML()
        self.plan = widgets.HTML()
        self.state = widgets.HTML()
        self.message = widgets.HTML()
        self.outdated = widgets.HTML()
        self.table = widgets.HTML()
        self.impossible = widgets.HTML()
        self.commands = widgets.HTML()
        self.plots = widgets.Box().add_class("wb-plots")
        self.build = widgets.Button(
            description="Build", icon="cube", tooltip="Build the engines, without measuring"
        ).add_class("wb-build")
        self.benchmark = widgets.Button(
            description="Benchmark",
            icon="play",
            button_style="primary",
            tooltip="Build what is missing, time all variants in turn, and compare their answers",
        ).add_class("wb-benchmark")
        self.cancel = widgets.Button(
            description="Cancel", icon="stop", disabled=True, tooltip="Stop now; what was finished is kept"
        ).add_class("wb-cancel")
        self.again = widgets.Checkbox(
            description="Measure again",
            value=remeasure,
            indent=False,
            tooltip="Time again what an earlier run has timed already; engines are not built again",
        ).add_class("wb-check")

    def layout(self, form: Form, store: Store) -> Any:
        """All sections, one below the other."""
        model, data, configure = form.boxes()
        buttons = (self.build, self.benchmark, self.cancel, self.again)
        actions = widgets.Box([*buttons, self.state]).add_class("wb-actions")
        sections = (
            ("Model", "what is to be run faster", [model, self.facts]),
            ("Data", "samples for calibration, for timing and for accuracy", [data]),
            ("Configure", "every combination of backend, precision and batch is one row", [configure]),
            ("Run", "engines are kept in the store and built once", [self.problem, self.plan, actions, self.message]),
            ("Results", "rows fill in as they come", [self.outdated, self.table, self.impossible, self.plots]),
            ("The same without this panel", "in a terminal, and in Python", [self.commands]),
        )
        boxes = [
            widgets.VBox([widgets.HTML(panel_view.heading(number, title, subtitle)), *inside]).add_class("wb-section")
            for number, (title, subtitle, inside) in enumerate(sections, start=1)
        ]
        style = Path(__file__).with_name("panel.css").read_text(encoding="utf-8")
        top = widgets.HTML(panel_view.top(this_machine(), store.root))
        return widgets.VBox([widgets.HTML(f"<style>{style}</style>"), top, *boxes]).add_class("wb")


class Panel(View):
    """Controls for an experiment, buttons to run it, and its results as they arrive."""

    def __init__(
        self,
        experiment: Experiment | None = None,
        *,
        store: Store | str | Path | None = None,
        remeasure: bool = False,
        model: Any = None,
        data: Any = None,
    ) -> None:
        self._store = store if isinstance(store, Store) else Store(store or None)
        experiment = pipeline.with_live(experiment or Experiment(), self._store, model, data)
        self._job = Job(self._tick)
        self._phase = ""
        self._model: tuple[tuple[str, ...], Model] | None = None
        self._looked: sources.Opened | None = None
        self._rows: dict[str, Result] = {}
        self._lines: dict[str, str] = {}
        self._stale = True  # the table is to be drawn again
        self._form = Form(experiment, self._store.root / "uploads", self._changed)
        self._out = Outputs(remeasure=remeasure)
        self._locked = False
        self.widget = self._out.layout(self._form, self._store)
        self._form.load.on_click(lambda _: self.load())
        self._form.control["signature"].observe(self._on_signature, "value")
        self._out.build.on_click(lambda _: self.build())
        self._out.benchmark.on_click(lambda _: self.benchmark())
        self._out.cancel.on_click(lambda _: self.cancel())
        self._changed()
        if self._form.unknown:
            self._say(
                f"There is no backend {', '.join(map(repr, self._form.unknown))}; the list below has those that exist."
            )

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)

    @property
    def experiment(self) -> Experiment:
        """What the controls say now.

        Raises:
            InputError: a control holds a value that cannot be used.
        """
        return self._form.read()

    def load(self) -> None:
        """Read the model's inputs and outputs."""
        self._start("reading the model", self._load)

    def build(self) -> None:
        """Build the engines, without measuring."""
        self._start("starting", partial(self._run, "build"))

    def benchmark(self) -> None:
        """Build, measure and score."""
        self._start("starting", partial(self._run, "all"))

    def cancel(self) -> None:
        """Ask the running work to stop; :meth:`wait` says when it has."""
        if self._job.busy:
            self._job.cancel.set()
            self._phase = "cancelling"

    def wait(self, timeout_s: float | None = None) -> None:
        """Block until the running work has ended."""
        self._job.wait(timeout_s)

    def _on_signature(self, _change: object) -> None:
        if not self._form.quiet:
            self.load()

    def _start(self, phase: str, work: Callable[[Experiment], None]) -> None:
        if self._job.busy:
            return
        try:
            experiment = self.experiment
        except WorkbenchError as error:
            self._say(error.message)
            return
        self._say("")
        self._phase = phase
        self._job.start(partial(self._guarded, work, experiment))
        self._tick()

    def _guarded(self, work: Callable[[Experiment], None], experiment: Experiment) -> None:
        """In the thread: whatever goes wrong becomes one sentence."""
        try:
            work(experiment)
        except Cancelled as error:
            self._job.post(partial(self._say, error.message, "warn"))
        except WorkbenchError as error:
            self._job.post(partial(self._say, error.message))
        except Exception as error:
            self._job.post(
                partial(self._say, f"Something unexpected went wrong: {type(error).__name__}: {brief(error)}")
            )

    def _load(self, experiment: Experiment) -> None:
        model = sources.open_model(*_asked(experiment), store=self._store)
        self._job.post(partial(self._show_model, _asked(experiment), sources.Opened(model)))
        opened = sources.examine_model(*_asked(experiment), store=self._store, say=self._said, cancel=self._job.cancel)
        self._job.post(partial(self._show_model, _asked(experiment), opened))
        if opened.problem:
            self._job.post(partial(self._say, opened.problem, "warn"))

    def _run(self, only: str, experiment: Experiment) -> None:
        self._job.post(partial(self._begin, experiment))
        results = pipeline.run(
            experiment,
            store=self._store,
            on_event=lambda event: self._job.post(partial(self._apply, event)),
            cancel=self._job.cancel,
            only=only,
            remeasure=bool(self._out.again.value),
        )
        self._job.post(partial(self._finish, experiment, results, panel_parts.judged(results)))
        self._job.post(partial(self._draw, panel_parts.pictures(results)))

    def _begin(self, experiment: Experiment) -> None:
        self.results, self.ran = None, experiment
        self._rows, self._lines, self._stale = {}, {}, True
        self._out.plots.children = ()

    def _apply(self, event: Event) -> None:
        if not self._job.cancel.is_set():
            self._phase = event.text
        if event.result is not None:
            self._put(event.result)

    def _put(self, result: Result, judged: Row | None = None) -> None:
        self._rows[result.row] = result
        if result.status != Status.UNSUPPORTED:
            self._lines[result.row] = panel_view.row(result, judged, self.results.budget if self.results else "")
        self._stale = True

    def _finish(self, experiment: Experiment, results: Results, judged: Mapping[str, Row]) -> None:
        self.results = results
        self._phase = "drawing"
        for result in results.rows:
            self._put(result, judged.get(result.row))
        self._show_model(_asked(experiment), sources.Opened(results.model, results.export, results.examination))
        self._say(*_outcome(results))

    def _draw(self, pictures: Mapping[str, bytes]) -> None:
        self._out.plots.children = [widgets.Image(value=png, format="png") for png in pictures.values()]

    def _said(self, text: str) -> None:
        """In the thread: a step that goes on."""
        self._job.post(partial(setattr, self, "_phase", text))

    def _show_model(self, asked: tuple[str, ...], opened: sources.Opened) -> None:
        model = opened.model
        self._form.show_model(model)
        self._looked = opened
        self._model = ((asked[0], model.signature if model.signatures else asked[1], *asked[2:]), model)
        self._changed()

    def _changed(self) -> None:
        """A control was changed: what follows from it is shown again."""
        try:
            experiment = self.experiment
            model = self._model[1] if self._model and self._model[0] == _asked(experiment) else None
            self._form.refresh(experiment)
            rows = pipeline.plan(experiment, model) if model else ()
        except WorkbenchError as error:
            self._out.problem.value = panel_view.message(error.message)
            self._out.plan.value = ""
        else:
            self._out.problem.value = ""
            self._out.facts.value = self._facts() if model else ""
            self._out.plan.value = (
                panel_view.plan(rows, experiment, _measurable(rows, experiment))
                if model
                else panel_view.plan_without_model(experiment)
            )
            self._out.commands.value = panel_view.commands(experiment)
            other = self.results is not None and self.ran != experiment
            self._out.outdated.value = panel_view.message(OTHER_SETTINGS if other else "", "warn")
        self._tick()

    def _facts(self) -> str:
        looked = self._looked
        if looked is None:
            return ""
        return panel_view.model_facts(looked.model, panel_parts.looked_at(looked.examination), looked.check)

    def _tick(self) -> None:
        """Bring buttons, state and table up to date."""
        busy, wrong = self._job.busy, bool(self._out.problem.value)
        for button in (self._out.build, self._out.benchmark, self._out.again):
            button.disabled = busy or wrong
        self._out.cancel.disabled = not busy or self._job.cancel.is_set()
        if busy != self._locked:
            self._locked = busy
            self._form.lock(busy)
            if not busy:
                self._changed()
        self._out.state.value = (
            panel_view.state(self._phase, panel_view.progress(self._rows.values()), time.monotonic() - self._job.began)
            if busy
            else ""
        )
        if self._stale:
            self._stale = False
            self._out.table.value = panel_view.table(self._lines.values())
            self._out.impossible.value = panel_view.not_possible(tuple(self._rows.values()))

    def _say(self, text: str, kind: str = "bad") -> None:
        self._out.message.value = panel_view.message(text, kind)


def is_interactive() -> bool:
    """Whether a person has this notebook open.

    JupyterLab lets the code it runs ask for input; nbclient, papermill and nbconvert do not. Voilà shows the notebook to
    a person although it runs it through nbclient. WORKBENCH_HEADLESS=1 decides against.
    """
    if os.environ.get("WORKBENCH_HEADLESS") == "1":
        return False
    if os.environ.get("SERVER_SOFTWARE", "").startswith("voila/"):
        return True
    from IPython import get_ipython

    return bool(getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False))


def show(
    experiment: Experiment,
    *,
    store: Store | str | Path | None = None,
    remeasure: bool = False,
    model: Any = None,
    data: Any = None,
) -> View:
    """With a person at the notebook: display a panel. Without: run the experiment, a line per step.

    ``model`` and ``data`` are a live ``keras.Model`` and live arrays or a generator, as in :func:`workbench.run`.

    Raises:
        WorkbenchError: without a person, whatever :func:`workbench.run` raises.
    """
    place = store if isinstance(store, Store) else Store(store or None)
    experiment = pipeline.with_live(experiment, place, model, data)
    if is_interactive():
        from IPython.display import display

        panel = Panel(experiment, store=place, remeasure=remeasure)
        display(panel)  # type: ignore[no-untyped-call]
        return panel
    results = pipeline.run(experiment, store=place, on_event=_Log(), remeasure=remeasure)
    return Report(experiment, results)


class _Log:
    """Prints the events of a run that are worth a line: steps, engines built, rows timed and scored or failed."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, event: Event) -> None:
        ended = event.result is None or event.result.status in FINAL - {Status.UNSUPPORTED}
        # an engine that serves several batches tells the same for each of its rows
        if ended and not event.detail and event.text != self._last:
            print(event.text, flush=True)
            self._last = event.text


def _measurable(rows: Iterable[Result], experiment: Experiment) -> int:
    region = experiment.plan.region
    planned = (row.spec for row in rows if row.status == Status.PLANNED)
    return sum(bool(backends.get(spec.backend).measures(spec, region)) for spec in planned)


def _asked(experiment: Experiment) -> tuple[str, str, str, str]:
    """What decides which model is opened, and how."""
    return experiment.model, experiment.signature, experiment.input_shapes, experiment.input_values


def _outcome(results: Results) -> tuple[str, str]:
    """How a run ended, in one sentence, and its color."""
    states = [result.status for result in results.rows]
    counts = ", ".join(
        f"{states.count(status)} {status}" for status in dict.fromkeys(states) if status != Status.UNSUPPORTED
    )
    kind = "bad" if Status.FAILED in states else "warn" if Status.CANCELLED in states else "good"
    best = "".join(f" {line[0].upper()}{line[1:]}." for line in advice(results) if line.startswith("fastest"))
    return f"{counts or 'Nothing to do'}. This run {results.tally}.{best}", kind
