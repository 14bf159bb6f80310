"""What is said once of a run with several batch sizes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import recorded

from workbench.accuracy.score import score
from workbench.compare import advice
from workbench.compare.headline import headlines
from workbench.compare.summary import summary
from workbench.records import Accuracy, Ended, Result, Results, Verdict
from workbench.settings.options import as_options

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
    reason, remedy = found.after
    assert re.match(
        rf"{INT8}, 8.0\d times as fast as the baseline at batch 1, 4.0\d times at batch 8, is not recommended: it loses 10.0",
        reason,
    )
    assert not any(INT8 in text for text in found.more)
    assert found.lines()[0] == found.first
    assert found.lines()[-2:] == [reason, remedy]


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        ({1: (8, 4, 8), 8: (20, 30, 20), 16: (80, 40, 80)}, f"Take {FP32} at batch 1 and 16; the baseline {BASE} (no other is shown to be faster) at batch 8."),
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


def test_int8_that_is_over_the_budget_has_a_remedy() -> None:
    found = summary(made({1: (8, 4, 1), 8: (40, 20, 10)}))
    assert [text for text in found.lines() if "'repair'" in text] == [
        f"For {INT8}, the command 'repair' (in Python workbench.mixed_precision) finds the layers to keep in FP32."
    ]


def test_what_is_kept_in_fp32_stands_with_the_variant() -> None:
    results = made({1: (8, 8, 4), 8: (40, 40, 20)}, broken=1)
    rows = [
        replace(row, spec=replace(row.spec, keep=("first", "last"))) if row.spec.label == INT8 else row
        for row in results.rows
    ]
    found = summary(replace(results, rows=tuple(rows)))
    assert found.first == f"Take {INT8} (first, last in FP32) at every batch size."
    assert found.batches[0].text.startswith(f"{INT8} (first, last in FP32) is ")


def test_an_engine_that_is_right_for_one_class_only_is_named() -> None:
    labels, source = np.arange(2000) % 2, np.eye(2)[np.arange(2000) % 2]
    same = score("k", {"y": np.eye(2)[np.zeros(2000, np.int64)]}, {"y": source}, labels)
    results = made({1: (8, 4, 1)})
    rows = [
        replace(row, accuracy=same if row.spec.label == INT8 else score("k", {"y": source}, {"y": source}, labels))
        for row in results.rows
    ]
    (text,) = [text for text in summary(replace(results, rows=tuple(rows))).lines() if "not recommended" in text]
    assert "; it is right for every sample of class 0 and for no other" in text


def test_only_backends_with_a_search_have_the_remedy() -> None:
    results = made({1: (8, 4, 1), 8: (40, 20, 10)})
    rows = [
        recorded.measured("litert int8", batch=row.batch, median_ms=1, accuracy=row.accuracy)
        if row.spec.label == INT8
        else row
        for row in results.rows
    ]
    said = summary(replace(results, rows=tuple(rows))).lines()
    assert any("litert int8" in text and "not recommended" in text for text in said)
    assert not any("'repair'" in text for text in said)


def test_what_is_slower_than_the_baseline_is_no_tie_of_what_is_faster(monkeypatch) -> None:
    """Two variants whose own comparison says nothing, because it has fewer or noisier rounds."""

    def noisy(results, baseline=""):
        found = advice.comparison_of(results, baseline)
        rows = [
            replace(row, verdict=Verdict.CANNOT_TELL, low=0.5, high=1.5) if baseline not in ("", BASE) else row
            for row in found.rows
        ]
        return replace(found, rows=tuple(rows))

    monkeypatch.setattr(advice, "comparison_of", advice.comparison, raising=False)
    monkeypatch.setattr(advice, "comparison", noisy)
    slower = advice.recommended(made({1: (8, 12, 4)}, broken=0))[1]
    assert (slower.row.spec.label, [row.spec.label for row in slower.ties]) == (INT8, [BASE])
    faster = advice.recommended(made({1: (8, 6, 4)}, broken=0))[1]
    assert FP32 in [row.spec.label for row in faster.ties]


def uneven(row: Result, ended: Ended) -> Result:
    """The row with blocks of very different durations, measured until ``ended``."""
    assert row.timing
    blocks = tuple(
        replace(block, samples_ns=tuple(int(value * factor) for value in block.samples_ns))
        for block, factor in zip(row.timing.blocks, (0.6, 1.0, 1.4) * 4, strict=True)
    )
    return replace(row, timing=replace(row.timing, blocks=blocks, ended=ended))


@pytest.mark.parametrize(
    ("batches", "ended", "said"),
    [
        ((1, 8), Ended.KNOWN, f"The interval of {FP32} @8 is wide"),
        ((8,), Ended.KNOWN, f"The interval of {FP32} is wide"),
        ((1, 8), Ended.BUDGET, ""),
    ],
)
def test_a_wide_interval_says_how_it_is_narrowed(batches, ended, said) -> None:
    results = made({batch: (8 * batch, 4 * batch, 9 * batch) for batch in batches})
    assert summary(results).wide == ""
    rows = tuple(uneven(row, ended) if (row.spec.label, row.batch) == (FP32, 8) else row for row in results.rows)
    wide = summary(replace(results, rows=rows)).wide
    assert wide.startswith(said)
    assert wide.endswith("set 'until' to 'narrow'.") == bool(said)
    assert ("set --until to 'narrow'" in as_options(wide)) == bool(said)
