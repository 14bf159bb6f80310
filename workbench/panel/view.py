"""HTML of the panel and the notebook, made from records; all text from outside is escaped."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from markupsafe import Markup, escape

from workbench.compare import comparison
from workbench.compare.advice import advice
from workbench.compare.formats import duration
from workbench.conformance.examination import Examination, described
from workbench.data.observed import doubts
from workbench.display.html import bullets, facts, folded, join, tag
from workbench.errors import WorkbenchError, brief
from workbench.models.describe import batches_text, counted, export_notes, output_notes, size
from workbench.models.formats import TITLES
from workbench.panel.graph import framed, walked
from workbench.panel.planned import Planned
from workbench.plan.variants import variants_of
from workbench.records import ExportCheck, Machine, Model, Progress, Result, Results, Status, TimingPlan, Until
from workbench.runs.history import Estimate
from workbench.settings.commands import papermill_command, python_call, report_command
from workbench.settings.experiment import Experiment
from workbench.settings.table import RUN_SETTINGS, SETTINGS

SYMBOLS = {
    Status.PLANNED: "○",
    Status.PREPARING: "◔",
    Status.BUILDING: "◑",
    Status.BUILT: "●",
    Status.MEASURING: "◑",
    Status.SCORING: "◕",
    Status.DONE: "✓",
    Status.FAILED: "✕",
    Status.CANCELLED: "■",
    Status.UNSUPPORTED: "–",
}
KINDS = {
    Status.BUILT: "good",
    Status.DONE: "good",
    Status.FAILED: "bad",
    Status.CANCELLED: "warn",
    Status.PLANNED: "idle",
    Status.UNSUPPORTED: "idle",
}
# the line stands in the element itself, because a notebook's page runs no scripts of outputs that are not trusted
COPY = (
    "const box=this.parentElement,text=box.querySelector('code').textContent,done=()=>{this.textContent='Copied'};"
    "if(navigator.clipboard)navigator.clipboard.writeText(text).then(done);"
    "else{const all=document.createRange();all.selectNodeContents(box.querySelector('code'));"
    "getSelection().removeAllRanges();getSelection().addRange(all);document.execCommand('copy')&&done()}"
)
REUSED = "to take from the store (tick “Measure again” to time them again)"


def message(text: str, kind: str = "bad") -> Markup:
    """A sentence in a colored box, or nothing."""
    if not text:
        return Markup()
    return tag("div", text, class_=f"wb-message wb-{kind}", role="alert" if kind == "bad" else "status")


def failed(what: str, error: Exception, kind: str = "bad") -> Markup:
    """What is said of work that ended in this error: its own message in this color, or ``what`` and the error."""
    if isinstance(error, WorkbenchError):
        return message(error.message, kind)
    return message(f"{what}: {brief(error)}")


def warnings(results: Results) -> Markup:
    """What a reader must know before the numbers; "" where there is nothing."""
    elsewhere = results.imported
    return join(message(text, "warn" if elsewhere and elsewhere in text else "bad") for text in results.warnings)


def hint(text: str) -> Markup:
    return tag("div", text, class_="wb-hint") if text else Markup()


def at_field(text: str, kind: str = "bad") -> Markup:
    """A sentence at the field that it is about; nothing where there is none."""
    return tag("div", text, class_=f"wb-at-field wb-{kind}") if text else Markup()


def problems(errors: Mapping[str, str], missing: Collection[str] = (), *, opened: bool = False) -> Markup:
    """What prevents a run: the sentence if there is only one, else the labels of the fields that have one each. What is ``missing``
    is not an error yet, and nothing is where a run was ``opened`` to be looked at.
    """
    if opened:
        return hint(to_run_again(errors))
    sentences = list(dict.fromkeys(errors.values()))
    if len(sentences) <= 1:
        text = "".join(sentences)
        return hint(text) if set(errors) <= set(missing) else message(text, "bad")
    known = SETTINGS | RUN_SETTINGS
    labels = ", ".join(known[name].label for name in errors if name in known)
    return message(
        f"{counted(len(errors), 'setting')} cannot be used: {labels}. The reason is at each field; results that are shown stay as they are."
    )


def to_run_again(errors: Mapping[str, str]) -> str:
    """What has to be changed before the settings of a run that was opened can be run here; "" where nothing has to."""
    labels = ", ".join(SETTINGS[name].label for name in errors if name in SETTINGS) or "its settings"
    return (
        f"This run is shown as it was. To run it here, first change: {labels}. The reason is at each field."
        if errors
        else ""
    )


def download(name: str, mime: str, content: bytes) -> Markup:
    """A link that carries the file itself: it works wherever the panel is shown, without a server that knows of the file."""
    if not content:
        return message("There is nothing to draw in these results.", "warn")
    code = base64.b64encode(content).decode()
    text = f"⬇ {name} ({len(content) / 1e3:,.1f} kB)"
    return tag("a", text, class_="wb-download", download=name, href=f"data:{mime};base64,{code}")


def copyable(title: str, text: str) -> Markup:
    """A text with a button that copies it."""
    copy = tag("button", "Copy", type="button", class_="wb-copy", onclick=COPY)
    return tag("div", tag("span", title), copy, tag("pre", tag("code", text)), class_="wb-copyable")


def page_top(title: str, subtitle: str) -> Markup:
    """The heading of a page."""
    return tag("div", tag("h3", title), tag("span", subtitle), class_="wb-heading")


def model_facts(
    model: Model, examination: Examination | None = None, check: ExportCheck | None = None, *, live: bool = False
) -> Markup:
    """Inputs, outputs, batches, size and digest; where it was looked at also its way to ONNX, operators, work and graph, which on a
    live page can be walked through.
    """
    sections = described(examination) if examination else []
    signature = f", {'tensors' if model.format == 'frozen_graph' else 'signature'} {model.signature}"
    known: list[tuple[str, ...]] = [
        ("Name", model.name),
        ("Format", TITLES.get(model.format, model.format) + (signature if model.signature else "")),
        ("Inputs", *map(_tensor, model.inputs)),
        ("Outputs", *map(_tensor, model.outputs)),
        ("Batches", batches_text(model)),
        *([("Precision", f"{model.quantized or 'fp32'}: {model.quantized_how}")] if model.quantized_how else []),
        ("Parameters", f"{model.parameters:,}"),
        ("Size", size(model.size_bytes)),
        *((heading, *lines) for heading, lines in sections),
        *([("To ONNX", *export_notes(check))] if check else []),
        *([("Notes", *notes)] if (notes := [*model.notes, *output_notes(model)]) else []),
        ("SHA-256", model.digest),
    ]
    return facts((name, values) for name, *values in known) + _graph(examination, live=live)


def _graph(examination: Examination | None, *, live: bool) -> Markup:
    """The picture of the graph, folded away; nothing where there is none. The SVG is the workbench's own, not escaped."""
    if examination is None or not examination.svg:
        return Markup()
    picture = Markup(examination.svg)  # noqa: S704 - made by workbench.graph.picture, which escapes names
    shown = walked(picture) if live else framed(picture)
    return folded("Graph of the ONNX form", shown, css="wb-graph")


