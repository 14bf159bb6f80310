"""Records of an engine's accuracy, and of the loss of one class or one group of samples against the source model."""

from __future__ import annotations

from dataclasses import dataclass, field

from workbench.records.serial import STORED_AS


@dataclass(frozen=True)
class PartLoss:
    """The loss on the samples of one class or of one group, paired on the same samples.

    By class it is the loss of recall, the share of the class's samples (or positions) whose class was found. By group it is the
    loss of the metric. Intervals are simultaneous: all intervals of one ``by`` together have a confidence of 95 % (Bonferroni).
    """

    by: str  # "class", "label" (of several), or the name of the column that names groups
    name: str
    samples: int  # of this class or group
    value: float
    source_value: float
    loss: float  # in the unit of the value, more is worse
    low: float | None  # None: too few samples
    high: float | None
    of: int = 1  # number of classes or groups that were compared at once
    share: bool = True  # the value goes from 0 to 1 and is shown in percent


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of one engine on the test samples, and its differences from the source model."""

    engine_key: str
    samples: int
    labelled: bool
    value: float | None  # the metric; None without labels
    low: float | None  # 95 % interval: Wilson's for shares of samples, else by bootstrap
    high: float | None
    agreement: float  # share of samples with the source model's answer, in the output that agrees least
    agreement_low: float
    agreement_high: float
    fixed: int  # source wrong, engine right
    broken: int  # source right, engine wrong
    p_value: float | None  # exact McNemar test on the flips
    max_abs_diff: float  # largest difference of any output value from the source's
    metric: str = "top-1"
    output: str = ""  # the output that was scored
    # by output: largest difference / the source's largest value
    relative_diffs: dict[str, float] = field(default_factory=dict, metadata={STORED_AS: "apart"})
    chance: float | None = None  # share of the most frequent label, the accuracy of a constant answer
    # the share that would be right if the model numbers the classes in ``order`` (by its number the label); None: no better
    reordered: float | None = None
    order: tuple[int, ...] = ()
    class_order: str = ""  # ``order`` as a value of the setting of that name
    higher_is_better: bool = True
    share: bool = True  # the metric goes from 0 to 1 and is shown in percent
    unit: str = ""  # of a metric that is not a share
    source_value: float | None = None  # the source model's metric on the same samples
    # difference from the source model's metric, in the metric's unit; below 0 where the engine is better
    loss: float | None = None
    loss_low: float | None = None  # 95 % interval of the loss, from pairs; None for too few samples
    loss_high: float | None = None
    basis: str = ""  # the source of the outputs, where it is not the engine itself
    agreement_output: str = ""  # the output of ``agreement``: the worst of the compared ones
    agreements: dict[str, float] = field(default_factory=dict)  # by output: share of samples that agree
    left_out: dict[str, str] = field(default_factory=dict)  # outputs that are left out of agreement, and why
    # by output of the source: "NaN for 3 of 300 samples"
    source_not_finite: dict[str, str] = field(default_factory=dict)
    # a sample has several answers, such as one at each position or step, and agrees where all of them do
    positions: bool = False
    # samples that are compared as one, because their rows cannot be distinguished: ``samples`` counts batches of this size
    together: int = 1
    not_compared: int = 0  # samples left out of ``agreement``, because the source's values are not finite there
    labels: str = ""  # the kind of labels, as text
    scored: int = 0  # samples of the metric: those with a label and a finite output of the source model
    not_finite: int = 0  # samples left out because the source model's scored output holds NaN or infinity
    threshold: float | None = None  # a single output above it means yes; None: no threshold
    by: tuple[PartLoss, ...] = ()  # the loss by class and by group, each with the worst first
