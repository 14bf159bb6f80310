"""Runs travel as files: what comes out is what went in, and nothing else is taken from such a file."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import model_zoo
import numpy as np
import pytest
import recorded
from uploading import upload

import workbench
from workbench import cli
from workbench.compare.across import side_by_side
from workbench.errors import InputError
from workbench.records import Failure, Result, Status, to_json
from workbench.runs import run_file
from workbench.runs.archive import history, not_own, remember, runs
from workbench.runs.index import rebuild
from workbench.runs.open_run import open_run
from workbench.runs.pipeline import run
from workbench.runs.timings import keep_timing
from workbench.runs.travel import export_run, import_run
from workbench.settings.experiment import Experiment
from workbench.store import Store

RUN = "20261130T120000Z-5dc417"
H200 = replace(recorded.MACHINE, cpu="INTEL(R) XEON(R) PLATINUM 8592+", gpu="NVIDIA H200")
SAID = f"imported: measured on {H200.label}, 2025-11-24"


def kept(store: Store, run: str = RUN, **changes) -> object:
    """A run in a store as the pipeline leaves it, measured on a GPU: rows of each kind, and a baseline with a further timing."""
    rows = []
    for label, milliseconds in (("tensorrt fp32", 2.0), ("tensorrt fp16", 0.5)):
        row = recorded.on_gpu(label, median_ms=milliseconds)
        timing = keep_timing(store, f"{label}-{run}".replace(" ", ""), replace(row.timing, engine_key=row.engine.key))
        rows.append(replace(row, timing=timing))
    further = replace(rows[0].timing, group="two")
    rows[0] = replace(rows[0], also=(keep_timing(store, f"again-{run}", further),))
    rows.append(recorded.failed("tensorrt int8"))
    rows.append(Result(recorded.spec("openvino bf16"), 1, Status.UNSUPPORTED, failure=Failure("plan", "no")))
    results = replace(
        recorded.results(rows, baseline="tensorrt fp32"), machine=H200, run=run, notes=("a note",), warnings=("a warning",), **changes
    )  # fmt: skip
    remember(store, run, results, Experiment(model="/somewhere/model.onnx", backends="tensorrt"))
    return results


@pytest.fixture
def there(tmp_path: Path) -> Store:
    return Store(tmp_path / "there").prepare()


@pytest.fixture
def exported(there: Store, tmp_path: Path) -> Path:
    kept(there)
    return export_run("5dc417", tmp_path / "run.wbrun", there).path


def parts_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(path: Path, parts: dict[str, bytes], **manifest) -> Path:
    """A file of these parts, with a manifest that fits them."""
    import hashlib

    files = {name: hashlib.sha256(content).hexdigest() for name, content in parts.items() if name != "manifest.json"}
    about = json.loads(parts["manifest.json"]) | {"files": files} | manifest
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(about))
        for name, content in parts.items():
            if name != "manifest.json":
                archive.writestr(name, content)
    return path


def test_a_stored_run_is_opened_as_it_was(store):
    results = kept(store)
    found = open_run("5dc417", store)
    assert to_json(found) == to_json(results)
    assert found.imported == ""


def test_what_is_imported_is_what_was_exported_and_says_where_it_was_measured(store, there, exported):
    before, found = open_run(RUN, there), import_run(exported, store)
    assert (found.run, found.new, found.model) == (RUN, True, None)
    assert found.results.imported == SAID
    assert found.results.warnings == (f"This run was {SAID}, and not on this machine.", "a warning")
    assert to_json(replace(found.results, imported="", warnings=("a warning",))) == to_json(before)
    assert to_json(open_run(RUN, store)) == to_json(found.results)
    assert found.results.table().text() == before.table().text()
    for timing, same in zip(
        (row.timing for row in found.results.measured), (row.timing for row in before.measured), strict=True
    ):
        assert np.array_equal(timing.samples_s, same.samples_s)
    assert exported.stat().st_size < 60_000


def test_it_stands_in_the_history_with_its_machine_and_is_signed_here(store, exported, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_KEY", str(tmp_path / "another" / "key"))
    mine = Store(store.root)
    import_run(exported, mine)
    assert set(history(mine)["machine"]) == {H200.label}
    assert not_own(mine) == 0
    (one,) = runs(mine)
    assert (one.imported, one.model) == (H200.label, "digits-cnn")
    assert f"imported: measured on {H200.label}" in one.summary
    assert rebuild(mine) == 3
    assert not (mine.root / "timing").exists()  # never taken for a measurement of this machine


def test_columns_are_computed_here_and_not_taken_from_the_file(store, there, exported):
    import_run(exported, store)
    ours, theirs = history(store), history(there)
    assert ours.drop(columns="time").equals(theirs.drop(columns="time"))
    assert "columns" not in parts_of(exported)["run.json"].decode()


def test_the_same_file_twice_changes_nothing_and_another_run_of_the_name_is_refused(store, there, exported, tmp_path):
    import_run(exported, store)
    content = (store.path("results", RUN) / "manifest.json").read_bytes()
    again = import_run(exported, store)
    assert not again.new
    assert (store.path("results", RUN) / "manifest.json").read_bytes() == content
    assert not import_run(exported, there).new  # where it was made
    other = Store(tmp_path / "other").prepare()
    kept(other, model=replace(recorded.model("another")))
    rows = json.loads(parts_of(exported)["run.json"])
    rows["results"]["rows"] = rows["results"]["rows"][:2]
    changed = packed(tmp_path / "changed.wbrun", parts_of(exported) | {"run.json": json.dumps(rows).encode()})
    with pytest.raises(InputError, match=f"The store has another run named {RUN}"):
        import_run(changed, store)


def test_an_imported_run_can_be_exported_on(store, exported, tmp_path):
    import_run(exported, store)
    again = export_run(RUN, tmp_path / "on.wbrun", store)
    assert parts_of(again.path)["samples.npy"] == parts_of(exported)["samples.npy"]
    third = Store(tmp_path / "third").prepare()
    assert import_run(again.path, third).results.warnings == open_run(RUN, store).warnings


def test_runs_of_different_machines_are_not_put_side_by_side(store, exported):
    remember(store, "20261130T130000Z-aaaaaa", recorded.results([recorded.measured("tensorrt fp32")]))
    import_run(exported, store)
    across = side_by_side("aaaaaa", "5dc417", store=store)
    assert across.refused[0][1].startswith("another machine: cpu is 'INTEL(R) XEON(R) PLATINUM 8592+' there")
    assert f"imported: measured on {H200.label}" in across.remarks()[-1]


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-400])
    return path


def flipped(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    return path


def not_zip(path: Path) -> Path:
    path.write_bytes(b"nonsense" * 100)
    return path


@pytest.mark.parametrize("damage", [cut, flipped, not_zip])
def test_a_damaged_file_is_refused(store, exported, damage):
    with pytest.raises(InputError, match=r"The run's file '.*run\.wbrun' is damaged or was changed"):
        import_run(damage(exported), store)
    assert list((store.root / "results").glob("*")) == []


def test_a_wrong_digest_is_refused(store, exported, tmp_path):
    parts = parts_of(exported)
    run = json.loads(parts["run.json"])
    run["results"]["machine"]["gpu"] = "NVIDIA B200"
    with zipfile.ZipFile(tmp_path / "changed.wbrun", "w") as archive:
        for name, content in (parts | {"run.json": json.dumps(run).encode()}).items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match=r"run\.json differs from its digest"):
        import_run(tmp_path / "changed.wbrun", store)
    with zipfile.ZipFile(tmp_path / "changed.wbrun", "w") as archive:
        for name, content in (parts | {"samples.npy": parts["samples.npy"][:-8] + b"12345678"}).items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match=r"samples\.npy differs from its digest"):
        import_run(tmp_path / "changed.wbrun", store)
    assert list((store.root / "results").glob("*")) == []


@pytest.mark.parametrize(
    "name", ["../evil.py", "/etc/evil", "model/../../evil", "model\\..\\evil", "model//evil", "evil.py", "model/"]
)
def test_names_that_lead_elsewhere_are_refused(store, exported, tmp_path, name):
    parts = parts_of(exported) | {name: b"print('evil')"}
    with pytest.raises(InputError, match="is damaged or was changed: the part"):
        import_run(packed(tmp_path / "evil.wbrun", parts), store)
    assert [path for path in tmp_path.rglob("evil*") if path.suffix != ".wbrun"] == []


def test_a_link_is_refused(store, exported, tmp_path):
    path = packed(tmp_path / "link.wbrun", parts_of(exported) | {"model/m.onnx": b"/etc/passwd"})
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("model/n.onnx")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="it is a link"):
        import_run(path, store)


def test_a_file_that_unpacks_to_far_too_much_is_refused_before_it_is_unpacked(store, exported, tmp_path):
    for name in ("samples.npy", "model/m.onnx"):
        parts = parts_of(exported) | {name: bytes(2**26)}
        with pytest.raises(InputError, match="it unpacks to 67,108,864 bytes, more than 100 times its packed size"):
            import_run(packed(tmp_path / "bomb.wbrun", parts), store)
    bomb = packed(tmp_path / "bomb.wbrun", parts_of(exported), more="x" * 2**23)
    with pytest.raises(InputError, match="and at most 4,194,304 are read"):
        import_run(bomb, store)


@pytest.mark.parametrize(("version", "says"), [(2, "has version 2 of the format of runs"), ("1", "has version '1'")])
def test_a_later_version_is_refused_with_what_to_do(store, exported, tmp_path, version, says):
    with pytest.raises(InputError, match=f"{says}.* Update the workbench here"):
        import_run(packed(tmp_path / "later.wbrun", parts_of(exported), version=version), store)


@pytest.mark.parametrize("name", ["", "..", "../../evil", "20261130T120000Z-5dc417/..", 7, None])
def test_a_run_needs_a_valid_name(store, exported, tmp_path, name):
    run = json.loads(parts_of(exported)["run.json"]) | {"run": name}
    path = packed(tmp_path / "named.wbrun", parts_of(exported) | {"run.json": json.dumps(run).encode()})
    with pytest.raises(InputError, match="its run has no valid name"):
        import_run(path, store)


CHANGES = {
    "no results": lambda run: run.pop("results"),
    "a row of another kind": lambda run: run["results"]["rows"].append(7),
    "a timing too few": lambda run: run["timings"].pop(),
    "lengths of another kind": lambda run: run["timings"][0].update(lengths=["a"]),
    "negative lengths": lambda run: run["timings"][0]["lengths"].__setitem__(0, -5),
    "a list of settings": lambda run: run.update(parameters=[1]),
    "a setting of another kind": lambda run: run.update(parameters={"model": {"a": 1}}),
    "no time": lambda run: run.update(time="soon"),
    "no rows": lambda run: run["results"].update(rows=[]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_records_of_another_kind_are_refused(store, exported, tmp_path, change):
    run = json.loads(parts_of(exported)["run.json"])
    change(run)
    path = packed(tmp_path / "records.wbrun", parts_of(exported) | {"run.json": json.dumps(run).encode()})
    with pytest.raises(InputError, match="holds records that this version cannot read"):
        import_run(path, store)
    assert list((store.root / "results").glob("[0-9]*")) == []


def test_pickled_durations_are_refused(store, exported, tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    parts = parts_of(exported) | {"samples.npy": (tmp_path / "objects.npy").read_bytes()}
    with pytest.raises(InputError, match="holds records that this version cannot read"):
        import_run(packed(tmp_path / "objects.wbrun", parts), store)


def test_an_earlier_run_and_lost_durations_say_what_to_do(store, tmp_path):
    kept(store)
    shutil.rmtree(store.root / "timing")
    found = open_run(RUN, store)
    assert found.warnings[0].startswith(
        "The durations of 2 rows cannot be shown: they were measured again, removed, or signed by another"
    )
    assert found.measured == ()
    with pytest.raises(
        InputError,
        match="the durations of 2 of its rows cannot be read: they were measured again, removed, or signed by another",
    ):
        export_run(RUN, tmp_path / "x.wbrun", store)
    facts = store.facts("results", RUN)
    store.put("results", RUN, {name: value for name, value in facts.items() if name != "whole"})
    with pytest.raises(InputError, match="kept by an earlier version"):
        open_run(RUN, store)
    with pytest.raises(InputError, match="There is no run that ends in 'nothing'"):
        export_run("nothing", tmp_path / "x.wbrun", store)


def test_nothing_else_is_written_over(store, tmp_path):
    kept(store)
    (tmp_path / "notes.wbrun").write_text("my notes")
    with pytest.raises(InputError, match="the workbench did not write it"):
        export_run(RUN, tmp_path / "notes.wbrun", store)
    with pytest.raises(InputError, match=r"does not end in \.wbrun"):
        export_run(RUN, tmp_path / "run.zip", store)
    export_run(RUN, tmp_path / "run.wbrun", store)
    export_run(RUN, tmp_path / "run.wbrun", store)


@pytest.mark.long
def test_a_real_run_travels_with_its_model(store, there, tmp_path, capsys):
    dense = model_zoo.save(model_zoo.onnx_dense(), tmp_path / "dense.onnx")
    asked = Experiment(
        model=str(dense),
        backends="onnxruntime",
        precisions="fp32",
        batches="1,2",
        measure_s=0.06,
        rounds=6,
        layers=True,
    )
    results = run(asked, store=there)
    assert to_json(open_run(results.run, there)) == to_json(results)
    file = tmp_path / "real.wbrun"
    assert (
        cli.main(["history", "--store", str(there.root), "--export", results.run[-6:], str(file), "--with-model"]) == 0
    )
    assert f"written to {file}" in capsys.readouterr().out
    assert cli.main(["history", "--store", str(store.root), "--import", str(file), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["imported"]["run"] == results.run
    assert Path(answer["imported"]["model"]).read_bytes() == dense.read_bytes()
    found = workbench.open_run(results.run, store)
    assert found.layer_profiles == results.layer_profiles
    assert found.table().text() == results.table().text()
    assert cli.main(["history", "--store", str(store.root), "--runs"]) == 0
    assert "imported: measured on" in capsys.readouterr().out
    dense.write_bytes(dense.read_bytes() + b" ")
    parts = parts_of(file)
    swapped = packed(tmp_path / "swapped.wbrun", parts | {"model/dense.onnx": dense.read_bytes()})
    third = Store(tmp_path / "third").prepare()
    with pytest.raises(InputError, match="is not the one that its run measured"):
        import_run(swapped, third)
    assert run_file.begins_so(file.read_bytes()[:100])


@pytest.mark.long
def test_the_report_of_an_imported_run_measures_nothing(store, exported, tmp_path, capsys):
    import_run(exported, store)
    page = tmp_path / "report.html"
    assert cli.main(["report", "--store", str(store.root), "--run", "5dc417", "--output", str(page), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)["results"]
    assert answer["machine"]["gpu"] == "NVIDIA H200"
    assert [row["variant"] for row in answer["rows"]] == [
        "tensorrt fp32",
        "tensorrt fp16",
        "tensorrt int8",
        "openvino bf16",
    ]
    assert SAID in page.read_text()
    assert sorted(path.name for path in store.root.iterdir() if path.name in ("engine", "timing", "original")) == []
    for more, found in (("--batches=1", "--batches"), ("--remeasure", "--remeasure"), ("--dry-run", "--dry-run")):
        assert cli.main(["report", "--store", str(store.root), "--run", "5dc417", more]) == 2
        assert f"takes no other settings; found {found}" in capsys.readouterr().err


def test_the_panel_imports_shows_and_exports_a_run(store, exported, tmp_path):
    panel = workbench.Panel(store=store)
    page = panel._history
    upload(page.travel.file, "run.wbrun", exported.read_bytes())
    assert f"Run {RUN}: {SAID}" in page.travel.said.value
    (line,) = page.choice.options
    assert f"imported: measured on {H200.label}" in line
    assert page.choice.value == (line,)
    page.open_now()
    panel.wait(60)
    assert panel.results is not None, panel._out.message.value + panel._out.problem.value
    assert panel.results.imported == SAID
    assert SAID in panel._out.message.value
    assert SAID in panel._run.compare.said.value
    page.travel.export_now()
    assert f'download="{RUN}.wbrun"' in page.travel.said.value
    upload(page.travel.file, "notes.txt", b"notes")
    assert "Choose a file that ends in .wbrun" in page.travel.file.said.value


def test_the_panel_names_a_run_and_deletes_it(store, exported):
    panel = workbench.Panel(store=store)
    page = panel._history
    assert page.labels.save.disabled
    upload(page.travel.file, "run.wbrun", exported.read_bytes())
    page.labels.name.value, page.labels.note.value = "before pruning", "<b>busy</b>"
    page.labels.save.click()
    (line,) = page.choice.options
    assert line.startswith("before pruning · ")
    assert line.endswith(" · <b>busy</b>")
    assert page.choice.value == (line,)
    page.filter.value = "PRUNING"
    assert page.choice.options == (line,)
    again = workbench.Panel(store=store)._history
    again.choice.value = again.choice.options
    assert (again.labels.name.value, again.labels.note.value) == ("before pruning", "<b>busy</b>")
    page.labels.delete.click()
    assert "Press again" in page.labels.said.value
    assert page.choice.options == (line,)
    page.labels.delete.click()
    assert page.choice.options == ()
    assert page.labels.name.disabled
    assert runs(store) == ()
    assert not list((store.root / "labels").iterdir())
