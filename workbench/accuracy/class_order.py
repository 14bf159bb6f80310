"""Labels that number the classes in another order than the model: the usual reason why a good model seems to guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.accuracy.truth import IN_WORDS, LabelKind, Truth
from workbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np

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

    >>> import numpy as np
    >>> other_order(np.array([0, 1, 2] * 50), np.array([0, 2, 1] * 50))
    (1.0, (0, 2, 1))
    """
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    from workbench.stats.estimates import proportion_interval

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


def order_setting(order: Sequence[int], names: Mapping[int, str]) -> str:
    """The value of the setting ``class_order`` for an order of labels, by name where each has one that can be written there."""
    shown = [names.get(label, str(label)) for label in order]
    return ",".join(map(str, order) if any("," in each for each in shown) else shown)


def order_text(share: float, order: str) -> str:
    """A sentence about another order of the classes, which is a value of the setting ``class_order``."""
    labels = order.split(",")
    shown = ", ".join(labels[:SHOWN]) + (f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else "")
    return f"{100 * share:.1f} % would be right if the model numbers the classes in the order {shown}."


def order_of(text: str) -> tuple[str, ...]:
    """The classes of the setting ``class_order``; empty for an empty text.

    >>> order_of("circle, square")
    ('circle', 'square')

    Raises:
        InputError: a class is empty or given twice.
    """
    order = tuple(each.strip() for each in text.split(",")) if text.strip() else ()
    twice = next((each for each in order if not each or order.count(each) > 1), None)
    if twice is not None:
        found = f"'{twice}' twice" if twice else "an empty name"
        raise InputError(f"'class_order' names each class once, separated by commas; found {found} in '{text}'.")
    return order


def in_order(truth: Truth, order: Sequence[str], names: Mapping[int, str], where: str) -> tuple[Truth, dict[int, str]]:
    """Labels numbered as the model numbers its classes.

    Args:
        truth: class numbers, one for each sample or position.
        order: the name or the label of each class, by the model's number of it.
        names: the classes that have a name, by label.
        where: what holds the labels, in messages.

    Returns:
        The labels, and the names by the model's number.

    Raises:
        InputError: the labels are not class numbers, or the order does not hold each of them.
    """
    import numpy as np

    if truth.kind not in (LabelKind.CLASSES, LabelKind.ONE_HOT, LabelKind.POSITIONS):
        raise InputError(
            f"'class_order' orders class numbers, and the labels of {where} are {IN_WORDS[truth.kind]}. Leave it empty."
        )
    found = sorted(int(label) for label in np.unique(truth.values[truth.values >= 0]))
    shown = {label: names.get(label, str(label)) for label in sorted({*found, *names})}
    labels = {each: int(each) for each in order if each.isdecimal()} | {name: label for label, name in shown.items()}
    unknown = [each for each in order if each not in labels]
    numbers = [labels[each] for each in order if each in labels]
    missing = [shown[label] for label in found if label not in numbers]
    if unknown or missing:
        problem = f"{where} has no class '{unknown[0]}'" if unknown else f"'{missing[0]}' is missing"
        raise InputError(
            f"'class_order' is '{','.join(order)}', but {problem}. The classes are: {', '.join(shown.values())}."
        )
    placed = np.full(max(numbers) + 1, -1)
    placed[numbers] = np.arange(len(numbers))
    values = np.where(truth.values >= 0, placed[np.maximum(truth.values, 0)], truth.values)
    return replace(truth, values=values.astype(truth.values.dtype)), dict(enumerate(order))
