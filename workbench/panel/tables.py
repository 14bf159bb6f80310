"""The panel's table, lines of the page Run and galleries of samples."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from markupsafe import Markup

from workbench.accuracy.guard import Guard, disagreement, judgement
from workbench.compare.flips import Flip, Flips, picture
from workbench.compare.formats import digits, ms, rate, seconds, speedup_parts
from workbench.compare.remarks import agreement_text, what_ended
from workbench.display.html import image, tag
from workbench.display.table import NUMBER, WHOLE, Column, Content, Span, Table
from workbench.display.table import Row as Values
from workbench.panel.view import KINDS, SYMBOLS, note
from workbench.records import Result, Results, Verdict
from workbench.records import Row as Judged
from workbench.records.methods import method_of

EMPTY = "No results yet. Press Run: engines are built, timed in turn and compared."
GOES_ON = (
    "A run is going on. Its results appear here when it has ended; the page Run shows what each row does. A run that is cancelled shows what was "
    "timed until then."
)
VERDICTS = {Verdict.FASTER: "▲", Verdict.SLOWER: "▼", Verdict.CANNOT_TELL: "?", Verdict.BASELINE: "="}


class Shown(NamedTuple):
    """A row of the panel's table: a result, its comparison with the baseline, and what is said of it."""

    result: Result
    judged: Judged | None = None
    remarks: tuple[str, ...] = ()
    out: str = ""  # the limit that it does not keep
    star: str = ""  # what it is starred as
    budget: str = ""  # that of the results
    disturbed: str = ""  # what disturbed its rounds


def table(rows: Iterable[Shown], results: Results | None = None) -> Table:
    """The panel's table; ``results`` say how the accuracy is sorted."""
    return Table(columns(results), tuple(map(_values, rows)), attributes=_attributes)


def columns(results: Results | None) -> tuple[Column, ...]:
    """The columns for these results: the first press on the accuracy puts the best first, which is the smallest error of a metric
    such as rmse or wer.
    """
    scores = (
        [row.accuracy for row in results.rows if row.accuracy and row.accuracy.value is not None] if results else []
    )
    if not scores or scores[0].higher_is_better:
        return COLUMNS
    tip = f"{scores[0].metric} of the test samples; lower is better"
    return tuple(replace(each, help=tip, largest_first=False) if each.name == "Accuracy" else each for each in COLUMNS)


def _values(shown: Shown) -> dict[str, Any]:
    result, judged = shown.result, shown.judged
    timing, engine, score = result.timing, result.engine, result.accuracy
    return {
        "shown": shown,
        "Variant": result.spec.label,
        "Batch": result.batch,
        "Speed-up": judged.speedup if judged else None,
        "Median ms": timing.median_s * 1e3 if timing else None,
        "p95 ms": ms(timing.percentile_s(95)) if timing else None,
        "Samples/s": timing.samples_per_s if timing else None,
        "Asked → built": (result.spec.asked, engine.realized.label) if engine else None,
        "Accuracy": None if score is None else score.agreement if score.value is None else score.value,
    }


def _attributes(row: Values) -> dict[str, str]:
    shown: Shown = row["shown"]
    given = {"data-row": shown.result.row, "data-status": str(shown.result.status)}
    return given | ({"class": "wb-out"} if shown.out else {})


def _of(show: Callable[[Shown], Content]) -> Callable[[Values], Content]:
    return lambda row: show(row["shown"])


def _variant(shown: Shown) -> Content:
    text = {"winner": "★ winner", "tied": "≈ the winner"}.get(shown.star, shown.star)
    star = (Span(text, shown.star),) if text else ()
    return (Span(shown.result.spec.label, "strong"), *star)


def _median(row: Values) -> Content:
    shown: Shown = row["shown"]
    mark = (Span("⚠", "noisy", shown.disturbed),) if shown.disturbed else ()
    return "" if row["Median ms"] is None else (Span(digits(row["Median ms"])), *mark)


def _samples(shown: Shown) -> Content:
    timing = shown.result.timing
    return (Span(rate(timing.samples_per_s), "", f"{rate(timing.queries_per_s)} calls/s"),) if timing else ""


def _built(shown: Shown) -> Content:
    asked, engine = shown.result.spec.asked, shown.result.engine
    if engine is None:
        return ""
    built = engine.realized.label
    if built == asked:
        return (Span(built, "", "built as asked"),)
    return (Span(f"{asked} →"), Span(built, "" if built.startswith(method_of(asked).realized) else "differs"))


