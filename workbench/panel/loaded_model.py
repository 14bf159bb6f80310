"""The model that was loaded last, and the facts about it on the page Model."""

from __future__ import annotations

from collections.abc import Callable

from workbench.conformance.examination import Examination
from workbench.panel import parts, view, widgets
from workbench.panel.work import BackgroundWork
from workbench.records import Model
from workbench.runs import sources
from workbench.runs.sources import Opened
from workbench.settings.experiment import Experiment
from workbench.store import Store


class LoadedModel:
    """A model, what was examined of it, and the settings that it was opened with."""

    def __init__(self) -> None:
        self.facts = widgets.HTML()
        self._model: Model | None = None
        self._graph: Examination | None = None
        self._said = ""  # the facts, which take their time for a large graph
        self._settings: tuple[str, ...] = ()

    def put(self, settings: tuple[str, ...], opened: Opened) -> None:
        """Take a model that was opened with these settings (:func:`model_settings`)."""
        model = opened.model
        self._settings = (settings[0], model.signature if model.signatures else settings[1], *settings[2:])
        self._model, self._graph = model, parts.looked_at(opened.examination)
        self._said = view.model_facts(model, self._graph, opened.check, live=True)

    def of(self, experiment: Experiment) -> tuple[Model | None, Examination | None]:
        """The model of an experiment and what its graph holds, where it is the one that was loaded; shows the facts about it."""
        if self._settings != model_settings(experiment):
            self.facts.value = ""
            return None, None
        self.facts.value = self._said
        return self._model, self._graph


def load(
    experiment: Experiment, store: Store, work: BackgroundWork, show: Callable[[tuple[str, ...], Opened], None]
) -> str:
    """In the thread of ``work``: open the model, then convert and examine it; "" or why it cannot be converted.

    ``show`` is called in the panel's thread with the settings and the model, first before its conversion and then with all.
    """
    asked = model_settings(experiment)
    model = sources.open_model(*asked, store=store, say=work.announce)
    work.announce("converting the model to ONNX and comparing the result")
    work.post(lambda: show(asked, Opened(model)))
    opened = sources.examine_model(*asked, store=store, say=work.announce, cancel=work.cancel)
    work.post(lambda: show(asked, opened))
    return opened.problem


def model_settings(experiment: Experiment) -> tuple[str, str, str, str]:
    """What decides which model is opened, and how."""
    return experiment.model, experiment.signature, experiment.input_shapes, experiment.input_values
