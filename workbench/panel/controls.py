"""The panel's controls: they are set from an Experiment and read back as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from workbench import backends
from workbench.models.describe import counted
from workbench.panel import view, widgets
from workbench.panel.checks import wrong_alone, wrong_together
from workbench.panel.effects import without_effect, without_some
from workbench.panel.fields import Fold, button, checkbox
from workbench.panel.glossary import glossary
from workbench.panel.presets import Presets
from workbench.panel.preview import Preview
from workbench.panel.settings import SEPARATE, held, settings, tip
from workbench.panel.source import DATA_FILES, DEMO, MODEL_FILES, PATH, UPLOAD, MissingError, SourceControl
from workbench.plan.variants import variants_of
from workbench.protocols import Availability, Backend
from workbench.records import Model, split_address
from workbench.records.methods import METHODS
from workbench.settings.experiment import Experiment
from workbench.settings.table import SETTINGS

FROZEN = ".pb"
WITH_MODEL = "Model"
ABSENT = "None of the requested backends is available here ({}). Choose others to run them; earlier results stay as they are."
TENSORS_TIP = "Input and output tensors, such as x:0 -> y:0; empty: the inputs of the graph, and the results that no operation uses"
BASIC = tuple(name for name, setting in SETTINGS.items() if setting.basic)
"""Settings that are seen at once. Those of the model are shown with it, and all others under *More settings*."""
TOGGLES = ("batches", "workspace_mib")
"""Settings that are shown below the precisions."""
USUAL = ("fp32", "fp16", "bf16", "int8")
"""Precisions that are seen at once; other ways to them are folded away."""

MODEL_TIPS = {
    DEMO: "A small convolutional network on real handwritten digits; it is trained here the first time, which takes a minute.",
    PATH: "A file or SavedModel folder on the machine where this notebook runs; matching names are offered while you type.",
    UPLOAD: "A file from the machine where this browser runs. A SavedModel folder: drop it into the file browser, give its path.",
}
DATA_CHOICES = {"Automatic": "auto", "Digits": "digits", "Random": "random"}
DATA_TIPS = {
    "auto": "The digits for the built-in demo, random inputs for any other model.",
    "digits": "1,500 labelled images of handwritten digits that the demo was not trained on, and 300 to calibrate with.",
    "random": "Random inputs: speed can be measured with them. Accuracy cannot, and INT8 cannot be calibrated.",
    PATH: "An .npz file: arrays by input name (or x), first axis the sample; class numbers as y; x_calibration is optional. A .csv or .tsv "
    "table: a column for each value, and the labels as y or label. A folder of images: a sub-folder for each class.",
    UPLOAD: "A file from the machine where this browser runs: .npz with arrays by input name and class numbers as y, or a .csv table.",
}


class BackendChoice(NamedTuple):
    """One checkbox in the list of backends."""

    address: str  # "tensorflow:xla"
    backend: Backend
    title: str
    explanation: str
    here: Availability


def choices() -> tuple[BackendChoice, ...]:
    found = []
    for name in backends.names():
        backend = backends.get(name)
        for mode, explanation in backend.modes.items():
            here = backend.status(mode)
            title = f"{backend.title} · {mode}" if mode else backend.title
            found.append(BackendChoice(f"{name}:{mode}" if mode else name, backend, title, explanation, here))
    for address in backends.in_environments():
        name, mode, environment = split_address(address)
        backend = backends.get(name)
        title = " · ".join(filter(None, [backend.title, mode, f"@{environment}"]))
        found.append(
            BackendChoice(address, backend, title, f"in the environment '{environment}'", backends.state(address))
        )
    return tuple(found)


def _backend_box(choice: BackendChoice, experiment: Experiment) -> Any:
    value = bool(choice.here) and choice.address in experiment.backends
    return checkbox(choice.title, choice.explanation, value, disabled=not choice.here)


class Controls:
    """All controls. ``changed`` is called after changes by a person only, ``load`` when the model is to be read."""

    def __init__(
        self,
        experiment: Experiment,
        uploads: Path,
        changed: Callable[[], None],
        load: Callable[[], None] = lambda: None,
        metric: str = "",
    ) -> None:
        self._metric = metric  # the name of a function that scores instead of the experiment's metric
        self._base = experiment
        self._changed = changed
        self.quiet = self.opened = False  # while it changes its own controls; while they hold a run that was opened
        self._choices = choices()
        self._here = {each.address: bool(each.here) for each in self._choices}
        self._hints: dict[str, Any] = {}
        self._said: dict[str, str] = {}  # what stands below a control that is right
        self._wrong = {name: widgets.HTML() for name in SEPARATE}
        self.missing: set[str] = set()  # of model and data, what was not chosen yet
        self.control: dict[str, Any] = settings(experiment)
        self.presets, self.preview = Presets(self._rewrite, changed), Preview()
        self.model = SourceControl("Model", MODEL_FILES, experiment.model, {"Built-in demo": DEMO}, MODEL_TIPS, uploads)
        self.data = SourceControl("Data", DATA_FILES, experiment.data, DATA_CHOICES, DATA_TIPS, uploads)
        self.data.beside = lambda: str(Path(self.model.path.value).parent) if self.model.kind.value == PATH else ""
        self.load = button("Load", "folder-open", "Read the model's inputs and outputs", "wb-load")
        self.precisions = {
            name: checkbox(name, method.help, name in experiment.precisions) for name, method in METHODS.items()
        }
        self.backends = {each.address: _backend_box(each, experiment) for each in self._choices}
        for each in (self.load, self.preview.load):
            each.on_click(lambda _: load())
        self.control["signature"].observe(lambda _: None if self.quiet else load(), "value")
        for control in self.model.values:
            control.observe(lambda _: self._forget_signature(), "value")
        for control in self._every():
            if control.has_trait("value"):
                follow = self.presets.typed if getattr(control, "continuous_update", False) else changed
                control.observe(lambda _, follow=follow: None if self.quiet else follow(), "value")

    @property
    def unknown(self) -> tuple[str, ...]:
        """Backends that the experiment names and that do not exist."""
        return tuple(name for name in self._base.backends if name not in self.backends)

    def read(self) -> Experiment:
        """What the controls say.

        Raises:
            InputError: a control holds a value that cannot be used.
        """
        return replace(self._base, model=self.model.read(), data=self.data.read(), **self._values())

    def _values(self) -> dict[str, Any]:
        """What the controls hold but for model and data, by setting."""
        return {
            "backends": tuple(name for name, box in self.backends.items() if box.value),
            "precisions": tuple(name for name, box in self.precisions.items() if box.value),
            **{name: control.value for name, control in self.control.items()},
        }

    def wrong(self) -> dict[str, str]:
        """A sentence for each setting whose value cannot be used, by its name; "" for what belongs to none."""
        values, found = self._values(), {}
        self.missing = set()
        for name, source in (("model", self.model), ("data", self.data)):
            try:
                values[name] = source.read()
            except MissingError as error:
                self.missing.add(name)
                found[name] = error.message
        found |= wrong_alone(values) | self.presets.limit.wrong()
        absent = [name for name in self._base.backends if not self._here.get(name)]
        if "backends" in found and not values["backends"] and absent:
            found["backends"] = ABSENT.format(", ".join(absent))
        return found or wrong_together(values, self._metric)

    def absent(self) -> dict[str, str]:
        """A sentence for the model and for the data where there is nothing at their path."""
        found = {"model": self.model.absent, "data": self.data.absent}
        return {name: text for name, text in found.items() if text}

    def mark(self, errors: Mapping[str, str], doubts: Mapping[str, str]) -> None:
        """Show each sentence at its control, and mark the controls of errors."""
        for name, control in self.control.items():
            text = errors.get(name, "") or doubts.get(name, "")
            (control.add_class if name in errors else control.remove_class)("wb-wrong")
            if name in self._hints:
                self._hints[name].value = view.at_field(text, "bad" if name in errors else "warn") or self._said[name]
        for name, box in self._wrong.items():
            box.value = view.at_field("" if name in self.missing else errors.get(name, ""))

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
        """Another model was named: the signature of the one before it, which was not typed, is not applied to it."""
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
        title = ("Tensors", TENSORS_TIP) if frozen else ("Signature", tip(SETTINGS["signature"]))
        signature.description, signature.tooltip = title
        choice = len(signature.options) > 1 or (experiment.signature and not signature.options)
        widgets.show(signature, frozen or choice)
        if "signature" in self._hints:
            widgets.show(self._hints["signature"], frozen or choice)
        labels = _variants(experiment, self.backends)
        options = (("automatic", ""), *((label, label) for label in labels))
        control = self.control["baseline"]
        if tuple(control.options) != options:
            with self._silently():
                kept = control.value if control.value in labels else ""
                widgets.offer(control, options, kept)

    def lock(self, locked: bool) -> None:
        """Keep the controls still while a run uses them."""
        self.load.disabled = self.preview.load.disabled = locked
        self.presets.lock(locked)
        for control in self._every():
            control.disabled = locked
        for each in self._choices:
            self.backends[each.address].disabled = locked or not each.here

    def unlock_data(self) -> None:
        """Let the data be chosen although other controls are locked."""
        for control in self.data.controls:
            control.disabled = False

    def write(self, experiment: Experiment, *, opened: bool = False) -> None:
        """Set every control to what an experiment says; ``opened``: it is that of a run to be looked at."""
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
        self.opened = opened

    def _rewrite(self, experiment: Experiment) -> None:
        """A preset or a way back was chosen."""
        self.write(experiment)
        self._changed()

    def boxes(self) -> tuple[Any, Any, Any]:
        """What the pages Model, Data and Configure hold."""
        inputs = [self._with_hint(name) for name in self.control if SETTINGS[name].group == WITH_MODEL]
        model = [
            self.model.row(self.load),
            self._wrong["model"],
            self.model.hint,
            Fold("Sizes and values of the inputs", inputs),
        ]
        offered = [
            widgets.VBox([self.backends[each.address], widgets.HTML(view.hint(_offer(each)))], css="wb-offer")
            for each in self._choices
        ]
        usual = [self._precision(name) for name in self.precisions if METHODS[name].name in USUAL]
        others = [self._precision(name) for name in self.precisions if METHODS[name].name not in USUAL]
        here = [each for each, choice in zip(offered, self._choices, strict=True) if choice.here]
        absent = [each for each, choice in zip(offered, self._choices, strict=True) if not choice.here]
        configure = [
            widgets.HTML("<h4>How long to measure</h4>"),
            self.presets,
            widgets.HTML("<h4>Precision, batch and workspace</h4>"),
            self._wrong["precisions"],
            widgets.Box(usual, css="wb-grid"),
            Fold("More precisions", [widgets.Box(others, css="wb-offers")]),
            widgets.Box([self._with_hint(name) for name in TOGGLES], css="wb-toggles"),
            widgets.HTML("<h4>Backends</h4>"),
            self._wrong["backends"],
            widgets.Box(here, css="wb-offers"),
            *_not_available(absent),
            widgets.HTML("<h4>Time and budget</h4>"),
            widgets.Box([self._with_hint(name) for name in BASIC if name not in TOGGLES], css="wb-grid"),
            Fold("More settings", self._more()),
            Fold("Words", [widgets.HTML(glossary())]),
        ]
        return (
            widgets.VBox(model),
            widgets.VBox([self.data.row(), self._wrong["data"], self.data.hint, self.preview]),
            widgets.VBox(configure),
        )

    def _more(self) -> list[Any]:
        found: list[Any] = []
        rest = [name for name in self.control if name not in (*BASIC, *TOGGLES) and SETTINGS[name].group != WITH_MODEL]
        for group, names in groupby(rest, lambda name: SETTINGS[name].group):
            found.append(widgets.HTML(f"<h4>{group}</h4>"))
            found.append(widgets.Box([self._with_hint(name) for name in names], css="wb-grid"))
        return found

    def _precision(self, name: str) -> Any:
        return widgets.VBox([self.precisions[name], widgets.HTML(view.hint(METHODS[name].help))], css="wb-offer")

    def _with_hint(self, name: str) -> Any:
        """A control, with its explanation or why it has no effect below it."""
        control = self.control[name]
        self._said[name] = view.hint(_explanation(control))
        self._hints[name] = widgets.HTML(self._said[name])
        return widgets.VBox([control, self._hints[name]], css="wb-control")

    def _enable(self, name: str, why_not: str, note: str = "") -> None:
        self.control[name].disabled = bool(why_not)
        if name in self._hints:
            text = why_not or "; ".join(filter(None, (_explanation(self.control[name]), note)))
            self._said[name] = view.hint(text)
            if self._hints[name].value != self._said[name] and "wb-at-field" not in self._hints[name].value:
                self._hints[name].value = self._said[name]

    def _every(self) -> Iterable[Any]:
        yield from (*self.model.controls, *self.data.controls)
        yield from self.control.values()
        yield from self.precisions.values()
        yield from self.backends.values()

    @contextmanager
    def _silently(self) -> Iterator[None]:
        self.quiet = True
        try:
            yield
        finally:
            self.quiet = False


def _variants(experiment: Experiment, known: Iterable[str]) -> dict[str, None]:
    """The variants of the backends that are known here: a run of another machine may have others, and environments that do not exist."""
    here = tuple(name for name in experiment.backends if name in known)
    return dict.fromkeys(spec.variant for spec in variants_of(replace(experiment, backends=here))) if here else {}


def _not_available(offers: list[Any]) -> list[Any]:
    title = f"{counted(len(offers), 'backend')} not available here"
    return [Fold(title, [widgets.Box(offers, css="wb-offers")])] if offers else []


def _offer(choice: BackendChoice) -> str:
    if choice.here:
        return choice.explanation
    return f"not available: {choice.here.reason}." + (f" To change that: {choice.here.fix}" if choice.here.fix else "")


def _explanation(control: Any) -> str:
    """The text below a control; boxes of several controls have no tooltip."""
    return str(getattr(control, "explanation", None) or control.tooltip or "")