def _tensor(spec: object) -> str:
    axes: Sequence[int] = getattr(spec, "dynamic_axes", ())
    if not axes:
        return f"{spec} (all axes fixed)"
    return f"{spec} (dynamic {'axis' if len(axes) == 1 else 'axes'}: {', '.join(map(str, axes))})"


def plan(planned: Planned, experiment: Experiment) -> Markup:
    """How much would be built, how many rows measured, how long builds of these kinds took here before, and what is not
    possible, with the reasons. "Up to", where the store may have it already.
    """
    variants, there, measured = counted(len(planned.to_build), "variant"), len(planned.there), planned.measured
    text = " to build"
    if there:
        text += f" ({there} {'is' if there == 1 else 'are'} in the store)"
    if measured:
        most = "" if planned.surely else "up to "
        text += f", {most}{counted(measured, 'row')} to measure: {_timed(measured, experiment)} of timed calls"
        text += _loaded(measured, experiment) + _in_all(planned)
    if planned.reused:
        text += f", {counted(planned.reused, 'row')} {REUSED}"
    first = f"{'up to ' if planned.perhaps else ''}{variants}"
    said = f"{text}.{_counted_rows(planned)}{_expected(planned.before)}"
    line = tag("div", tag("b", first), said, class_="wb-plan-text", title=first + said)  # which a narrow page cuts
    return tag("div", line, not_possible(planned.rows), class_="wb-plan")


