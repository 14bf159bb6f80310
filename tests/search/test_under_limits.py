"""The search: its model of speed, what it measures next, and the whole command on a small model."""

import itertools
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import metered_backend
import numpy as np
import pytest
import sleeping_backend
from small_model import small_onnx

import workbench
from workbench.cli import main
from workbench.cli.search import _text
from workbench.display.searched import doubt, faster
from workbench.errors import InputError
from workbench.records import EngineSpec, Precision
from workbench.search.under_limits.document import document
from workbench.search.under_limits.guide import Guide
from workbench.search.under_limits.loop import PointSearch, budget_of
from workbench.search.under_limits.measuring import Measurer, _score, beside_others, space
from workbench.search.under_limits.wanted import LATENCY, MeasuredPoint, Point, Wanted
from workbench.settings.experiment import Experiment
from workbench.system import energy
from workbench.system.stop import Stop

BATCHES = (1, 2, 4, 8, 16, 32)
SMALL = {
    "backends": "onnxruntime",
    "batches": "1,2",
    "optimization_level": "-1,0",
    "data": "random",
    "measure_s": 0.12,
    "max_measure_s": 0.12,
}


def grid():
    """A space of 288 points, and by point the logarithm of a call's time: effects of coordinates and of their pairs."""
    precisions = (Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8)
    points = [
        Point(EngineSpec(backend, precision, threads=threads, optimization_level=level), batch)
        for backend, precision, threads, level, batch in itertools.product("ab", precisions, (1, 2, 4), (0, 1), BATCHES)
    ]
    draw = np.random.default_rng(0)
    effects = {}
    logs = []
    for point in points:
        terms = [*enumerate(point.features)]
        total = 0.9 * math.log(point.batch)
        for term in (*terms, *itertools.combinations(terms, 2)):
            effects.setdefault(term, draw.normal(0, 0.25 if isinstance(term[0], int) else 0.08))
            total += effects[term]
        logs.append(total)
    return points, np.array(logs)


def searched(points, logs, wanted, budget, seed=0, **more):
    noise = np.random.default_rng(seed)
    measure = lambda place, _: MeasuredPoint(float(np.exp(logs[place] + noise.normal(0, 0.01))))  # noqa: E731
    search = PointSearch(points, wanted, measure, seed=seed, **more)
    list(search.run(budget))
    return search


def test_a_tenth_of_the_points_is_enough_where_effects_multiply():
    points, logs = grid()
    wanted = Wanted(latency_s=float(np.exp(np.quantile(logs, 0.6))))
    values = np.array([wanted.value(math.exp(log), point.batch) for log, point in zip(logs, points, strict=True)])
    best = values[np.exp(logs) <= wanted.latency_s].max()
    reached = []
    for seed in range(5):
        search = searched(points, logs, wanted, budget_of(len(points), 0.1), seed)
        assert len({step.place for step in search.steps}) == len(search.steps) == 29  # none twice
        reached.append(max(values[step.place] for step in search.ranked()[:5]) / best)
    assert np.median(reached) > 0.97
    drawn = [values[np.random.default_rng(seed).choice(len(points), 29)].max() / best for seed in range(5)]
    assert np.median(drawn) < np.median(reached) or np.median(reached) == 1


def test_all_points_leave_nothing_to_miss_and_few_leave_much():
    points, logs = grid()
    assert searched(points[:40], logs[:40], Wanted(), 40).missed() == 0.0
    assert 0 <= searched(points, logs, Wanted(), 20).missed() <= 1
    assert searched(points, logs, Wanted(), 3).missed() is None


def test_limits_and_refused_pairs_are_kept():
    points, logs = grid()
    refused = {("a", "int8"): "over budget"}
    search = searched(
        points, logs, Wanted(LATENCY, latency_s=float(np.exp(np.quantile(logs, 0.3)))), 40, refused=refused.keys
    )
    first = {}
    for step in search.steps:
        first.setdefault(points[step.place].pair, step)
    assert all(step is first[points[step.place].pair] for step in search.steps if points[step.place].pair in refused)
    assert all(
        points[step.place].pair not in refused and step.measured.call_s <= search.wanted.latency_s
        for step in search.ranked()
    )
    assert search.ranked()[0].measured.call_s == min(step.measured.call_s for step in search.ranked())
    front = search.front()
    times = [step.measured.call_s for step in front]
    rates = [points[step.place].batch / step.measured.call_s for step in front]
    assert times == sorted(times)
    assert rates == sorted(rates)


