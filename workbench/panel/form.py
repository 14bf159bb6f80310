"""The panel's controls: they are set from an Experiment and read back as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from workbench import backends
from workbench.choices.methods import METHODS
from workbench.compare.pairs import variant_name
from workbench.experiment import Experiment
from workbench.panel import view, widgets
from workbench.panel.effects import without_effect, without_some
from workbench.panel.fields import Fold
from workbench.panel.settings import held, settings, tip
from workbench.panel.source import DATA_FILES, DEMO, MODEL_FILES, PATH, UPLOAD, Source
from workbench.protocols import Availability, Backend
from workbench.records import Model
from workbench.runs.variants import variants_of
from workbench.settings_table.table import SETTINGS

FROZEN = ".pb"
WITH_MODEL = "Model"
TENSORS_TIP = "Input and output tensors, such as x:0 -> y:0; empty: what nothing feeds, and what feeds nothing"
BASIC = tuple(name for name, setting in SETTINGS.items() if setting.basic)
"""Settings that are seen at once. Those of the model are shown with it, and all others are folded away under *More settings*."""
USUAL = ("fp32", "fp16", "bf16", "int8")
"""Precisions that are seen at once; other ways to them are folded away."""

MODEL_TIPS = {
    DEMO: "A small convolutional network on real handwritten digits; it is trained here the first time, which takes a minute.",
    PATH: "A file or SavedModel folder on the machine where this notebook runs; what is typed is completed.",
    UPLOAD: "A file from the machine where this browser runs. A SavedModel folder: drop it into the file browser, give its path.",
}
DATA_TIPS = {
    "auto": "The digits for the built-in demo, random inputs for any other model.",
    "digits": "1,500 labelled images of handwritten digits that the demo was not trained on, and 300 to calibrate with.",
    "random": "Made-up inputs: good for speed, silent on accuracy, and INT8 cannot be calibrated with them.",
    PATH: "An .npz file: arrays by input name (or x), first axis the sample; class numbers as y; x_calibration if you like.",
    UPLOAD: "An .npz file from the machine where this browser runs, with arrays by input name and class numbers as y.",
}


class Choice(NamedTuple):
    """One checkbox in the list of backends."""

    address: str  # "tensorflow:xla"
    backend: Backend
    title: str
    explanation: str
    here: Availability


def choices() -> tuple[Choice, ...]:
    found = []
    for name in backends.names():
        backend = backends.get(name)
        for mode, explanation in backend.modes.items():
            here = backend.status(mode)
            title = f"{backend.title} · {mode}" if mode else backend.title
            found.append(Choice(f"{name}:{mode}" if mode else name, backend, title, explanation, here))
    return tuple(found)


class Form:
    """All controls. ``changed`` is called after every change by a person, not after changes by the form itself."""

    def __init__(self, experiment: Experiment, uploads: Path, changed: Callable[[], None], metric: str = "") -> None:
        self._metric = metric  # the name of a function that scores instead of the experiment's metric
        self._base = experiment
        self._uploads = uploads
        self._changed = changed
        self.quiet = False  # while the form changes its own controls
        self._choices = choices()
        self._here = {each.address: bool(each.here) for each in self._choices}
        self._hints: dict[str, Any] = {}
        self.control: dict[str, Any] = settings(experiment)
        self.model = Source("Model", MODEL_FILES, experiment.model, {"Built-in demo": DEMO}, MODEL_TIPS)
        self.data = Source(
            "Data",
            DATA_FILES,
            experiment.data,
            {"Automatic": "auto", "Digits": "digits", "Random": "random"},
            DATA_TIPS,
        )
        self.load = widgets.Button(
            description="Load", icon="folder-open", tooltip="Read the model's inputs and outputs", css="wb-load"
        )
        self.precisions = {
            name: _checkbox(name, method.help, name in experiment.precisions) for name, method in METHODS.items()
        }
        self.backends = {
            each.address: _checkbox(
                each.title,
                each.explanation,
                bool(each.here) and each.address in experiment.backends,
                disabled=not each.here,
            )
            for each in self._choices
        }
        for control in self.model.controls:
            control.observe(lambda _: self._forget_signature(), "value")
        for control in self._controls():
            control.observe(self._on_change, "value")

    @property
    def unknown(self) -> tuple[str, ...]:
        """Backends that the experiment names and that do not exist."""
        return tuple(name for name in self._base.backends if name not in self.backends)

    def read(self) -> Experiment:
        """What the controls say.

        Raises:
            InputError: a control holds a value that cannot be used.
        """
        return replace(
            self._base,
            model=self.model.read(self._uploads),
            data=self.data.read(self._uploads),
            backends=tuple(name for name, box in self.backends.items() if box.value),
            precisions=tuple(name for name, box in self.precisions.items() if box.value),
            **{name: control.value for name, control in self.control.items()},
        )

    def show_model(self, model: Model | None) -> None:
        """Offer the signatures of the loaded model."""
        if model is None:
            return
        with self._silently():
            control = self.control["signature"]
            control.options = model.signatures
            if model.signatures:
                control.value = model.signature
            control.placeholder = model.signature

    def _forget_signature(self) -> None:
        """Another model was named: the signature of the one before it, which nobody typed, is not asked of it."""
        control = self.control["signature"]
        if control.options or control.placeholder:
            with self._silently():
                control.value, control.options, control.placeholder = "", (), ""

    def refresh(self, experiment: Experiment) -> None:
        """Gray out what has no effect, with the reason, and offer the variants as baselines."""
        here = [each for each in self._choices if each.address in experiment.backends]
        chosen = {each.backend.name: each.backend for each in here}
        on_gpus = {
            each.backend.name: each.backend for each in here if each.address.partition(":")[2] in each.backend.devices
        }
        reasons, notes = without_effect(experiment, chosen, on_gpus, self._metric), without_some(chosen, on_gpus)
        for name in self.control:
            self._enable(name, reasons.get(name, ""), notes.get(name, ""))
        signature, frozen = self.control["signature"], experiment.model.endswith(FROZEN)
        signature.description, signature.tooltip = (
            ("Tensors", TENSORS_TIP) if frozen else ("Signature", tip(SETTINGS["signature"]))
        )
        choice = len(signature.options) > 1 or (experiment.signature and not signature.options)
        widgets.show(signature, frozen or choice)
        if "signature" in self._hints:
            widgets.show(self._hints["signature"], frozen or choice)
        labels = dict.fromkeys(variant_name(spec) for spec in variants_of(experiment))
        options = (("automatic", ""), *((label, label) for label in labels))
        control = self.control["baseline"]
        if tuple(control.options) != options:
            with self._silently():
                kept = control.value if control.value in labels else ""
                control.options = options
                control.value = kept

    def lock(self, locked: bool) -> None:
        """Keep the controls still while a run uses them."""
        self.load.disabled = locked
        for control in self._controls():
            control.disabled = locked
        for each in self._choices:
            self.backends[each.address].disabled = locked or not each.here

    def write(self, experiment: Experiment) -> None:
        """Set every control to what an experiment says."""
        with self._silently():
            self._base = experiment
            self.model.write(experiment.model)
            self.data.write(experiment.data)
            for boxes, chosen in ((self.precisions, experiment.precisions), (self.backends, experiment.backends)):
                for name, box in boxes.items():
                    box.value = name in chosen and (boxes is self.precisions or self._here[name])
            for name, control in self.control.items():
                if name == "baseline" and experiment.baseline:
                    control.options = (*control.options, (experiment.baseline,) * 2)
                control.value = held(SETTINGS[name], getattr(experiment, name))
        self.refresh(experiment)

    def boxes(self) -> tuple[Any, Any, Any]:
        """What the pages Model, Data and Configure hold."""
        inputs = [self._with_hint(name) for name in self.control if SETTINGS[name].group == WITH_MODEL]
        model = [
            widgets.Box([*self.model.controls, self.load], css="wb-line"),
            self.model.hint,
            Fold("Inputs of free size or with made-up values", inputs),
        ]
        offered = [
            widgets.VBox([self.backends[each.address], widgets.HTML(view.hint(_offer(each)))], css="wb-offer")
            for each in self._choices
        ]
        usual = [self._precision(name) for name in self.precisions if METHODS[name].name in USUAL]
        others = [self._precision(name) for name in self.precisions if METHODS[name].name not in USUAL]
        configure = [
            widgets.HTML("<h4>Backends</h4>"),
            widgets.Box(offered, css="wb-offers"),
            widgets.HTML("<h4>Precisions</h4>"),
            widgets.Box(usual, css="wb-grid"),
            Fold("More precisions", [widgets.Box(others, css="wb-offers")]),
            widgets.HTML("<h4>Batches and time</h4>"),
            widgets.Box([self._with_hint(name) for name in BASIC], css="wb-grid"),
            Fold("More settings", self._more()),
        ]
        return (
            widgets.VBox(model),
            widgets.VBox([widgets.Box(self.data.controls, css="wb-line"), self.data.hint]),
            widgets.VBox(configure),
        )

    def _more(self) -> list[Any]:
        """The settings that are folded away, group by group."""
        found: list[Any] = []
        rest = [name for name in self.control if name not in BASIC and SETTINGS[name].group != WITH_MODEL]
        for group, names in groupby(rest, lambda name: SETTINGS[name].group):
            found.append(widgets.HTML(f"<h4>{group}</h4>"))
            found.append(widgets.Box([self._with_hint(name) for name in names], css="wb-grid"))
        return found

    def _precision(self, name: str) -> Any:
        return widgets.VBox([self.precisions[name], widgets.HTML(view.hint(METHODS[name].help))], css="wb-offer")

    def _with_hint(self, name: str) -> Any:
        """A control, with its explanation or why it has no effect below it."""
        control = self.control[name]
        self._hints[name] = widgets.HTML(view.hint(_explanation(control)))
        return widgets.VBox([control, self._hints[name]], css="wb-control")

    def _enable(self, name: str, why_not: str, note: str = "") -> None:
        self.control[name].disabled = bool(why_not)
        if name in self._hints:
            text = why_not or "; ".join(filter(None, (_explanation(self.control[name]), note)))
            self._hints[name].value = view.hint(text)

    def _controls(self) -> Iterable[Any]:
        yield from self.model.controls
        yield from self.data.controls
        yield from self.control.values()
        yield from self.precisions.values()
        yield from self.backends.values()

    def _on_change(self, _change: object) -> None:
        if not self.quiet:
            self._changed()

    @contextmanager
    def _silently(self) -> Iterator[None]:
        self.quiet = True
        try:
            yield
        finally:
            self.quiet = False


def _checkbox(label: str, tip: str, value: bool, *, disabled: bool = False) -> Any:
    return widgets.Checkbox(
        description=label, tooltip=tip, value=value, disabled=disabled, indent=False, css="wb-check"
    )


def _offer(choice: Choice) -> str:
    if choice.here:
        return choice.explanation
    return f"not available: {choice.here.reason}." + (f" To change that: {choice.here.fix}" if choice.here.fix else "")


def _explanation(control: Any) -> str:
    """What stands below a control; boxes of several have no tooltip."""
    return str(getattr(control, "explanation", None) or control.tooltip or "")