def _speedup(shown: Shown) -> Content:
    result, judged = shown.result, shown.judged
    if judged is None:
        return (status(result),) if result.timing is None else "not compared"
    sign = VERDICTS[judged.verdict]
    if judged.speedup is None or judged.low is None or judged.high is None:
        return (Span(str(judged.verdict), "verdict", judged.why, sign),)
    value, ends = speedup_parts(judged.verdict, judged.speedup, judged.low, judged.high)
    timing = result.timing
    many = len(timing.launches) or 1 if timing else 0
    ended = ", ".join(filter(None, [f"{many} launch{'es' if many > 1 else ''}", what_ended(result)])) if timing else ""
    hint = "; ".join(filter(None, [judged.why, ended]))
    across = f"\nacross devices: {result.device} here, {judged.across} for the baseline"
    return (
        Span(f"×{value}", "strong", hint),
        Span(str(judged.verdict), "verdict", hint, sign),
        Span(ends, "interval"),
        *((Span(across, "interval"),) if judged.across else ()),
    )


def status(result: Result) -> Span:
    return Span(str(result.status), f"status wb-{KINDS.get(result.status, 'busy')}", sign=SYMBOLS[result.status])


def accuracy(result: Result) -> tuple[Span, ...]:
    found = result.accuracy
    if found is None:
        return ()
    if found.value is None:
        which = f" in '{found.agreement_output}'" if len(found.agreements) > 1 else ""
        of = "samples" if found.together == 1 else f"batches of {found.together}"
        hint = f"share of {found.samples - found.not_compared} {of} with the source model's answer; {agreement_text(found)}"
        return (Span(f"{found.agreement:.1%} agree{which}", "", hint.rstrip("; ")),)
    if found.low is None or found.high is None or found.metric != "top-1":
        value = f"{found.value:.1%}" if found.share else f"{found.value:.4g} {found.unit}".rstrip()
        return (Span(f"{found.metric} {value}", "", f"{found.metric} of {found.samples} samples"),)
    hint = f"95 % interval {found.low:.1%} to {found.high:.1%}, {found.samples} samples"
    return (Span(f"{found.value:.1%}", "", hint),)


def guarded(result: Result, budget: str) -> tuple[Span, ...]:
    """What the guard says, where that is more than that all is well."""
    if why := disagreement(result):
        return (Span("disagrees with the source", "guard wb-guard-over", why),)
    found = judgement(result, budget)
    if found is None or found.verdict == Guard.WITHIN:
        return ()
    text = "over budget" if found.verdict == Guard.OVER else "budget: cannot tell"
    return (Span(text, f"guard wb-guard-{found.verdict.name.lower()}", str(found)),)


def _note(shown: Shown) -> Content:
    out = (Span(f"✕ out: {shown.out}", "why-out"),) if shown.out else ()
    said = (Span("; ".join(shown.remarks)),) if shown.remarks else ()
    return (*out, *((Span("·"),) if out and said else ()), *said)


_column = partial(Column, always=True)
_largest = partial(_column, largest_first=True)
COLUMNS = (
    _column("Variant", format=_of(_variant)),
    _column("Batch", WHOLE, help="samples in one call"),
    _largest(
        "Speed-up",
        help="time of the baseline divided by the time of this variant; above 1 is faster; with its 95 % interval",
        format=_of(_speedup),
    ),
    _column(
        "Median ms",
        NUMBER,
        help="time of a typical call (p50): the median over undisturbed rounds, without waiting for a core; ⚠: what disturbed them",
        format=_median,
    ),
    _column(
        "p95 ms",
        NUMBER,
        help="95 of 100 calls were faster; shown only where single calls were timed, and enough of them",
        format=lambda row: "" if row["p95 ms"] is None else digits(row["p95 ms"]),
    ),
    _largest(
        "Samples/s",
        NUMBER,
        help="typical calls per second, one after another, times the batch: the batch divided by the median",
        format=_of(_samples),
    ),
    _column(
        "Asked → built",
        help="number format that was asked for, and that of the layers with weights, read back from the engine",
        format=_of(_built),
    ),
    _largest(
        "Accuracy",
        NUMBER,
        help="share of labelled test samples that were right, or agreement with the source model without labels",
        format=_of(lambda shown: (*accuracy(shown.result), *guarded(shown.result, shown.budget))),
    ),
    Column("note", format=_of(_note), note=True),
)