def test_predictions_follow_what_was_measured():
    points, logs = grid()
    guide = Guide([point.features for point in points], [point.batch for point in points], 0)
    mixed = np.random.default_rng(0).permutation(len(points))
    known, others = mixed[::2], mixed[1::2]
    predicted, _ = guide.predict({int(place): logs[place] for place in known})
    assert np.corrcoef(predicted[others], logs[others])[0, 1] > 0.95


def test_a_batch_size_that_was_not_measured_is_predicted_in_proportion():
    batches = (1, 2, 4, 64)
    guide = Guide([("a", str(batch)) for batch in batches], batches, 0)
    mean, spread = guide.predict({place: math.log(1e-3 * batch) for place, batch in enumerate(batches[:3])})
    assert math.exp(mean[3]) == pytest.approx(64e-3, rel=0.01)
    assert spread[3] > max(spread[:3])


def test_samples_of_the_posterior_have_its_mean_and_spread():
    points, logs = grid()
    guide = Guide([point.features for point in points], [point.batch for point in points], 0)
    measured = {int(place): logs[place] for place in np.random.default_rng(0).permutation(len(points))[:30]}
    mean, spread = guide.predict(measured)
    sampled = guide.sample(measured, 4000)
    assert sampled.mean(axis=0) == pytest.approx(mean, abs=0.05)
    assert sampled.std(axis=0) == pytest.approx(np.hypot(spread, guide._fitted(measured).noise), rel=0.12)


def points_of(*pairs):
    return [Point(EngineSpec(backend, Precision(precision)), batch) for backend, precision in pairs for batch in (1, 2)]


def test_pairs_that_are_not_shown_to_be_within_the_budget_are_taken_only_where_no_other_remains(store):
    points = points_of(("a", "fp32"), ("a", "int8"), ("b", "int8"))
    measurer = Measurer(Experiment(), points, store, lambda _: None, Stop(), calibrating=False)
    measurer.refused["b", "int8"] = "over budget"
    measurer.unsure["a", "int8"] = "too few samples"
    assert measurer.not_taken() == {("a", "int8"), ("b", "int8")}
    measurer.unsure["a", "fp32"] = "too few samples"
    assert measurer.not_taken() == {("b", "int8")}


@pytest.mark.parametrize(
    ("value", "share", "said"),
    [
        (0.974, True, "top-1 97.4 % of 800 samples"),
        (-0.25, False, "top-1 -0.25 of 800 samples"),
        (None, True, "99.5% agree of 800 samples"),
        (None, False, "99.5% agree of 800 samples"),
    ],
)
def test_a_score_in_words(value, share, said):
    score = SimpleNamespace(metric="top-1", value=value, share=share, agreement=0.995, samples=800)
    assert _score(score) == said


def test_the_best_is_compared_with_fp32_on_all_backends():
    best, other, _ = points_of(("b", "int8"), ("a", "bf16"))[1:4]
    found = beside_others(Experiment(measure_s=0.1, max_measure_s=0.1), [best, other], ["a", "b", "c"])
    assert found.backends == ("b", "a", "c")
    assert found.precisions == ("fp32", "int8", "bf16")
    assert (found.batches, found.measure_s) == ((2,), Experiment().measure_s)
    long = beside_others(Experiment(measure_s=26.0, max_measure_s=26.0), [best, other], ["a", "b", "c"])
    assert (long.measure_s, long.max_measure_s) == (26.0, 26.0)  # as the counter of a board's energy needs


def test_what_was_asked_for_and_has_no_point_is_listed(tmp_path, store):
    from workbench.search.under_limits.measuring import model_of

    asked = Experiment(
        model=small_onnx(tmp_path / "small.onnx"), backends="onnxruntime", precisions="fp32,fp8", data="random"
    )
    points, left_out = space(asked.resolved(), model_of(asked.resolved(), store, lambda _: None), (1,), (1,))
    assert {point.pair for point in points} == {("onnxruntime", "fp32")}
    assert list(left_out) == ["onnxruntime fp8"]


