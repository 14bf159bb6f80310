"""The command line as a person meets it: real commands, and bad input of every kind as one sentence."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import jsonschema
import model_zoo
import numpy as np
import peaked
import psutil
import pytest
from onnx import TensorProto, helper
from processes import running

from workbench import backends
from workbench.cli import main
from workbench.cli.answer import schema
from workbench.cuda import gpu
from workbench.models.inspection import digest_of
from workbench.runs.pipeline import run
from workbench.settings.experiment import Experiment
from workbench.store import Store

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SMALL = {
    "backends": "onnxruntime",
    "precisions": "fp32",
    "batches": "1",
    "measure_s": "0.05",
    "max_measure_s": "0.05",
    "rounds": "6",
    "data": "random",
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory, demo_folder: Path) -> Path:
    """Models and samples, whole and damaged."""
    folder = tmp_path_factory.mktemp("zoo")
    whole = model_zoo.save(model_zoo.onnx_dense(), folder / "dense.onnx").read_bytes()
    (folder / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    keras = (demo_folder / "demo.keras").read_bytes()
    (folder / "cut.keras").write_bytes(keras[: len(keras) // 2])
    for ending in ("keras", "onnx"):
        (folder / f"noise.{ending}").write_bytes(np.random.default_rng(0).bytes(2000))
    shutil.unpack_archive(demo_folder / "demo.keras", folder / "parts", "zip")
    (folder / "parts" / "model.weights.h5").rename(folder / "demo.weights.h5")
    model_zoo.keras_lambda(folder / "lambda.keras")
    text = model_zoo.onnx_model([helper.make_node("Identity", ["x"], ["y"])], dtype=TensorProto.STRING)
    text.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.STRING, ("n", 4)))
    model_zoo.save(text, folder / "text.onnx")
    np.savez(folder / "wide.npz", x=np.ones((9, 5), np.float32))
    np.savez(folder / "whole.npz", x=np.ones((9, 4), np.int64))
    return folder


@pytest.fixture
def kept(store: Store) -> Iterator[Store]:
    """A store that holds something; whatever a test does, it must still be there and whole."""
    with store.create("engine", "old") as draft:
        (draft.folder / "engine.bin").write_bytes(b"kept")
        draft.facts = {"kept": True}
    yield store
    found = Store(store.root).find("engine", "old")
    assert found
    assert (found / "engine.bin").read_bytes() == b"kept"
    assert not list(store.root.glob("*/*.damaged-*"))


def words(model: Path | str, store: Path | str, output: Path | str, **changes: str) -> list[str]:
    """The command line of a small report."""
    options = {**SMALL, "model": str(model), "store": str(store), "output": str(output), **changes}
    return ["report", *(word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value))]


def start(command: list[str], **changes) -> subprocess.Popen[str]:
    """``python -m workbench`` as a process of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "workbench", *command], cwd=REPOSITORY, **pipes, **changes)


def one_sentence(status: int, capsys: pytest.CaptureFixture[str]) -> str:
    """What was said on stderr, after checking that it is for people and that the status says that it failed."""
    captured = capsys.readouterr()
    assert status == 2
    *messages, error = captured.err.splitlines(keepends=True)
    assert re.fullmatch(r"workbench: [^\n]{20,700}\.\)?\n", error)
    assert not any(message.startswith("workbench: ") for message in messages)
    assert captured.out == ""
    assert "Traceback" not in captured.err + captured.out
    return error


