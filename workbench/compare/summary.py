"""The result of a run in sentences: one for all batch sizes, one for each, and once for all of them why other variants are not taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from workbench.compare.advice import advice, in_doubt, recommended_text
from workbench.compare.headline import NO_ACCURACY, Headline, faster_in_doubt, headlines, passed_over, with_kept
from workbench.compare.pairs import comparison
from workbench.records import Ended, Results

WIDE = 1.25
"""Ratio of the ends of an interval from which it is called wide."""
MEASURE_ON = "The interval of {names} is wide, because measuring ends as soon as the faster one is known: for a narrower one, set 'until' to 'narrow'."


class Summary(NamedTuple):
    """What a run has found.

    Attributes:
        first: the variant to take at each batch size, or why accuracy says nothing; "" where there is only one batch size, or one variant to
            take.
        batches: the result of each batch size. Reasons that are said in ``after`` are left out.
        after: the variants that are faster than what is taken, and why they are not taken; empty where there is only one batch size,
            whose reasons stand with it.
        more: what is known of the accuracy of variants that the other sentences do not name.
        wide: which of the variants to take has a wide interval that more measuring would narrow; "" where none has.

    """

    first: str
    batches: tuple[Headline, ...]
    after: tuple[str, ...]
    more: tuple[str, ...]
    wide: str

    def lines(self) -> list[str]:
        """For a terminal, a line for each sentence: ``Batch 8: litert int8 is 3.09 times as fast as ...``."""
        each = [f"Batch {one.batch}: {text}" for one in self.batches for text in (one.text, *one.why)]
        return [*filter(None, [self.first]), *each, *self.after]

    def results(self) -> list[str]:
        """The lines without the reasons."""
        return [*filter(None, [self.first]), *(f"Batch {one.batch}: {one.text}" for one in self.batches)]


def summary(results: Results) -> Summary:
    """The sentences of a run.

    Example::

        for text in summary(results).lines():
            print(text)

    """
    found = headlines(results)
    known, named = recommended_text(results), {each.label for one in found for each in one.passed}
    more = tuple(text for text in advice(results, without=named) if text not in known)
    if len(found) < 2:
        return Summary("", found, (), more, _wide(found, results))
    doubt = in_doubt(results)
    said = {*doubt, *(text for one in found for text in passed_over(results, one.passed))}
    batches = tuple(
        one._replace(
            text=one.text.removeprefix(f"{NO_ACCURACY} " if doubt else ""),
            why=tuple(text for text in one.why if text not in said),
        )
        for one in found
    )
    alone = len({row.spec.label for row in results.measured}) == 1
    return Summary(
        " ".join(doubt) or ("" if alone else _first(found, results)),
        batches,
        passed_over(results, [each for one in found for each in one.passed]),
        more,
        _wide(found, results),
    )


def _wide(found: Sequence[Headline], results: Results) -> str:
    judged = {row.result.row: row for row in comparison(results).rows}
    names = []
    for one in found:
        row = judged.get(one.row.row) if one.row and one.won else None
        if row is None or row.low is None or row.high is None or row.result.timing is None:
            continue
        if row.high > WIDE * row.low and row.result.timing.ended == Ended.KNOWN:
            names.append(row.result.row if len(found) > 1 else row.result.spec.label)
    return MEASURE_ON.format(names=", ".join(names)) if names else ""


def _first(found: Sequence[Headline], results: Results) -> str:
    """``Take openvino int8 at batch 1 and 8; onnxruntime fp32 (not shown to be faster) at batch 32.``, and faster ones that may lose more."""
    faster = faster_in_doubt([each for one in found for each in one.passed], results)
    return f"{_taken(found, results.baseline)} {faster}".rstrip()


def _taken(found: Sequence[Headline], baseline: str) -> str:
    if not any(one.won for one in found):
        kept = {one.row.spec.label if one.row else "" for one in found} == {baseline}
        return f"{f'Keep the baseline {baseline}: at' if kept else 'At'} no batch size is a variant that may be taken shown to be faster."
    where: dict[str, list[int]] = {}
    for one in found:
        name = "no variant" if one.row is None else with_kept(one.row)
        if one.row is not None and not one.won:
            kept = one.row.spec.label == baseline
            name = (
                f"the baseline {name} (no other is shown to be faster)" if kept else f"{name} (not shown to be faster)"
            )
        where.setdefault(name, []).append(one.batch)
    if len(where) == 1:
        return f"Take {next(iter(where))} at every batch size."
    return f"Take {'; '.join(f'{name} at batch {_listed(batches)}' for name, batches in where.items())}."


def _listed(numbers: Iterable[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}" if most else last