@pytest.mark.parametrize(
    ("objective", "said"),
    [("throughput", "a int8 @2, 4.000 ms; a int8 @1, 3.000 ms"), ("latency", "a int8 @1, 3.000 ms")],
)
def test_faster_points_that_are_not_shown_to_be_within_the_budget_are_named(objective, said):
    def step(point, precision, call_ms, batch):
        known = {
            "holds": batch < 4,
            "call_s": call_ms * 1e-3,
            "low_s": None,
            "high_s": None,
            "samples_per_s": batch / call_ms * 1e3,
        }
        return {"point": point, "backend": "a", "precision": precision, **known}

    found = {
        "objective": objective,
        "best": "a fp32 @1",
        "shown_within_budget": "a fp32 @1",
        "unsure": [{"backend": "a", "precision": "int8", "why": "too few samples"}],
        "steps": [
            step("a fp32 @1", "fp32", 3.5, 1),
            step("a int8 @1", "int8", 3.0, 1),
            step("a int8 @2", "int8", 4.0, 2),
            step("a int8 @4", "int8", 0.1, 4),
        ],
    }
    assert faster(found) == f"Faster in a single measurement, but not shown to be within the accuracy budget: {said}."
    assert faster({**found, "shown_within_budget": None}) == ""


@pytest.mark.long
def test_a_search_answers_and_goes_on_from_the_store(tmp_path, store, capsys):
    words = [
        word
        for name, value in SMALL.items()
        if name != "max_measure_s"
        for word in (f"--{name.replace('_', '-')}", value)
    ]
    command = [
        "search",
        "--model",
        small_onnx(tmp_path / "small.onnx"),
        "--precisions",
        "fp32",
        *map(str, words),
        "--share",
        "1",
    ]
    assert main([*command, "--store", str(store.root), "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert re.findall(r"(\d) of 4 points: onnxruntime fp32", err) == ["1", "2", "3", "4"]
    assert "done: built" not in err  # each point is a run, which is not reported
    assert found["points"] == len(found["steps"]) == 4
    assert found["best"] in {step["point"] for step in found["steps"]}
    assert len(found["finalists"]) == 4
    assert (found["parameters"]["backends"], found["report"]) == ("onnxruntime", None)
    assert not any(step["reused"] for step in found["steps"])
    page = tmp_path / "best.html"
    assert main([*command, "--store", str(store.root), "--output", str(page)]) == 0
    said = capsys.readouterr().out
    assert f"report: {page}" in said
    assert re.search(r"Batch \d: .*onnxruntime fp32", said)
    assert "onnxruntime fp32" in page.read_text(encoding="utf-8")
    again = workbench.find_best(
        Experiment(model=str(tmp_path / "small.onnx"), precisions="fp32", **SMALL),
        share=1,
        store=store,
        latency_limit_s=1e-9,
    )
    assert all(step.measured.reused for step in again.steps)
    assert (again.best, again.note) == (None, "there are not two points that hold the limits")


def test_a_cancelled_search_keeps_what_it_has(tmp_path, store):
    stop = Stop()
    seen = []

    def after_two(event):
        seen.extend([event] * (event.progress is not None and event.progress.phase == "search"))
        if len(seen) == 2:
            stop.set()

    asked = Experiment(model=small_onnx(tmp_path / "small.onnx"), precisions="fp32", **SMALL)
    found = workbench.find_best(asked, share=1, store=store, on_event=after_two, cancel=stop)
    assert (len(found.steps), found.cancelled) == (2, True)
    assert found.best is not None


@pytest.mark.parametrize(
    "given",
    [{"objective": "beauty"}, {"share": 0.0}, {"latency_limit_s": -1.0}, {"threads": (0,)}],
)
def test_values_that_are_not_valid_are_refused(given, store):
    with pytest.raises(InputError):
        workbench.find_best(Experiment(), store=store, **given)


@pytest.mark.long
def test_all_points_are_scored_on_the_same_samples_and_a_loss_that_is_not_excluded_is_told(tmp_path, store):
    """An FP32 point alone needs no calibration; a search that also has INT8 sets its samples aside for both."""
    draw = np.random.default_rng(3)
    x = draw.normal(size=(90, 4)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=x[:, :3].argmax(axis=1))
    asked = SMALL | {"data": str(tmp_path / "d.npz"), "precisions": "fp32,int8", "calibration_samples": 30}
    asked |= {"optimization_level": "-1", "batches": "1"}
    found = document(
        workbench.find_best(Experiment(model=small_onnx(tmp_path / "small.onnx"), **asked), share=1, store=store)
    )
    scores = {each["precision"]: each["score"] for each in found["accuracy"]}
    assert set(scores) == {"fp32", "int8"}
    assert all("of 60 samples" in text for text in scores.values())
    assert scores["fp32"].endswith("within 0.5 points")
    (unsure,) = found["unsure"]
    assert unsure["precision"] == "int8"
    assert found["shown_within_budget"].startswith("onnxruntime fp32")
    text = doubt({**found, "best": next(name for name in _names(found) if "int8" in name)})
    assert text.startswith("onnxruntime int8 is not shown to be within the accuracy budget: changed ")
    assert f"The best that is: {found['shown_within_budget']}, " in text
    assert doubt({**found, "best": found["shown_within_budget"]}) == ""


def _names(found):
    return [step["point"] for step in found["steps"]]


def test_the_least_energy_is_found_within_the_latency_limit():
    """Energies are unlike times here: a random power for each backend and precision."""
    points, logs = grid()
    powers = {pair: power for power, pair in enumerate(dict.fromkeys(point.pair for point in points), 5)}
    joules = [math.exp(log) * powers[point.pair] for log, point in zip(logs, points, strict=True)]
    wanted = Wanted("energy", latency_s=float(np.exp(np.quantile(logs, 0.6))))
    measure = lambda place, _: MeasuredPoint(math.exp(logs[place]), joules=joules[place])  # noqa: E731
    held = [place for place, log in enumerate(logs) if math.exp(log) <= wanted.latency_s]
    least = min(joules[place] / points[place].batch for place in held)
    reached = []
    for seed in range(5):
        search = PointSearch(points, wanted, measure, seed=seed)
        list(search.run(29))
        best = search.ranked()[0]
        assert best.measured.call_s <= wanted.latency_s
        reached.append(least / (best.measured.joules / points[best.place].batch))
        assert 0 <= search.missed() <= 1
    assert np.median(reached) > 0.97
    assert " mJ a sample: its expected gain" in search.steps[-1].why
    assert PointSearch(points, wanted, lambda *_: MeasuredPoint(1e-9), seed=0).ranked() == []


def test_energies_of_unlike_counters_are_not_compared(store):
    measurer = Measurer(
        Experiment(), points_of(("a", "fp32"), ("b", "fp32")), store, lambda _: None, Stop(), False, True
    )
    measurer._check_counters(measurer.points[0], {"RAPL package-0": 1.0}, None)
    with pytest.raises(InputError, match="counted by NVML, the whole board, that of other points by RAPL package-0"):
        measurer._check_counters(measurer.points[2], {"NVML, the whole board": 1.0}, None)


def test_where_no_energy_is_counted_the_reason_is_given(tmp_path, store):
    asked = Experiment(model=small_onnx(tmp_path / "small.onnx"), precisions="fp32", **SMALL)
    if energy.rapl()[0]:
        pytest.skip("this machine counts energy")
    with pytest.raises(InputError, match="Least energy cannot be searched for here"):
        workbench.find_best(asked, objective="energy", share=1, store=store)


@pytest.mark.long
def test_a_search_for_the_least_energy_answers_with_a_verdict_on_energy(tmp_path):
    """Levels 0, 1 and 2 take the same time and draw 20, 10 and 40 W."""
    path = sleeping_backend.install(tmp_path / "path", Path(metered_backend.__file__))
    command = [
        sys.executable,
        "-m",
        "workbench",
        "search",
        "--model",
        small_onnx(tmp_path / "small.onnx"),
        "--data",
        "random",
    ]
    command += [
        "--backends",
        "metered",
        "--precisions",
        "fp32",
        "--batches",
        "1",
        "--optimization-level",
        "0,1,2",
        "--share",
        "1",
    ]
    command += ["--objective", "energy", "--store", str(tmp_path / "store")]
    surroundings = os.environ | {"PYTHONPATH": str(path)}
    ended = subprocess.run(
        [*map(str, command), "--json"], env=surroundings, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["best"] == "metered fp32 level 1 @1, 1 thread"
    energies = {step["point"]: step["joules"] for step in found["steps"]}
    assert energies[found["best"]] == pytest.approx(10 * 0.004, rel=0.2)
    first, *others = found["finalists"]
    assert first["verdict"] is None
    assert {each["verdict"] for each in others} == {"slower"}
    assert [each["speedup"] for each in others] == [pytest.approx(1 / 2, rel=0.1), pytest.approx(1 / 4, rel=0.1)]
    text = _text(found)
    assert "the Pareto front of latency and energy:" in text
    assert "of the best single measurement, in turn with it: more energy" in text
    assert re.search(r"level 1 @1, 1 thread: .*, 4\d\.?\d* mJ a sample", text)
