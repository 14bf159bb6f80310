"""A trial goes on where it stopped, repeats what did not hold, and its page is made from the record."""

from __future__ import annotations

import json
from contextlib import contextmanager

import page
import pytest
import recording
from recording import Outcome, Trial


def trial(tried, wrong=()):
    @contextmanager
    def session():
        def one(number, draw, place):
            tried.append((number, draw.random()))
            (place / "file").write_text("x")
            if number in wrong:
                raise ValueError("broken")
            return Outcome("even" if number % 2 == 0 else "odd", held=True, figures={"seen": 2})

        yield one

    return Trial("made_up", session, 4, "A promise.")


def test_it_goes_on_where_it_stopped_and_a_line_that_was_cut_short_is_tried_again(tmp_path):
    first, second = [], []
    recording.run(trial(first), 3, 0, tmp_path)
    record = tmp_path / "made_up.jsonl"
    whole = record.read_text()
    record.write_text(whole[: len(whole) - 20] + "\n")
    found = recording.run(trial(second), 5, 0, tmp_path)
    assert [number for number, _ in first] == [0, 1, 2]
    assert [number for number, _ in second] == [2, 3, 4]
    assert second[0] == first[2]  # the same random numbers
    assert [line["number"] for line in found] == [0, 1, 2, 3, 4]
    assert {"version", "commit", "time", "seed", "figures"} <= found[0].keys()
    assert recording.run(trial([]), 1, 1, tmp_path)[0]["seed"] == 1


def test_what_did_not_hold_is_said_and_tried_again_when_asked(tmp_path):
    found = recording.run(trial([], wrong=(1,)), 3, 0, tmp_path)
    assert "made_up: 2 of 3 held" in recording.summary("made_up", found)
    assert "fault: seed 0 number 1: the trial itself: ValueError: broken" in recording.summary("made_up", found)
    again = []
    assert [line["held"] for line in recording.run(trial(again), 3, 0, tmp_path)] == [True, False, True]
    assert again == []
    assert all(line["held"] for line in recording.run(trial(again), 3, 0, tmp_path, again=True))
    assert [number for number, _ in again] == [1]


def test_the_page_counts_each_case_as_it_was_tried_last(tmp_path):
    recording.run(trial([], wrong=(1,)), 4, 0, tmp_path)
    recording.run(trial([]), 4, 0, tmp_path, again=True)
    found = recording.lines("made_up", tmp_path)
    assert "| made_up | A promise. | 4 | 4 |" in page.row(trial([]), found)
    assert "even: 2 of 2; odd: 2 of 2." in page.details(trial([]), found)
    assert "In all: seen 8." in page.details(trial([]), found)


def test_what_grows_in_a_long_run_is_seen(tmp_path):
    lines = [
        {"trial": "long_run", "number": number, "case": "new", "held": True, "found": "", "commit": "c",
         "figures": {"since_s": number, "memory_mib": 100 + number, "threads": 3, "open_files": 7, "children": 0,
                     "temporary_files": 0}}
        for number in range(40)
    ]  # fmt: skip
    (tmp_path / "long_run.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "| memory (MiB) | 114.5 | 134.5 | +20.0 | +16.0 |" in page.of_the_long_run(tmp_path)


@pytest.mark.parametrize("name", [each.name for each in page.TRIALS])
def test_every_record_in_the_repository_is_whole_and_on_the_page(name):
    lines = recording.lines(name)
    text = page.PAGE.read_text(encoding="utf-8")
    assert f"| {name} |" in text
    assert all({"seed", "number", "version", "commit", "case", "held"} <= line.keys() for line in lines)
