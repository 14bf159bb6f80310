"""What is said once of a run with several batch sizes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import recorded

from workbench.accuracy.score import score
from workbench.compare.headline import headlines
from workbench.compare.summary import summary
from workbench.records import Accuracy, Results

BASE, FP32, INT8 = "onnxruntime fp32", "openvino fp32", "openvino int8"


def scored(broken: int = 0) -> Accuracy:
    """An engine that answers as the source does, but for so many of 2,000 samples."""
    source = np.eye(2)[np.zeros(2000, np.int64)]
    engine = source.copy()
    engine[:broken] = [0, 1]
    return score("k", {"y": engine}, {"y": source}, np.zeros(2000, np.int64))


def made(milliseconds: dict[int, tuple[float, float, float]], broken: int = 200) -> Results:
    """Three variants at each batch size, the last with wrong answers."""
    rows = [
        recorded.measured(name, batch=batch, median_ms=median_ms, accuracy=accuracy)
        for batch, times in milliseconds.items()
        for name, median_ms, accuracy in zip(
            (BASE, FP32, INT8), times, (scored(), scored(), scored(broken)), strict=True
        )
    ]
    return replace(recorded.results(rows, baseline=BASE), budget="0.5 points")


def test_one_variant_for_all_batch_sizes_and_each_reason_once() -> None:
    found = summary(made({1: (8, 4, 1), 8: (40, 20, 10)}))
    assert found.first == f"Take {FP32} at every batch size."
    assert [each.why for each in found.batches] == [(), ()]
    (reason,) = found.after
    assert re.match(
        rf"{INT8}, 8.0\d times as fast as the baseline at batch 1, 4.0\d times at batch 8, is not recommended: it loses 10.0",
        reason,
    )
    assert not any(INT8 in text for text in found.more)
    assert found.lines()[0] == found.first
    assert found.lines()[-1] == reason


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        ({1: (8, 4, 8), 8: (20, 30, 20), 16: (80, 40, 80)}, f"Take {FP32} at batch 1 and 16; {BASE} (not shown to be faster) at batch 8."),
        ({1: (4, 8, 8), 8: (20, 40, 40)}, "Keep the baseline onnxruntime fp32: at no batch size is a variant that may be taken shown to be faster."),
    ],
)  # fmt: skip
def test_the_variant_to_take_depends_on_the_batch_size(milliseconds, said) -> None:
    assert summary(made(milliseconds)).first == said


def test_a_single_batch_size_has_its_reasons_beside_it() -> None:
    results = made({1: (8, 4, 1)})
    found = summary(results)
    assert (found.first, found.after, found.batches) == ("", (), headlines(results))
    assert INT8 in found.batches[0].why[0]


def test_a_single_variant_is_not_chosen() -> None:
    results = made({1: (8, 4, 1), 8: (40, 20, 10)})
    alone = replace(results, rows=tuple(row for row in results.rows if row.spec.label == BASE))
    assert summary(alone).first == ""
    assert [each.batch for each in summary(alone).batches] == [1, 8]


def test_samples_that_are_too_few_are_said_once() -> None:
    after = summary(made({1: (8, 4, 1), 8: (40, 20, 10)}, broken=5)).after
    assert len(after) == 2
    assert re.match(rf"{INT8}, 8.0\d times .* at batch 1, 4.0\d times at batch 8, is not shown to be within", after[0])
    assert "needed to test on" in after[1] or "More samples" in after[1]


def test_why_accuracy_says_nothing_is_said_once() -> None:
    results = made({1: (8, 4, 1), 8: (40, 20, 10)})
    labels = np.arange(2000) % 2
    source = np.eye(2)[1 - labels]
    guess = score("k", {"y": source}, {"y": source}, labels)
    found = summary(replace(results, rows=tuple(replace(row, accuracy=guess) for row in results.rows)))
    assert "set 'class_order' to '1,0'" in found.first
    assert [each.why for each in found.batches] == [(), ()]
    assert found.batches[0].text.startswith(f"{INT8} is 8.0")
    assert sum("better than" in line for line in found.lines()) == 1


def test_the_result_names_the_loss() -> None:
    found = summary(made({1: (8, 8, 4), 8: (40, 40, 20)}, broken=1))
    assert f"{INT8} is 2.0" in found.batches[0].text
    assert ", loses 0.05 points [" in found.batches[0].text
    assert found.batches[0].text.endswith(", within 0.5 points.")