IN_FILES = {
    "Variant": ("variant", "device"), "Batch": ("batch",), "Median ms": ("p50 ms",), "Speed-up": ("speed-up",), "p95 ms": ("p95 ms",),
    "Samples/s": ("samples/s",), "Asked → built": ("built",), "Accuracy": ("top-1 %", "score", "budget"),
}  # fmt: skip
"""The columns of the table of results that stand in files for those of the page Compare."""


def run_row(
    result: Result, phase: str, elapsed: str, *, stands: Span | None = None, median_s: float | None = None
) -> str:
    """A row of the page Run: its status, its elapsed time, and its first results.

    ``stands`` is shown in place of its status; ``median_s`` is the median so far.
    """
    facts: list[str] = []
    if result.engine:
        facts.append(f"built as {result.engine.realized.label} in {result.engine.build_s:.2f} s")
    if result.timing:
        facts.append(f"median {seconds(result.timing.median_s)}{' (measured before)' if result.reused else ''}")
    facts += [span.html() for span in accuracy(result)]
    so_far = (
        []
        if median_s is None or result.timing
        else [tag("span", f"median so far {seconds(median_s)}", class_="wb-so-far")]
    )
    now = Markup(" · ").join([*filter(None, [elapsed, phase]), *so_far] or facts)
    line = tag(
        "div",
        tag("b", result.spec.label),
        tag("span", f"batch {result.batch}"),
        (stands or status(result)).html(),
        tag("span", now, class_="wb-row-now"),
        class_="wb-run",
        data_row=result.row,
        data_status=str(result.status),
    )
    return line + (tag("div", note(result), class_="wb-row-why") if result.failure else "")


def log_text(text: str) -> str:
    """The end of a log, which scrolls."""
    shown = text if text.strip() else "The worker has printed nothing yet."
    return tag("pre", shown, class_="wb-log", tabindex="0", role="region", aria_label="Log")


def gallery(flips: Flips, first: str, second: str) -> str:
    """The samples to which two engines give different answers, each with its picture or its first values."""
    head = f" of {flips.samples:,} samples get another class in the output '{flips.output}'"
    if flips.first_right is not None and flips.second_right is not None:
        head += f"; of these {first} is right on {flips.first_right:,}, {second} on {flips.second_right:,}"
    if flips.changed > len(flips.shown):
        head += f". The first {len(flips.shown)} are shown"
    cards = (_card(flip, first, second) for flip in flips.shown)
    said = tag("div", tag("b", f"{flips.changed:,}"), f"{head}.", class_="wb-plan")
    return said + tag("div", *cards, class_="wb-gallery")


def _card(flip: Flip, first: str, second: str) -> Markup:
    right = () if flip.label is None else (", right: ", tag("b", flip.label))
    lines = [tag("span", f"sample {flip.place}", *right)]
    for name, said, value in ((first, flip.first, flip.first_value), (second, flip.second, flip.second_value)):
        mark = "" if flip.label is None else " ✓" if said == flip.label else " ✕"
        lines.append(tag("span", f"{name}: ", tag("b", said), mark, f" ({value:.3g})"))
    return tag("figure", sample_shown(flip.inputs), tag("figcaption", Markup("<br>").join(lines)))


def _image(item: tuple[str, Any]) -> Markup | None:
    name, array = item
    pixels = picture(array)
    if pixels is None:
        return None
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png", cmap="gray")
    return image(buffer.getvalue(), name)


def sample_shown(inputs: Mapping[str, Any]) -> Markup:
    """The inputs of one sample: the first that is a picture, else the first values of each."""
    return next(filter(None, map(_image, inputs.items())), None) or _inputs(inputs)


def _in_short(value: object) -> str:
    """Four digits of a number, and the beginning of a text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:12]


def _inputs(inputs: Mapping[str, Any]) -> Markup:
    parts = []
    for name, array in inputs.items():
        flat = array.reshape(-1)
        hint = ", ".join(map(_in_short, flat[:6].tolist()))
        parts.append(f"{name}: {hint}{', …' if flat.size > 6 else ''}")
    return tag("pre", Markup("<br>").join(parts))
