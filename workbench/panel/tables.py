"""The panel's tables and galleries as HTML; whatever came from outside is escaped."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Any

from workbench.accuracy.guard import Guard, disagreement, judgement
from workbench.choices.methods import method_of
from workbench.compare.comparison import digits
from workbench.compare.flips import Flip, Flips, picture
from workbench.compare.remarks import agreement_told
from workbench.panel.sorting import Column, Line
from workbench.panel.view import KINDS, SYMBOLS, note, rate, seconds
from workbench.records import Result, Results, Row, Verdict

COLUMNS = (
    Column("Variant"),
    Column("Batch", "samples in one call", numeric=True),
    Column(
        "Speed-up",
        "time of the baseline divided by the time of this variant; above 1 is faster; with its 95 % interval",
        largest_first=True,
    ),
    Column(
        "Median ms",
        "time of a typical call (p50): the median over undisturbed rounds, without waiting for a core",
        numeric=True,
    ),
    Column(
        "p95 ms",
        "95 of 100 calls were faster; shown only where the samples are single calls, and enough of them",
        numeric=True,
    ),
    Column(
        "Samples/s",
        "typical calls per second, one after another, times the batch: the batch divided by the median",
        numeric=True,
        largest_first=True,
    ),
    Column(
        "Asked → built",
        "number format that was asked for, and that of the layers with weights, read back from the engine",
    ),
    Column(
        "Accuracy",
        "share of labelled test samples that were right, or agreement with the source model without labels",
        numeric=True,
        largest_first=True,
    ),
)
NUMERIC = frozenset(each.name for each in COLUMNS if each.numeric)
EMPTY = "No results yet. Press Run: engines are built, timed in turn and compared."
VERDICTS = {Verdict.FASTER: "▲", Verdict.SLOWER: "▼", Verdict.CANNOT_TELL: "?", Verdict.BASELINE: "="}


def columns(results: Results | None) -> tuple[Column, ...]:
    """The heads for these results: the first press on the accuracy puts the best first, which is the smallest error of a metric
    such as rmse or wer.
    """
    scores = (
        [row.accuracy for row in results.rows if row.accuracy and row.accuracy.value is not None] if results else []
    )
    if not scores or scores[0].higher_is_better:
        return COLUMNS
    tip = f"{scores[0].metric} of the test samples; less is better"
    return tuple(each._replace(tip=tip, largest_first=False) if each.name == "Accuracy" else each for each in COLUMNS)


def line(result: Result, judged: Row | None = None, remark: str = "", **more: Any) -> Line:
    """One line of the table as :func:`row` makes it, and what it is sorted by."""
    timing, engine, score = result.timing, result.engine, result.accuracy
    values = {
        "Variant": result.spec.label,
        "Batch": result.batch,
        "Speed-up": judged.speedup if judged else None,
        "Median ms": timing.median_s if timing else None,
        "p95 ms": timing.percentile_s(95) if timing else None,
        "Samples/s": timing.samples_per_s if timing else None,
        "Asked → built": (result.spec.asked, engine.realized.label) if engine else None,
        "Accuracy": None if score is None else score.agreement if score.value is None else score.value,
    }
    return Line(row(result, judged, remark, **more), values)


def row(
    result: Result,
    judged: Row | None = None,
    remark: str = "",
    *,
    out: str = "",
    star: str = "",
    budget: str = "",
) -> str:
    """One line of the table; ``judged`` is its comparison with the baseline, ``out`` the limit that it does not keep, ``budget`` that
    of the results, ``star`` what it is starred as.
    """
    timing, engine = result.timing, result.engine
    p95 = timing.percentile_s(95) if timing else None
    starred = f' <span class="wb-winner">★ {star}</span>' if star else ""
    built = engine.realized.label if engine else ""
    differs = ' class="wb-differs"' if built and not built.startswith(method_of(result.spec.asked).realized) else ""
    cells = {
        "Variant": f"<b>{escape(result.spec.label)}</b>{starred}",
        "Batch": str(result.batch),
        "Speed-up": _speedup(result, judged),
        "Median ms": digits(timing.median_s * 1e3) if timing else "",
        "p95 ms": digits(p95 * 1e3) if p95 is not None else "",
        "Samples/s": f'<span title="{rate(timing.queries_per_s)} calls/s">{rate(timing.samples_per_s)}</span>'
        if timing
        else "",
        "Asked → built": f"{escape(result.spec.asked)} → <span{differs}>{escape(built)}</span>" if built else "",
        "Accuracy": accuracy(result) + guarded(result, budget),
    }
    filled = "".join(f"<td{_numeric(name)}>{cells[name]}</td>" for name in cells)
    # a note has a line of its own: in a column it would be a narrow tower, or push the numbers out of sight
    notes = [f'<span class="wb-why-out">✕ out: {escape(out)}</span>' if out else "", escape(remark)]
    told = " · ".join(filter(None, notes))
    kind = " ".join(filter(None, ["wb-noted" if told else "", "wb-out" if out else ""]))
    shown = f' class="{kind}"' if kind else ""
    below = (
        f'<tr class="wb-note{" wb-out" if out else ""}"><td colspan="{len(COLUMNS)}">{told}</td></tr>' if told else ""
    )
    return f'<tr{shown} data-row="{escape(result.row)}" data-status="{escape(result.status)}">{filled}</tr>{below}'


def _speedup(result: Result, judged: Row | None) -> str:
    if judged is None:
        return status(result) if result.timing is None else "not compared"
    sign = f'<i aria-hidden="true">{VERDICTS[judged.verdict]}</i> {escape(judged.verdict)}'
    if judged.speedup is None or judged.low is None or judged.high is None:
        return f'<span class="wb-verdict" title="{escape(judged.why)}">{sign}</span>'
    across = (
        f'<div class="wb-interval">across devices: {escape(judged.result.device)} here, {escape(judged.across)} for the baseline</div>'
        if judged.across
        else ""
    )
    interval = f'<span class="wb-interval">[{judged.low:.2f}, {judged.high:.2f}]</span>'
    timing = result.timing
    ended = f"{len(timing.launches) or 1} launches, {timing.ended}" if timing else ""
    told = escape("; ".join(filter(None, [judged.why, ended])))
    return f'<span class="wb-verdict" title="{told}"><b>×{judged.speedup:.2f}</b> {sign} {interval}</span>{across}'


def status(result: Result) -> str:
    kind = KINDS.get(result.status, "busy")
    return (
        f'<span class="wb-status wb-{kind}"><i aria-hidden="true">{SYMBOLS[result.status]}</i> '
        f"{escape(result.status)}</span>"
    )


def accuracy(result: Result) -> str:
    found = result.accuracy
    if found is None:
        return ""
    if found.value is None:
        which = f" in '{found.agreement_output}'" if len(found.agreements) > 1 else ""
        told = f"share of {found.samples - found.not_compared} samples with the source model's answer; {agreement_told(found)}"
        return f'<span title="{escape(told.rstrip("; "))}">{found.agreement:.1%} agree{escape(which)}</span>'
    if found.low is None or found.high is None or found.metric != "top-1":
        value = f"{found.value:.1%}" if found.share else f"{found.value:.4g} {found.unit}".rstrip()
        return f'<span title="{escape(found.metric)} of {found.samples} samples">{escape(found.metric)} {value}</span>'
    return f'<span title="95 % interval {found.low:.1%} to {found.high:.1%}, {found.samples} samples">{found.value:.1%}</span>'


def guarded(result: Result, budget: str) -> str:
    """What the guard says, where that is more than that all is well."""
    if why := disagreement(result):
        return f' <span class="wb-guard wb-guard-over" title="{escape(why)}">disagrees with the source</span>'
    found = judgement(result, budget)
    if found is None or found.verdict == Guard.WITHIN:
        return ""
    text = "over budget" if found.verdict == Guard.OVER else "budget: cannot tell"
    return f' <span class="wb-guard wb-guard-{found.verdict.name.lower()}" title="{escape(str(found))}">{text}</span>'


def run_row(result: Result, phase: str, elapsed: str) -> str:
    """What the page Run says of one row: where it stands, since when, and what is known of it already."""
    facts = []
    if result.engine:
        facts.append(f"built as {escape(result.engine.realized.label)} in {result.engine.build_s:.2f} s")
    if result.timing:
        facts.append(f"median {seconds(result.timing.median_s)}{' (measured before)' if result.reused else ''}")
    if accuracy(result):
        facts.append(accuracy(result))
    now = " · ".join(filter(None, [escape(elapsed), escape(phase)]))
    why = f'<div class="wb-row-why">{note(result)}</div>' if result.failure else ""
    return (
        f'<div class="wb-run" data-row="{escape(result.row)}" data-status="{escape(result.status)}">'
        f"<b>{escape(result.spec.label)}</b><span>batch {result.batch}</span>{status(result)}"
        f'<span class="wb-row-now">{now or " · ".join(facts)}</span></div>{why}'
    )


def log_text(text: str) -> str:
    """The end of a log, scrolled by whoever reads it."""
    shown = escape(text) if text.strip() else "The worker has printed nothing yet."
    return f'<pre class="wb-log" tabindex="0" role="region" aria-label="Log">{shown}</pre>'


def gallery(found: Flips, first: str, second: str) -> str:
    """The samples to which two engines give different answers, each with its picture or its first values."""
    head = f"<b>{found.changed:,}</b> of {found.samples:,} samples get another class in the output '{escape(found.output)}'"
    if found.first_right is not None and found.second_right is not None:
        head += (
            f"; of these {escape(first)} is right on {found.first_right:,}, {escape(second)} on {found.second_right:,}"
        )
    if found.changed > len(found.shown):
        head += f". The first {len(found.shown)} are shown"
    cards = "".join(_card(flip, first, second) for flip in found.shown)
    return f'<div class="wb-plan">{head}.</div><div class="wb-gallery">{cards}</div>'


def _card(flip: Flip, first: str, second: str) -> str:
    lines = [f"sample {flip.place}" + ("" if flip.label is None else f", right: <b>{flip.label}</b>")]
    for name, said, value in ((first, flip.first, flip.first_value), (second, flip.second, flip.second_value)):
        mark = "" if flip.label is None else " ✓" if said == flip.label else " ✕"
        lines.append(f"{escape(name)}: <b>{said}</b>{mark} <span>({value:.3g})</span>")
    shown = next(filter(None, map(_image, flip.inputs.items())), "") or _values(flip)
    return f"<figure>{shown}<figcaption>{'<br>'.join(lines)}</figcaption></figure>"


def _image(item: tuple[str, Any]) -> str:
    name, array = item
    pixels = picture(array)
    if pixels is None:
        return ""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png", cmap="gray")
    code = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(name)}" src="data:image/png;base64,{code}">'


def _values(flip: Flip) -> str:
    parts = []
    for name, array in flip.inputs.items():
        flat = array.reshape(-1)
        told = ", ".join(str(value)[:12] for value in flat[:6].tolist())
        parts.append(f"{escape(name)}: {escape(told)}{', …' if flat.size > 6 else ''}")
    return f"<pre>{'<br>'.join(parts)}</pre>"


def _numeric(name: str) -> str:
    return ' class="wb-n"' if name in NUMERIC else ""


def _quoted(text: str) -> str:
    return f'"{escape(text)}"'
