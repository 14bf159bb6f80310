"""Interleaved rounds: in every round each variant is measured once, in a new random order, one at a time.

Everything that is compared goes through :func:`interleave`: latency rounds and closed or open loops (whose blocks run in worker
processes), races between candidates of a search, and the clocks of one engine (whose blocks run in the calling process). So the
order, the numbering of rounds over launches and the marking of disturbed blocks follow one rule. A drift of the machine touches
all variants alike, because those of one round run within seconds of each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")

LAUNCH_SEED = 1009
"""Each launch draws its own orders: the seed moves by so much from one launch to the next."""


class Taken(NamedTuple, Generic[T]):
    """What one variant gave in one round.

    ``quiet`` is False where the block was measured beside threads that were still at work: its own, which had not come to
    rest at its end, or those of the variant before it. Such a block is biased and must not count.
    """

    variant: int
    value: T
    quiet: bool
    round: int  # numbered on over launches
    position: int  # place in the round's random order
    launch: int
    began_s: float  # on the clock that was given

    @property
    def where(self) -> dict[str, Any]:
        """The fields that a record of a block has in common with this one, by name."""
        return {"quiet": self.quiet, "round": self.round, "position": self.position}


@dataclass(frozen=True)
class Rounds:
    """How many rounds one launch has, and how their orders are drawn.

    ``first`` is the number of the launch's first round: the rounds of the launches before.
    """

    count: int
    seed: int
    launch: int = 0
    first: int = 0

    def orders(self, variants: int) -> Iterator[tuple[int, list[int]]]:
        """For every round its number and the variants in a new random order: (round, [variant, ...])."""
        draw = random.Random(self.seed + LAUNCH_SEED * self.launch)  # noqa: S311 - an order of measuring, not a secret
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
    """Measure the variants of one launch in turn, and yield each result as it comes.

    Args:
        variants: how many there are; they are named by their index.
        rounds: how many rounds, and their order.
        measure: measures one block of a variant; returns it and whether the variant's threads rested again at its end.
            ``None`` where it failed: nothing is known of its threads then, so the block after it counts as disturbed.
        takes_part: asked before every block; a variant that failed or was stopped is left out.
        each_round: called at the beginning of a round with its number within this launch, from 0.
        clock: seconds, read right before a block.

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
