"""What each variant loses by class and by group of samples, as a table: the worst first."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from workbench.accuracy.guard import part_over

if TYPE_CHECKING:
    import pandas as pd

    from workbench.records import PartLoss, Results

COLUMNS = ("variant", "by", "name", "samples", "source", "engine", "loss", "low", "high", "over budget")
SHOWN = 5
"""Classes or groups of each variant that the report shows; :func:`losses` has all that were kept."""


def losses(results: Results) -> pd.DataFrame:
    """One row per variant and class or group, those that lose most first.

    "by" is "class", "label" or the column that names groups; "source" and "engine" are recall (by class) or the metric (by group),
    in percent for shares; "loss" is their difference, more is worse, with a simultaneous 95 % interval ("low", "high"): all
    intervals of one variant and one "by" hold together (Bonferroni). "over budget" says that the whole interval lies above what
    may be lost.

    >>> workbench.losses(results).query("`over budget`")
    """
    import pandas as pd

    rows = []
    seen: set[str] = set()
    for row in results.rows:
        score = row.accuracy
        if score is None or row.spec.label in seen:
            continue
        seen.add(row.spec.label)
        for part in score.by:
            scale = 100 if part.share else 1
            numbers = (part.source_value, part.value, part.loss, part.low, part.high)
            scaled = [None if number is None else scale * number for number in numbers]
            over = part_over(part, score, results.budget)
            rows.append((row.spec.label, part.by, part.name, part.samples, *scaled, over))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def loss_tables(results: Results) -> tuple[str, str]:
    """The table for people, as (HTML, text): the worst five of each variant; both "" where nothing is known by class or group."""
    frame = losses(results)
    if frame.empty:
        return "", ""
    shown = frame.groupby(["variant", "by"], sort=False).head(SHOWN)
    parts: list[PartLoss] = [part for row in results.rows if row.accuracy for part in row.accuracy.by]
    counts = {part.by: part.of for part in parts}
    told = ", ".join(f"{count:,} {_plural(by)}" for by, count in counts.items())
    title = f"Loss by {' and by '.join(counts)}"
    note = (
        f"The {SHOWN} with the largest loss of each variant, of {told}. Intervals hold together at 95 % (Bonferroni)."
    )
    text = shown.to_string(index=False, float_format=lambda value: f"{value:.2f}", na_rep="–")
    page = shown.to_html(index=False, border=0, float_format=lambda value: f"{value:.2f}", na_rep="–", escape=True)
    html = (
        f"<details><summary>{escape(title)}</summary><p>{escape(note)}</p><div class='wb-scroll'>{page}</div></details>"
    )
    return html, f"{title}\n{text}\n{note}"


def _plural(by: str) -> str:
    return {"class": "classes", "label": "labels"}.get(by, f"groups of '{by}'")
