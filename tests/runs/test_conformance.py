"""The run of the cases: resumed after a kill, one process for many cases, and a crash costs one."""

from __future__ import annotations

import json
import threading

import pytest

from workbench.conformance.outcomes import CaseOutcome, CaseVerdict
from workbench.errors import Cancelled, InputError
from workbench.records import EngineSpec, Precision, to_json
from workbench.runs import conformance
from workbench.store import Store
from workbench.workers.pool import Pool

ORT = EngineSpec("onnxruntime", Precision.FP32)
PATTERN = "softmax_axis_?"


def run(store, pattern=PATTERN, **more):
    reported = []
    (found,) = conformance.run([ORT], store=store, say=reported.append, pattern=pattern, **more)
    return found, reported


@pytest.mark.long
def test_outcomes_are_kept_as_they_come_and_not_found_twice(store):
    found, reported = run(store, limit=2)
    assert [outcome.case for outcome in found.outcomes] == ["softmax_axis_0", "softmax_axis_1"]
    assert {outcome.verdict for outcome in found.outcomes} == {CaseVerdict.RIGHT}
    assert "onnxruntime fp32: 2 cases to run, 0 from the store" in reported
    (file,) = (store.root / conformance.JOURNALS).glob("*.jsonl")
    lines = file.read_text(encoding="utf-8").splitlines()
    wrong = json.loads(store.keyring.opened(lines[0])) | {"verdict": "wrong", "difference": 5.0}
    # as a kill leaves it: the last line cut short
    file.write_text(f"{store.keyring.signed(json.dumps(wrong))}\n{lines[1][:20]}", encoding="utf-8")
    found, reported = run(store)
    assert "onnxruntime fp32: 2 cases to run, 1 from the store" in reported
    assert [outcome.verdict for outcome in found.outcomes] == [CaseVerdict.WRONG, CaseVerdict.RIGHT, CaseVerdict.RIGHT]
    assert not found.complete
    assert conformance.result_folders(store) == []
    found, reported = run(store, again=True)
    assert "onnxruntime fp32: 3 cases to run, 0 from the store" in reported
    assert {outcome.verdict for outcome in found.outcomes} == {CaseVerdict.RIGHT}


@pytest.mark.long
def test_a_crash_of_the_library_costs_one_case(store, monkeypatch):
    """The process is killed while it works on the second case; the third is run by another."""
    call = Pool.call
    processes = []

    def crashing(pool, name, task, **arguments):
        if task == "conformance_case":
            worker = pool._workers[name]
            processes.append(worker.process.pid)
            if arguments["case"] == "softmax_axis_1":
                worker.process.kill()
        elif name not in pool._workers:
            pass
        return call(pool, name, task, **arguments)

    def call_or_start(pool, name, task, **arguments):
        if name not in pool._workers:
            call(pool, name, "hello", modules=[])
        return crashing(pool, name, task, **arguments)

    monkeypatch.setattr(Pool, "call", call_or_start)
    found, _ = run(store)
    assert [outcome.verdict for outcome in found.outcomes] == [CaseVerdict.RIGHT, CaseVerdict.ERROR, CaseVerdict.RIGHT]
    assert "ended with SIGKILL" in found.outcomes[1].detail
    assert processes[0] == processes[1] != processes[2]


def test_stopping_keeps_what_was_finished(store):
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        run(store, cancel=cancel)


@pytest.mark.long
def test_no_case_that_matches_is_refused(store):
    with pytest.raises(InputError, match="No case of the package 'onnx' matches 'nothing'"):
        run(store, pattern="nothing")


def test_backends_that_do_not_build_from_onnx_are_left_out_with_the_reason():
    chosen, without = conformance.specs([], ["fp32"])
    assert "onnxruntime fp32" in [spec.label for spec in chosen]
    assert without["litert fp32"].startswith("LiteRT cannot run an ONNX model")
    assert without["tensorflow fp32"].startswith("TensorFlow cannot run an ONNX model")


@pytest.mark.parametrize(
    ("backends", "precisions", "text"),
    [
        (["nothing"], ["fp32"], "Unknown backend 'nothing'"),
        (
            ["onnxruntime"],
            ["int8"],
            "The precision 'int8' cannot be held against ONNX's definition. Choose from: fp32, fp16, bf16",
        ),
        (
            ["litert"],
            ["fp32"],
            "None of the requested backends can run ONNX's cases here. litert fp32: LiteRT cannot",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(backends, precisions, text):
    with pytest.raises(InputError, match=text.replace(".", r"\.")):
        conformance.specs(backends, precisions)


def test_outcomes_and_results_that_another_key_signed_are_not_used(store, tmp_path, monkeypatch):
    file = store.root / conformance.JOURNALS / "k.jsonl"
    file.parent.mkdir()
    outcome = json.dumps(to_json(CaseOutcome("softmax_axis_0", CaseVerdict.WRONG)))
    file.write_text(store.keyring.signed(outcome) + "\n" + outcome + "\n", encoding="utf-8")
    with store.create(conformance.KIND, "ab") as draft:
        (draft.folder / conformance.RESULT).mkdir()
        (draft.folder / conformance.RESULT / "x.json").write_text("{}")
    assert list(conformance._read(file, store)) == ["softmax_axis_0"]
    assert len(conformance.result_folders(store)) == 1
    changed = file.read_text(encoding="utf-8").replace("wrong", "right")
    file.write_text(changed, encoding="utf-8")
    assert conformance._read(file, store) == {}
    monkeypatch.setenv("WORKBENCH_KEY", str(tmp_path / "other.key"))
    other = Store(store.root)
    file.write_text(changed.replace("right", "wrong"), encoding="utf-8")
    assert conformance._read(file, other) == {}
    assert conformance.result_folders(other) == []
