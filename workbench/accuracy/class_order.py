"""Labels that number the classes in another order than the model: the usual reason why a good model seems to guess."""

from __future__ import annotations

import numpy as np

from workbench.stats.estimates import proportion_interval

MOST = 100
"""Largest number of classes for which orders are compared."""
LEAST = 0.5
"""Smallest share of right answers in the other order that is a sign of one; chance alone fits an order to few samples."""
SHOWN = 10


def other_order(answers: np.ndarray, labels: np.ndarray) -> tuple[float, tuple[int, ...]] | None:
    """The numbering of the labels that makes most answers right, where it makes at least twice as many right as the given one.

    It is the assignment of classes to labels with the most matches (``scipy.optimize.linear_sum_assignment``).

    Args:
        answers: the class number that the model gives, (n,).
        labels: the class number that is right, (n,), not negative.

    Returns:
        The share of right answers, and for each class of the model the label that stands for it; ``None`` where no order is better, or it
        is no better than the most frequent label for all samples.

    >>> other_order(np.array([0, 1, 2] * 50), np.array([0, 2, 1] * 50))
    (1.0, (0, 2, 1))
    """
    from scipy.optimize import linear_sum_assignment

    count = int(max(answers.max(initial=-1), labels.max(initial=-1))) + 1
    if not 1 < count <= MOST:
        return None
    table = np.bincount(answers * count + labels, minlength=count * count).reshape(count, count)
    _, order = linear_sum_assignment(table, maximize=True)
    right, given = int(table[np.arange(count), order].sum()), int(np.trace(table))
    share, most_frequent = right / len(labels), table.sum(axis=0).max() / len(labels)
    if right < 2 * given or share < LEAST or proportion_interval(right, len(labels))[0] <= most_frequent:
        return None
    return share, tuple(map(int, order))


def order_text(share: float, order: tuple[int, ...]) -> str:
    """A sentence about another order of the classes."""
    moved = [f"class {own} of the model as {label}" for own, label in enumerate(order) if own != label]
    more = f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
    return f"{100 * share:.1f} % would be right if the labels numbered the classes otherwise: {', '.join(moved[:SHOWN])}{more}."
