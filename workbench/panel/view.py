"""What the panel and the notebook show, as HTML made from records; whatever came from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from workbench.compare import comparison
from workbench.compare.advice import advice
from workbench.data.observed import doubts
from workbench.examine import Examination, described
from workbench.experiment import Experiment
from workbench.models.describe import batches_text, counted, export_notes, output_notes, size
from workbench.models.formats import TITLES
from workbench.panel.estimate import Estimate
from workbench.panel.planned import Planned
from workbench.records import FINAL, ExportCheck, Machine, Model, Result, Results, Status, TimingPlan, Until
from workbench.runs.variants import variants_of

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


def message(text: str, kind: str = "bad") -> str:
    """A sentence in a colored box, or nothing."""
    if not text:
        return ""
    role = "alert" if kind == "bad" else "status"
    return f'<div class="wb-message wb-{kind}" role="{role}">{escape(text)}</div>'


def warnings(results: Results) -> str:
    """What a reader must know before the numbers; "" where there is nothing."""
    return "".join(message(text, "bad") for text in results.warnings)


def hint(text: str) -> str:
    return f'<div class="wb-hint">{escape(text)}</div>' if text else ""


def page_top(title: str, subtitle: str) -> str:
    """The heading of a page."""
    return f'<div class="wb-heading"><h3>{escape(title)}</h3><span>{escape(subtitle)}</span></div>'


def model_facts(model: Model, found: Examination | None = None, check: ExportCheck | None = None) -> str:
    """Inputs, outputs, batches, size and digest; where it was looked at also its way to ONNX, operators, work and graph."""
    told = described(found) if found else []
    facts: list[tuple[str, ...]] = [
        ("Name", model.name),
        (
            "Format",
            TITLES.get(model.format, model.format) + (f", {_signature(model)}" if model.signature else ""),
        ),
        ("Inputs", *map(_tensor, model.inputs)),
        ("Outputs", *map(_tensor, model.outputs)),
        ("Batches", batches_text(model)),
        *([("Precision", f"{model.quantized or 'fp32'}: {model.quantized_how}")] if model.quantized_how else []),
        ("Parameters", f"{model.parameters:,}"),
        ("Size", size(model.size_bytes)),
        *((heading, *lines) for heading, lines in told),
        *([("To ONNX", *export_notes(check))] if check else []),
        *([("Notes", *notes)] if (notes := [*model.notes, *output_notes(model)]) else []),
        ("SHA-256", model.digest),
    ]
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{"<br>".join(map(escape, values))}</td></tr>'
        for name, *values in facts
    )
    return f'<table class="wb-facts"><tbody>{rows}</tbody></table>{_graph(found)}'


def _signature(model: Model) -> str:
    return f"{'tensors' if model.format == 'frozen_graph' else 'signature'} {model.signature}"


def _graph(found: Examination | None) -> str:
    """The picture of the graph, folded away; nothing where there is none. The SVG is the workbench's own, not escaped."""
    if found is None or not found.svg:
        return ""
    return (
        '<details class="wb-graph"><summary>Graph of the ONNX form</summary>'
        f'<div class="wb-graph-frame" tabindex="0" role="region" aria-label="Graph">{found.svg}</div></details>'
    )


def _tensor(spec: object) -> str:
    axes: Sequence[int] = getattr(spec, "dynamic_axes", ())
    if not axes:
        return f"{spec} (all axes fixed)"
    return f"{spec} (dynamic {'axis' if len(axes) == 1 else 'axes'}: {', '.join(map(str, axes))})"


def plan(planned: Planned, experiment: Experiment) -> str:
    """How much would be built, how many rows measured, how long builds of these kinds took here before, and what is not
    possible, with the reasons. "Up to", where the store may have it already.
    """
    variants, there, measured = counted(len(planned.to_build), "variant"), len(planned.there), planned.measured
    text = f"<b>{'up to ' if planned.perhaps else ''}{variants}</b> to build"
    if there:
        text += f" ({there} {'is' if there == 1 else 'are'} in the store)"
    if measured:
        most = "" if planned.surely else "up to "
        text += f", {most}{counted(measured, 'row')} to measure: {_timed(measured, experiment)} of timed calls"
        text += _loaded(measured, experiment)
    return f'<div class="wb-plan">{text}.{_expected(planned.before)}{not_possible(planned.rows)}</div>'


def _expected(before: Estimate) -> str:
    if not before.variants:
        return ""
    if not before.known:
        return " How long building takes is not known: nothing of these kinds was built in this store yet."
    rest = before.variants - before.known
    kinds = f"{before.known} of these kinds" if rest else "these kinds"
    text = f" Builds of {kinds} took {duration(before.build_s)} in this store before"
    return text + (f"; of {rest} nothing is known." if rest else ".")


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


def plan_without_model(experiment: Experiment) -> str:
    asked = counted(len(variants_of(experiment)), "variant")
    return (
        f'<div class="wb-plan"><b>{asked}</b> asked for. Load the model to see which of them are possible here.</div>'
    )


