"""Every format beyond Keras 3 and plain SavedModels: read, run and exported, with real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from converting import convert_model, runs_alike

from workbench.errors import ExportError, InputError
from workbench.models import formats
from workbench.models.inspection import inspect_model
from workbench.store import file_digest


def test_a_file_with_the_wrong_content_is_named(tmp_path):
    (tmp_path / "x.tflite").write_bytes(b"not a flatbuffer at all")
    with pytest.raises(InputError, match=r"is not a TensorFlow Lite file, although its ending is \.tflite"):
        inspect_model(tmp_path / "x.tflite")
    (tmp_path / "x.h5").write_bytes(b"not hdf5")
    with pytest.raises(InputError, match=r"is neither an HDF5 file nor a \.keras archive"):
        inspect_model(tmp_path / "x.h5")


def test_a_full_model_in_hdf5_is_read(demo_folder, tmp_path):
    import keras

    keras.models.load_model(demo_folder / "demo.keras").save(tmp_path / "demo.h5")
    model = inspect_model(tmp_path / "demo.h5")
    assert (model.format, model.parameters) == ("keras", 35994)
    runs_alike(model, tmp_path)


def test_a_live_model_is_kept_once(demo_folder, store):
    import keras

    from workbench.models.live import kept_model

    live = keras.models.load_model(demo_folder / "demo.keras")
    first, again = kept_model(live, store), kept_model(live, store)
    assert first == again
    assert first.is_file()
    with pytest.raises(InputError, match=r"A model is a path or a live keras.Model; found list"):
        kept_model([], store)


def test_text_is_measured_by_tensorflow_but_not_exported(tmp_path):
    import model_zoo

    model = inspect_model(model_zoo.saved_model(tmp_path / "several"), "text")
    with pytest.raises(ExportError, match="cannot be converted to ONNX: 'words' holds text, and engines take numbers"):
        convert_model(model, tmp_path / "out.onnx")


@pytest.mark.parametrize(
    "make", ["keras_mlp", "keras_gelu", "keras_normalization", "named", "listed", "spaced", "fixed"]
)
def test_a_keras_signature_is_the_one_that_its_export_gives(tmp_path, make):
    """Determined from the structure, without an export; an export says the same."""
    import model_zoo

    from workbench.models.formats import keras as keras_format

    path = tmp_path / "m.keras"
    if make in ("named", "listed"):
        model_zoo.keras_two_by_two(path, named=make == "named")
    elif make in ("spaced", "fixed"):
        model_zoo.keras_mlp(path, name="my image" if make == "spaced" else "x", batch=3 if make == "fixed" else None)
    else:
        getattr(model_zoo, make)(path)
    model = keras_format.load(path)
    assert keras_format.described(model) == keras_format.exported(model)


def test_an_input_that_looks_up_a_table_is_made_up_within_it(tmp_path):
    """Rows beyond the table are no indices: TensorFlow and ONNX Runtime refuse them."""
    import keras
    import model_zoo
    from onnx import helper

    entry = keras.Input((6,), dtype="int32", name="ids")
    found = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(5, 3)(entry))
    keras.Model(entry, found).save(tmp_path / "words.keras")
    model = inspect_model(tmp_path / "words.keras")
    assert (model.inputs[0].low, model.inputs[0].high) == (0, 4)
    assert model.probe is not None
    assert model.probe.free
    runs_alike(model, tmp_path)

    nodes = [helper.make_node("Cast", ["x"], ["i"], to=7), helper.make_node("Gather", ["table", "i"], ["y"])]
    table = np.ones((3, 2), np.float32)
    proto = model_zoo.onnx_model(nodes, {"table": table}, inputs={"x": ("n",)}, outputs={"y": ("n", 2)}, dtype=6)
    spec = inspect_model(model_zoo.save(proto, tmp_path / "gather.onnx")).inputs[0]
    assert (spec.low, spec.high) == (0, 2)


@pytest.mark.parametrize(
    ("make", "shapes", "done"),
    [("onnx_fixed_conv", "x:?x3x16x16", {1: True, 2: True}), ("onnx_fixed_reshape", "x:?x3x4", {1: True, 2: False})],
)
def test_sizes_changed_by_the_user_are_measured_where_they_run(tmp_path, store, make, shapes, done):
    import model_zoo

    from workbench import Experiment, run

    path = model_zoo.save(getattr(model_zoo, make)(), tmp_path / "fixed.onnx")
    asked = Experiment(
        model=path,
        input_shapes=shapes,
        backends="onnxruntime",
        precisions="fp32",
        batches="1,2",
        data="random",
        measure_s=0.05,
        max_measure_s=0.05,
        rounds=2,
    )
    rows = run(asked, store=store).rows
    assert {row.batch: row.timing is not None for row in rows} == done


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_inputs_of_a_dictionary_reach_their_own_names(tmp_path, order):
    import keras

    tensors = {name: keras.Input((3,), name=name) for name in order}
    keras.Model(tensors, tensors["a"] * 2 - tensors["b"]).save(tmp_path / "pair.keras")
    model = inspect_model(tmp_path / "pair.keras")
    feeds = {"a": np.ones((1, 3), "f4"), "b": np.zeros((1, 3), "f4")}
    assert formats.get("keras").open(Path(model.path), model)(feeds)["output_0"].tolist() == [[2, 2, 2]]
    runs_alike(model, tmp_path)


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
def test_real_numbers_are_quantized_for_a_file_that_takes_8_bits(tmp_path, store):
    """As the file says, not by casting: the answers are those of the float model."""
    import tensorflow as tf

    from workbench import Experiment, run

    draw = np.random.default_rng(0)
    weight, x = draw.standard_normal((6, 4)).astype("f4"), draw.standard_normal((200, 6)).astype("f4")

    @tf.function(input_signature=[tf.TensorSpec((None, 6), tf.float32, name="x")])
    def net(x):
        return {"y": tf.matmul(x, weight)}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([net.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in x)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (tmp_path / "net.tflite").write_bytes(converter.convert())
    model = inspect_model(tmp_path / "net.tflite")
    assert model.inputs[0].dtype == "int8"
    assert 0.005 < model.inputs[0].scale < 0.05
    assert "int8 [? × 6], standing for" in str(model.inputs[0])
    np.savez(tmp_path / "data.npz", x=x, y=(x @ weight).argmax(1))
    asked = Experiment(
        model=model.path, backends="litert", precisions="int8", batches=1, data=str(tmp_path / "data.npz"),
        calibration_samples=1, measure_s=0.05, max_measure_s=0.05, rounds=2,
    )  # fmt: skip
    (row,) = run(asked, store=store).rows
    assert row.accuracy.value > 0.95
    assert row.engine.source_sha256 == file_digest(tmp_path / "net.tflite")
    np.savez(tmp_path / "data.npz", x=np.where(x == x[3, 0], np.nan, x))
    with pytest.raises(InputError, match="A value that is not a number or is infinite is in row 3"):
        run(asked, store=store)


def test_layers_called_in_training_mode_are_run_for_inference_and_said_so(tmp_path):
    """Monte Carlo dropout: Keras' own predict leaves it out."""
    import keras

    given = keras.layers.Input((4,))
    hidden = keras.layers.Dropout(0.5, name="monte_carlo")(keras.layers.Dense(8)(given), training=True)
    keras.Model(given, keras.layers.Dense(3)(hidden)).save(tmp_path / "mc.keras")
    model = inspect_model(tmp_path / "mc.keras")
    assert not model.varying
    assert any("training mode ('monte_carlo') are run and exported for inference" in note for note in model.notes)
    plain = keras.layers.Dropout(0.5)(keras.layers.Dense(8)(given))
    keras.Model(given, keras.layers.Dense(3)(plain)).save(tmp_path / "plain.keras")
    assert not any("training mode" in note for note in inspect_model(tmp_path / "plain.keras").notes)


def test_made_up_pixels_have_the_range_that_a_model_scales_down(tmp_path):
    import keras

    image = keras.Input((8, 8, 3), name="image")
    keras.Model(image, keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, offset=-1)(image))).save(
        tmp_path / "a.keras"
    )
    keras.Model(image, keras.layers.Flatten()(keras.layers.Rescaling(2.0)(image))).save(tmp_path / "b.keras")
    keras.Model(image, keras.layers.Flatten()(keras.layers.Rescaling(1 / 65535)(image))).save(tmp_path / "c.keras")
    scaled, other, deep = (inspect_model(tmp_path / name).inputs[0] for name in ("a.keras", "b.keras", "c.keras"))
    assert (scaled.low, scaled.high) == (0, 255)
    assert (deep.low, deep.high) == (0, 65535)
    assert (other.low, other.high) == (None, None)
