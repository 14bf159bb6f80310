"""Write docs/metrics.md from the table of metrics: ``python scripts/document_metrics.py``."""

from __future__ import annotations

import sys
from pathlib import Path

from workbench.accuracy.metrics import METRICS, Metric
from workbench.accuracy.truth import LabelKind

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
HEAD = """# Metrics

Written by `scripts/document_metrics.py` from `workbench/accuracy/metrics.py`.

`--metric` takes one of these names, or `top-` and any number. `auto` is `top-1` where there are labels. Every metric equals the
function named under *source*, which tests and `scripts/differential_metrics.py` check on drawn inputs; tp, fp and fn are true
positives, false positives and false negatives.

"""
LABELS = """
## Labels

What the labels are is recognised from their shape, type and values, from the model's outputs and from the metric. It is printed with
the description of the data. Where two readings fit, the run is refused and names both; `--labels` chooses.

| `--labels` | form | what is left out |
|---|---|---|
| `classes` | class numbers from 0, [n] or [n, 1]; whole numbers of any type | negative numbers and NaN: rows without a label |
| `positions` | a class number per pixel or token, [n, …] | negative numbers; 255 in masks where the model has at most 255 classes |
| `one-hot` | [n, classes], or for positions in the output's shape; a single 1 | rows without a 1 (with `--labels one-hot`, or where nothing else fits) |
| `multilabel` | 0 or 1 for each label, in the output's shape | negative entries |
| `soft` | probabilities that sum to 1, in the output's shape | rows with NaN |
| `values` | real values in the output's shape | rows with NaN |
| `boxes` | `y_boxes` [m, 4] (x1, y1, x2, y2 in pixels), `y_class` [m], `y_image` [m] in the `.npz`; or COCO's JSON: `set.json` beside `set.npz`, its images in the order of the rows, or `truth.json` in a folder of images, by file name | boxes outside of the cropped image |

One-hot labels are turned into class numbers when they are read, so that both give the same number.
`--ignore-label` sets the one value that is ignored, or `none`; of one-hot labels it is the number of the class that is ignored. `--class-axis 1` or `-1` says which axis of a segmentation output holds
the classes where both fit. Axes of size one may be missing or extra; otherwise, arrays are never reshaped or transposed to fit:
a truth [n, h, w, c] for an output [n, c, h, w] is refused with the line to write.

A detector's outputs are recognised by usual names (`detection_boxes`, `boxes`; `detection_scores`, `scores`; `detection_classes`, `classes`,
`labels`) or named: `--box-outputs boxes=NAME,scores=NAME,classes=NAME`. Boxes are x1, y1, x2, y2 in pixels of the model's input; class numbers
are those of the labels. Entries with a score of 0 fill up an array and are left out. Labels that are shares of the image, hold their
four numbers in another order (x, y, width, height; or y first), or whose class numbers the model's boxes in the same place almost never
share, are refused with the line to write.

## Agreement of the scored output

With labels, the answer of the scored output is what the labels make of it: the class of each position along the axis of its classes, yes or
no for each of several labels, and for real values no class, so that values have to be close (within 0.1 % of the largest).

## One value per sample

A single value, or each of several labels, means yes above a threshold: 0.5 where the source model's values are probabilities (0 to 1, with
a tolerance of 0.001 for rounding), else 0, as for logits. The threshold is found once, from the source model, is the same for every
engine, and is shown in the remarks of each row.

## Values that are not finite

Samples for which the source model's scored output holds NaN or infinity are left out of the metric and counted in the remarks; where all
are, there is no accuracy, and the reason is given. An engine that gives NaN or infinity where the source model does not fails with the
number of samples: no metric is computed of it.

## Loss by class and by group

For each variant the loss of recall by class (or label) and, with `--group-column NAME`, the loss of the metric by an array or column of
the data. Of boxes the recall of a class is the share that is found with an IoU of at least 0.5 among the 100 highest scores of the image.
`results.losses()` gives the table, the worst first. The intervals of one variant hold together at 95 % (Bonferroni):
paired shares by Newcombe (1998), positions and boxes by the linearized variance of a ratio over samples (Cochran 1977), other metrics by
bootstrap. Where nothing changed, a bootstrap would have no width whatever the number of samples; Newcombe's interval of unchanged
samples stands for it, of the metric itself too. A row warns where a class or group is shown to lose more than the budget although the mean is not.
"""


def page() -> str:
    """The page as it should be."""
    lines = ["| name | formula | source | range | better | labels |", "|---|---|---|---|---|---|"]
    return (
        HEAD
        + "\n".join([*lines, *(_row(metric) for metric in METRICS.values() if metric.name != "top-5")])
        + "\n"
        + LABELS
    )


def _row(metric: Metric) -> str:
    kinds = list(metric.accepts or ())
    words = [str(kind) for kind in kinds]
    if LabelKind.ONE_HOT in kinds and not metric.positions:
        words[kinds.index(LabelKind.ONE_HOT)] = "one-hot (of samples)"
    extra = "; without labels against the source model" if metric.against_source else ""
    name = "`top-1`, `top-5`, `top-`k" if metric.name == "top-1" else f"`{metric.name}`"
    better = "more" if metric.higher_is_better else "less"
    return f"| {name} | {_cell(metric.formula)} | {_cell(metric.source)} | {metric.range} | {better} | {', '.join(words)}{extra} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