def not_possible(rows: Sequence[Result], *, unfolded: bool = False) -> str:
    """The variants that cannot be had here, grouped by reason; nothing where there are none."""
    reasons = comparison.not_possible(rows)
    if not reasons:
        return ""
    number = len({label for labels in reasons.values() for label in labels})
    items = "".join(f"<li><b>{escape(', '.join(labels))}</b>: {escape(why)}</li>" for why, labels in reasons.items())
    return f'<details class="wb-not"{" open" if unfolded else ""}><summary>{counted(number, "variant")} not possible here, and why</summary><ul>{items}</ul></details>'


def note(result: Result) -> str:
    """Why a row has no numbers, or what to know about them; a failure's log unfolds."""
    if result.failure is None:
        # an engine's note is the same for all its batches: once is enough
        first = result.batch == min(result.spec.batches)
        remarks = [result.engine.note] if first and result.engine and result.engine.note else []
        remarks += ["measured by an earlier run"] if result.reused else []
        return escape("; ".join(remarks))
    text = escape(f"{result.failure.step}: {result.failure.message}" if result.failure.step else result.failure.message)
    if result.failure.log:
        text += f"<details><summary>log</summary><pre>{escape(result.failure.log)}</pre></details>"
    return text


def failures(rows: Sequence[Result]) -> str:
    """Every failed or cancelled row with its sentence, its log and the command that repeats it."""
    items = []
    for result in rows:
        if result.failure is None or result.status not in (Status.FAILED, Status.CANCELLED):
            continue
        again = f"<pre>{escape(result.failure.repro)}</pre>" if result.failure.repro else ""
        items.append(f"<li><b>{escape(result.row)}</b> {escape(result.status)}: {note(result)}{again}</li>")
    return f"<ul>{''.join(items)}</ul>" if items else ""


def work(results: Results) -> str:
    """What the run did, what it took from the store, on which machine and which samples."""
    facts = [
        ("Machine", results.machine.label),
        ("Python", results.machine.python),
        ("CPU instructions", " ".join(results.machine.instructions) or "none that matter here"),
        ("Samples", results.data),
        *(("Values", str(each)) for each in results.values),
        ("Timed region", f"{results.plan.region}, by {results.plan.protocol}".removesuffix(", by ")),
        ("Rounds", f"{results.plan.rounds}, variants in a fresh random order in each"),
        ("Measured until", _until(results.plan)),
        ("This run", str(results.tally)),
    ]
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>' for name, value in facts
    )
    notes = "".join(f"<li>{escape(text)}</li>" for text in (*results.notes, *advice(results)))
    return f'<table class="wb-facts"><tbody>{lines}</tbody></table>' + (f"<ul>{notes}</ul>" if notes else "")


def fed(results: Results) -> str:
    """The values that each input was fed, and what of them cannot be right; nothing where nothing is known."""
    lines = "".join(f"<li>{escape(str(each))}</li>" for each in results.values)
    warnings = "".join(message(each, "warn") for each in doubts(results.values))
    return warnings + (
        f'<details class="wb-not"><summary>Values fed</summary><ul>{lines}</ul></details>' if lines else ""
    )


def _until(plan: TimingPlan) -> str:
    if plan.launches == 1:
        return "the time of a single launch was over"
    known = "" if plan.until == Until.NARROW else "it is known who is faster, or "
    return (
        f"{known}every ratio is known within {plan.within:.3g} of it, or {duration(plan.max_measure_s)} per row are "
        f"spent in up to {plan.launches} launches"
    )


def commands(experiment: Experiment) -> str:
    """The shell line and the Python call that do the same as the panel's buttons."""
    return f"<pre>{escape(experiment.papermill_command())}</pre><pre>{escape(experiment.python_call())}</pre>"


def top(machine: Machine, store: object) -> str:
    """What stands above the sections."""
    return (
        f'<div class="wb-top"><b>Inference Workbench</b><span>{escape(machine.label)}</span>'
        f"<span>store: {escape(str(store))}</span></div>"
    )


def state(phase: str, done: str, elapsed_s: float) -> str:
    """What is going on, for how long, and how many rows have ended."""
    parts = [f"<b>{elapsed_s:.0f} s</b>", escape(done), escape(phase)]
    return f'<div class="wb-state" role="status"><span class="wb-spin"></span>{" · ".join(filter(None, parts))}</div>'


def progress(rows: Iterable[Result]) -> str:
    """How many rows have come to an end, as a count and not as a guess of time."""
    known = [result for result in rows if result.status != Status.UNSUPPORTED]
    return f"{sum(result.status in FINAL for result in known)} of {counted(len(known), 'row')}" if known else ""


def duration(s: float) -> str:
    return f"{s:.1f} s" if s < 100 else f"{s / 60:.0f} min"


def seconds(s: float) -> str:
    """A latency in milliseconds with three significant digits."""
    ms = s * 1e3
    digits = 3 if ms < 1 else 2 if ms < 10 else 1 if ms < 100 else 0
    return f"{ms:,.{digits}f} ms"


def rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.1f}"
