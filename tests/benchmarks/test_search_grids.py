"""Grids of the benchmark of searches: files that can be extended, and what is refused."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import search

from workbench.records import EngineSpec, Precision
from workbench.search.under_limits.wanted import MeasuredPoint, Point

FAILS = Precision.BF16


def points(*batches: int) -> list[Point]:
    """Of two precisions and two levels, where None is the default."""
    return [
        Point(EngineSpec("onnxruntime", precision, threads=1, optimization_level=level), batch)
        for precision, level, batch in itertools.product((Precision.FP32, FAILS), (None, 1), batches)
    ]


def extended(file: Path, asked: list[Point], call_s: float) -> tuple[list[Point], int]:
    """The points that were measured, and how many of the file are possible."""
    measured = []

    def measure(place: int) -> MeasuredPoint:
        measured.append(asked[place])
        fails = asked[place].spec.precision == FAILS
        return MeasuredPoint(None, problem="not possible") if fails else MeasuredPoint(call_s)

    possible = search.record_grid(asked, measure, file)
    return measured, possible


def test_a_grid_is_extended_by_more_batch_sizes(tmp_path: Path) -> None:
    file = tmp_path / "grid.jsonl"
    assert extended(file, points(1, 4), 0.1) == (points(1, 4), 4)
    before = file.read_text(encoding="utf-8")
    new = [point for point in points(1, 2, 4) if point.batch == 2]
    assert extended(file, points(1, 2, 4), 0.2) == (new, 6)  # the file is not in the order of the space any more
    assert file.read_text(encoding="utf-8").startswith(before)
    assert extended(file, points(1, 2, 4), 0.3) == ([], 6)
    found, logs = search.recorded(file)
    assert sorted(point.batch for point in found) == [1, 1, 2, 2, 4, 4]
    assert {point.spec.precision for point in found} == {Precision.FP32}
    assert len(logs) == 6


def test_a_line_that_was_cut_short_is_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "grid.jsonl"
    extended(file, points(1), 0.1)
    file.write_text(file.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert extended(file, points(1), 0.1) == ([points(1)[-1]], 2)
    assert len([json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]) == 4


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--record"], "fewer than 400 possible points: grid (2)"),
        ([], "package 'optuna'"),
    ],
)
def test_what_is_missing_is_said(
    options: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    extended(tmp_path / "grid.jsonl", points(1), 0.1)
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr(sys, "argv", ["search.py", "--grids", str(tmp_path), "--replays", "1", *options])
    with pytest.raises(SystemExit) as ended:
        search.main()
    assert ended.value.code == 2
    assert text in capsys.readouterr().err
