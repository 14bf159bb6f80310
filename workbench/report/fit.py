"""Keep the page of a report below a size, however many rows its run has."""

from __future__ import annotations

from typing import Any

from workbench.display.html import tag

MOST_BYTES = 2_000_000
"""Of the page of a report."""
SURROUNDINGS = 200_000
"""Of these for the style sheet, the code, the parameters and what escaping adds."""
LOG_BYTES = 100_000
"""Of the log: the end of a longer one is kept."""


def fit(notebook: Any, shown: list[str], name: str) -> None:
    """Replace outputs but the first by a sentence, the largest first, until the page that ``notebook`` makes is below :data:`MOST_BYTES`.

    Args:
        notebook: an executed notebook, which is changed.
        shown: the types of data that a page shows, the one to be preferred first.
        name: the file of the notebook, which keeps everything.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    displayed = [output for cell in cells for output in cell.outputs if "data" in output]
    left = MOST_BYTES - SURROUNDINGS - _cut_logs(cells)
    # the first is the first screen, whose table has a limit of its own
    for output in displayed[:1] + sorted(displayed[1:], key=lambda each: _size(each, shown)):
        size = _size(output, shown)
        left -= size
        if left < 0:
            output.data = {"text/html": _left_out(size, name)}
            output.metadata = {}


def _cut_logs(cells: list[Any]) -> int:
    """Keep the end of what was printed; the bytes that are left of it."""
    left = LOG_BYTES
    for output in (each for cell in reversed(cells) for each in reversed(cell.outputs)):
        if output.output_type == "stream":
            text = output.text.encode()
            if len(text) > left:
                kept = text[len(text) - left :].decode(errors="ignore") if left else ""
                output.text = f"(the beginning is left out)\n{kept}"
            left = max(0, left - len(text))
    return LOG_BYTES - left


def _size(output: Any, shown: list[str]) -> int:
    kind = next((each for each in shown if each in output.data), "")
    return len(str(output.data.get(kind, "")).encode())


def _left_out(size: int, name: str) -> str:
    limit = f"{MOST_BYTES / 1e6:.0f} MB"
    text = (
        f"This part takes {size / 1e6:.1f} MB and is left out, so that the page stays below {limit}. {name} holds it."
    )
    return str(tag("p", text, class_="aside"))
