"""Interleaved rounds: in every round each variant is measured once, in a new random order, one at a time.

Every comparison uses :func:`interleave`: latency rounds and closed or open loops (whose blocks run in worker processes), races
between candidates of a search, and the clocks of one engine (whose blocks run in the calling process). The order, the numbering
of rounds over launches and the marking of disturbed blocks therefore follow one rule. A drift of the machine affects all
variants equally, because the blocks of a round run within seconds of each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")

LAUNCH_SEED = 1009
"""Added to the seed from one launch to the next, so that each launch has its own orders."""


class Taken(NamedTuple, Generic[T]):
    """The block of one variant in one round.

    ``quiet`` is False if threads were still active while the block was measured: those of the variant before, or its own at the
    end. Such a block is biased and must not count.
    """

    variant: int
    value: T
    quiet: bool
    round: int  # counted over all launches
    position: int  # place in the round's random order
    launch: int
    began_s: float  # by the ``clock`` argument

    @property
    def where(self) -> dict[str, Any]:
        """The fields that a record of a block shares with this one, by name."""
        return {"quiet": self.quiet, "round": self.round, "position": self.position}


@dataclass(frozen=True)
class Rounds:
    """The number of rounds in one launch, and the seed of their orders.

    ``first`` is the number of the launch's first round: the rounds of the launches before.
    """

    count: int
    seed: int
    launch: int = 0
    first: int = 0

    def orders(self, variants: int) -> Iterator[tuple[int, list[int]]]:
        """Yield each round's number and the variants in a new random order: (round, [variant, ...])."""
        draw = random.Random(self.seed + LAUNCH_SEED * self.launch)  # noqa: S311 - not used for security
        for number in range(self.count):
            yield self.first + number, draw.sample(range(variants), variants)


def interleave(
    variants: int,
    rounds: Rounds,
    measure: Callable[[int], tuple[T, bool] | None],
    *,
    takes_part: Callable[[int], bool] = lambda _: True,
    each_round: Callable[[int], None] = lambda _: None,
    clock: Callable[[], float] = lambda: 0.0,
) -> Iterator[Taken[T]]:
    """Measure the variants of one launch in interleaved order, and yield each result as it is available.

    Args:
        variants: their number; variants are identified by index.
        rounds: the number of rounds, and their order.
        measure: measures one block of a variant; returns the block, and whether the variant's threads were idle at its end.
            ``None`` means that it failed: the state of its threads is then unknown, so the next block counts as disturbed.
        takes_part: called before every block; False leaves a variant out that failed or was stopped.
        each_round: called at the beginning of a round with its number within this launch, from 0.
        clock: returns seconds; called right before a block.

    Example:
        >>> rounds = Rounds(count=2, seed=0)
        >>> [(taken.round, taken.value) for taken in interleave(1, rounds, lambda variant: (f"v{variant}", True))]
        [(0, 'v0'), (1, 'v0')]

    """
    rested = True
    for number, order in rounds.orders(variants):
        each_round(number - rounds.first)
        for position, variant in enumerate(order):
            if not takes_part(variant):
                continue
            began_s, before = clock(), rested
            found = measure(variant)
            if found is None:
                rested = False
                continue
            value, rested = found
            yield Taken(variant, value, before and rested, number, position, rounds.launch, began_s)