def _in_all(planned: Planned) -> str:
    """How long measuring takes with all that is not timed calls: what earlier runs took, or that it is not known."""
    if planned.row_s is None:
        return "; building, starting the engines and scoring come on top and often take longer"
    return f", about {duration(planned.measured * planned.row_s)} in all by earlier runs with these settings"


def _counted_rows(planned: Planned) -> str:
    """How the number of rows follows from that of the variants; "" where both are the same."""
    possible = {row.spec for row in planned.rows if row.status == Status.PLANNED}
    timed = {row.spec for row in planned.timed}
    batches = sorted({row.batch for row in planned.timed})
    said = ""
    if len(planned.timed) > len(timed):
        every = len(planned.timed) == len(timed) * len(batches)
        sizes = f"batches {', '.join(map(str, batches))}"
        said = f" A row is a variant at one batch: {counted(len(timed), 'variant')} at {'' if every else 'some of '}{sizes}."
    if left := len(possible - timed):
        said += f" {counted(left, 'variant')} can be built and not measured here."
    return said


def _expected(before: Estimate) -> str:
    if not before.variants:
        return ""
    if not before.known:
        return " How long building takes is not known: nothing of these kinds was built in this store yet."
    rest = before.variants - before.known
    kinds = f"{before.known} of these kinds" if rest else "these kinds"
    text = f" Builds of {kinds} took {duration(before.build_s)} in this store before"
    return text + (f"; how long the other {rest} will take is not known." if rest else ".")


def _timed(measured: int, experiment: Experiment) -> str:
    """How long the timed calls of so many rows take: the first launch, and all that may follow."""
    plan = experiment.plan
    first = measured * plan.rounds * plan.block_s
    if plan.launches == 1:
        return duration(first)
    return (
        f"{duration(first)} to {duration(first + measured * (plan.launches - 1) * plan.relaunch_rounds * plan.block_s)}"
    )


def _loaded(measured: int, experiment: Experiment) -> str:
    """What being under load adds."""
    load = experiment.load_plan
    parts = [f"{duration(measured * load.known_s)} under load"] if load.known_s else []
    parts += [f"a search for the highest rate of {'each' if measured > 1 else 'it'}"] if load.search else []
    return f", and {' and '.join(parts)}" if parts else ""


def cost(experiment: Experiment, rows: int) -> str:
    """How many rows an experiment has at most, and how long their timed calls take."""
    return f"up to {counted(rows, 'row')}, {_timed(rows, experiment)} of timed calls, plus the time for building and scoring"


def plan_without_model(experiment: Experiment) -> Markup:
    asked = tag("b", counted(len(variants_of(experiment)), "variant"))
    return tag("div", asked, " requested. Load the model to see which of them are possible here.", class_="wb-plan")


def not_possible(rows: Sequence[Result], *, unfolded: bool = False) -> Markup:
    """The variants that are not possible here, grouped by reason; nothing where there are none."""
    reasons = comparison.not_possible(rows)
    if not reasons:
        return Markup()
    number = len({label for labels in reasons.values() for label in labels})
    listed = bullets(tag("b", ", ".join(labels)) + f": {why}" for why, labels in reasons.items())
    return folded(f"{counted(number, 'variant')} not possible here, and why", listed, css="wb-not", unfolded=unfolded)


def note(result: Result) -> Markup:
    """Why a row has no numbers, or what to know about them; a failure's log unfolds."""
    failed = result.failure
    if failed is None:
        # an engine's note is the same for all its batches: once is enough
        first = result.batch == min(result.spec.batches)
        remarks = [result.engine.note] if first and result.engine and result.engine.note else []
        remarks += ["measured by an earlier run"] if result.reused else []
        return escape("; ".join(remarks))
    text = escape(f"{failed.step}: {failed.message}" if failed.step else failed.message)
    return text + folded("log", tag("pre", failed.log)) if failed.log else text