@pytest.mark.slow
def test_a_report_is_written_and_a_second_one_takes_all_from_the_store(tmp_path, zoo, capsys) -> None:
    page = tmp_path / "new" / "page.html"
    log = page.with_suffix(".log")
    page.parent.mkdir()
    log.write_text("of another program")
    command = words(zoo / "dense.onnx", tmp_path / "store", page)
    first = start(command)
    out, err = first.communicate(timeout=400)
    assert first.returncode == 0
    assert f"reading {zoo / 'dense.onnx'}\n" in err
    assert not re.search(r"[\r\x1b]", err)
    assert re.search(r"^Batch 1: .*onnxruntime fp32", err, re.MULTILINE)  # as soon as it is known
    assert re.search(r"^onnxruntime fp32 +1 +[\d.]+ +baseline", out, re.MULTILINE)
    assert "built 1 (reused 0), measured 1 (reused 0), scored 1 (reused 0)" in out
    assert f"report: {page}\nnotebook: {page.with_suffix('.ipynb')}\n" in out
    assert "onnxruntime fp32" in page.read_text(encoding="utf-8")
    page.unlink()
    assert main(command) == 0
    assert "built 0 (reused 1), measured 0 (reused 1), scored 0 (reused 1)" in capsys.readouterr().out
    assert page.stat().st_size > 10_000
    notebook = page.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert "onnxruntime fp32: reused" in notebook
    assert not re.search(r"\\r|\\u001b|… measure", notebook)  # no bar, and no line of progress
    assert main([*command, "--json", "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    found = json.loads(said.out)
    jsonschema.validate(found, schema("report"))
    assert found["results"]["work"]["reused_timings"] == 1
    assert sorted(path.name for path in page.parent.iterdir()) == ["page.html", "page.ipynb", "page.log"]
    assert log.read_text() == "of another program"


@pytest.mark.long
@pytest.mark.skipif(bool(gpu.here()), reason="a GPU measures what is asked for here")
def test_a_report_in_which_nothing_could_be_measured_says_why_and_ends_with_1(tmp_path, zoo, kept, capsys) -> None:
    page = tmp_path / "page.html"
    asked = {"backends": "onnxruntime,tensorrt:rtx", "region": "device", "tf32": "false"}
    command = words(zoo / "dense.onnx", kept.root, page, **asked)
    assert main(command) == 1
    said = capsys.readouterr()
    assert said.err.endswith("workbench: No row was measured; the report says of each why not.\n")
    assert f"report: {page}\n" in said.out
    html = page.read_text(encoding="utf-8")
    for text in (said.out, html):
        assert "the region 'device' is timed by a GPU, and this runs on the CPU" in text.replace("&#39;", "'")
        assert "tensorrt:rtx fp32" in text
        assert "is false and has no effect on onnxruntime (it runs on the CPU)." in text
    assert "Nothing was measured." in html


@pytest.mark.long
def test_an_interrupted_report_leaves_no_process_and_goes_on_later(tmp_path, zoo, kept) -> None:
    command = words(zoo / "dense.onnx", kept.root, tmp_path / "page.html", measure_s="100")
    with start(command) as process:
        for line in process.stderr:
            if line.startswith("starting 1 worker"):
                break
        time.sleep(0.5)
        started = psutil.Process(process.pid).children(recursive=True)
        assert running("workbench.workers.child", below=process.pid)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted. What was finished is kept in the store" in err
    assert "Traceback" not in out + err
    assert psutil.wait_procs(started, timeout=5)[1] == []
    again = run(Experiment(**SMALL, model=str(zoo / "dense.onnx")), store=kept)
    assert (again.tally.built, again.tally.reused_builds, again.tally.measured) == (0, 1, 1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"model": "gone.onnx"},
            r"There is no model at '.*gone.onnx'. Check the path; accepted are a .keras or .h5 file",
        ),
        ({"model": "parts"}, r"is not a SavedModel: it has no saved_model.pb \(it holds .*\). Accepted are"),
        (
            {"data": "gone.npz"},
            "The data file 'gone.npz' does not exist. Give the path of an .npz or .csv file or of a folder",
        ),
        (
            {"batches": "0"},
            "'batches' must be whole numbers from 1 to 65536, separated by commas; found 0. Choose for example 1,8,32",
        ),
        ({"batches": "1,x"}, "'batches' must be whole numbers from 1 to 65536, separated by commas; found \"x\""),
        ({"backends": "tflite"}, "Unknown backend 'tflite': .*Choose from: tensorflow, .*onnxruntime"),
        ({"precisions": "int4"}, "Unknown value 'int4' for 'precisions'. Choose from: fp32, fp16, bf16, int8"),
        ({"baseline": "openvino fp32"}, "'openvino fp32' for 'baseline'. Choose from: onnxruntime fp32"),
        (
            {"measure_s": "nan"},
            "'measure_s' must be a number above 0 and at most 86400 seconds; found nan. Choose for example 1.0",
        ),
        ({"build_options": "refit,fooooo"}, "No backend has the build option 'fooooo'. Choose from: refit, .*target="),
        ({"seed": "-1"}, "'seed' must be a whole number from 0 to .*; found -1. Choose for example 0"),
    ],
)
def test_a_bad_option_is_refused_before_any_process_starts(tmp_path, zoo, kept, capsys, changes, says) -> None:
    model = zoo / changes.get("model", "dense.onnx")
    command = words(model, kept.root, tmp_path / "page.html", **{k: v for k, v in changes.items() if k != "model"})
    assert re.search(says, one_sentence(main(command), capsys))
    assert not (kept.root / "logs").exists()
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("noise.onnx", "is not a complete ONNX file .* export it again"),
        ("cut.onnx", "is not a complete ONNX file .* It may be truncated"),
        ("demo.weights.h5", "holds weights only, without the model.s layers. Save the whole model"),
        ("noise.keras", "is not a complete archive .* save or copy it again"),
        ("cut.keras", "is not a complete archive .* It may be truncated"),
        ("lambda.keras", r"The layer 'double' is a Lambda, .* run model.export\('folder'\) and open that folder"),
    ],
)
def test_a_model_that_cannot_be_read_is_explained(zoo, kept, capsys, model, says) -> None:
    status = main(["inspect", str(zoo / model), "--store", str(kept.root)])
    assert re.search(says, one_sentence(status, capsys))
    assert not (kept.root / "model").exists() or not any((kept.root / "model").iterdir())


