"""Which layers bear INT8, on a small network in which one layer cannot: found, left out, and confirmed on other samples."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from workbench.accuracy.budget import ABSOLUTE, Budget
from workbench.accuracy.guard import Guard, Judgement
from workbench.data.samples import Samples
from workbench.display.plots.canvas import sheet
from workbench.errors import ExportError, InputError
from workbench.export.divergence import onnx_values
from workbench.lessons import sensitivity as plots_sensitivity
from workbench.measure.interleave import Taken
from workbench.precision.mixed import Quantizer
from workbench.records import Calibration, Precision, TensorSpec, Verdict, from_json, to_json
from workbench.search.mixed_precision import repair, trial
from workbench.search.mixed_precision.answers import save_keep, table
from workbench.search.mixed_precision.records import Repair, Tried
from workbench.search.mixed_precision.repair import RepairSearch
from workbench.search.mixed_precision.sensitivity import (
    ALONE,
    LEFT_OUT,
    Sensitivity,
    StudySamples,
    scan,
    sensitivity,
    study_of,
)
from workbench.search.mixed_precision.trial import Speed, TrialSetup, race, sqnr_db
from workbench.settings.nodes import names_in
from workbench.timing.benchmark import BlockTimes

FLOAT = TensorProto.FLOAT
INPUTS = (TensorSpec("x", "float32", (None, 16)),)
OUTPUTS = (TensorSpec("y", "float32", (None, 4)),)


def fragile_network(path):
    """Three dense layers. The second writes one channel a thousand times as large as the others, which the third takes away
    again: eight bits for all of them leave nothing of the small ones.
    """
    rng = np.random.default_rng(0)
    scales = np.ones(64, np.float32)
    scales[0] = 1000
    weights = {
        "w1": rng.normal(0, 0.3, (16, 64)).astype(np.float32),
        "w2": (rng.normal(0, 0.2, (64, 64)) * scales).astype(np.float32),
        "w3": (rng.normal(0, 0.3, (64, 4)) / scales[:, None]).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "first_relu"),
        helper.make_node("MatMul", ["b", "w2"], ["c"], "fragile"),
        helper.make_node("MatMul", ["c", "w3"], ["y"], "last"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", FLOAT, ["batch", 4])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    source = fragile_network(folder / "fp32.onnx")
    rng = np.random.default_rng(1)
    parts = [Samples(f"part {n}", {"x": rng.normal(0, 1, (64, 16)).astype(np.float32)}) for n in range(3)]
    setup = TrialSetup("onnxruntime", INPUTS, OUTPUTS, folder, batch=16)
    return study_of(setup, source, StudySamples(*parts), Calibration.MINMAX)


@pytest.fixture(scope="module")
def found(study):
    return sensitivity(study, limit_s=60, ways=(ALONE, LEFT_OUT), say=lambda _: None)


def test_the_layer_that_cannot_bear_it_comes_first(found):
    assert found.metric == "agreement with FP32"
    assert found.fp32_quality == 1
    assert found.int8_quality < 0.9  # or there would be nothing to repair
    ranked = found.ranked()
    assert {each.what for each in ranked} == {"first", "fragile", "last"}
    assert ranked[-1].what == "first"  # what it writes has no outlier
    assert ranked[0].sqnr_db < 15 < ranked[-1].sqnr_db
    # sparing the worst helps more than sparing the best
    left_out = {each.what: each.sqnr_db for each in found.ranked(LEFT_OUT)}
    assert left_out["first"] < max(left_out["fragile"], left_out["last"])
    assert found.diverges_at in ("fragile", "last")
    assert [each.node for each in found.inner] == ["first", "fragile", "last"]
    assert found.inner[0].sqnr_db > found.inner[2].sqnr_db
    assert found.untried == ()
    assert from_json(Sensitivity, to_json(found)) == found
    frame = table(found)
    assert list(frame["SQNR dB"]) == sorted(frame["SQNR dB"])


def test_what_the_limit_leaves_out_is_reported(study):
    short = sensitivity(study, limit_s=0, say=lambda _: None)
    assert short.units == ()
    assert set(short.untried) == {"first", "fragile", "last"}
    assert {each.what for each in short.kinds} == {"MatMul"}


def test_a_unit_is_a_node_with_the_activation_that_melts_into_it(study):
    units = {unit.name: unit for unit in study.quantizer.units}
    assert units["first"].nodes == ("first", "first_relu")
    assert units["first"].output == "b"
    assert [unit.weight_elements for unit in units.values()] == [1024, 4096, 256]


def test_only_the_chosen_units_are_quantized(study, tmp_path):
    units = {unit.name: unit for unit in study.quantizer.units}
    for chosen in ([], ["first"], ["first", "last"]):
        path = study.quantizer.write(tmp_path / "m.onnx", [units[name] for name in chosen])
        graph = onnx.load(path).graph
        dequantized = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
        assert [n.name for n in graph.node if n.op_type == "MatMul" and set(n.input) <= dequantized] == chosen


def test_the_search_leaves_out_what_is_needed_and_no_more(study, found, monkeypatch):
    def clock(_bench, records, _feeds):
        """So small a network is no faster in INT8: on this clock every mixed model is, the later the more."""
        return [Speed(1 + n / 10, 1 + n / 20, 1 + n / 5, 0.01, Verdict.FASTER) for n in range(len(records))]

    monkeypatch.setattr(repair, "race", clock)
    repaired = RepairSearch(study, budget=Budget(0.05, ABSOLUTE), min_size=1.0, say=lambda _: None).run(found)
    assert repaired.fp32_quality == repaired.fp32_confirmed == 1
    assert not repaired.tried[0].within  # all in INT8 is out of the budget
    good = [each for each in repaired.tried if each.within and each.size_ratio >= 1]
    assert all(set(each.excluded) & {"fragile", "last"} for each in good)
    best = repaired.best
    assert best in good
    assert best.speed.ratio == max(each.speed.ratio for each in good if each.speed)
    assert best.confirmed >= 0.95
    assert set(repaired.keep) - {"first_relu"} == set(best.excluded)
    assert repaired.unseen == 64
    assert from_json(Repair, to_json(repaired)) == repaired
    # what it names is what it takes: the same model again, by the names alone
    units = [unit for unit in study.quantizer.units if not set(unit.nodes) & set(repaired.keep)]
    assert study.unseen.tried(units).quality == best.confirmed


def test_a_model_that_holds_on_seen_samples_alone_is_not_the_answer(study, found, monkeypatch):
    """The best of all tried models is reported, and their number."""
    speeds = [Speed(1.5, 1.4, 1.6, 0.01), Speed(1.4, 1.3, 1.5, 0.01), Speed(1.3, 1.2, 1.4, 0.01)]
    monkeypatch.setattr(repair, "race", lambda _b, records, _f: (speeds * 9)[: len(records)])
    lost = iter((0.75, 0.625, 0.875))

    def confirmed(search, each):
        loss = next(lost, 1.0)
        judged = Judgement(Guard.OVER, loss, loss, loss, 0.5, percent=True)
        search._keep(replace(each, confirmed=1 - loss, judged=judged))
        return replace(each, judged=judged)

    monkeypatch.setattr(RepairSearch, "_confirmed", confirmed)
    repaired = RepairSearch(study, budget=Budget(0.5, ABSOLUTE), min_size=1.0, say=lambda _: None).run(found)
    assert repaired.best is None
    assert repaired.why.endswith("unseen samples: the best of them lost 0.6250; the budget allows 0.5000.")
    assert re.match(r"Of \d+ mixed models within the budget and not slower, none stayed within it on 64", repaired.why)


def test_where_the_edge_does_not_hold_more_is_left_out(study, found, monkeypatch):
    """On unseen samples no model holds that leaves out fewer than two layers with weights."""
    monkeypatch.setattr(repair, "race", lambda _b, records, _f: [Speed(1.2, 1.1, 1.3, 0.01)] * len(records))

    def confirmed(search, each):
        few = len(set(each.excluded)) < 2
        loss = 0.5 if few else 0.0
        judged = Judgement(Guard.OVER if few else Guard.UNSURE, loss, loss, 0.5, 0.05, percent=True)
        search._keep(replace(each, confirmed=1 - loss, judged=judged))
        return replace(each, judged=judged)

    monkeypatch.setattr(RepairSearch, "_confirmed", confirmed)
    repaired = RepairSearch(study, budget=Budget(0.98, ABSOLUTE), min_size=1.01, say=lambda _: None).run(found)
    edge = [each for each in repaired.tried if each.judged and not each.holds]
    assert edge
    assert repaired.best is not None
    assert len(repaired.best.excluded) == 2
    assert not repaired.best.shown


def test_one_that_a_later_race_shows_to_be_slower_is_not_an_answer(study):
    search = RepairSearch(study, budget=Budget(0.98, ABSOLUTE), say=lambda _: None)
    held = Judgement(Guard.WITHIN, 0.0, 0.0, 0.0, 0.98, percent=True)
    one = Tried(
        "one", (), 1.0, within=True, size_ratio=2.0, speed=Speed(0.9, 0.8, 1.1, 0.01), confirmed=1.0, judged=held
    )
    search._keep(one)
    assert search._winner() == one
    search._keep(replace(one, speed=Speed(0.9, 0.8, 0.95, 0.01, Verdict.SLOWER)))
    assert search._winner() is None


def test_what_is_left_out_first_harms_most_for_the_size_of_its_weights(study):
    """0.9 of harm with 4096 weights is less for its size than 0.5 with 256."""
    search = RepairSearch(study, budget=Budget(0.05, ABSOLUTE), say=lambda _: None)
    damage = {"first": 0.0, "fragile": 0.9, "last": 0.5}
    orders = [[unit.name for unit in start.order] for start in search._starts(damage)]
    assert orders[0] == ["fragile", "last", "first"]
    assert orders[-1] == ["last", "fragile", "first"]
    sizes = {unit.name: unit for unit in search._quantizer.units}
    assert search._small_enough([sizes["fragile"]])
    assert not search._small_enough([sizes["last"]])


def test_nothing_that_is_slower_than_fp32_is_found(study, found, monkeypatch):
    slower = Speed(0.8, 0.7, 0.9, 0.01, Verdict.SLOWER)
    monkeypatch.setattr(repair, "race", lambda _bench, records, _feeds: [slower] * len(records))
    repaired = RepairSearch(study, budget=Budget(0.05, ABSOLUTE), min_size=1.0, say=lambda _: None).run(found)
    assert repaired.best is None
    assert re.match(
        r"None of \d+ mixed models that were tried is within the budget, small enough and not slower than FP32 here; fa",
        repaired.why,
    )


def test_the_nodes_of_a_repair_are_those_of_its_units_activations_too(study):
    search = RepairSearch(study, budget=Budget(0.05, ABSOLUTE), say=lambda _: None)
    assert search._nodes(Tried("", ("first",), 1.0, True, 2.0)) == ("first", "first_relu")


def outcome(found: Tried | None) -> Repair:
    nodes = ("a/Conv", "a/Relu") if found else ()
    tried = (found,) if found else ()
    return Repair("onnxruntime", "accuracy", "0.5 points", 9, 9, 0.97, 0.96, found, "nothing fits", tried, 1.0, nodes)


def test_without_an_answer_the_search_says_what_came_nearest(study, found):
    impossible = RepairSearch(study, budget=Budget(0.05, ABSOLUTE), min_size=100.0, say=lambda _: None).run(found)
    assert impossible.best is None
    assert impossible.keep == ()
    assert "mixed models that were tried is within the budget and 100.0 times smaller; nearest: " in impossible.why
    strict = RepairSearch(study, budget=Budget(-1.0, ABSOLUTE), say=lambda _: None).run(found)
    assert "mixed models that were tried is within the budget of -1; nearest: " in strict.why


def test_a_list_of_nodes_is_read_by_people_and_by_the_workbench(tmp_path):
    best = Tried(
        "everything, without 1", ("a/Conv",), 0.968, True, 2.5, Speed(1.5, 1.4, 1.6, 0.01, Verdict.FASTER), 0.957
    )
    save_keep(outcome(best), tmp_path / "keep.json")
    assert names_in(tmp_path / "keep.json") == ("a/Conv", "a/Relu")
    text = (tmp_path / "keep.json").read_text(encoding="utf-8")
    assert "quality 0.9680, 2.50 times smaller, ×1.50 [1.40, 1.60] faster, 0.9570 on unseen samples" in text
    (tmp_path / "names.txt").write_text("# first block\na/Conv\n\nb/Conv\n", encoding="utf-8")
    assert names_in(tmp_path / "names.txt") == ("a/Conv", "b/Conv")
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"other.json' is not a list of nodes: its JSON has no 'keep'"):
        names_in(tmp_path / "other.json")
    with pytest.raises(InputError, match="could not be read"):
        names_in(tmp_path / "nothing.json")


def test_a_quantized_model_is_refused(study, tmp_path):
    path = study.quantizer.write(tmp_path / "q.onnx", study.quantizer.units)
    samples = study.seen.samples
    with pytest.raises(InputError, match="is quantized already"):
        Quantizer(path, samples, Calibration.MINMAX, tmp_path, lambda _: None)


def test_signal_to_noise():
    wanted = {"y": np.array([3.0, 4.0], np.float32), "n": np.array([1, 2])}
    assert sqnr_db({"y": wanted["y"] * np.float32(1.1), "n": np.array([5, 6])}, wanted) == pytest.approx(20, abs=1e-4)
    assert sqnr_db(wanted, wanted) == float("inf")
    assert sqnr_db({"y": np.array([np.nan, 4], np.float32)}, {"y": wanted["y"]}) == -float("inf")


def test_ranges_over_real_samples(tmp_path):
    nodes = [helper.make_node("Exp", ["x"], ["e"], "exp"), helper.make_node("Log", ["x"], ["y"], "log")]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", FLOAT, ["b", 4000])], [value("y", FLOAT, ["b", 4000])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    x = np.ones((2, 4000), np.float32)
    x[0, 0], x[1, 1], x[1, 2] = 12, -1, 0
    exp, log = scan(tmp_path / "m.onnx", Samples("s", {"x": x}))
    assert exp.high == pytest.approx(np.exp(12), rel=1e-5)
    assert exp.beyond_fp16 == 1
    assert exp.stretch == pytest.approx(np.exp(12) / np.exp(1), rel=1e-3)
    assert "1 values are beyond FP16's largest, 65504; outliers stretch its range" in exp.doubts
    assert log.not_finite == 2
    assert log.doubts == "2 values are NaN or infinite"


def test_engines_in_turns(study):
    feeds = study.seen.samples.feeds(0, 16)
    first, second = race(study.setup, [study.fp32, study.fp32], feeds, launches=4, rounds=6, block_s=0.002)
    assert first == Speed(1.0, 1.0, 1.0, first.median_s, Verdict.BASELINE)
    assert 0 < second.median_s < 1
    # one engine is not known to be faster than itself, unless by less than a neighbour on the machine may cost it
    assert second.low is None or second.low <= second.ratio <= second.high
    assert str(Speed(1.5, 1.4, 1.6, 0.1, Verdict.FASTER)) == "×1.50 [1.40, 1.60] faster"
    assert str(Speed(1.5, None, None, 0.1)) == "×1.50 cannot tell"


def test_a_race_gives_the_verdict_that_the_report_gives_of_the_same_times(study, monkeypatch):
    """Half a percent is no verdict, and a single launch is widened by 25 %, in a repair as in a report."""

    def launch(times):
        def blocks(_bench, records, _feeds, rounds, _block_s):
            for number in range(rounds.first, rounds.first + rounds.count):
                for variant in range(len(records)):
                    ms = 1.0 / times(rounds.launch) if variant else 1.0
                    ns = [int(ms * 1e6)] * 5
                    value = BlockTimes(ns, 5e-3 * ms, 5e-3 * ms, quiet=True, after=None, around=None)
                    yield Taken(variant, value, True, number, variant, rounds.launch, 0.0)

        return blocks

    cases = [
        (4, lambda launch: 1.003 + 1e-4 * launch, Verdict.CANNOT_TELL),
        (4, lambda launch: 1.05 + 1e-3 * launch, Verdict.FASTER),
        (4, lambda launch: 0.9 + 1e-3 * launch, Verdict.SLOWER),
        (1, lambda _: 1.2, Verdict.CANNOT_TELL),
        (1, lambda _: 1.3, Verdict.FASTER),
    ]
    for launches, times, word in cases:
        monkeypatch.setattr(trial, "_launch", launch(times))
        _, second = race(study.setup, [study.fp32, study.fp32], {}, launches=launches, rounds=6)
        assert second.word == word
        assert second.low < second.ratio < second.high


def test_outputs_are_by_sample_whatever_the_batch(study):
    samples = study.seen.samples.take(slice(0, 20))  # not a multiple of 16
    outputs = study.setup.run(study.fp32, samples)
    np.testing.assert_allclose(outputs["y"], study.seen.reference["y"][:20], rtol=1e-5)


def test_the_record_says_what_the_engine_became(study):
    path = study.quantizer.write(study.setup.folder / "check.onnx", study.quantizer.units)
    record = study.setup.built(path, Precision.INT8, "check")
    assert record.realized.layers == {"int8": 3}
    assert record.size_bytes == path.stat().st_size


def test_damage_over_the_depth_of_the_graph(found):
    data = plots_sensitivity.sensitivity_data(found)
    assert [point.name for point in data.points] == ["first", "fragile", "last"]
    assert data.points[0].depth == 0
    assert data.inner[-1][0] == 1
    ax = sheet(3, "alt").subplots()
    plots_sensitivity.draw_sensitivity(data, ax)
    assert "dB" in ax.get_ylabel()
    assert any("fragile" in text.get_text() for text in ax.texts)


def test_a_bias_that_the_library_stumbles_over_is_quantized_all_the_same(tmp_path):
    """A Gemm whose bias has two axes, as it comes out of a MatMul and an Add: the library takes it for a list of rows."""
    rng = np.random.default_rng(2)
    arrays = {"w": rng.normal(0, 0.3, (16, 4)).astype(np.float32), "b": rng.normal(0, 1, (1, 4)).astype(np.float32)}
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], "dense")],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", FLOAT, ["batch", 4])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    source = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), source)
    samples = Samples("s", {"x": rng.normal(0, 1, (32, 16)).astype(np.float32)})
    quantizer = Quantizer(source, samples, Calibration.MINMAX, tmp_path, lambda _: None)
    path = quantizer.write(tmp_path / "q.onnx", quantizer.units)
    # as it stands, not only after an optimization has folded the bias
    ours, _ = onnx_values(path)
    theirs, _ = onnx_values(source)
    feeds = samples.feeds(0, 8)
    assert sqnr_db(ours(["y"], feeds), theirs(["y"], feeds)) > 25


def test_kinds_that_the_quantizer_fails_on_are_left_out_and_reported(study, monkeypatch):
    quantizer = study.quantizer
    real = Quantizer.write

    def write(self, into, units):
        units = list(units)
        if any(unit.op == "Relu" for unit in units):
            raise ExportError("no")
        return real(self, into, units)

    monkeypatch.setattr(Quantizer, "write", write)
    relu = replace(quantizer.units[0], name="first_relu", op="Relu", nodes=("first_relu",), weighted=False)
    kept, refused = quantizer._taken((*quantizer.units, relu), lambda _: None)
    assert kept == quantizer.units
    assert refused == ("Relu",)
