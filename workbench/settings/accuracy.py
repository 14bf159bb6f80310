"""Settings of accuracy, and limits of a run's resources."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from workbench.accuracy.budget import budget_of
from workbench.accuracy.class_order import order_of
from workbench.accuracy.detection import parse_roles
from workbench.accuracy.label_settings import AUTO, CHOICES, NOTHING_IGNORED
from workbench.accuracy.metrics import METRICS, check_name
from workbench.errors import InputError
from workbench.settings.declared import declared
from workbench.settings.kinds import Choice, Integer, Number, Text, shown, whole


def _check_ignored(text: str) -> None:
    if text not in ("", NOTHING_IGNORED) and whole(text) is None:
        raise InputError(
            f"'ignore_label' must be a whole number, '{NOTHING_IGNORED}' or empty; found {shown(text)}. Choose for example 255."
        )


def _check_axis(text: str) -> None:
    if text and whole(text) in (None, 0):
        raise InputError(
            f"'class_axis' must be the number of an axis other than 0, such as 1 or -1, or empty; found {shown(text)}."
        )


@dataclass(frozen=True)
class AccuracySettings:
    """Settings of scoring, and the accuracy budget."""

    GROUP: ClassVar[str] = "Accuracy"

    budget: str = declared(Text(
        default="0.5 points",
        help='what a rewritten variant may lose: points or % of the metric, % flips, a number in the metric\'s unit, or "none"',
        example="1 %",
        check=budget_of,
        basic=True,
        condition=False,
    ))  # fmt: skip
    metric: str = declared(Text(
        default=AUTO,
        help=f"accuracy metric: {AUTO} (top-1 of classes), {', '.join(METRICS)}, or top- and a number",
        suggestions=(AUTO, *METRICS),
        check=check_name,
        condition=False,
    ))  # fmt: skip
    score_output: str = declared(Text(
        label="Scored output",
        help="name of the output that is scored",
        empty="the output that the labels fit",
        condition=False,
    ))  # fmt: skip
    labels: str = declared(Choice(
        default=AUTO,
        help="what the labels of the data are",
        choices=CHOICES,
    ))  # fmt: skip
    class_order: str = declared(Text(
        help="classes of the data in the order in which the model numbers them: names of folders, or labels, separated by commas",
        example="circle,square,cross",
        empty="as the data number them",
        check=order_of,
        condition=False,
    ))  # fmt: skip
    ignore_label: str = declared(Text(
        label="Ignored label",
        help='label that is not scored, or "none" where every label counts',
        example="255",
        empty="negative labels, and 255 in masks of at most 255 classes",
        check=_check_ignored,
    ))  # fmt: skip
    class_axis: str = declared(Text(
        help="axis of the scored output that holds the classes, counted from 0, or from the end with a minus sign",
        example="1",
        empty="recognized from the shapes",
        check=_check_axis,
    ))  # fmt: skip
    box_outputs: str = declared(Text(
        label="Outputs of boxes",
        help="which outputs of a detector are its boxes, scores and classes",
        example="boxes=output0,scores=output1,classes=output2",
        empty="recognized from names and shapes",
        check=parse_roles,
    ))  # fmt: skip


_memory = partial(
    Integer, default=0, unit="MiB", empty="a share of the free memory", low=0, high=2**26, condition=False
)


@dataclass(frozen=True)
class LimitSettings:
    """Limits beyond which a step of a run is ended. They do not change results."""

    GROUP: ClassVar[str] = "Limits"

    step_memory_mib: int = declared(_memory(
        label="Memory of a step (MiB)",
        help="memory that the process of one step may take",
        example="8192",
    ))  # fmt: skip
    step_s: float = declared(Number(
        default=0.0,
        label="Time of a step (s)",
        help="time that one step, such as an export or a build, may take",
        example="3600",
        unit="seconds",
        empty="the limit of each step",
        low=0,
        high=30 * 86400,
        condition=False,
    ))  # fmt: skip
    data_mib: int = declared(_memory(
        label="Unpacked data (MiB)",
        help="memory that the unpacked samples may take",
        example="2048",
    ))  # fmt: skip
