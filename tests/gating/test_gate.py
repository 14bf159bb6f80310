"""A gate from two model files to its outcome, and what it writes."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import onnx
import pytest
import recorded
from small_model import small_onnx

import workbench
from workbench.cli import main
from workbench.cli.answer import Exit
from workbench.errors import InputError
from workbench.gating import files
from workbench.gating.in_turn import paired
from workbench.gating.outcome import Gate, GateLimits, GateOutcome, GateRow
from workbench.records import Failure, Status, TimingPlan
from workbench.settings.experiment import Experiment

QUICK = {"backends": "onnxruntime", "precisions": "fp32", "batches": "1", "data": "random", "measure_s": 0.24,
         "max_measure_s": 0.3, "rounds": 12}  # fmt: skip
TIMES = ("min", "max", "mean", "stddev", "rounds", "median", "iqr", "q1", "q3", "iqr_outliers", "stddev_outliers",
         "outliers", "ld15iqr", "hd15iqr", "ops", "total", "iterations")  # fmt: skip


@pytest.fixture
def models(tmp_path):
    """An old model, a copy of it, one of other bytes with the same layers, and one with another input."""
    old = small_onnx(tmp_path / "old.onnx")
    found = {"old": old, "copy": str(tmp_path / "copy.onnx")}
    (tmp_path / "copy.onnx").write_bytes((tmp_path / "old.onnx").read_bytes())
    for name, change in (("again", {"doc_string": "again"}), ("renamed", {})):
        model = onnx.load(old)
        model.doc_string = change.get("doc_string", "")
        if name == "renamed":
            model.graph.input[0].name = model.graph.node[0].input[0] = "other"
        found[name] = str(tmp_path / f"{name}.onnx")
        onnx.save(model, found[name])
    return found


def rows(*outcomes):
    results = [recorded.measured("onnxruntime fp32", batch=1 + n) for n, _ in enumerate(outcomes)]
    return tuple(
        GateRow("onnxruntime fp32", row.batch, outcome, "", 1.05, 1.04, 1.06, old=row, new=row)
        for row, outcome in zip(results, outcomes, strict=True)
    )


def gate_of(*outcomes):
    return Gate(
        rows(*outcomes),
        "old.onnx",
        "new.onnx",
        True,
        GateLimits(),
        recorded.MACHINE,
        TimingPlan(),
        "2026-11-30T10:00:00",
    )


def test_equal_engines_are_not_measured(models, store):
    found = workbench.gate(Experiment(model=models["copy"], **QUICK), old_model=models["old"], store=store)
    (row,) = found.rows
    assert (row.outcome, row.slowdown) == (GateOutcome.NO_WORSE, None)
    assert "the same engine" in row.why


def test_both_sides_take_turns_and_files_are_written(models, store, tmp_path, capsys):
    words = [word for name, value in QUICK.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    made = {
        name: tmp_path / f"gate{ending}"
        for name, (ending,) in {"benchmark-json": (".json",), "junit-xml": (".xml",), "summary": (".md",)}.items()
    }
    outputs = [word for name, file in made.items() for word in (f"--{name}", str(file))]
    command = [
        "gate",
        "--model",
        models["again"],
        "--old-model",
        models["old"],
        *words,
        *outputs,
        "--store",
        str(store.root),
    ]
    status = main([*command, "--json"])
    document = json.loads(capsys.readouterr().out)
    (row,) = document["rows"]
    assert status == {"no worse": Exit.OK, "worse": Exit.FAILED, "cannot tell": Exit.CANNOT_TELL}[row["outcome"]]
    assert 0 < row["low"] < row["slowdown"] < row["high"]
    assert row["old_median_s"] > 0
    (benchmark,) = json.loads(made["benchmark-json"].read_text())["benchmarks"]
    assert benchmark["extra_info"]["slowdown"] == row["slowdown"]
    assert benchmark["stats"]["median"] == pytest.approx(row["new_median_s"], rel=0.5)
    assert ET.parse(made["junit-xml"]).getroot().get("tests") == "1"
    assert made["summary"].read_text().startswith("## Gate: ")
    made["summary"].write_text("notes of mine")
    assert main(command) == Exit.USAGE
    assert made["summary"].read_text() == "notes of mine"


@pytest.mark.long
def test_a_recorded_run_of_this_machine_stands_for_the_old_side(models, store):
    old = workbench.run(Experiment(model=models["old"], **QUICK), store=store)
    found = workbench.gate(Experiment(model=models["again"], **QUICK), recorded=old.run, store=store)
    (row,) = found.rows
    assert not found.in_turn
    assert row.high / row.low > 1.2
    with pytest.raises(InputError, match="region was 'host-to-host' and is 'compute'"):
        workbench.gate(Experiment(model=models["again"], region="compute", **QUICK), recorded=old.run, store=store)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "found neither"),
        ({"old_model": "old.onnx", "recorded": "5dc417"}, "found both"),
        ({"old_model": "old", "allow_slower": 5.0}, "0.05 is 5 %"),
        ({"old_environment": "here"}, "are both"),
        ({"old_environment": "nowhere"}, "There is no environment 'nowhere'"),
        ({"recorded": "5dc417"}, "There is no run"),
    ],
)
def test_sides_that_cannot_be_compared_are_refused(given, message, models, store):
    with pytest.raises(InputError, match=message):
        workbench.gate(Experiment(model=models["old"], **QUICK), store=store, **given)


def test_models_with_other_inputs_are_refused(models, store):
    with pytest.raises(InputError, match=r"different inputs \(x float32 .*; other float32"):
        workbench.gate(Experiment(model=models["renamed"], **QUICK), old_model=models["old"], store=store)


def test_a_row_that_works_on_one_side_only():
    good = recorded.measured("onnxruntime fp32")
    bad = replace(good, status=Status.FAILED, timing=None, failure=Failure("build", "no kernel"))
    assert paired([good], [good]) == ([(good, good)], [])
    (lost,) = paired([good], [bad])[1]
    assert (lost.outcome, "no kernel" in lost.why) == (GateOutcome.WORSE, True)
    (new,) = paired([], [good])[1]
    assert new.outcome == GateOutcome.CANNOT_TELL
    assert paired([bad], [bad]) == ([], [])


def test_the_json_has_the_shape_of_pytest_benchmark():
    document = json.loads(files.benchmark_json(gate_of(GateOutcome.WORSE)))
    assert set(document) == {"machine_info", "commit_info", "benchmarks", "datetime", "version"}
    (one,) = document["benchmarks"]
    assert set(one) == {"group", "name", "fullname", "params", "param", "extra_info", "options", "stats"}
    assert set(one["stats"]) == set(TIMES)
    assert (
        one["stats"]["min"]
        <= one["stats"]["q1"]
        <= one["stats"]["median"]
        <= one["stats"]["hd15iqr"]
        <= one["stats"]["max"]
    )
    assert one["extra_info"]["outcome"] == "worse"


def test_files_of_an_earlier_gate_are_written_again():
    gate = gate_of(GateOutcome.WORSE)
    for ending, make in ((".json", files.benchmark_json), (".xml", files.junit_xml), (".md", files.summary)):
        assert make(gate).encode().startswith(files.BEGINS[ending])


def test_junit_counts_what_is_worse_and_what_cannot_be_told():
    root = ET.fromstring(files.junit_xml(gate_of(GateOutcome.WORSE, GateOutcome.CANNOT_TELL, GateOutcome.NO_WORSE)))
    assert [root.get(name) for name in ("tests", "failures", "skipped")] == ["3", "1", "1"]
    assert "+5.0 % [+4.0 %, +6.0 %]" in root.find(".//failure").get("message")


def test_the_summary_names_what_is_worse_first():
    text = files.summary(gate_of(GateOutcome.NO_WORSE, GateOutcome.WORSE))
    assert text.startswith("## Gate: worse\n\nWorse: onnxruntime fp32 @2 +5.0 % [+4.0 %, +6.0 %].")
    assert text.index("| worse |") < text.index("| no worse |")
