"""Deployments are complete, give the answers that were measured, and are written completely or not at all."""

from __future__ import annotations

import json
import resource
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import deployed
import numpy as np
import pytest
import recorded

from workbench import cli
from workbench.data.images import preparation, read_images
from workbench.deploy import folder as deploying
from workbench.deploy.folder import deploy, read
from workbench.deploy.triton import config, queue_of
from workbench.errors import InputError, RunError, StoreError
from workbench.records import Queue, Result, TensorSpec
from workbench.store import Store

WITHOUT_WORKBENCH = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    foreign = {name.partition(".")[0] for name in sys.modules} & {"workbench", "cattrs"}
    sys.exit(f"imported: {foreign}" if foreign else end.code)
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, object]:
    root = tmp_path_factory.mktemp("deploy")
    store = Store(root / "store").prepare()
    return store, deployed.measured(root, store.root)


@pytest.fixture(scope="module")
def made(kept, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made") / "wide"
    deploy(place, variant=deployed.VARIANT, batch=4, store=kept[0])
    return place


def selftest(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run as a user of the deployment would; fails where it imports anything but NumPy and the library."""
    command = [sys.executable, "-c", WITHOUT_WORKBENCH, str(place / "selftest.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)


def test_a_deployment_holds_what_was_measured(kept, made) -> None:
    _, results = kept
    found = read(made)
    row = next(row for row in results.rows if row.batch == 4)
    assert found.run == results.run
    assert (found.variant, found.batch, found.built) == (deployed.VARIANT, 4, "fp32")
    assert found.at(4).median_s == pytest.approx(row.timing.median_s)
    assert [one.batch for one in found.measured] == [1, 4]
    assert found.budget.startswith("0.5 points, within")
    assert {"selftest.py", "reference.npz", "preprocessing.json", "README.md"} < set(found.files)
    assert "repository/wide/1/model.onnx" in found.files
    assert not list(made.parent.glob(".wide*"))


def test_the_deployed_model_is_the_prepared_one_without_kernels_of_this_cpu(kept, made) -> None:
    store, results = kept
    origin = store.root / results.rows[0].engine.origin
    assert (made / "repository/wide/1/model.onnx").read_bytes() == origin.read_bytes()


def test_the_self_test_needs_the_library_only_and_judges_answers_and_speed(made) -> None:
    done = selftest(made, "--json")
    assert done.returncode in (0, 3), done.stderr
    found = json.loads(done.stdout)
    assert found["answers"]["right"]
    assert found["answers"]["largest_difference"] < 1e-6
    assert found["speed"]["low"] <= found["speed"]["ratio"] <= found["speed"]["high"]
    assert found["speed"]["blocks"] == 24


def test_the_self_test_finds_another_models_answers(made, tmp_path) -> None:
    copy = shutil.copytree(made, tmp_path / "copy")
    with np.load(copy / "reference.npz") as file:
        arrays = dict(file)
    arrays["output:y"] = np.roll(arrays["output:y"], 1, axis=-1)
    np.savez(copy / "reference.npz", **arrays)
    done = selftest(copy, "--answers")
    assert done.returncode == 1, done.stderr
    assert "answers: WRONG" in done.stdout
    assert "other classes" in done.stdout


@pytest.mark.parametrize(
    ("found", "verdict"),
    [([1.0, 1.01, 0.99] * 8, "as measured"), ([1.5, 1.52, 1.49] * 8, "slower"), ([1.2, 1.4, 1.0] * 2, "cannot tell")],
)
def test_the_self_test_judges_by_the_interval_of_the_ratio(made, found, verdict, monkeypatch) -> None:
    module = runpy.run_path(str(made / "selftest.py"))
    one = {"batch": 1, "median_s": 1.0, "block_medians_s": [1.0, 1.02, 0.98] * 8}
    about = {"measured": [one], "batch": 1, "machine": {"cpu": module["cpu"]()}}
    spoken = module["speed"].__globals__
    monkeypatch.setitem(spoken, "timed", lambda _: ((each, 0.0) for each in found))
    judged = module["speed"](lambda _: {}, {"x": np.zeros((1, 1))}, about)
    assert judged["verdict"] == verdict
    # most blocks were disturbed: nothing is called slower
    monkeypatch.setitem(spoken, "timed", lambda _: ((each, 0.5) for each in found))
    busy = module["speed"](lambda _: {}, {"x": np.zeros((1, 1))}, about)
    assert busy["verdict"] == ("as measured" if verdict == "as measured" else "cannot tell")
    other = module["speed"](lambda _: {}, {"x": np.zeros((1, 1))}, about | {"machine": {"cpu": "another"}})
    assert (other["verdict"], "another" in other["why"]) == ("not judged", True)


def test_the_self_test_counts_values_that_are_not_finite_as_different(made) -> None:
    difference = runpy.run_path(str(made / "selftest.py"))["difference"]
    wanted = np.array([1.0, np.nan, -4.0])
    assert difference(np.array([1.0, np.nan, -3.0]), wanted, wanted) == pytest.approx(0.25)
    assert difference(np.array([1.0, 2.0, -4.0]), wanted, wanted) == float("inf")


def test_answers_that_differ_are_not_deployed(kept, tmp_path, monkeypatch) -> None:
    real = deploying.reference

    def shifted(found):
        return {name: array + name.startswith("output:") for name, array in real(found).items()}

    monkeypatch.setattr(deploying, "reference", shifted)
    with pytest.raises(
        RunError, match="does not give the answers of the engine that was measured: they differ by up to"
    ):
        deploy(tmp_path / "wrong", variant=deployed.VARIANT, batch=1, store=kept[0])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(kept, tmp_path) -> None:
    store, _ = kept
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, before[1]))  # the model has 1 MiB
    try:
        with pytest.raises(
            StoreError, match=r"Could not write to .*: the file would be larger than allowed.*argument DIR"
        ):
            deploy(tmp_path / "new", variant=deployed.VARIANT, batch=1, store=store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_hold_something_are_left_alone(kept, tmp_path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is not empty\. Give the path of a new one, or remove it"):
        deploy(tmp_path, variant=deployed.VARIANT, batch=1, store=kept[0])
    with pytest.raises(InputError, match=r"kept\.txt' is not a folder"):
        deploy(tmp_path / "kept.txt", variant=deployed.VARIANT, batch=1, store=kept[0])
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    (tmp_path / "kept.txt").unlink()
    deploy(tmp_path, variant=deployed.VARIANT, batch=1, store=kept[0])  # an empty folder is taken
    assert read(tmp_path).batch == 1


def test_a_folder_without_permission_is_one_sentence(kept, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError, match=r"a part of the path is a file, not a folder\. Choose another folder \(argument DIR\)"
    ):
        deploy(tmp_path / "file" / "new", variant=deployed.VARIANT, batch=1, store=kept[0])


def test_variants_over_the_budget_are_deployed_on_request_only(kept, tmp_path) -> None:
    root = tmp_path / "store"
    shutil.copytree(kept[0].root, root)
    store = Store(root)
    deployed.keep_as_worse(kept[1], store)
    with pytest.raises(InputError, match=r"@4 is not deployed: .*over the accuracy budget .*add --over-budget"):
        deploy(tmp_path / "new", run="worse", batch=4, store=store)
    made = deploy(tmp_path / "new", run="worse", batch=4, store=store, over_budget=True)
    assert made.budget.startswith("0.5 points, over: loses 50")


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (
            {"variant": "openvino fp32"},
            "has no measured variant 'openvino fp32'. Set --variant to one of: onnxruntime fp32.",
        ),
        ({"batch": 2}, "was not measured at batch 2. Set --batch to one of: 1, 4."),
        ({}, "was measured at several batches. Set --batch to one of: 1, 4."),
        ({"run": "gone"}, "There is no run that ends in 'gone'"),
    ],
)
def test_rows_that_are_not_there(kept, tmp_path, asked, text) -> None:
    with pytest.raises(InputError) as error:
        deploy(tmp_path / "new", store=kept[0], **asked)
    assert text in error.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_runs(store, tmp_path) -> None:
    with pytest.raises(
        InputError,
        match=r"There is no run in the store .*Run an experiment first, or set --store \(in Python: store=\.\.\.\)",
    ):
        deploy(tmp_path / "new", store=store)


def test_parts_that_were_removed_from_the_store(kept, tmp_path) -> None:
    for kind, text in (("outputs", "answers"), ("engine", "engine"), ("timing", "timing"), ("samples", "test samples")):
        root = tmp_path / kind
        shutil.copytree(kept[0].root, root)
        shutil.rmtree(root / kind)
        with pytest.raises(InputError, match=rf"{text} .*removed from the store\. Run the experiment again"):
            deploy(tmp_path / "new", batch=1, store=Store(root))


def test_a_changed_file_is_found(made, tmp_path) -> None:
    copy = shutil.copytree(made, tmp_path / "copy")
    (copy / "repository/wide/1/model.onnx").write_bytes(b"other")
    with pytest.raises(
        InputError, match=r"'repository/wide/1/model\.onnx' of the deployment .* is not as it was deployed"
    ):
        read(copy)
    (copy / "repository/wide/1/model.onnx").unlink()
    with pytest.raises(InputError, match=r"is missing\. Deploy it again"):
        read(copy)
    with pytest.raises(InputError, match="is not a deployment"):
        read(tmp_path)


def test_the_configuration_follows_what_was_measured(made) -> None:
    found = read(made)
    rate = found.at(4).samples_per_s
    assert found.queue == Queue(4, 4, 0, min(1024, max(8, round(rate))), instances=3)
    text = config(found)
    assert "max_batch_size: 4\n" in text
    assert 'input [{ name: "x" data_type: TYPE_FP32 dims: [512] }]' in text
    assert (
        f"preferred_batch_size: [4] max_queue_delay_microseconds: 0 default_queue_policy {{ max_queue_size: {found.queue.length} "
        in text
    )
    assert "dynamic_batching" not in config(found, batching=False)
    assert "batch_size: 4 inputs" in text
    assert text == (made / "repository/wide/config.pbtxt").read_text()


def test_instances_are_as_many_as_were_fastest_and_fit_the_cores() -> None:
    row: Result = recorded.measured("onnxruntime fp32", 1, median_ms=0.5)
    model = recorded.model()
    assert queue_of(row, [row.timing], model, cores=2).instances == 3
    fixed = replace(row, spec=replace(row.spec, batch=1))
    assert queue_of(fixed, [row.timing], model, cores=2).max_batch == 1
    whole = replace(model, inputs=(TensorSpec("state", "float32", (4,), batch_axis=None),))
    alone = queue_of(row, [row.timing], whole, cores=2)
    assert (alone.max_batch, alone.instances) == (0, 1)


@pytest.mark.parametrize("pixels", ["auto", "-1..1", "0..255", "imagenet"])
@pytest.mark.parametrize("shape", [(None, 6, 8, 3), (None, 3, 6, 8), (None, 6, 8, 1)])
def test_the_preprocessing_is_what_images_were_read_with(pixels, shape, tmp_path) -> None:
    """A client that follows the data alone gives the model what the run gave it."""
    from PIL import Image, ImageOps

    drawn = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(drawn).save(tmp_path / "one.png")
    spec = TensorSpec("image", "float32", shape)
    model = replace(recorded.model(), inputs=(spec,))
    arrays, _ = read_images(tmp_path, model, pixels, 2**30)
    how = json.loads(json.dumps(preparation(spec, pixels)))
    with Image.open(tmp_path / "one.png") as image:
        upright = ImageOps.exif_transpose(image).convert(how["mode"])
    values = np.asarray(ImageOps.fit(upright, how["size"], Image.Resampling[how["resample"].upper()]), np.float32)
    values = values[..., None] if values.ndim == 2 else values
    values = values * np.array(how["multiply"]) + np.array(how["add"])
    values = values.transpose(2, 0, 1) if how["layout"] == "NCHW" else values
    np.testing.assert_allclose(values, arrays["image"][0], atol=1e-4)


def test_the_command_prints_what_it_wrote(kept, tmp_path, capsys) -> None:
    place = tmp_path / "digits"
    assert cli.main(["deploy", str(place), "--batch", "1", "--store", str(kept[0].root)]) == 0
    said = capsys.readouterr().out
    assert f"to serve it: workbench serve {place}" in said
    assert cli.main(["deploy", str(place), "--batch", "1", "--store", str(kept[0].root)]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize(
    "variant", ["tensorflow fp32", "openvino fp32", "litert fp32", "onnxruntime int8", "openvino int8", "litert int8"]
)
def test_every_library_gives_the_measured_answers(variant, every, tmp_path) -> None:
    made = deploy(tmp_path / "new", variant=variant, batch=4, store=every, over_budget=True)
    assert made.variant == variant
    done = selftest(tmp_path / "new", "--answers", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads(done.stdout)["answers"]["largest_difference"] <= made.tolerance


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A run of a small Keras model by every library on the CPU."""
    import keras

    root = tmp_path_factory.mktemp("every")
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((64,), name="x"),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(8, activation="softmax"),
    ]
    keras.Sequential(layers).save(root / "dense.keras")
    data = deployed.samples(root / "data.npz", width=64, classes=8)
    store = Store(root / "store").prepare()
    deployed.run(
        deployed.Experiment(
            model=str(root / "dense.keras"), data=str(data), backends="tensorflow,onnxruntime,openvino,litert",
            precisions="fp32,int8", batches="4", calibration_samples=16, measure_s=0.1, max_measure_s=0.1, rounds=6,
        ),
        store=store.root,
    )  # fmt: skip
    return store
