"""Outputs, labels, layouts, types and ignored values drawn by Hypothesis, and every metric once more in plain loops.

Nothing here uses the workbench's own arithmetic: a case knows its classes and scores in one plain form, from which the expected
number is computed, and the form in which they are handed over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from plain_metrics import arithmetic, by_class, by_pycocotools, distance, f1, precision, top

from workbench.accuracy.box_labels import from_arrays
from workbench.accuracy.chosen import best_output
from workbench.accuracy.label_settings import Reading, shapes_of
from workbench.accuracy.metrics import METRICS, metric_of
from workbench.accuracy.reading import read_truth
from workbench.errors import InputError

NAMES = (*METRICS, "top-2")
FLOATS = ("float16", "float32", "float64")
WHOLE = ("uint8", "int8", "int16", "uint16", "int64")


@dataclass
class Case:
    """One drawn input: what is handed over, and what has to come out (``None``: a refusal)."""

    metric: str
    outputs: dict[str, np.ndarray]
    labels: np.ndarray | dict[str, np.ndarray]
    how: Reading = field(default_factory=Reading)
    expected: float | None = None
    may_refuse: bool = False  # two readings fit, or nothing is left to score

    def __str__(self) -> str:
        reported = {name: f"{array.dtype} {array.shape}" for name, array in self.outputs.items()}
        labels = self.labels if isinstance(self.labels, dict) else {"y": self.labels}
        return f"{self.metric} of {reported} with { ({name: f'{y.dtype} {y.shape}' for name, y in labels.items()}) }, {self.how}"


def outcome(case: Case) -> float | InputError:
    """What the workbench makes of a case."""
    metric = metric_of(case.metric)
    try:
        if isinstance(case.labels, dict):
            truth = from_arrays(case.labels, len(next(iter(case.outputs.values()))), {}, "the data")
        else:
            truth = read_truth(case.labels, shapes_of(case.outputs), metric, case.how)
        return metric.value(best_output(metric, case.outputs, truth, "").parts)
    except InputError as error:
        return error


def problem(case: Case) -> str:
    """What is wrong with the outcome; "" where it is as expected."""
    found = outcome(case)
    if isinstance(found, InputError):
        text = found.message
        if "\n" in text or not text.endswith((".", ")")):
            return f"{case}: not one sentence: {text!r}"
        return "" if case.may_refuse or case.expected is None else f"{case}: refused, expected {case.expected}: {text}"
    if case.expected is None:
        return f"{case}: gave {found}, expected a refusal"
    return (
        ""
        if math.isclose(found, case.expected, rel_tol=1e-6, abs_tol=1e-6)
        else f"{case}: {found}, expected {case.expected}"
    )


@st.composite
def cases(draw: Any, name: str) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if name == "box-map":
        return _boxes(draw, rng)
    if name in ("wer", "cer"):
        return _texts(draw, rng, name)
    if name in ("rmse", "mae", "cosine", "psnr"):
        return _values(draw, rng, name)
    several = name == "f1-samples" or (name in ("f1", "f1-macro", "f1-micro", "map") and draw(st.booleans()))
    return _several(draw, rng, name) if several else _classes(draw, rng, name)


# classes


def _classes(draw: Any, rng: np.random.Generator, name: str) -> Case:
    """One class per sample or per position."""
    positions = () if name.startswith("top") or name == "map" else draw(st.sampled_from([(), (), (5,), (3, 4), (2, 6)]))
    single = name not in ("top-2", "top-5") and draw(st.integers(0, 3)) == 0
    classes = 2 if single or name == "f1-binary" else draw(st.integers(5, 9) if name == "top-5" else st.integers(2, 7))
    n = draw(st.integers(2, 24))
    truth = rng.integers(0, classes, (n, *positions))
    kind = draw(st.sampled_from(FLOATS if single else (*FLOATS, *WHOLE)))
    scores = rng.integers(0, 90, (n, *positions, 1 if single else classes))  # few values, so that some are equal
    probabilities = draw(st.booleans())
    if kind in FLOATS:
        beyond = 1.00001 if draw(st.booleans()) else 1.0  # a probability above 1 by rounding
        scores = scores / 89 * beyond if probabilities else scores / 10 - 4
    scores = scores.astype(kind)
    lost = np.zeros(n, bool)
    if kind in FLOATS and draw(st.integers(0, 4)) == 0:
        lost = rng.random(n) < 0.3
        scores[lost, ..., 0] = rng.choice([np.nan, np.inf, -np.inf])
    labels, how, known, refusable = _saved(draw, rng, truth, classes, single=single, name=name)
    found = _decided(scores, single=single, lost=lost)
    kept = known & ~lost.reshape(-1, *[1] * len(positions))
    outputs = _laid_out(draw, scores, positions, single=single)
    case = Case(name, {"out": outputs}, labels, how, may_refuse=refusable)
    case.may_refuse |= _ambiguous_axes(outputs, positions)
    if name.startswith("top-"):
        k = int(name[4:])
        if (not single and classes <= k) or (single and k > 1):
            return case
        if kept.any():
            case.expected = top(scores, truth, found, kept, k, single=single)
    elif not kept.any():
        pass
    elif name == "map":
        case.expected = _ranked(scores, truth, kept, classes, single=single)
    elif name == "iou":
        case.expected = float(np.mean(by_class(truth[kept], found[kept], lambda tp, fp, fn: tp / (tp + fp + fn))))
    else:
        case.expected = f1(truth[kept].tolist(), found[kept].tolist(), name)
    return case


def _decided(scores: np.ndarray, *, single: bool, lost: np.ndarray) -> np.ndarray:
    found = np.zeros(scores.shape[:-1], int)
    finite = scores[~lost].astype(float)
    cut = 0.5 if finite.size == 0 or (finite.min() >= -1e-3 and finite.max() <= 1 + 1e-3) else 0.0
    for place in np.ndindex(found.shape):
        if lost[place[0]]:
            continue
        row = [float(value) for value in scores[place]]
        found[place] = int(row[0] > cut) if single else row.index(max(row))
    return found


def _saved(
    draw: Any, rng: np.random.Generator, truth: np.ndarray, classes: int, *, single: bool, name: str
) -> tuple[np.ndarray, Reading, np.ndarray, bool]:
    """The labels as a user would save them, what is set, which of them count, and whether a refusal is right as well."""
    known = np.ones(truth.shape, bool)
    masks = truth.ndim > 2
    forms = ["plain", "plain", "column"] + (["one-hot"] if classes > 2 or not single else [])
    form = draw(st.sampled_from(forms))
    ignored = draw(st.sampled_from([None, None, -1, -100, "nan", "set", *([255] * 3 if masks else [])]))
    if form == "one-hot":
        return _one_hot(draw, truth, classes, single=single, name=name)
    labels = truth.astype(np.int64)
    how, missing = Reading(), None
    if ignored is not None:
        known = rng.random(truth.shape) > 0.3
        missing = {"set": classes + 3, "nan": -1}.get(ignored, ignored)
        labels = np.where(known, labels, missing)
        how = Reading(ignore=str(missing)) if ignored == "set" else how
    kinds = [kind for kind in ("int64", "int32", "int16", "float32", "float64") if ignored != "nan" or kind[0] == "f"]
    kinds += ["uint8"] if missing is None or missing >= 0 else []
    labels = labels.astype(draw(st.sampled_from(kinds)))
    if ignored == "nan":
        labels[~known] = np.nan
    values = set(np.unique(labels[~np.isnan(labels)] if labels.dtype.kind == "f" else labels).astype(int).tolist())
    refusable = values <= {-1, 1} or (255 in values and values <= {-1, 0, 255}) or (single and truth.ndim == 3)
    if single and truth.ndim == 2 and truth.shape[1:] != ():
        how = Reading(labels="positions", ignore=how.ignore)
    if ignored == "nan" and not known.any():
        refusable = True
    if form == "column":
        labels = labels[..., None]
    if single and truth.ndim == 3:
        how = Reading(labels="positions", ignore=how.ignore)
    refusable |= form == "column" and truth.ndim == 2  # (n, 5, 1) may be read as masks
    return labels, how, known, refusable


def _one_hot(
    draw: Any, truth: np.ndarray, classes: int, *, single: bool, name: str
) -> tuple[np.ndarray, Reading, np.ndarray, bool]:
    known = np.ones(truth.shape, bool)
    labels = np.eye(classes, dtype=draw(st.sampled_from(["int64", "uint8", "float32", "bool"])))[truth]
    labels = np.moveaxis(labels, -1, 1) if draw(st.booleans()) and truth.ndim > 1 else labels
    # of another layout than the output's they are refused; so are those of positions by a metric of samples
    few = truth.size < 16 and not name.startswith("top")
    return labels, Reading(), known, truth.ndim > 1 or single or few


def _laid_out(draw: Any, scores: np.ndarray, positions: tuple[int, ...], *, single: bool) -> np.ndarray:
    """The scores in one of the layouts that models have: classes last or second, axes of size one."""
    if single:
        plain = scores[..., 0]
        return draw(st.sampled_from([plain, plain[..., None], *([plain[:, None]] if positions else [])]))
    if positions:
        return draw(st.sampled_from([scores, np.ascontiguousarray(np.moveaxis(scores, -1, 1))]))
    return draw(st.sampled_from([scores, scores[:, None, None], scores[:, :, None, None]]))


def _ambiguous_axes(outputs: np.ndarray, positions: tuple[int, ...]) -> bool:
    first, last = outputs.shape[2:], outputs.shape[1:-1]
    return bool(positions) and (first == last == positions or len(set(outputs.shape[1:])) < len(outputs.shape[1:]))


def _ranked(scores: np.ndarray, truth: np.ndarray, kept: np.ndarray, classes: int, *, single: bool) -> float:
    rows = np.flatnonzero(kept)
    numbers = [1] if single else range(classes)
    found = []
    for number in numbers:
        wanted = [int(truth[row] == number) for row in rows]
        if sum(wanted):
            found.append(precision(wanted, [float(scores[row, 0 if single else number]) for row in rows]))
    return float(np.mean(found)) if found else 0.0


# several labels


def _several(draw: Any, rng: np.random.Generator, name: str) -> Case:
    n, labels = draw(st.integers(3, 12)), draw(st.integers(2, 6))
    probabilities = draw(st.booleans())
    scores = rng.integers(0, 90, (n, labels)) / 89 if probabilities else rng.integers(-40, 50, (n, labels)) / 10
    scores = scores.astype(draw(st.sampled_from(FLOATS)))
    truth = (rng.random((n, labels)) < draw(st.sampled_from([0.1, 0.4, 0.8]))).astype(np.int64)
    known = np.ones(truth.shape, bool)
    saved = truth
    if draw(st.booleans()):
        known = rng.random(truth.shape) > 0.2
        saved = np.where(known, truth, draw(st.sampled_from([-1, -100])))
    saved = saved.astype(draw(st.sampled_from(["int64", "int8", "float32"])))
    values, ones = set(np.unique(saved).astype(int).tolist()), (saved == 1).sum(axis=1)
    case = Case(name, {"out": scores}, saved, Reading(labels="multilabel") if draw(st.booleans()) else Reading())
    # at most a single 1 in each row: one-hot, perhaps with rows without a label
    case.may_refuse = values <= {-1, 1} or (case.how.labels == "auto" and bool((ones <= 1).all()))
    rows = known.any(axis=1)
    finite = scores.astype(float)
    cut = 0.5 if finite.min() >= -1e-3 and finite.max() <= 1 + 1e-3 else 0.0
    found = (finite > cut).astype(int)
    if not rows.any():
        return case
    columns = [(truth[known[:, c], c].tolist(), found[known[:, c], c].tolist()) for c in range(labels)]
    counts = [
        tuple(sum(t == a and f == b for t, f in zip(*column, strict=True)) for a, b in ((1, 1), (0, 1), (1, 0)))
        for column in columns
    ]
    if name == "map":
        each = [
            precision(truth[known[:, c], c].tolist(), finite[known[:, c], c].tolist())
            for c in range(labels)
            if truth[known[:, c], c].any()
        ]
        case.expected = float(np.mean(each)) if each else 0.0
    elif name == "f1-micro":
        tp, fp, fn = (sum(each) for each in zip(*counts, strict=True))
        case.expected = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0
    elif name == "f1-samples":
        each = []
        for row in np.flatnonzero(rows):
            t, f = truth[row, known[row]], found[row, known[row]]
            both = int(t.sum() + f.sum())
            each.append(2 * int((t & f).sum()) / both if both else 0.0)
        case.expected = float(np.mean(each))
    else:
        case.expected = float(np.mean([2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0 for tp, fp, fn in counts]))
    return case


# real values


def _values(draw: Any, rng: np.random.Generator, name: str) -> Case:
    inner = draw(st.sampled_from([(), (1,), (3,), (4, 5), (2, 3, 4), (3, 4, 2)]))
    n = draw(st.integers(2, 8))
    kind = draw(st.sampled_from((*FLOATS, *WHOLE)))
    outputs = (rng.normal(0, 20, (n, *inner)) if kind in FLOATS else rng.integers(0, 100, (n, *inner))).astype(kind)
    truth = rng.normal(0, 20, (n, *inner)).round(3)
    lost = np.zeros(n, bool)
    if kind in FLOATS and draw(st.integers(0, 4)) == 0:
        lost = rng.random(n) < 0.3
        outputs[lost] = rng.choice([np.nan, np.inf])
    saved = truth.copy()
    if draw(st.integers(0, 4)) == 0:
        missing = rng.random(n) < 0.3
        saved[missing], lost = np.nan, lost | missing
    form = draw(st.sampled_from(["same", "same", "one more axis", "other order", "wrong"]))
    case = Case(name, {"out": outputs}, saved)
    if form == "one more axis":
        case.labels = saved[..., None]
    elif form == "other order" and len(inner) == 3:
        case.labels = saved.transpose(0, 2, 3, 1)
        return case
    elif form == "wrong" and inner and inner != (1,):
        case.labels = saved[..., :-1]
        return case
    ours, theirs = (each[~lost].astype(np.float64) for each in (outputs, truth))
    if len(ours):
        case.expected = arithmetic(name, ours, theirs)
    return case


# text


def _texts(draw: Any, rng: np.random.Generator, name: str) -> Case:
    n = draw(st.integers(1, 6))
    text = st.text("ab c", max_size=8)
    if name == "wer" or draw(st.booleans()):
        found, wanted = (draw(st.lists(text, min_size=n, max_size=n)) for _ in range(2))
        parts = [
            (a.split(), b.split()) if name == "wer" else (list(a), list(b)) for a, b in zip(found, wanted, strict=True)
        ]
        shape = draw(st.sampled_from([(n,), (n, 1)]))
        case = Case(name, {"out": np.array(found).reshape(shape)}, np.array(wanted).reshape(shape))
    else:
        steps, classes = draw(st.integers(1, 7)), draw(st.integers(2, 4))
        scores = rng.random((n, steps, classes)).astype(np.float32)
        labels = rng.integers(-1, classes, (n, draw(st.integers(1, 5))))
        parts = []
        for row, label in zip(scores, labels, strict=True):
            best = [int(np.argmax(step)) for step in row]
            merged = [b for place, b in enumerate(best) if place == 0 or best[place - 1] != b]
            parts.append(([b for b in merged if b != 0], [int(c) for c in label if c >= 0]))
        case = Case(name, {"out": scores}, labels)
        case.how = Reading(labels="auto")
    length = sum(len(b) for _, b in parts)
    if length:
        case.expected = sum(distance(a, b) for a, b in parts) / length
    return case


# boxes


def _boxes(draw: Any, rng: np.random.Generator) -> Case:
    n, most = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    classes = draw(st.integers(1, 3))
    truth, owners = [], []
    for image in range(n):
        for _ in range(draw(st.integers(0, 4))):
            corner, size = rng.integers(0, 60, 2), rng.integers(4, 40, 2)
            truth.append([*corner, *(corner + size)])
            owners.append(image)
    numbers = rng.integers(0, classes, len(truth))
    boxes, scores, found = (
        np.zeros((n, most, 4), np.float32),
        np.zeros((n, most), np.float32),
        np.zeros((n, most), np.float32),
    )
    for image in range(n):
        own = [place for place, owner in enumerate(owners) if owner == image]
        for place in range(most):
            if own and rng.random() < 0.7:
                chosen = int(rng.choice(own))
                boxes[image, place] = np.array(truth[chosen]) + rng.integers(-3, 4, 4) * rng.integers(0, 2)
                found[image, place] = numbers[chosen] if rng.random() < 0.8 else rng.integers(0, classes)
            else:
                corner = rng.integers(0, 60, 2)
                boxes[image, place] = [*corner, *(corner + rng.integers(4, 40, 2))]
                found[image, place] = rng.integers(0, classes)
            scores[image, place] = rng.integers(0, 11) / 10  # 0 fills up
    names = draw(
        st.sampled_from([("detection_boxes", "detection_scores", "detection_classes"), ("boxes", "scores", "labels")])
    )
    labels = {
        "y_boxes": np.array(truth, np.float32).reshape(-1, 4),
        "y_class": numbers,
        "y_image": np.array(owners, np.int64),
    }
    case = Case("box-map", dict(zip(names, (boxes, scores, found), strict=True)), labels)
    if truth:
        kept = [(i, p) for i in range(n) for p in range(most) if scores[i, p] > 0]
        case.may_refuse = not ({int(found[place]) for place in kept} & set(numbers.tolist()))
        case.may_refuse |= any((boxes[place][2:] < boxes[place][:2]).any() for place in kept)
        case.expected = by_pycocotools(labels, boxes, scores, found, kept)
    return case
