"""Outcomes as compact files."""

from __future__ import annotations

import json

import pytest

from workbench.conformance.deviations import Deviation
from workbench.conformance.outcomes import (
    KNOWN,
    WITHIN_ROUNDING,
    CaseOutcome,
    CaseVerdict,
    Conformance,
    dumps,
    known,
    loads,
    save,
)
from workbench.errors import InputError

OUTCOMES = (
    CaseOutcome("add", CaseVerdict.RIGHT),
    CaseOutcome("cast", CaseVerdict.ERROR, detail='no "kernel"\\'),
    CaseOutcome("dft", CaseVerdict.WRONG, 3e-4, 6e-7, WITHIN_ROUNDING),
    CaseOutcome("gru", CaseVerdict.WRONG, None, None, "shape [1] instead of [2]"),
    CaseOutcome("relu", CaseVerdict.RIGHT),
    CaseOutcome("resize", CaseVerdict.WRONG, 1.5, 0.2),
    CaseOutcome("resize/constants", CaseVerdict.WRONG, 1.5, 0.2),
    CaseOutcome("seq", CaseVerdict.REFUSED, detail="a sequence"),
)
FOUND = Conformance(
    backend="openvino",
    title="OpenVINO",
    version="2026.4.1",
    precision="fp32",
    onnx="1.23.2",
    machine="a machine",
    date="2026-11-30T00:00:00+00:00",
    cases=8,
    outcomes=OUTCOMES,
    deviations=(Deviation("Resize", 19, ("antialias = 1",), ("resize",), 1.5),),
)


def test_a_file_holds_everything():
    assert loads(dumps(FOUND)) == FOUND


def test_right_cases_are_names_alone_and_equal_details_are_written_once():
    found = Conformance(
        **{**vars(FOUND), "outcomes": (*OUTCOMES, CaseOutcome("seq2", CaseVerdict.REFUSED, detail="a sequence"))}
    )
    facts = json.loads(dumps(found))
    assert facts["right"] == ["add", "relu"]
    assert facts["refused"] == {"a sequence": ["seq", "seq2"]}


def test_counts_are_of_onnx_own_cases_or_of_those_with_constants():
    assert FOUND.counts()[CaseVerdict.WRONG] == 3
    assert FOUND.counts(constants=True) == dict.fromkeys(CaseVerdict, 0) | {CaseVerdict.WRONG: 1}
    assert [outcome.case for outcome in FOUND.wrong] == ["gru", "resize", "resize/constants", "dft"]
    assert [outcome.differs for outcome in FOUND.wrong] == [True, True, True, False]
    assert FOUND.complete


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "right": 3}', dumps(FOUND)[:200], '{"format": 99}'])
def test_another_file_is_refused_in_a_sentence(text):
    with pytest.raises(InputError, match=r"Record it again: workbench conformance\."):
        loads(text)


def test_results_of_several_folders_in_order_and_damaged_files_passed_over(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    own = Conformance(**{**vars(FOUND), "onnx": "9"})
    assert save(FOUND, second).name == "openvino-2026.4.1-fp32.json"
    save(own, first)
    (first / "a.json").write_text("{", encoding="utf-8")
    assert known((first, tmp_path / "none", second)) == (own, FOUND)


def test_what_comes_with_the_package_can_all_be_read():
    files = sorted(KNOWN.glob("*.json"))
    assert len(files) >= 2
    for file in files:
        found = loads(file.read_text(encoding="utf-8"))
        assert found.complete
        assert found.file_name == file.name
        assert len(found.outcomes) > 2000
