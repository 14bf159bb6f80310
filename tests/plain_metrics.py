"""Metrics in plain loops, independent of the workbench: what drawn cases are compared with."""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any

import numpy as np


def top(scores: np.ndarray, truth: np.ndarray, found: np.ndarray, kept: np.ndarray, k: int, *, single: bool) -> float:
    right = []
    for place in np.flatnonzero(kept):
        if single:
            right.append(found[place] == truth[place])
            continue
        row, label = [float(value) for value in scores[place]], int(truth[place])
        before = sum(value > row[label] or (value == row[label] and other < label) for other, value in enumerate(row))
        right.append(before < k)
    return float(np.mean(right))


def by_class(truth: np.ndarray, found: np.ndarray, score: Any) -> list[float]:
    values = []
    for number in sorted({*truth.tolist(), *found.tolist()}):
        tp = sum(t == number == f for t, f in zip(truth, found, strict=True))
        fp = sum(f == number != t for t, f in zip(truth, found, strict=True))
        fn = sum(t == number != f for t, f in zip(truth, found, strict=True))
        values.append(score(tp, fp, fn))
    return values


def f1(truth: list[int], found: list[int], name: str) -> float:
    if name == "f1-micro":
        return sum(t == f for t, f in zip(truth, found, strict=True)) / len(truth)
    if name == "f1-binary":
        tp = sum(t == f == 1 for t, f in zip(truth, found, strict=True))
        wrong = sum(t != f for t, f in zip(truth, found, strict=True))
        return 2 * tp / (2 * tp + wrong) if tp + wrong else 0.0
    return float(np.mean(by_class(np.array(truth), np.array(found), lambda tp, fp, fn: 2 * tp / (2 * tp + fp + fn))))


def precision(truth: list[int], scores: list[float]) -> float:
    """Average precision: the sum over distinct scores, from above, of the rise in recall times the precision there."""
    total, seen, right, value = sum(truth), 0, 0, 0.0
    for score in sorted(set(scores), reverse=True):
        here = [t for t, s in zip(truth, scores, strict=True) if s == score]
        seen, right = seen + len(here), right + sum(here)
        value += sum(here) / total * right / seen
    return value


def arithmetic(name: str, ours: np.ndarray, theirs: np.ndarray) -> float | None:
    flat = list(zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True))
    mean_square = math.fsum((a - b) ** 2 for a, b in flat) / len(flat)
    if name == "mae":
        return math.fsum(abs(a - b) for a, b in flat) / len(flat)
    if name == "rmse":
        if ours.ndim == 2:
            columns = [list(zip(ours[:, c].tolist(), theirs[:, c].tolist(), strict=True)) for c in range(ours.shape[1])]
            return float(np.mean([math.sqrt(sum((a - b) ** 2 for a, b in column) / len(column)) for column in columns]))
        return math.sqrt(mean_square)
    if name == "psnr":
        span = float(theirs.max() - theirs.min())
        return None if span == 0 else min(100.0, 10 * math.log10(span**2 / mean_square)) if mean_square else 100.0
    each = []
    for a, b in zip(ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1), strict=True):
        sizes = math.sqrt(sum(v * v for v in a.tolist())) * math.sqrt(sum(v * v for v in b.tolist()))
        each.append(sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True)) / sizes if sizes else 0.0)
    return float(np.mean(each))


def distance(one: list[Any], other: list[Any]) -> int:
    row = list(range(len(other) + 1))
    for place, item in enumerate(one, 1):
        before, row[0] = row[0], place
        for column, wanted in enumerate(other, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (item != wanted))
    return row[-1]


def by_pycocotools(
    labels: dict[str, np.ndarray], boxes: Any, scores: Any, found: Any, kept: list[tuple[int, int]]
) -> float:
    """As its documentation says: COCO(annotations), loadRes(results), evaluate, accumulate, summarize; AP is the first number."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def box(corners: Any) -> list[float]:
        left, top, right, bottom = (float(each) for each in corners)
        return [left, top, right - left, bottom - top]

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image + 1} for image in range(len(boxes))],
            "categories": [{"id": int(number)} for number in sorted(set(labels["y_class"].tolist()))],
            "annotations": [
                {"id": place + 1, "image_id": int(image) + 1, "category_id": int(number), "bbox": box(corners),
                 "area": box(corners)[2] * box(corners)[3], "iscrowd": 0}
                for place, (corners, number, image) in enumerate(zip(labels["y_boxes"], labels["y_class"], labels["y_image"], strict=True))
            ],
        }  # fmt: skip
        coco.createIndex()
        results = [
            {"image_id": i + 1, "category_id": int(found[i, p]), "bbox": box(boxes[i, p]), "score": float(scores[i, p])}
            for i, p in kept
        ]
        if not results:
            return 0.0
        judged = COCOeval(coco, coco.loadRes(results), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0])
