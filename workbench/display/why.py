"""Why variants are not faster, for readers: the evidence of every card as a numbered list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from workbench.compare.why import Card, explain
from workbench.compare.why_gpu import GpuEvidence
from workbench.display.html import bullets, folded, join, tag
from workbench.errors.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.records import Results

NONE_KNOWN = "Not faster, and the measurements support no known cause"


class Explanations(tuple[Card, ...]):
    """Cards of :func:`workbench.compare.why.explain`, which a notebook shows as HTML and a terminal as text."""

    __slots__ = ()

    def html(self) -> Markup:
        """Every card with evidence unfolded, the others in one list, without scripts; "" where there are none."""
        known = [card for card in self if card.evidence]
        others = [card for card in self if not card.evidence]
        return join([*map(_card, known), _without_evidence(others) if others else ""])

    def text(self) -> str:
        """Every card with its evidence in lines."""
        lines = []
        for card in self:
            lines.append(f"Why isn't it faster? {card.headline}")
            for number, each in enumerate(card.evidence, 1):
                lines += [f"  {number}. {_cause(each)}: {each.text}", f"     To confirm: {each.experiment}"]
            lines += [f"  {card.missing}"] if card.missing else []
        return "\n".join(map(one_line, lines))

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return str(self.html())


def why_not_faster(results: Results) -> Explanations:
    """A card for every measured variant of lower precision that is not faster than its FP32 sibling."""
    return Explanations(explain(results))


def _cause(each: GpuEvidence) -> str:
    return each.cause if each.share is None else f"{each.cause} (at most {each.share:.0%} of its time)"


def _without_evidence(cards: Sequence[Card]) -> Markup:
    said = dict.fromkeys(card.missing for card in cards if card.missing)
    lines = bullets(card.headline for card in cards)
    return folded(f"{NONE_KNOWN}: {len(cards)}", lines, *(tag("p", each) for each in said), css="wb-why")


def _card(card: Card) -> Markup:
    items = [
        tag("li", tag("b", _cause(each)), ": ", each.text, " ", tag("i", f"To confirm: {each.experiment}"))
        for each in card.evidence
    ]
    body = tag("ol", *items)
    missing = tag("p", card.missing) if card.missing else ""
    return folded(f"Why isn't it faster? {card.headline}", body, missing, css="wb-why", unfolded=True)