@pytest.mark.long
def test_an_unknown_signature_lists_those_there_are(demo_folder, kept, capsys) -> None:
    command = ["inspect", str(demo_folder / "saved_model"), "--signature", "nosuch", "--store", str(kept.root)]
    said = one_sentence(main(command), capsys)
    assert re.search(r"has no signature 'nosuch'; it has: .*serving_default.* Set --signature to one of those", said)


@pytest.mark.parametrize(
    ("model", "data", "says"),
    [
        ("cut.onnx", "random", "'.*cut.onnx' is not a complete ONNX file"),
        (
            "dense.onnx",
            "wide.npz",
            r"'x' expects \[\? × 4\], but the array 'x' of 'wide.npz' has \[9 × 5\]. Save samples of the size that 'x' takes",
        ),
        ("dense.onnx", "whole.npz", r"'x' expects float32, but .* has int64. Convert it with x.astype\('float32'\)"),
    ],
)
def test_a_sentence_comes_through_the_notebook_unchanged(tmp_path, zoo, kept, capsys, model, data, says) -> None:
    data = data if data == "random" else str(zoo / data)
    command = words(zoo / model, kept.root, tmp_path / "page.html", data=data)
    assert re.search(says, one_sentence(main(command), capsys))
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("place", ["{file}/x", "/proc/x"])
def test_a_store_that_cannot_be_written_is_named(tmp_path, zoo, kept, capsys, place) -> None:
    (tmp_path / "file").write_text("x")
    place = place.format(file=tmp_path / "file")
    for command in (words(zoo / "dense.onnx", place, tmp_path / "page.html"), ["inspect", "demo", "--store", place]):
        said = one_sentence(main(command), capsys)
        assert f"Could not write to {place}: a part of the path" in said
        assert "Choose another folder (option --store, or the variable WORKBENCH_STORE)" in said
    assert main(["doctor", "--store", place]) == 1
    assert f"Could not write to {place}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("{folder}", "is a folder. Give the name of a file that ends in .html (option --output)"),
        ("{folder}/page.ipynb", "does not end in .html or .htm. Choose such a name (option --output)"),
        ("{file}/page.html", "a part of the path is a file, not a folder. Choose another folder (option --output)"),
        ("/proc/x/page.html", "a part of the path cannot be created. Choose another folder (option --output)"),
        (
            "{folder}/mine.html",
            "mine.ipynb', which no report wrote. Choose another name for the report (option --output)",
        ),
    ],
)
def test_an_output_that_cannot_be_written_is_found_first(tmp_path, zoo, kept, capsys, place, says) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "mine.ipynb").write_text('{"my": "notebook"}')
    place = place.format(file=tmp_path / "file", folder=tmp_path)
    said = one_sentence(main(words(zoo / "dense.onnx", kept.root, place)), capsys)
    assert place.removesuffix(".html") in said
    assert says in said
    assert not (kept.root / "logs").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.long
@pytest.mark.parametrize("left", [0, 8192, 50_000])
def test_a_full_disk_is_named_and_nothing_is_lost(small_disk, tmp_path, zoo, capsys, left) -> None:
    store = Store(small_disk / "store").prepare()
    store.put("fact", "old", "kept")
    space = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(space.f_bavail * space.f_frsize - left))
    said = one_sentence(main(words(zoo / "dense.onnx", store.root, tmp_path / "page.html")), capsys)
    assert f"Could not write to {store.root}" in said
    assert "the disk is full. Free some space, or choose another folder" in said
    assert Store(store.root).facts("fact", "old") == "kept"
    assert not list(store.root.glob("*/*.damaged-*"))
    (small_disk / "ballast").unlink()
    again = run(Experiment(**SMALL, model=str(zoo / "dense.onnx")), store=store)
    assert (again.tally.built + again.tally.reused_builds, again.tally.measured) == (1, 1)


