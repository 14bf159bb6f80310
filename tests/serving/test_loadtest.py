"""Load through a server: every number is of real requests, and refused ones are counted."""

from __future__ import annotations

import json
import shutil

import jsonschema
import numpy as np
import pytest

from workbench import cli
from workbench.cli.answer import schema
from workbench.deploy.folder import RECORD
from workbench.display.served_table import served_tables
from workbench.errors import InputError
from workbench.records import LoadPlan, from_json, to_json
from workbench.records.served import ServedLoad, Split, SplitRound, over_rounds
from workbench.serving.in_process import InProcess, request
from workbench.serving.loadtest import LoadRequest, loadtest

SHORT = LoadPlan(concurrency=(1, 3), callers=3, rounds=3, block_s=0.1, rates=(40.0,), limit_s=2.0, percent=90)


def test_the_three_parts_are_of_the_same_rounds() -> None:
    rounds = tuple(SplitRound(n, 1e-3, 3e-3 + n * 1e-4, 9e-3, 2e-3, 1e-3) for n in range(4))
    split = Split(3, rounds)
    assert split.in_process == pytest.approx((1e-3, 1e-3, 1e-3))
    assert split.overhead.value == pytest.approx(2.15e-3)
    assert split.overhead.low < 2.15e-3 < split.overhead.high
    assert split.queueing.value == pytest.approx(2e-3)
    assert np.isnan(over_rounds([1.0]).low)


@pytest.fixture(scope="module")
def found(triton, wide) -> tuple[ServedLoad, ...]:
    return loadtest(wide, LoadRequest(SHORT, period_s=0.05, deadline_s=1.0))


@pytest.mark.long
def test_each_start_of_the_server_has_all_measurements(found) -> None:
    assert [one.batching for one in found] == [True, False]
    for one in found:
        assert (one.deployment, one.variant, one.samples, one.server) == (
            "wide",
            "onnxruntime fp32",
            1,
            "triton 2.51.0",
        )
        assert len(one.split.rounds) == 3
        for each in one.split.rounds:
            assert each.queue_s >= 0
            assert min(each.in_process_s, each.alone_s, each.inside_s, each.loaded_s) > 0
        # of the round that other programs disturbed least
        assert min(each.in_process_s for each in one.split.rounds) < min(each.alone_s for each in one.split.rounds)
        assert [loop.concurrency for loop in one.load.measured] == [1, 3]
        assert one.load.open[0].queries >= 40 * 0.3 - 8
        assert one.periodic.rate == pytest.approx(20)
        assert one.periodic.limit_s == 1.0
        assert one.refused == 0
        assert from_json(ServedLoad, json.loads(json.dumps(to_json(one)))) == one


@pytest.mark.long
def test_tables_show_each_part_and_each_loop(found) -> None:
    parts, closed, arrivals = served_tables(found)
    assert [row["part"] for row in parts.rows[:4]] == ["in process", "server overhead", "queueing", "whole request"]
    assert parts.rows[1]["ms"] == pytest.approx(found[0].split.overhead.value * 1e3)
    assert [row["clients"] for row in closed.rows] == [1, 3, 1, 3]
    assert [row["arrivals"] for row in arrivals.rows] == ["Poisson", "Poisson", "fixed period", "fixed period"]
    assert "server overhead" in parts.text()
    assert "server overhead" in parts.html()


@pytest.mark.long
def test_refused_requests_are_counted_by_the_clients(triton, wide, tmp_path) -> None:
    copy = shutil.copytree(wide, tmp_path / "copy")
    record = json.loads((copy / RECORD).read_text())
    record["queue"]["length"] = 1
    (copy / RECORD).write_text(json.dumps(record))
    plan = LoadPlan(concurrency=(16,), callers=16, rounds=2, block_s=0.5)
    (one,) = loadtest(copy, LoadRequest(plan, batching=(True,), transport="grpc"))
    (loop,) = one.load.closed
    assert one.refused == sum(block.refused for block in loop.blocks) > 0
    assert loop.queries_per_s > 0


def test_the_engine_in_process_gives_times_of_its_calls(wide) -> None:
    assert request(wide, 3)["x"].shape == (3, 512)
    with InProcess(wide, 1) as engine:
        first, _ = engine.block(0.05)
        second, _ = engine.block(0.05)
    assert len(first) > 0 < len(second)
    assert all(each > 0 for each in (*first, *second))


@pytest.mark.long
def test_requests_larger_than_the_largest_batch_are_refused_at_once(triton, wide) -> None:
    with pytest.raises(
        InputError, match=r"A request of 64 samples is larger than the server's largest batch, 4\. Lower --samples"
    ):
        loadtest(wide, LoadRequest(SHORT, samples=64))


@pytest.mark.long
def test_the_command_gives_one_document(triton, wide, capsys) -> None:
    words = [
        "--rounds",
        "2",
        "--block-s",
        "0.05",
        "--clients",
        "2",
        "--batching",
        "on",
        "--search",
        "--limit-ms",
        "500",
        "--percentile",
        "50",
    ]
    assert cli.main(["loadtest", str(wide), *words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, schema("loadtest"), cls=jsonschema.Draft202012Validator)
    (one,) = document["measured"]
    assert (one["clients"], one["batching"]) == (2, True)
    assert one["arrivals"]
    assert one["holds_per_s"] is None or one["holds_per_s"] > 0


@pytest.mark.parametrize("words", [["--clients", "0"], ["--samples", "0"], ["--percentile", "30"], ["--rate", "x"]])
def test_settings_that_are_none_are_refused_before_a_server_starts(wide, words, capsys) -> None:
    try:
        status = cli.main(["loadtest", str(wide), *words])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert words[0] in capsys.readouterr().err
