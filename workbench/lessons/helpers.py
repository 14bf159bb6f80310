"""Questions of the lessons: compare a prediction with what this run measured."""

from __future__ import annotations

import math
import textwrap
from numbers import Real
from typing import TYPE_CHECKING, Any

from workbench.compare.pairs import comparison
from workbench.errors import InputError
from workbench.lessons.board import CheckedPrediction, PredictionOutcome, publish

if TYPE_CHECKING:
    from workbench.records import LayerProfile, Result, Results

UNDECIDED = "cannot tell"
LAST: list[PredictionOutcome] = []
"""What became of the predictions that this kernel checked; assignments take points from the last one."""


def check(
    question: str,
    predicted: Any,
    measured: float | str,
    *,
    within: float = 0.0,
    figures: str = "",
    settled: bool = True,
    open_from: float = math.inf,
) -> str:
    """Return whether a prediction held, as text for ``print``; the class board shows it too, where there is one.

    Args:
        question: the question.
        predicted: the learner's number or word; ``None`` or "" for no prediction.
        measured: the number or word that this run measured.
        within: how far a number may be off, as a share of the measured one.
        figures: a sentence with the figures behind the answer.
        settled: False if the measurement was inconclusive: then no other prediction is called wrong.
        open_from: the smallest number that this run has not ruled out, if ``measured`` is the smallest that it found: no
            prediction from there to below ``measured`` is called wrong. By default there is none.

    Raises:
        InputError: the measured answer is a number and the prediction is not.

    """
    answer = f"{measured:,.4g}" if isinstance(measured, Real) else str(measured)
    given = "" if predicted is None else str(predicted).strip()
    if not given:
        judged, said = PredictionOutcome.NONE, f"No prediction was made. The answer of this run: {answer}."
    else:
        if isinstance(measured, Real):
            number = _number(given)
            held = abs(number - float(measured)) <= within * abs(float(measured))
            settled = settled and not open_from <= number < float(measured)
        else:
            held = given.lower() == answer.lower()
        if held or settled:
            judged = PredictionOutcome.HELD if held else PredictionOutcome.FAILED
            said = f"You predicted {given}; this run says {answer}. Your prediction {judged}."
        else:
            judged = PredictionOutcome.OPEN
            said = f"You predicted {given}. This run says {answer}: your prediction is neither confirmed nor refuted."
    LAST.append(judged)
    problem = publish(CheckedPrediction(question, given, answer, judged))
    return "\n".join(textwrap.fill(part, 100) for part in (question, f"→ {said}", figures, problem) if part)


def _number(given: str) -> float:
    try:
        return float(given)
    except ValueError as cause:
        raise InputError(f"This question asks for a number; found '{given}'. Give for example 4 or 0.5.") from cause


def verdict(results: Results, variant: str, baseline: str, batch: int | None = None) -> tuple[str, str]:
    """The verdict of one variant against another at a batch size, by default the smallest: "faster", "slower" or "cannot tell", and
    a sentence with the figures. If one of them was not measured, the verdict is "cannot tell" and the sentence gives the reason.
    """
    size = min(results.batches) if batch is None else batch
    rows = {row.spec.label: row for row in results.rows if row.batch == size}
    for name in (variant, baseline):
        if name not in rows or rows[name].timing is None:
            failure = rows[name].failure if name in rows else None
            return (
                UNDECIDED,
                f"{name} was not measured: {failure.message if failure else 'it is not in this experiment'}.",
            )
    judged = {row.result.row: row for row in comparison(results, baseline).rows}.get(rows[variant].row)
    if judged is None or judged.speedup is None or judged.low is None or judged.high is None:
        return UNDECIDED, judged.why if judged else f"{variant} and {baseline} were not measured interleaved."
    figures = f"×{judged.speedup:.3f} [{judged.low:.3f}, {judged.high:.3f}]"
    return str(judged.verdict), f"{variant} against {baseline}, batch {size}: {figures}, {judged.verdict}."


def profile(result: Result, seconds: float) -> LayerProfile:
    """The layers of a measured row with their times, profiled for ``seconds`` in a worker, or read from the default store.

    Raises:
        InputError: its library cannot time layers.
    """
    from workbench.runs.layer_pass import profile as profile_row
    from workbench.store import Store

    return profile_row(result, Store(), seconds=seconds, say=lambda _: None)


def readiness(address: str) -> str:
    """``ready``, or the reason why a backend, such as ``tensorrt:rtx`` or ``tftrt@tf214``, is not ready."""
    from workbench import backends

    state = backends.state(address)
    return "ready" if state else f"not ready: {state.reason}"
