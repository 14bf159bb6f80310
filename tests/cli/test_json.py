"""Every command prints one JSON document of its schema on standard output, and nothing else there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import model_zoo
import peaked
import pytest
import recorded

from workbench import backends
from workbench.cli import entry, main
from workbench.cli.answer import Exit, as_json, schema
from workbench.errors import Cancelled, ExportError, StoreError
from workbench.models.inspection import digest_of
from workbench.report import progress
from workbench.runs.archive import remember
from workbench.search.mixed_precision.records import Repair, Tried
from workbench.search.mixed_precision.sensitivity import ALONE, Damage, Sensitivity
from workbench.search.mixed_precision.trial import Speed

DOCS = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
SCHEMAS = [*entry.NAMES, "error", "plan"]
SMALL = "--backends onnxruntime --precisions fp32 --batches 1 --measure-s 0.05 --max-measure-s 0.05 --rounds 6 --data random"


def document(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0, kind: str = "") -> dict:
    """What a command printed, checked against its schema."""
    capsys.readouterr()
    assert main([*words, "--json"]) == status
    found = json.loads(capsys.readouterr().out)  # one document, and nothing beside it
    jsonschema.validate(found, schema(kind or words[0]), cls=jsonschema.Draft202012Validator)
    assert found["schema"] == f"workbench/{kind or words[0]}/1"
    return found


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(model_zoo.save(model_zoo.onnx_dense(), tmp_path_factory.mktemp("model") / "dense.onnx"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_valid_closed_and_documented(name: str) -> None:
    found = schema(name)
    jsonschema.Draft202012Validator.check_schema(found)
    assert not found["additionalProperties"]
    assert set(found["required"]) == set(found["properties"])
    text = DOCS.read_text(encoding="utf-8")
    for field in found["properties"]:
        assert f"`{field}`" in text, field


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_example_in_the_documentation_is_of_the_schema(name: str) -> None:
    blocks = re.findall(r"```json\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    examples = [found for block in blocks if (found := json.loads(block))["schema"] == f"workbench/{name}/1"]
    assert len(examples) == 1
    jsonschema.validate(examples[0], schema(name), cls=jsonschema.Draft202012Validator)


def test_the_documentation_lists_every_status() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert all(re.search(rf"^\| {status.value} \|", text, re.MULTILINE) for status in Exit)


def test_a_run_gives_its_rows_and_the_history_has_them(dense, store, capsys) -> None:
    found = document(capsys, "run", "--model", dense, *SMALL.split(), "--store", str(store.root))
    (row,) = found["rows"]
    assert (row["row"], row["status"], row["speedup"]["verdict"]) == ("onnxruntime fp32 @1", "done", "baseline")
    assert 0 < row["timing"]["p50_s"] < 1
    assert ("p99_s" in row["timing"]["percentiles_missing"]) == (row["timing"]["p99_s"] is None)
    assert set(row["timing"]["percentiles_missing"].values()) <= {"too few calls"}
    assert row["engine"]["built"] == "fp32"
    assert found["model"]["sha256"] == digest_of(Path(dense))
    assert found["work"]["measured"] == 1
    (kept,) = document(capsys, "history", "--store", str(store.root))["results"]
    assert kept["run"] == found["run"]
    assert kept["p50_ms"] == pytest.approx(row["timing"]["p50_s"] * 1e3)
    (run,) = document(capsys, "history", "--runs", "--store", str(store.root))["runs"]
    assert (run["run"], run["results"], run["parameters"]["rounds"]) == (found["run"], 1, 6)


def test_a_run_in_which_nothing_is_measured_ends_with_1_and_its_rows_say_why(dense, store, capsys) -> None:
    words = ["run", "--model", dense, "--store", str(store.root), *SMALL.replace("fp32", "int8").split()]
    found = document(capsys, *words, status=1)
    (row,) = found["rows"]
    assert (row["status"], row["timing"]) == ("not possible", None)
    assert "calibration" in row["failure"]["message"]


def test_inspect_gives_tensors_and_the_graph(dense, store, capsys) -> None:
    found = document(capsys, "inspect", dense, "--store", str(store.root))
    assert found["inputs"] == [{"name": "x", "dtype": "float32", "shape": [None, 4], "batch_axis": 0}]
    assert (found["batch"], found["problem"]) == (None, "")
    assert (found["graph"]["operators"], found["graph"]["flops"]) == ({"Gemm": 1}, 24)
    assert found["refusals"]["onnxruntime"] == []


def test_history_gives_runs_side_by_side(store, capsys) -> None:
    for name in ("one", "two"):
        remember(store, name, recorded.results([recorded.measured("tensorflow fp32")]))
    found = document(capsys, "history", "--compare", "one", "two", "--store", str(store.root))
    assert [cell["run"] for cell in found["compared"]] == ["one", "two"]
    assert found["results"] == []


def test_history_writes_csv_and_says_where(store, tmp_path, capsys) -> None:
    place = tmp_path / "all.csv"
    found = document(capsys, "history", "--csv", str(place), "--store", str(store.root))
    assert (found["csv"], place.is_file()) == (str(place), True)


def test_doctor_gives_backends_and_peaks(store, capsys, monkeypatch) -> None:
    monkeypatch.setattr("workbench.runs.peaks.machine_peaks", lambda *_, **__: peaked.PEAKS)
    found = document(capsys, "doctor", "--peaks", "--store", str(store.root))
    ready = {backend["backend"]: backend["ready"] for backend in found["backends"]}
    assert ready["onnxruntime"]
    assert set(ready) <= set(backends.addresses())
    assert {"what": "fp32", "unit": "operations", "per_s": 1e11, "basis": "a loop"} in found["peaks"]["peaks"]


def test_doctor_ends_with_1_where_the_store_cannot_be_written(capsys) -> None:
    found = document(capsys, "doctor", "--store", "/proc/x", status=1)
    assert not found["store"]["writable"]
    assert "Could not write to /proc/x" in found["store"]["remark"]


def _tried(name: str, speed: Speed | None) -> Tried:
    return Tried(name, ("a",), quality=0.9, within=True, size_ratio=2.0, speed=speed, confirmed=0.89)


@pytest.mark.parametrize("answered", [True, False])
def test_repair_gives_what_was_tried(answered, dense, store, tmp_path, monkeypatch, capsys) -> None:
    damage = Damage("a", "Gemm", ALONE, 1, 0, 0.5, float("inf"), 0.9, 12)
    ranked = Sensitivity(48, "top-1", 0.95, 0.8, (), (damage,), (), "", (), 1.0)
    found = _tried("all but a", Speed(1.5, 1.4, 1.6, 1e-3)) if answered else None
    repaired = Repair(
        "onnxruntime", "top-1", "0.5 points", 48, 100, 0.95, 0.94, found, "" if answered else "nothing held it",
        (_tried("all", None),), 2.0, ("a",), ranked,
    )  # fmt: skip
    monkeypatch.setattr("workbench.search.mixed_precision.questions.mixed_precision", lambda *_, **__: repaired)
    keep = tmp_path / "keep.json"
    words = ["repair", "--model", dense, "--output", str(keep), "--store", str(store.root)]
    document_ = document(capsys, *words, status=0 if answered else 1)
    assert [each["name"] for each in document_["tried"]] == ["all"]
    assert document_["output"] == (str(keep) if answered else None)
    assert keep.is_file() == answered
    assert document_["layers"][0]["sqnr_db"] is None  # JSON has no infinity


def test_conformance_gives_the_page_that_it_wrote(tmp_path, capsys) -> None:
    found = document(capsys, "conformance", "--page", str(tmp_path / "page.md"))
    assert found["page"] == str(tmp_path / "page.md")


@pytest.mark.parametrize(
    ("words", "kind", "status"),
    [
        (("inspect", "gone.onnx"), "InputError", Exit.USAGE),
        (("run", "--batches", "0"), "InputError", Exit.USAGE),
        (("inspect", "demo", "--store", "/proc/x"), "StoreError", Exit.USAGE),
        (("conformance", "nothing"), "InputError", Exit.USAGE),
    ],
)
def test_an_error_is_a_document_too_and_a_sentence_for_people(words, kind, status, capsys) -> None:
    capsys.readouterr()
    assert main([*words, "--json"]) == status
    said = capsys.readouterr()
    found = json.loads(said.out)
    jsonschema.validate(found, schema("error"))
    assert (found["command"], found["kind"], found["status"]) == (words[0], kind, status)
    assert said.err.splitlines()[-1] == f"workbench: {found['message']}"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreError("no"), Exit.USAGE),
        (ExportError("no"), Exit.FAILED),
        (Cancelled("no"), Exit.INTERRUPTED),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
    ],
)
def test_each_kind_of_error_has_its_status(error, status, capsys, monkeypatch) -> None:
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("workbench.system.doctor.readings", fails)
    assert document(capsys, "doctor", status=status, kind="error")["status"] == status


def test_what_a_library_prints_is_not_in_the_document(store, capsys, monkeypatch) -> None:
    monkeypatch.setattr("workbench.system.doctor.readings", lambda: print("noise of a library") or [])
    assert document(capsys, "doctor", "--store", str(store.root))["readings"] == []


HOLD = """
import sys, time
from workbench.system.measuring_lock import hold_lock
with hold_lock("measuring another model", alone=True):
    print("held", flush=True)
    time.sleep(2.5)
