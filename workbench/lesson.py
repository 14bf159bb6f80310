"""Questions of the lessons: a prediction made before measuring, held against what this very run measured."""

from __future__ import annotations

import math
import textwrap
from numbers import Real
from typing import TYPE_CHECKING, Any

from workbench.compare.pairs import comparison
from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.records import Results

UNDECIDED = "cannot tell"


def check(
    question: str,
    predicted: Any,
    measured: float | str,
    *,
    within: float = 0.0,
    told: str = "",
    settled: bool = True,
    open_from: float = math.inf,
) -> str:
    """Whether a prediction held, as text for ``print``.

    Args:
        question: what was asked, in words.
        predicted: the learner's number or word; ``None`` or "" where none was given.
        measured: the number or word that this run came to.
        within: how far a number may be off, as a share of the measured one.
        told: the figures behind the answer, in a sentence.
        settled: False where the measurement could not tell: then no other prediction is called wrong.
        open_from: the smallest number that this run has not ruled out, where ``measured`` is the smallest that it found: no
            prediction from there to below ``measured`` is called wrong. By default there is none.

    Raises:
        InputError: the run came to a number and the prediction is none.

    """
    answer = f"{measured:,.4g}" if isinstance(measured, Real) else str(measured)
    given = "" if predicted is None else str(predicted).strip()
    if not given:
        said = f"No prediction was made. The answer of this run: {answer}."
    else:
        if isinstance(measured, Real):
            number = _number(given)
            held = abs(number - float(measured)) <= within * abs(float(measured))
            settled = settled and not open_from <= number < float(measured)
        else:
            held = given.lower() == answer.lower()
        if held or settled:
            said = f"You predicted {given}; this run says {answer}. Your prediction {'held' if held else 'failed'}."
        else:
            said = f"You predicted {given}. This run says {answer}: your prediction is neither confirmed nor refuted."
    return "\n".join(textwrap.fill(part, 100) for part in (question, f"→ {said}", told) if part)


def _number(given: str) -> float:
    try:
        return float(given)
    except ValueError as cause:
        raise InputError(f"This question asks for a number; found '{given}'. Give for example 4 or 0.5.") from cause


def verdict(results: Results, variant: str, baseline: str, batch: int | None = None) -> tuple[str, str]:
    """One variant against another at a batch size, by default the smallest: "faster", "slower" or "cannot tell", and the figures
    in a sentence. Where one of them was not measured here it cannot be told, and the sentence says why.
    """
    size = min(results.batches) if batch is None else batch
    rows = {row.spec.label: row for row in results.rows if row.batch == size}
    for name in (variant, baseline):
        if name not in rows or rows[name].timing is None:
            failure = rows[name].failure if name in rows else None
            return UNDECIDED, f"{name} was not measured here: {failure.message if failure else 'it was not asked for'}."
    judged = {row.result.row: row for row in comparison(results, baseline).rows}.get(rows[variant].row)
    if judged is None or judged.speedup is None or judged.low is None or judged.high is None:
        return UNDECIDED, judged.why if judged else f"{variant} and {baseline} did not take turns."
    figures = f"×{judged.speedup:.3f} [{judged.low:.3f}, {judged.high:.3f}]"
    return str(judged.verdict), f"{variant} against {baseline}, batch {size}: {figures}, {judged.verdict}."