def test_inspect_says_what_a_model_is(zoo, kept, capsys) -> None:
    path = zoo / "dense.onnx"
    assert main(["inspect", str(path), "--store", str(kept.root)]) == 0
    facts: dict[str, list[str]] = {}
    for line in capsys.readouterr().out.splitlines():
        if line[0] != " ":
            facts.setdefault(line[:18].strip(), []).append(line[18:])
    assert facts["model"] == [str(path)]
    assert facts["format"] == ["ONNX file"]
    assert facts["input"] == ["x: float32 [? × 4]"]
    assert facts["output"] == ["y: float32 [? × 3]"]
    assert facts["parameters"][0] == "15"
    assert facts["sha256"] == [digest_of(path)]
    assert facts["batches"] == ["free (ran with 1, 2, 3)"]
    assert facts["operators"] == ["1 node, opset 17: Gemm 1"]
    assert facts["work"] == ["24 FLOPs for one sample, a multiply-add counted as two"]
    assert facts["onnx runtime"] == ["supports every node"]
    if backends.get("tensorrt").status("rtx"):  # asked of the one flavour that is here
        assert facts["tensorrt"] == ["supports every node"]
    assert facts["to onnx"][0].startswith("The ONNX file is used as it is; with the names of axes and the repairs")


def test_inspect_says_why_a_model_cannot_become_onnx(zoo, kept, capsys) -> None:
    assert main(["inspect", str(zoo / "text.onnx"), "--store", str(kept.root)]) == 0
    out = capsys.readouterr().out
    assert "input             x: str [? × 4]" in out
    assert "cannot be converted to ONNX: 'x' holds text, and engines take numbers" in out


def test_doctor_lists_every_backend_and_how_to_get_the_missing_ones(kept, capsys) -> None:
    assert main(["doctor", "--store", str(kept.root)]) == 0
    out = capsys.readouterr().out
    assert f"{kept.root} (writable)" in out
    for name in backends.names():
        state = backends.get(name).status()
        said = "ready" if state else f"not ready: {state.reason}"
        assert re.search(rf"^  {backends.get(name).title} +{re.escape(said)}$", out, re.MULTILINE)
        assert state.ok or f"fix: {state.fix}" in out


def test_doctor_says_whether_the_machine_is_fit_and_what_it_can_do(kept, capsys, monkeypatch) -> None:
    asked = []

    def peaks(store, threads, **how):
        asked.append((store.root, threads, how["cores"], how["again"]))
        return peaked.PEAKS

    monkeypatch.setattr("workbench.runs.peaks.machine_peaks", peaks)
    core = min(os.sched_getaffinity(0))
    assert main(["doctor", "--store", str(kept.root), "--peaks", "--cores", str(core)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^measuring here\n  governor +\S", out, re.MULTILINE)
    assert asked == [(kept.root, 1, (core,), True)]
    assert f"peaks with 1 thread, held to cores {core}, kept in the store" in out
    assert re.search(r"^  fp32 +100.0 10⁹ operations/s: a loop$", out, re.MULTILINE)
    assert re.search(r"^  memory +20.0 GB/s: add$", out, re.MULTILINE)
    assert "bf16                not measured: the CPU has none of avx512_bf16" in out
    assert main(["doctor", "--peaks", "--cores", "x"]) == 2


def test_help_lists_every_field_of_an_experiment(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", "--help-all"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for field in fields(Experiment):
        assert re.search(rf"^  --{field.name.replace('_', '-')}\s+\S", out, re.MULTILINE)
    assert "0.02 is 2 %" in " ".join(out.split())
    assert "%%" not in out


def test_a_reader_that_has_seen_enough_ends_a_command_quietly(kept) -> None:
    seen, end = os.pipe()
    os.close(seen)
    command = [sys.executable, "-m", "workbench", "history", "--store", str(kept.root)]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(end)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_command_shows_the_known_ones() -> None:
    process = start(["measure"])
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, "")
    assert "invalid choice: 'measure' (choose from" in err
    assert all(command in err for command in ("report", "inspect", "doctor"))
