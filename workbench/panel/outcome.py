"""The last run in one line, with its results by batch size folded below it."""

from __future__ import annotations

from markupsafe import Markup

from workbench.compare.summary import summary
from workbench.display.html import bullets, tag
from workbench.errors import Cancelled, WorkbenchError, brief
from workbench.records import Results, Status


def outcome(results: Results, began: str) -> Markup:
    """One line that unfolds. It is green only where a row is recommended that is shown to be faster than the baseline."""
    first, lines, kind = outcome_text(results)
    more, where = bullets(lines), f", {results.imported}" if results.imported else ""
    summary = tag("summary", tag("b", f"Run of {began}{where}"), f" {first}")
    return tag("details", summary, more, class_=f"wb-message wb-{kind} wb-outcome", role="status")


def outcome_text(results: Results) -> tuple[str, tuple[str, ...], str]:
    """The number of rows by status, the result of each batch size with the reasons, and the color: "good", "warn" or "bad"."""
    states = [result.status for result in results.rows]
    counts = ", ".join(
        f"{states.count(status)} {status}" for status in dict.fromkeys(states) if status != Status.UNSUPPORTED
    )
    answer = summary(results)
    found = answer.batches
    kind = "good" if any(each.won for each in found) else "warn" if found else ""
    kind = "bad" if Status.FAILED in states else "warn" if Status.CANCELLED in states else kind or "good"
    lines = answer.lines()
    first = f"{counts or 'Nothing to do'}." + (f" {lines[0]}" if lines else "")
    return first, (*lines[1:], f"This run {results.tally}."), kind


def why_ended(error: Exception) -> tuple[str, str]:
    """What a message says of work that ended in this error, and its color."""
    if isinstance(error, WorkbenchError):
        return error.message, "warn" if isinstance(error, Cancelled) else "bad"
    return f"Something unexpected went wrong: {type(error).__name__}: {brief(error)}", "bad"
