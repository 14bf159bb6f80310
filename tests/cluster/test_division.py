"""How a run is divided and put together again, without workers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from recorded import measured, results

from workbench.cluster.cohorts import Division, builds, cohorts
from workbench.cluster.merge import EndedPart, merged, merged_row, workers_text
from workbench.compare.pairs import comparison
from workbench.records import ClusterWorker, Machine, Result, Status
from workbench.settings.experiment import Experiment

MACHINE = Machine("A CPU", 8, (), 2**34, "Linux x86_64", "3.11.7")
W1 = ClusterWorker("w1", "host", MACHINE, "one")
W2 = ClusterWorker("w2", "host", MACHINE, "one")
OTHER = ClusterWorker("w3", "other", replace(MACHINE, cores=4), "two")


def rows(**asked: str) -> list[Result]:
    experiment = Experiment(
        **{"backends": "onnxruntime,openvino", "precisions": "fp32,int8", "batches": "1,2", **asked}
    )
    return [Result(spec, batch) for spec in experiment.variants() for batch in spec.batches]


def test_each_engine_is_built_once_and_the_baseline_is_in_every_cohort() -> None:
    planned = rows()
    parts = builds(planned)
    assert [len(part.rows) for part in parts] == [2, 2, 2, 2]
    assert sorted(name for part in parts for name in part.rows) == sorted(row.row for row in planned)
    found = cohorts(planned, "onnxruntime fp32", size=2)
    assert [part.rows for part in found] == [
        ("onnxruntime fp32 @1", "onnxruntime int8 @1", "openvino fp32 @1"),
        ("onnxruntime fp32 @1", "openvino int8 @1"),
        ("onnxruntime fp32 @2", "onnxruntime int8 @2", "openvino fp32 @2"),
        ("onnxruntime fp32 @2", "openvino int8 @2"),
    ]
    assert {part.anchors for part in found} == {("onnxruntime fp32 @1",), ("onnxruntime fp32 @2",)}


def test_rows_that_are_not_possible_are_in_no_part_and_a_lone_baseline_is_measured() -> None:
    planned = rows(backends="onnxruntime", precisions="fp32,bf16")
    planned = [replace(row, status=Status.UNSUPPORTED) if row.spec.asked == "bf16" else row for row in planned]
    assert [part.rows for part in cohorts(planned, "", 3)] == [("onnxruntime fp32 @1",), ("onnxruntime fp32 @2",)]


@pytest.mark.parametrize(
    ("left", "able", "again"),
    [
        ((), "abcd", ()),
        ("c", "abcd", ("a", "c")),
        ("a", "abcd", ("a", "b", "c", "d")),
        ("abcd", "acd", ("a", "c", "d")),
    ],
)
def test_what_is_left_is_repeated_in_turn_with_the_baseline(left: str, able: str, again: tuple[str, ...]) -> None:
    assert Division(tuple("abcd"), ("a",)).again(left, able) == again


def whole(first: ClusterWorker, second: ClusterWorker) -> tuple[Result, ...]:
    """A baseline in two cohorts, with another row in each."""
    base, one, two = (
        measured("onnxruntime fp32", timing_group="s1"),
        measured("openvino fp32", timing_group="s1"),
        measured("litert fp32", timing_group="s2"),
    )
    again = measured("onnxruntime fp32", timing_group="s2")
    planned = results([base, one, two])
    parts = [
        EndedPart((base.row, one.row), first, results([base, one])),
        EndedPart((base.row, two.row), second, results([again, two])),
    ]
    found = [merged_row(row, parts) for row in planned.rows]
    assert all(found)
    return tuple(row for row in found if row)


def test_the_baseline_has_a_timing_for_each_cohort_and_each_row_its_worker() -> None:
    found = whole(W1, W2)
    assert [row.worker for row in found] == [W1, W1, W2]
    assert [timing.group for timing in found[0].also] == ["s2"]
    compared = comparison(results(found, baseline="onnxruntime fp32"))
    assert not compared.refused
    assert (
        workers_text(found)
        == "Measured on a cluster, on machines of one kind: 2 rows by w1 on host, 1 row by w2 on host."
    )


def test_rows_of_unlike_machines_are_not_compared() -> None:
    compared = comparison(results(whole(W1, OTHER), baseline="onnxruntime fp32"))
    assert [(row, "the machine differs: w3 on other here, w1 on host" in why) for row, why in compared.refused] == [
        ("litert fp32 @1", True)
    ]


def test_a_lost_part_costs_its_rows_until_they_are_repeated() -> None:
    base, one = measured("onnxruntime fp32", timing_group="s1"), measured("openvino fp32", timing_group="s1")
    planned = results([replace(row, status=Status.PLANNED, timing=None) for row in (base, one)])
    lost = EndedPart((base.row, one.row), W1, failure="the worker died")
    found = [merged_row(row, [lost]) for row in planned.rows]
    assert [(row.status, row.failure.message) for row in found if row and row.failure] == [
        (Status.FAILED, "the worker died")
    ] * 2
    assert [row.timing for row in (merged_row(base, [lost]), merged_row(one, [lost])) if row] == [None, None]
    parts = [lost, EndedPart((base.row, one.row), W2, results([base, one]))]
    assert [row.status for row in (merged_row(base, parts), merged_row(one, parts)) if row] == [Status.DONE] * 2
    again = tuple(row for row in (merged_row(row, parts) for row in planned.rows) if row)
    assert [(row.status, row.worker) for row in again] == [(Status.DONE, W2)] * 2
    assert merged(planned, again, parts, "").baseline == base.spec.variant
