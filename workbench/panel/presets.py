"""Presets for how long and how exactly is measured, with what each costs; and the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from workbench.panel import view, widgets
from workbench.panel.fields import button
from workbench.panel.planned import Planned
from workbench.panel.time_limit import TimeLimit
from workbench.panel.work import AfterPause
from workbench.settings.experiment import Experiment

KEPT = ("model", "data", "signature", "input_shapes", "input_values")
"""Settings that resetting to the defaults does not change."""
MOST_UNDONE = 50
TYPING_S = 0.5


class Preset(NamedTuple):
    """Settings of measuring by a name."""

    title: str
    help: str
    changes: dict[str, Any]


PRESETS = (
    Preset(
        "Quick look",
        "batch 1, one launch of 8 rounds: a first ranking with wide intervals, and the accuracy on all test samples",
        {"batches": (1,), "measure_s": 0.3, "max_measure_s": 0.3, "rounds": 8},
    ),
    Preset(
        "Thorough",
        "the defaults: three batch sizes, launches until it is known which row is faster",
        {"batches": (1, 8, 32), "measure_s": 1.0, "max_measure_s": 4.0, "rounds": 12, "within": 0.02, "until": "known"},
    ),
    Preset(
        "For a paper",
        "three batch sizes, launches until every ratio is known within 1 %",
        {
            "batches": (1, 8, 32),
            "measure_s": 2.0,
            "max_measure_s": 60.0,
            "rounds": 24,
            "within": 0.01,
            "until": "narrow",
        },
    ),
)


class Presets(widgets.VBox):  # type: ignore[misc]
    """Buttons; ``chosen`` is called with the experiment that one leads to, ``changed`` when what was typed is to be followed."""

    def __init__(self, chosen: Callable[[Experiment], None], changed: Callable[[], None]) -> None:
        self._chosen, self._typing = chosen, AfterPause(changed, TYPING_S)
        self._now: Experiment | None = None
        self._before: list[Experiment] = []
        self._locked = False
        self._astray = False  # the controls hold something else than the last experiment that was followed
        self.buttons = {
            each.title: widgets.Button(description=each.title, tooltip=each.help, css="wb-preset") for each in PRESETS
        }
        self.costs = {each.title: widgets.HTML() for each in PRESETS}
        self.undo = button("Undo", "undo", "Take back the last change", disabled=True)
        self.reset = widgets.Button(
            description="Reset to defaults", tooltip="All settings but those of the model and the data"
        )
        cards = [widgets.VBox([self.buttons[each.title], self.costs[each.title]], css="wb-offer") for each in PRESETS]
        back = widgets.Box([self.undo, self.reset], css="wb-line")
        self.limit = TimeLimit()
        super().__init__([widgets.Box(cards, css="wb-grid wb-presets"), self.limit, back])
        for each in PRESETS:
            self.buttons[each.title].on_click(partial(self._apply, each.changes))
        self.limit.field.observe(lambda _: changed(), "value")
        self.undo.on_click(lambda _: self.undo_now())
        self.reset.on_click(lambda _: self._reset())

    def follow(self, experiment: Experiment, planned: Planned | None = None) -> None:
        """The controls hold this experiment now, for which this is planned."""
        if self._now is not None and self._now != experiment:
            self._before = [*self._before[1 - MOST_UNDONE :], self._now]
        self._now, self._astray = experiment, False
        self._enable()
        for each in PRESETS:
            asked = replace(experiment, **each.changes)
            self.buttons[each.title].button_style = "info" if asked == experiment else ""
            variants = len({row.spec for row in planned.timed}) if planned else len(asked.variants())
            cost = view.cost(asked, variants * len(asked.batches))
            self.costs[each.title].value = view.hint(f"{cost}; {each.help}")

    def typed(self) -> None:
        """Something was typed: it can be taken back at once, and is followed after a pause."""
        self.stray()
        self._typing.ask()

    def stray(self) -> None:
        """The controls hold what is being typed, or what cannot be used: that can be taken back too."""
        if self._now is not None:
            self._astray = True
            self._enable()

    def lock(self, locked: bool) -> None:
        """Keep the buttons still while a run uses the settings."""
        self._locked = locked
        for each in (*self.buttons.values(), self.reset, self.limit.field):
            each.disabled = locked
        self._enable()

    def _enable(self) -> None:
        self.undo.disabled = self._locked or not (self._before or self._astray)

    def undo_now(self) -> None:
        """Take back the last change."""
        if self._astray and self._now is not None:
            self._chosen(self._now)
        elif self._before:
            *self._before, last = self._before
            kept, self._now = self._before, last
            self._chosen(last)
            self._before = kept  # what followed from taking it back cannot be taken back
            self._enable()

    def _apply(self, changes: dict[str, Any], _: Any = None) -> None:
        self._typing.now()
        if self._now is not None:
            self._chosen(replace(self._now, **changes))

    def _reset(self) -> None:
        self._typing.now()
        if self._now is not None:
            self._chosen(replace(Experiment(), **{name: getattr(self._now, name) for name in KEPT}))
