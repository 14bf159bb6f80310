"""A preview of the samples on the page Data, read as soon as they are chosen and the model is known."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from workbench.accuracy.samples_needed import rounded
from workbench.data.observed import doubts
from workbench.data.splits import more_set_aside
from workbench.display.html import facts, join, tag
from workbench.models.describe import counted
from workbench.panel import view, widgets
from workbench.panel.checks import labelled
from workbench.panel.fields import button
from workbench.panel.tables import sample_shown
from workbench.panel.work import BackgroundWork
from workbench.runs.sources import data_of

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset
    from workbench.data.samples import Samples
    from workbench.records import Model
    from workbench.settings.experiment import Experiment

FIRST = 8
"""Samples that are shown."""
CLASSES = 12
"""Classes that are counted one by one."""
FEWER = 0.2
"""Share of the mean number of samples of a class below which a class is reported as rare."""
NOT_YET = "Load the model to see the samples here: how they are read depends on its inputs."
DECIDING = ("data", "pixels", "labels", "class_order", "ignore_label", "class_axis", "box_outputs", "score_output", "metric",
            "label_column", "group_column", "calibration_samples", "precisions", "backends", "seed")  # fmt: skip


class Preview(widgets.VBox):  # type: ignore[misc]
    """Counts, shapes, ranges, classes and the first samples, or why the data cannot be used."""

    def __init__(self) -> None:
        self.said = widgets.HTML(view.hint(NOT_YET))
        self.load = button("Load the model", "folder-open", "Read the model's inputs and outputs", "wb-load-here")
        self._wanted: tuple[Any, Experiment, Model] | None = None
        self._shown: Any = None  # what decides what is shown
        self.work = BackgroundWork(self._again)
        super().__init__([self.said, self.load])

    def look(self, experiment: Experiment, model: Model | None) -> None:
        """Show the samples of this experiment; without a model there are none to show."""
        widgets.show(self.load, model is None)
        if model is None:
            self._wanted = self._shown = None
            self.said.value = view.hint(NOT_YET)
            return
        key = (model.digest, model.inputs, *(getattr(experiment, name) for name in DECIDING))
        self._wanted = (key, experiment, model)
        self._again()

    def _again(self) -> None:
        if self._wanted is None or self.work.busy or self._wanted[0] == self._shown:
            return
        self._shown, experiment, model = self._wanted
        self.said.value = view.hint("Reading the samples …")
        self.work.start(
            partial(self._read, experiment, model),
            failed=lambda error: self._show(view.failed("The samples could not be read", error)),
        )

    def _read(self, experiment: Experiment, model: Model) -> None:
        """In a thread: files may be large."""
        page = samples_page(data_of(experiment, model))
        self.work.post(partial(self._show, page))

    def _show(self, page: Markup) -> None:
        self.said.value = page


def samples_page(data: Dataset) -> Markup:
    """The samples as a page: warnings first."""
    names = data.class_names
    aside = counted(data.calibration.count, "sample") if data.calibration else "none"
    ranges = {each.name: f", {each.tested}" for each in data.values}
    shapes = [
        f"{name}: {array.dtype} [{' × '.join(map(str, array.shape[1:])) or 'a number'}]{ranges.get(name, '')}"
        for name, array in data.test.inputs.items()
    ]
    classes = _classes(data.test, names)
    known = [
        ("Samples", [f"{data.description}."]),
        ("Timed and scored", [f"{data.test.count:,} samples"]),
        ("Set aside for calibration", [aside]),
        ("Each sample", shapes),
        *([("Classes", [_counted(classes)])] if classes else []),
    ]
    warnings = [*doubts(data.values), *_warnings(data, classes)]
    return join([*(view.message(labelled(text), "warn") for text in warnings), facts(known), _first(data.test, names)])


def _classes(samples: Samples, named: Mapping[int, str]) -> dict[str, int]:
    """The number of samples by class, by its name where it is ``named``; empty where the labels are not class numbers."""
    truth = samples.truth
    if truth is None or truth.values.ndim != 1 or truth.values.dtype.kind not in "iu":
        return {}
    names, counts = np.unique(truth.values[truth.values >= 0], return_counts=True)
    return {named.get(int(name), str(name)): int(count) for name, count in zip(names, counts, strict=True)}


def _counted(classes: dict[str, int]) -> str:
    shown = ", ".join(f"{name}: {count:,}" for name, count in list(classes.items())[:CLASSES])
    more = f", and {len(classes) - CLASSES} more" if len(classes) > CLASSES else ""
    return f"{len(classes)} ({shown}{more})"


def _warnings(data: Dataset, classes: dict[str, int]) -> list[str]:
    found = list(filter(None, [more_set_aside(data.calibration, data.test)]))
    found += filter(None, [data.without_labels])
    if classes:
        mean = sum(classes.values()) / len(classes)
        rare = [name for name, count in classes.items() if count < FEWER * mean]
        if rare:
            few = ", ".join(rare[:CLASSES])
            found.append(f"Few samples of class {few}: a class has {rounded(round(mean)):,} on average.")
    return found


def _first(samples: Samples, named: Mapping[int, str]) -> Markup:
    cards = []
    for place in range(min(FIRST, samples.count)):
        inputs = {name: array[place] for name, array in samples.inputs.items()}
        label = ""
        if samples.truth is not None and samples.truth.values.ndim == 1:
            value = samples.truth.values[place]
            label = f", label {named.get(value, value)}"
        cards.append(tag("figure", sample_shown(inputs), tag("figcaption", f"sample {place}{label}")))
    return tag("div", *cards, class_="wb-gallery wb-samples")