def failures(rows: Sequence[Result]) -> Markup:
    """Every failed or cancelled row with its sentence, its log and the command that repeats it; not those that a time limit left out."""
    items = []
    for result in rows:
        if result.failure is None or result.left_out or result.status not in (Status.FAILED, Status.CANCELLED):
            continue
        again = tag("pre", result.failure.repro) if result.failure.repro else ""
        items.append(join([tag("b", result.row), f" {result.status}: ", note(result), again]))
    return bullets(items)


def work(results: Results) -> Markup:
    """What the run did, what it took from the store, on which machine and which samples."""
    known = [
        ("Machine", results.machine.label),
        ("Python", results.machine.python),
        ("CPU instructions", " ".join(results.machine.instructions) or "none of those that matter for inference"),
        ("Samples", results.data),
        *(("Values", str(each)) for each in results.values),
        ("Timed region", f"{results.plan.region}, by {results.plan.protocol}".removesuffix(", by ")),
        ("Rounds", f"{results.plan.rounds}, variants in a fresh random order in each"),
        ("Measured until", _until(results.plan)),
        ("This run", str(results.tally)),
    ]
    return facts((name, [str(value)]) for name, value in known) + bullets((*results.notes, *advice(results)))


def fed(results: Results) -> Markup:
    """The values that each input was fed, and what of them cannot be right; nothing where nothing is known."""
    doubtful = join(message(each, "warn") for each in doubts(results.values))
    values = bullets(map(str, results.values))
    return doubtful + (folded("Values fed", values, css="wb-not") if values else "")


def _until(plan: TimingPlan) -> str:
    if plan.launches == 1:
        return "the time of a single launch was over"
    known = "" if plan.until == Until.NARROW else "it is known which is faster, or "
    return (
        f"{known}every ratio is known within {plan.within:.3g} of it, or {duration(plan.max_measure_s)} per row are "
        f"spent in up to {plan.launches} launches"
    )


def commands(experiment: Experiment, store: str | Path = "") -> Markup:
    """The shell lines and the Python call that do the same as the panel's buttons."""
    report = tag("pre", report_command(experiment, store))
    return report + tag("pre", papermill_command(experiment, store)) + tag("pre", python_call(experiment, store))


def top(machine: Machine, store: object) -> Markup:
    """The head of the page."""
    name = tag("b", "Inference Workbench")
    return tag("div", name, tag("span", machine.label), tag("span", f"store: {store}"), class_="wb-top")


PHASES = {"Prepare": ("",), "Build": ("build",), "Measure": ("prepare scoring", "start workers", "measure"), "Score": ("score", "time layers")}  # fmt: skip
"""The parts of the bar of a run, and how the phases begin that each stands for; all others are before them."""


def state(step: str, progress: Progress | None, elapsed_s: float) -> Markup:
    """How long the work has taken, one bar over all phases of a run, count and remaining time of the phase, and the step."""
    parts: list[str] = [tag("b", f"{elapsed_s:.0f} s")]
    if progress is not None:
        parts += [_bar(progress), progress.phase, progress.count, progress.left]
    parts += [step] if progress is None or step != str(progress) else []
    said = Markup(" · ").join(filter(None, parts))
    return tag("div", tag("span", class_="wb-spin"), said, class_="wb-state", role="status")


def _bar(progress: Progress) -> Markup:
    """A bar with a part for each phase: past ones full, the current one in part, later ones empty."""
    titles = list(PHASES)
    now = max((place for place, begins in enumerate(PHASES.values()) if progress.phase.startswith(begins)), default=0)
    done = progress.done / progress.total if progress.total else 0.0
    parts = []
    for place, title in enumerate(titles):
        share = 100 if place < now else round(100 * done) if place == now else 0
        fill = tag("i", style=f"width: {share}%")
        parts.append(tag("span", fill, title, class_=f"wb-phase{' wb-now' if place == now else ''}"))
    whole = round(100 * (now + done) / len(titles))
    about = {"role": "progressbar", "aria_valuenow": str(whole), "aria_valuemin": "0", "aria_valuemax": "100"}
    return tag(
        "span", *parts, class_="wb-phases", aria_label=f"{titles[now]}: {progress.count or 'in progress'}", **about
    )