"""


def test_a_command_that_waits_for_another_run_says_so_again_and_again(dense, store, capsys, monkeypatch) -> None:
    monkeypatch.setattr(progress, "SILENT_S", 0.3)
    monkeypatch.setattr(progress, "TICK_S", 0.05)
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        assert main(["inspect", dense, "--store", str(store.root)]) == 0
    said = capsys.readouterr().err
    assert "measuring another model" in said
    assert said.count("… inspect the model (") > 1


def test_an_option_that_does_not_exist_is_a_document_too(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--json", "--bathces", "1"])
    assert ended.value.code == Exit.USAGE
    said = capsys.readouterr()
    found = json.loads(said.out)
    jsonschema.validate(found, schema("error"))
    assert found["kind"] == "UsageError"
    assert said.err == f"workbench: {found['message']}\n"


def test_numbers_that_json_lacks_become_null() -> None:
    assert json.loads(as_json("x", {"a": [float("nan"), (float("inf"), 1.5)]})) == {
        "schema": "workbench/x/1", "a": [None, [None, 1.5]],
    }  # fmt: skip


def test_names_that_act_on_a_terminal_are_escaped(capsys) -> None:
    capsys.readouterr()
    assert main(["inspect", "x\x1b[2J.onnx", "--json"]) == Exit.USAGE
    assert "\x1b" not in capsys.readouterr().out
