"""Runs side by side: what is aligned, what is separated or refused with the reason, and that there is never a verdict."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import recorded
from scipy.stats import t
from small_model import small_onnx

import workbench
from workbench import cli
from workbench.compare.across import NOT_IN_TURN, TIMES, same
from workbench.display.across_table import Runs, compare_runs
from workbench.errors import InputError
from workbench.models.inspection import digest_of
from workbench.panel import history
from workbench.records import Calibration, Region, Results, Verdict
from workbench.runs.archive import find, remember, runs
from workbench.runs.pipeline import run
from workbench.runs.whole import KIND
from workbench.settings.experiment import Experiment
from workbench.system.machine import this_machine

HERE = this_machine()
WORDS = (Verdict.FASTER, Verdict.SLOWER, Verdict.CANNOT_TELL)


def of(*rows, **changes) -> Results:
    return replace(recorded.results(rows), **{"machine": HERE} | changes)


def keep(store, name: str, results: Results, **asked) -> str:
    remember(
        store, name, results, Experiment(**{"backends": "onnxruntime", "precisions": "fp32", "batches": "1"} | asked)
    )
    return name


def row(label: str = "onnxruntime fp32", batch: int = 1, **changes):
    return recorded.measured(label, batch, median_ms=0.5, **changes)


def reported(found: Runs) -> str:
    """All that is said anywhere, after checking that none of it is a verdict."""
    text = f"{found!r} {found.html().unescape()} {found.frame().to_string()}"
    text = " ".join(text.split())  # without the line breaks of a terminal
    assert not any(f" {word}" in text.replace(NOT_IN_TURN, "") for word in WORDS)
    return text


@pytest.mark.long
def test_real_runs_stand_side_by_side_by_variant_and_batch(store, tmp_path, capsys) -> None:
    asked = Experiment(
        model=small_onnx(tmp_path / "small.onnx"), data="random", backends="onnxruntime", precisions="fp32", batches="1,2",
        measure_s=0.06, max_measure_s=0.06, rounds=6,
    )  # fmt: skip
    first, again = run(asked, store=store), run(asked, store=store)
    other = run(replace(asked, batches=(2,), threads=2), store=store)
    assert {each.name for each in runs(store)} == {first.run, again.run, other.run}
    found = compare_runs(first.run, again.run, other.run, store=store)
    assert [(line.variant, line.batch, list(line.cells)) for line in found.lines] == [
        ("onnxruntime fp32", 1, [first.run, again.run]),
        ("onnxruntime fp32", 2, [first.run, again.run]),
        ("onnxruntime fp32", 2, [other.run]),
    ]
    assert found.lines[2].difference == f"threads is '2' here, '1' in {first.run}"
    timing = first.rows[0].timing
    cell = found.lines[0].cells[first.run]
    assert cell.median_s == pytest.approx(timing.median_s)
    assert cell.typical_s == timing.typical_median_s
    assert cell.library == f"ONNX Runtime {first.rows[0].engine.library_version}"
    assert f"(the same measurement as in {first.run})" in reported(found)  # the second run took it from the store
    frame = found.frame()
    assert list(frame["run"]) == [first.run, again.run, first.run, again.run, other.run]
    assert frame["samples/s"][0] == timing.samples_per_s
    assert len(first.tested_digest) == 64
    assert first.tested_digest == again.tested_digest
    assert frame["session"][0] == frame["session"][1] != frame["session"][4]
    assert found.experiment is None
    assert found.why_not == f"'threads' is 1 in {first.run} and 2 in {other.run}, and one run has one value for it"
    assert cli.main(["history", "--store", str(store.root), "--compare", first.run, again.run[-6:]]) == 0
    out = capsys.readouterr().out
    assert NOT_IN_TURN in " ".join(out.split())
    assert "they contain the same variants" in out


def test_the_interval_of_a_median_is_over_launches_where_there_are_enough() -> None:
    launches = (1.0, 1.1, 1.2, 1.3)
    blocks = [recorded.block(number, [value] * 5) for number, value in enumerate(launches)]
    apart = replace(recorded.timing(1.0), blocks=tuple(replace(one, launch=one.round) for one in blocks))
    logarithms = np.log(np.array(launches) * 1e-3)
    half = t.isf(0.025, 3) * logarithms.std(ddof=1) / 2
    wanted = np.exp([logarithms.mean(), logarithms.mean() - half, logarithms.mean() + half])
    assert apart.typical_median_s == pytest.approx(wanted, rel=1e-6)
    assert replace(apart, blocks=tuple(blocks)).typical_median_s is None  # four rounds of one launch
    six = tuple(recorded.block(number, [value] * 5) for number, value in enumerate((5.0, 3.0, 4.0, 1.0, 2.0, 6.0)))
    assert replace(apart, blocks=six).typical_median_s == pytest.approx((3.5e-3, 1e-3, 6e-3))


def test_an_interval_stands_beside_its_own_center(store) -> None:
    levels = [1.0] * 24 + [
        1.1
    ] * 16  # launches by where their memory came to lie: all calls together have the first one's median
    blocks = tuple(replace(recorded.block(number, [ms] * 5), launch=number) for number, ms in enumerate(levels))
    keep(store, "one", of(row(timing_blocks=blocks)))
    keep(store, "two", of(row("openvino int8")))
    found = compare_runs("one", "two", store=store)
    cell = found.lines[0].cells["one"]
    center, low, high = cell.typical_s
    assert cell.median_s == pytest.approx(1e-3)
    assert cell.median_s < low < center < high
    assert "1.03 ms [1.01, 1.06]" in repr(found)
    assert TIMES in repr(found)
    assert TIMES in found.html()
    shown = found.frame().set_index("run").loc["one"]
    assert (shown["p50 ms"], shown["typical ms"]) == pytest.approx((1.0, center * 1e3))


def test_a_measurement_that_a_later_run_took_over_is_reported_beside_each(store) -> None:
    keep(store, "one", of(row(timing_group="first")))
    keep(store, "two", of(row(timing_group="second")))  # measured again
    keep(store, "three", of(row(timing_group="second")))  # which the third took from the store
    (line,) = compare_runs("one", "two", "three", store=store).lines
    assert [same(line, cell) for cell in line.cells.values()] == ["", "", "  (the same measurement as in two)"]


def test_variants_of_two_runs_can_be_measured_in_one(store, capsys) -> None:
    one = keep(store, "one", of(row()), batches="1,8", measure_s=0.5)
    two = keep(store, "two", of(row("openvino int8")), backends="openvino", precisions="int8", measure_s=2.0)
    found = workbench.compare_runs(one, two, store=str(store.root))
    asked = found.experiment
    assert (asked.backends, asked.precisions, asked.batches) == (("onnxruntime", "openvino"), ("fp32", "int8"), (1, 8))
    assert asked.measure_s == 0.5  # the first one's
    assert found.remarks() == [NOT_IN_TURN]
    reported(found)
    assert cli.main(["history", "--store", str(store.root), "--compare", one, two]) == 0
    printed = capsys.readouterr().out
    assert "report --backends onnxruntime,openvino --precisions fp32,int8 --batches 1,8" in printed
    assert (
        f" --store {shlex.quote(str(store.root))}\n" in printed
    )  # else it would build all of them again, in another one
    assert cli.main(["history", "--store", str(store.root), "--runs"]) == 0
    assert "two  digits-cnn · openvino · int8 · batches 1, 1 result\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"machine": replace(HERE, cpu="Another CPU")}, f"another machine: cpu is 'Another CPU' there, '{HERE.cpu}' in one"),
        ({"machine": replace(HERE, cores=96)}, f"another machine: cores is '96' there, '{HERE.cores}' in one"),
        ({"machine": replace(HERE, gpu="NVIDIA H100")}, "another machine: gpu is 'NVIDIA H100' there, "),
        ({"model": replace(recorded.model("resnet"), digest="f" * 64)},
         "another model: 'resnet (ffffffff)' there, 'digits-cnn (00000000)' in one"),
    ],
)  # fmt: skip
def test_another_machine_or_model_is_refused_whole(store, changes, why) -> None:
    keep(store, "one", of(row()))
    keep(store, "two", of(row(), row(batch=8), **changes))
    found = compare_runs("one", "two", store=store)
    ((refused, reason),) = found.refused
    assert refused.name == "two"
    assert reason.startswith(why)
    assert {name for line in found.lines for name in line.cells} == {"one"}
    assert f"Refused: two ({refused.model}): {why}" in repr(found)
    assert found.experiment is None
    reported(found)


def test_memory_that_the_kernel_took_is_no_other_machine(store) -> None:
    keep(store, "one", of(row()))
    keep(store, "two", replace(of(row()), machine=replace(HERE, memory_bytes=HERE.memory_bytes - 2**20)))
    assert compare_runs("one", "two", store=store).refused == ()


def test_levels_of_two_runs_can_be_measured_in_one(store) -> None:
    level = recorded.spec("onnxruntime fp32", optimization_level=0)
    one = keep(store, "one", of(row()))
    two = keep(store, "two", of(replace(row(), spec=level, engine=recorded.engine(level))), optimization_level=0)
    found = compare_runs(one, two, store=store)
    assert [line.variant for line in found.lines] == ["onnxruntime fp32", "onnxruntime fp32 level 0"]
    assert found.experiment.optimization_level == (-1, 0)


@pytest.mark.parametrize(
    ("changed", "apart"),
    [
        (row(timing_region=Region.COMPUTE), "region is 'compute' here, 'host-to-host' in one"),
        (row(timing_protocol="trtexec-10"), "protocol is 'trtexec-10' here, 'own settings' in one"),
        (row(spec=recorded.spec("onnxruntime fp32", threads=2)), "threads is '2' here, '1' in one"),
        (recorded.on_gpu("onnxruntime fp32"), "device is 'cuda:0, NVIDIA H100 80GB HBM3' here, 'cpu' in one"),
        (replace(row(), engine=recorded.engine(recorded.spec("onnxruntime fp32"), library_version="2.0")),
         "version of onnxruntime is '2.0' here, '1.0' in one"),
    ],
)  # fmt: skip
def test_other_conditions_are_kept_apart_with_the_reason(store, changed, apart) -> None:
    keep(store, "one", of(row()))
    keep(store, "two", of(changed))
    first, second = compare_runs("one", "two", store=store).lines
    assert (list(first.cells), first.difference) == (["one"], "")
    assert (list(second.cells), second.difference) == (["two"], apart)


def test_other_samples_and_another_python_are_kept_apart(store) -> None:
    keep(store, "one", of(row()))
    keep(store, "two", of(row(), data="300 others"))
    keep(store, "three", replace(of(row()), machine=replace(HERE, python="3.99.0")))
    found = compare_runs("one", "two", "three", store=store)
    assert [line.difference for line in found.lines] == [
        "", "samples is '300 others (55555555)' here, '1000 digits (55555555)' in one", f"Python is '3.99.0' here, '{HERE.python}' in one",
    ]  # fmt: skip


def test_other_samples_under_one_name_are_kept_apart(store) -> None:
    """A path says nothing of what lies there: its content decides, and where that was not noted nothing is taken for the same."""
    for name, digest in (("one", "a" * 64), ("two", "b" * 64), ("three", "a" * 64), ("four", ""), ("five", "")):
        keep(store, name, of(row(), tested_digest=digest))
    lines = compare_runs("one", "two", "three", "four", "five", store=store).lines
    assert [list(line.cells) for line in lines] == [["one", "three"], ["two"], ["four"], ["five"]]
    assert lines[1].difference == "samples is '1000 digits (bbbbbbbb)' here, '1000 digits (aaaaaaaa)' in one"
    assert "'1000 digits (their content was not noted by four)' here" in lines[2].difference


def test_calibration_samples_keep_calibrated_variants_apart_and_no_others(store) -> None:
    int8 = row("openvino int8", spec=recorded.spec("openvino int8", calibration=Calibration.MINMAX))
    for name, digest in (("one", ""), ("two", "c" * 64), ("three", "d" * 64)):
        keep(store, name, of(row(), *([int8] if digest else []), calibrated_digest=digest))
    lines = compare_runs("one", "two", "three", store=store).lines
    assert [(line.variant, list(line.cells)) for line in lines] == [
        ("onnxruntime fp32", ["one", "two", "three"]), ("openvino int8", ["two"]), ("openvino int8", ["three"]),
    ]  # fmt: skip
    assert lines[2].difference == "calibration samples is 'dddddddd' here, 'cccccccc' in two"


def test_scores_of_another_output_or_function_say_so(store) -> None:
    of_output = {
        name: row(accuracy=replace(recorded.accuracy(), output=name, relative_diffs={"boxes": 0.0, "classes": 0.0}))
        for name in ("boxes", "classes")
    }
    for name, each in of_output.items():
        keep(store, name, of(each))
    cells = compare_runs("boxes", "classes", store=store).lines[0].cells
    assert [cell.score for cell in cells.values()] == ["top-1 96.0 % of 'boxes'", "top-1 96.0 % of 'classes'"]
    mine = of(row(accuracy=replace(recorded.accuracy(), metric="mine", share=False)))
    for name in ("mine 1a1a1a1a", "mine 2b2b2b2b"):
        remember(store, name, mine, Experiment(), scored_by=name)
    found = compare_runs("mine 1a1a1a1a", "mine 2b2b2b2b", "boxes", store=store)
    frame = found.frame()
    assert list(frame["metric"]) == ["mine 1a1a1a1a", "mine 2b2b2b2b", "top-1"]
    assert list(frame["output"]) == ["", "", "boxes"]
    assert frame["score"][0] == 0.96
    assert found.lines[0].cells["mine 1a1a1a1a"].score.startswith("mine 1a1a1a1a 0.96")


def test_one_run_of_all_takes_the_model_that_they_measured_and_no_function(store, tmp_path) -> None:
    path, copied = small_onnx(tmp_path / "net.onnx"), tmp_path / "copy.onnx"
    copied.write_bytes(Path(path).read_bytes())
    made = {"model": replace(recorded.model(), digest=digest_of(path))}
    keep(store, "one", of(row(), **made), model=path)
    two = Experiment(model=str(copied), backends="openvino", precisions="int8")
    remember(store, "two", of(row("openvino int8"), **made), two, scored_by="mine 1a1a1a1a")
    found = compare_runs("one", "two", store=store)
    assert found.experiment.model == path
    note = "two was scored by the function 'mine', which is not kept: another run scores by it only where it is given again"
    assert note in reported(found)
    Path(path).write_bytes(b"trained again")
    assert compare_runs("one", "two", store=store).experiment.model == str(copied)
    copied.unlink()
    found = compare_runs("one", "two", store=store)
    assert found.experiment is None
    assert f"the file at '{path}' is now another model ({digest_of(path)[:8]}) than what they measured" in found.why_not
    assert f"The model at '{copied}' cannot be read" in found.why_not
    assert note not in reported(found)
    shown = history.HistoryPage(store, lambda _: None, lambda *asked: said.append(asked[1]))
    said: list[str] = []
    shown.refresh()
    shown.choice.value = tuple(line for line in shown.choice.options if line.endswith("(two)"))
    shown.open_now()
    assert f"It {note.removeprefix('two ')}" in said[0]


def test_runs_of_elsewhere_are_read_and_not_measured_here(store) -> None:
    elsewhere = replace(HERE, cpu="Another CPU")
    keep(store, "one", replace(of(row()), machine=elsewhere))
    keep(store, "two", replace(of(row("openvino int8")), machine=elsewhere), backends="openvino", precisions="int8")
    found = compare_runs("one", "two", store=store)
    assert len(found.lines) == 2
    assert found.why_not.startswith("they were made on another machine (Another CPU")


def test_names_may_be_short_and_must_be_known(store) -> None:
    for name in ("20261126T100000Z-aa11", "20261126T110000Z-bb11"):
        keep(store, name, of(row()))
    known = runs(store)
    assert find("bb11", known) == "20261126T110000Z-bb11"
    assert find("latest", known) == known[0].name == "20261126T110000Z-bb11"
    with pytest.raises(InputError, match="There is no run in the store yet, and so no 'latest'"):
        find("latest", [])
    assert compare_runs("latest", "aa11", store=store).runs == (known[0], known[1])
    with pytest.raises(InputError, match=r"Several runs end in '11'\. Choose from the history; the newest runs are: "):
        find("11", known)
    with pytest.raises(InputError, match="There is no run that ends in 'zz'"):
        compare_runs("aa11", "zz", store=store)
    with pytest.raises(InputError, match="Comparing takes two runs or more; found 1"):
        compare_runs("aa11", "aa11", store=store)


def test_a_run_that_did_not_note_its_settings_is_named(store) -> None:
    keep(store, "one", of(row()))
    facts = json.loads((store.root / KIND / "one" / "manifest.json").read_text())["facts"]
    store.put(KIND, "two", {"rows": facts["rows"]})
    assert {each.name: each.rows for each in runs(store)} == {"one": 1, "two": 1}
    with pytest.raises(InputError, match="The run two did not note its machine and settings"):
        compare_runs("one", "two", store=store)


def test_what_comes_from_outside_is_escaped(store) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    named = replace(recorded.model(hostile), digest="f" * 64)
    keep(store, "one", of(row(), data=hostile))
    keep(store, "two", of(row(engine=recorded.engine(recorded.spec("onnxruntime fp32"), library_version=hostile))))
    keep(store, "three", of(row(), model=named))
    html = compare_runs("one", "two", "three", store=store).html()
    assert "&lt;img" in html
    assert "<img" not in html


def test_the_page_lists_runs_without_a_panel_compares_them_and_fills_the_form(store) -> None:
    keep(store, "20261126T100000Z-aaaaaa", of(row()))
    keep(store, "20261126T110000Z-bbbbbb", of(row("openvino int8")), backends="openvino", precisions="int8")
    filled: list[tuple[Experiment, str]] = []
    shown = history.HistoryPage(store, lambda _: None, lambda *asked: filled.append(asked))
    shown.refresh()
    newest, oldest = shown.choice.options
    assert " · digits-cnn · done · " in newest
    assert newest.endswith(" · openvino · int8 · batches 1 · without a panel (bbbbbb)")
    assert shown.open.disabled
    assert shown.compare.disabled
    shown.choice.value = (oldest,)
    assert (shown.open.disabled, shown.compare.disabled) == (False, True)
    shown.open_now()
    assert filled.pop()[0].backends == ("onnxruntime",)
    shown.choice.value = (newest, oldest)
    assert (shown.open.disabled, shown.compare.disabled) == (True, False)
    shown.compare_now()
    assert "No verdict" in shown.side.value
    assert shown.together.layout.display is None
    shown.together_now()
    asked, text = filled.pop()
    assert set(asked.backends) == {"onnxruntime", "openvino"}
    assert "Press Run to measure them in turn" in text
    shown.filter.value = "int8"
    assert shown.choice.options == (newest,)
    assert shown.choice.value == (newest,)


def test_the_filter_finds_runs_that_are_older_than_those_shown(store, monkeypatch) -> None:
    monkeypatch.setattr(history, "SHOWN", 2)
    for number, backend in enumerate(("openvino", "onnxruntime", "litert", "tensorflow")):
        keep(store, f"20261126T1{number}0000Z-aaaaa{number}", of(row(f"{backend} fp32")), backends=backend)
    shown = history.HistoryPage(store, lambda _: None, lambda *_: None)
    shown.refresh()
    assert [line[-8:] for line in shown.choice.options] == ["(aaaaa3)", "(aaaaa2)"]
    assert "These are the newest 2; the filter finds older ones too." in shown.said.value
    shown.filter.value = "OpenVINO"
    assert [line[-8:] for line in shown.choice.options] == ["(aaaaa0)"]
    assert "<" not in shown.said.value
    shown.filter.value = "nothing like it"
    assert shown.choice.options == ()
    assert "There is no such run in this store." in shown.said.value
