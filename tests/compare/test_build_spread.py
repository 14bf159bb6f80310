"""Several builds of one variant: the verdict is over builds, and the spread between them is shown."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import recorded
from recorded import block, measured, results, timing

from workbench.compare.kept_runs import Cell
from workbench.compare.pairs import comparison
from workbench.deploy.chosen import fastest_build
from workbench.plan.engines import engine_key
from workbench.plan.subject import Platform
from workbench.records import Launch, Result, Status, Verdict
from workbench.settings.experiment import Experiment

BASE, PEER = "tensorflow fp32", "onnxruntime fp32"
STEADY = (2.0, 2.02, 1.98, 2.01)


def built(label: str, number: int, milliseconds: float, batch: int = 1):
    """One build whose calls take exactly so long in each of six launches of three rounds."""
    blocks = tuple(replace(block(place, [milliseconds] * 9), launch=place // 3) for place in range(18))
    found = replace(timing(1.0, batch, rounds=1, calls=1), blocks=blocks, launches=(Launch(1.0, 1.0, (1,)),) * 6)
    of = recorded.spec(label, build=number)
    return Result(of, batch, Status.DONE, recorded.engine(of), found)


def of(label: str, *times: float, batch: int = 1):
    return [built(label, number, each, batch) for number, each in enumerate(times, 1)]


def test_builds_that_differ_by_more_than_the_variants_give_no_verdict():
    """Every build of the peer is clearly apart from every build of the baseline, and in both directions."""
    found = results([*of(BASE, *STEADY), *of(PEER, 1.4, 2.6, 1.5, 2.7)])
    rows = [row for row in comparison(found).rows if row.result.spec.variant == PEER]
    assert {row.verdict for row in rows} == {Verdict.CANNOT_TELL}
    assert {row.why for row in rows} == {"the interval of the speed-up over 4 builds includes 1"}
    assert len({(row.speedup, row.low, row.high) for row in rows}) == 1
    assert rows[0].low < 1 < rows[0].high


def test_builds_that_are_all_faster_are_a_verdict_over_builds():
    found = results([*of(BASE, *STEADY), *of(PEER, 0.9, 1.1, 1.0, 1.05)])
    rows = [row for row in comparison(found).rows if row.result.spec.variant == PEER]
    assert {row.verdict for row in rows} == {Verdict.FASTER}
    assert rows[0].note == "the verdict is over 4 builds"
    logs = [math.log(base / ours) for base, ours in zip(STEADY, (0.9, 1.1, 1.0, 1.05), strict=True)]
    assert rows[0].speedup == pytest.approx(math.exp(sum(logs) / 4), rel=1e-3)
    assert [row.verdict for row in comparison(found).rows][:4] == [Verdict.BASELINE] * 4


def test_two_builds_are_too_few():
    found = results([*of(BASE, 2.0, 2.0), *of(PEER, 1.0, 1.0)])
    rows = [row for row in comparison(found).rows if row.result.spec.variant == PEER]
    assert {(row.verdict, row.why) for row in rows} == {
        (Verdict.CANNOT_TELL, "2 builds of both, at least 3 are needed")
    }


def test_a_build_that_failed_is_left_out_on_both_sides():
    first, *rest = of(BASE, *STEADY)
    found = results([replace(first, timing=None), *rest, *of(PEER, 0.9, 1.1, 1.0, 1.05)])
    rows = [row for row in comparison(found).rows if row.result.spec.variant == PEER]
    assert {(row.verdict, row.note) for row in rows} == {(Verdict.FASTER, "the verdict is over 3 builds")}


@pytest.mark.parametrize("asked", ["", BASE, f"{BASE} build 3"])
def test_the_baseline_is_the_variant_with_all_its_builds(asked):
    found = results([*of(BASE, *STEADY), *of(PEER, 0.9, 1.1, 1.0, 1.05)])
    assert comparison(found, asked).baseline == BASE


def test_the_table_shows_each_build_the_ratio_and_the_fastest():
    found = results([*of(BASE, *STEADY), *of(PEER, 1.0, 2.0, 0.8)])
    rows = {row["variant"]: row for row in found.builds().rows}
    assert rows[PEER]["medians ms"] == "1.00, 2.00, 0.800"
    assert rows[PEER]["slowest / fastest"] == pytest.approx(2.5)
    assert (rows[PEER]["fastest build"], rows[PEER]["builds"]) == (3, 3)
    assert rows[BASE]["verdict"] == "baseline"
    assert "cannot tell" in found.builds().text()
    assert found.builds().notes[-1].startswith("The time of the fastest of several builds is too optimistic")


def test_the_fastest_build_is_over_all_batches():
    rows = [*of(PEER, 1.0, 1.5), *of(PEER, 9.0, 5.0, batch=8)]
    assert {name: each.spec.build for name, each in results(rows).fastest_builds.items()} == {PEER: 2}
    assert (
        results([*rows, *of(PEER, 0.1, 0.1, 0.1)[2:]]).fastest_builds[PEER].spec.build == 2
    )  # not measured at batch 8


def test_one_build_shows_no_spread():
    found = results([measured(BASE), measured(PEER)])
    assert found.builds().rows == ()
    assert found.fastest_builds == {}
    assert "--builds 3" in found.builds().text()


def test_each_build_is_an_engine_of_its_own_and_one_build_is_as_before():
    several = Experiment(backends="onnxruntime", precisions="fp32", builds=3).variants()
    assert [spec.label for spec in several] == [f"{PEER} build {number}" for number in (1, 2, 3)]
    (one,) = Experiment(backends="onnxruntime", precisions="fp32").variants()
    assert one.label == one.variant == PEER
    here = Platform.here()
    assert len({engine_key("source", spec, here) for spec in (*several, one)}) == 4


def test_a_deployment_takes_the_fastest_build_unless_one_is_named():
    rows = [*of(PEER, 1.0, 1.5, 1.2), *of(PEER, 9.0, 5.0, 8.0, batch=8)]
    cells = [Cell(row, None, row.timing.median_s, 1.0, {}) for row in rows]
    assert fastest_build(cells, PEER) == f"{PEER} build 2"
    assert fastest_build(cells, f"{PEER} build 3") == f"{PEER} build 3"
    one = measured(PEER)
    assert fastest_build([Cell(one, None, 1.0, 1.0, {})], PEER) == PEER
