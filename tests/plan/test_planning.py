"""A plan is a value: it is made from facts alone, its keys say what they depend on, and it survives JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import recorded

from workbench.plan.groups import resolved
from workbench.plan.planning import plan, subject_of
from workbench.plan.scoring import Scoring
from workbench.plan.step import Kind, Plan
from workbench.plan.subject import Platform, SampleFacts
from workbench.records import Status, from_json, to_json
from workbench.settings.experiment import Experiment

KNOWN = SampleFacts(real=True, calibrates=True, test="t", check="c", scored="s", calibration="all", ranges="r", count=8)
PLATFORM = replace(Platform.here(), machine=recorded.MACHINE)
ONNX = replace(recorded.model(), path="/models/net.onnx", name="net", format="onnx")


def ask(**changes: Any) -> Experiment:
    asked = {"backends": "onnxruntime,openvino", "precisions": "fp32,int8-minmax", "batches": "1,4"} | changes
    return Experiment(model=ONNX.path, data="x.npz", calibration_samples=8, **asked)


def keys(found: Plan, *kinds: Kind) -> dict[str, str]:
    return {step.what: step.key for step in found.of(*kinds)}


def test_every_step_follows_what_it_needs_and_is_there_once() -> None:
    found = plan(ask(layers=True, roofline=True, concurrency="1,2"), ONNX, KNOWN, platform=PLATFORM)
    seen: set[str] = set()
    for step in found.steps:
        assert set(step.needs) <= seen, step.what
        assert step.id not in seen
        seen.add(step.id)
        assert bool(step.key) != bool(step.unknown), step.what  # either a key, or why there is none
    kinds = [step.kind for step in found.steps]
    assert [kinds.count(kind) for kind in (Kind.EXPORT, Kind.REWRITE, Kind.BUILD, Kind.SCORE)] == [1, 1, 4, 4]
    assert [kinds.count(kind) for kind in (Kind.MEASURE, Kind.LOAD, Kind.PEAKS, Kind.LAYERS)] == [8, 8, 1, 8]
    assert kinds.count(Kind.EVALUATE) == 4  # the engine that stands for the source is a variant
    build = found.engines[next(row.spec for row in found.rows if row.spec.label == "onnxruntime int8-minmax")]
    assert [found.by_id[each].kind for each in build.needs] == [Kind.REWRITE]


def test_a_plan_survives_json() -> None:
    found = plan(ask(shapes="fixed", quantize="Gemm"), ONNX, KNOWN, platform=PLATFORM)
    assert from_json(Plan, json.loads(json.dumps(to_json(found)))) == found
    assert {step.id for step in from_json(Plan, to_json(found)).steps} == {step.id for step in found.steps}


def test_a_key_that_depends_on_samples_is_open_until_they_are_known() -> None:
    unread = replace(KNOWN, test="", check="", scored="", calibration="", ranges="")
    found = plan(ask(), ONNX, unread, platform=PLATFORM)
    builds = keys(found, Kind.BUILD)
    assert [what for what, key in builds.items() if not key] == ["onnxruntime int8-minmax", "openvino int8-minmax"]
    assert {step.unknown for step in found.of(Kind.REWRITE)} == {"the calibration samples have not been read"}
    assert set(keys(found, Kind.SCORE).values()) == {""}
    whole = plan(ask(), ONNX, KNOWN, platform=PLATFORM)
    assert builds["openvino fp32"] == keys(whole, Kind.BUILD)["openvino fp32"]
    assert all(keys(whole, Kind.BUILD, Kind.SCORE, Kind.EVALUATE).values())
    assert [step.id for step in whole.steps] == [step.id for step in found.steps]  # a step is the same without its key


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"onnxruntime": "0.1"}, ["openvino fp32"]),  # it rewrites to INT8 for OpenVINO too
        ({"openvino": "0.1"}, ["onnxruntime fp32", "onnxruntime int8-minmax"]),
        ({"tf2onnx": "0.1"}, []),
    ],
)
def test_the_versions_that_a_key_depends_on(change: dict[str, str], kept: list[str]) -> None:
    other = replace(PLATFORM, versions={**PLATFORM.versions, **change})
    found = [keys(plan(ask(), ONNX, KNOWN, platform=each), Kind.BUILD) for each in (PLATFORM, other)]
    assert [what for what in found[0] if found[0][what] == found[1][what]] == kept


def test_measurements_have_keys_once_it_is_known_which_engines_run() -> None:
    asked = ask(precisions="fp32", concurrency="2", batches=1)
    found, subject = plan(asked, ONNX, KNOWN, platform=PLATFORM), subject_of(asked, ONNX, KNOWN, PLATFORM)
    assert {step.unknown for step in found.of(Kind.MEASURE)} == {"which engines run here is known when they are built"}
    both = keys(resolved(found, asked, subject, {}), Kind.MEASURE, Kind.LOAD)
    assert len(both) == 2
    assert all(both.values())
    away = {
        step.id: recorded.engine(step.spec, runnable=False) for step in found.of(Kind.BUILD) if "openvino" in step.what
    }
    one = resolved(found, asked, subject, away)
    assert [step.what for step in one.of(Kind.MEASURE, Kind.LOAD)] == ["onnxruntime fp32 @1"] * 2
    assert not set(keys(one, Kind.MEASURE).values()) & set(
        keys(resolved(found, asked, subject, {}), Kind.MEASURE).values()
    )
    unread = subject_of(asked, ONNX, replace(KNOWN, test=""), PLATFORM)
    assert resolved(found, asked, unread, {}) == found


def test_a_variant_that_needs_samples_that_are_not_there_is_not_possible_and_has_no_steps() -> None:
    found = plan(ask(), ONNX, SampleFacts(real=False, calibrates=False, test="t"), platform=PLATFORM)
    states = {row.row: row.status for row in found.rows}
    assert {row for row, state in states.items() if state == Status.UNSUPPORTED} == {
        row for row in states if "int8" in row
    }
    assert set(keys(found, Kind.BUILD)) == {"onnxruntime fp32", "openvino fp32"}
    assert not found.of(Kind.REWRITE)


def test_a_metric_that_is_a_function_has_scores_of_its_own_each_time() -> None:
    def metric(outputs: Any, labels: Any) -> Any: ...

    found = [
        keys(plan(ask(), ONNX, KNOWN, platform=PLATFORM, scoring=Scoring.of(ask(), metric)), Kind.SCORE) for _ in "ab"
    ]
    assert not set(found[0].values()) & set(found[1].values())


PURE = """
import sys
def hook(event, args):
    if event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.mkdir", "os.rename", "os.remove", "socket.connect"):
        raise SystemExit(f"{event} {args}")
    if event == "open" and args[2] & 0o103:  # written to, or made
        raise SystemExit(f"written: {args}")
sys.path.insert(0, sys.argv[1])
from test_planning import KNOWN, ONNX, ask, plan
sys.addaudithook(hook)
found = plan(ask(backends="onnxruntime,openvino,litert,tensorrt,tftrt,tensorflow"), ONNX, KNOWN)
print(len(found.steps))
open(sys.argv[2], "w")
"""


def test_planning_writes_no_file_and_starts_no_process(tmp_path: Path) -> None:
    tests = Path(__file__).parent
    command = [sys.executable, "-c", PURE, str(tests), str(tmp_path / "proof")]
    env = os.environ | {"PYTHONPATH": str(tests.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert int(done.stdout) > 20
    assert "written: " in done.stderr  # the hook sees what is written on purpose
    assert not (tmp_path / "proof").exists()
