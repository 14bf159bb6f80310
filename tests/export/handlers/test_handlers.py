"""Each handler on TensorFlow's own operation, in more forms than Keras uses: same numbers as TensorFlow."""

from __future__ import annotations

import model_zoo
import numpy as np
import pytest
import tensorflow as tf

from workbench.errors import ExportError
from workbench.export import frozen, rewrites
from workbench.export.handlers.resizing import KERNELS
from workbench.export.routes import OPSET, _converting
from workbench.models.formats import saved_model
from workbench.records import Model, TensorSpec

RAW = tf.raw_ops
MODEL = Model("", "net", "saved_model", (TensorSpec("x", "float32", (None,)),), (), 0, 0, "")


def check(tmp_path, function, *arrays, atol=1e-5, free=(0,)):
    """Convert a function of tensors, with the axes ``free`` of its inputs free, and compare its outputs with TensorFlow's."""
    import tf2onnx

    names = [f"x{number}" for number in range(len(arrays))]
    specs = [
        tf.TensorSpec([None if axis in free else size for axis, size in enumerate(array.shape)], array.dtype, name=name)
        for name, array in zip(names, arrays, strict=True)
    ]
    called = tf.function(function, input_signature=specs, autograph=False)
    graph_def, inputs, outputs = frozen._freeze(called.get_concrete_function())
    with _converting(MODEL):
        tf2onnx.convert.from_graph_def(
            graph_def, input_names=inputs, output_names=outputs, opset=OPSET, output_path=str(tmp_path / "net.onnx")
        )
    found = model_zoo.run_onnx(tmp_path / "net.onnx", dict(zip(inputs, arrays, strict=True)))
    wanted = called(*arrays)
    for array, tensor in zip(found.values(), wanted if isinstance(wanted, list | tuple) else [wanted], strict=True):
        assert array.dtype == tensor.numpy().dtype
        np.testing.assert_allclose(array, tensor.numpy(), atol=atol, rtol=1e-5)


def noise(*shape, kind="float32"):
    draw = np.random.default_rng(0)
    if np.dtype(kind).kind == "f":
        return draw.standard_normal(shape).astype(kind)
    limits = np.iinfo(kind)
    return draw.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"])
@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_or", "bitwise_xor"])
def test_bits_of_whole_numbers(tmp_path, name, kind):
    check(tmp_path, getattr(tf.bitwise, name), noise(3, 5, kind=kind), noise(3, 5, kind=kind)[::-1].copy())


@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint8", "uint32"])
def test_inverted_bits(tmp_path, kind):
    check(tmp_path, tf.bitwise.invert, noise(3, 5, kind=kind))


def test_the_sign_bit_of_zeros(tmp_path):
    def negative(x):
        return tf.bitwise.bitwise_and(tf.bitcast(x, tf.int32), tf.int32.min) < 0

    check(tmp_path, negative, np.float32([[0.0, -0.0, 1, -1, np.inf, -np.inf]]))


@pytest.mark.parametrize("size", [16, 30, 7])
def test_fourier_transforms(tmp_path, size):
    def transform(x, y):
        whole = tf.signal.fft(tf.complex(x, y))
        back = tf.signal.ifft(whole)
        return tf.math.real(whole), tf.math.imag(whole), tf.math.real(back), tf.abs(tf.math.conj(whole))

    check(tmp_path, transform, noise(3, 4, size), noise(3, 4, size), atol=2e-5)


@pytest.mark.parametrize("length", [None, 12, 24, 17])
def test_real_transforms_are_cut_and_filled_to_their_length(tmp_path, length):
    def there(x):
        found = tf.signal.rfft(x, None if length is None else [length])
        return tf.math.real(found), tf.math.imag(found), tf.signal.irfft(found, None if length is None else [length])

    check(tmp_path, there, noise(3, 16), atol=2e-5)


def test_transforms_in_two_dimensions(tmp_path):
    def there(x):
        found = tf.signal.rfft2d(x)
        whole = tf.signal.fft2d(tf.complex(x, x * 0.5))
        return tf.math.real(found), tf.signal.irfft2d(found), tf.math.imag(tf.signal.ifft2d(whole))

    check(tmp_path, there, noise(3, 8, 10), atol=2e-5)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("kernel", KERNELS)
def test_images_resized_by_a_kernel(tmp_path, kernel, antialias):
    def resized(x):
        return RAW.ScaleAndTranslate(
            images=x, size=[9, 21], scale=[0.6, 1.7], translation=[0.4, -1.3], kernel_type=kernel, antialias=antialias
        )

    check(tmp_path, resized, noise(2, 15, 12, 3))


@pytest.mark.parametrize("size", [(5, 7), (15, 12), (31, 40), (1, 1)])
@pytest.mark.parametrize("corners", [True, False])
def test_images_resized_by_area_and_by_cubics(tmp_path, size, corners):
    def resized(x):
        return (
            RAW.ResizeArea(images=x, size=size, align_corners=corners),
            RAW.ResizeBicubic(images=x, size=size, align_corners=corners),
            RAW.ResizeBicubic(images=x, size=size, half_pixel_centers=True),
        )

    check(tmp_path, resized, noise(2, 15, 12, 3), atol=2e-5)


@pytest.mark.parametrize("free", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("size", [(16, 20), (5, 300), (224, 100), (1, 1), (97, 113)])
def test_images_resized_by_the_nearest_pixel(tmp_path, size, free):
    def resized(x):
        return (
            RAW.ResizeNearestNeighbor(images=x, size=size, half_pixel_centers=True),
            RAW.ResizeNearestNeighbor(images=x, size=size, align_corners=True),
            RAW.ResizeNearestNeighbor(images=x, size=size),
        )

    check(tmp_path, resized, noise(2, 224, 100, 3), free=free)


@pytest.mark.parametrize("kernel", ["lanczos1", "lanczos3", "lanczos5", "triangle", "keyscubic", "mitchellcubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_images_of_free_size_resized_by_a_kernel(tmp_path, kernel, antialias):
    def resized(x):
        return RAW.ScaleAndTranslate(
            images=x,
            size=[9, 21],
            scale=[9, 21] / tf.cast(tf.shape(x)[1:3], tf.float32),
            translation=[0.4, -1.3],
            kernel_type=kernel,
            antialias=antialias,
        )

    check(tmp_path, resized, noise(2, 15, 12, 3), atol=2e-5, free=(0, 1, 2))


@pytest.mark.parametrize("size", [(5, 7), (15, 12), (31, 40)])
def test_images_of_free_size_resized_by_area_and_by_cubics(tmp_path, size):
    def resized(x):
        return (
            RAW.ResizeArea(images=x, size=size),
            RAW.ResizeBicubic(images=x, size=size, half_pixel_centers=True),
        )

    check(tmp_path, resized, noise(2, 15, 12, 3), atol=2e-5, free=(0, 1, 2))


def test_images_of_free_size_are_refused_where_no_formula_is_known(tmp_path):
    def resized(x):
        return RAW.ScaleAndTranslate(
            images=x, size=[9, 21], scale=[0.6, 1.7], translation=[0.0, 0.0], kernel_type="gaussian", antialias=True
        )

    with pytest.raises(ExportError, match="cannot be expressed in ONNX: ScaleAndTranslate"):
        check(tmp_path, resized, noise(2, 15, 12, 3), free=(0, 1, 2))


@pytest.mark.parametrize("start", [(0, 0), (0, 3), (1, 9)])
def test_a_part_is_overwritten_and_stays_inside(tmp_path, start):
    from tensorflow.compiler.tf2xla.ops import gen_xla_ops

    def updated(x):
        return gen_xla_ops.xla_dynamic_update_slice(x, tf.ones((1, 4)) * 7, tf.constant(start))

    array = noise(3, 10)
    whole = array.copy()  # XLA's operation has no kernel outside XLA; its definition is applied here
    row, column = min(start[0], 2), min(start[1], 6)
    whole[row : row + 1, column : column + 4] = 7
    import tf2onnx

    called = tf.function(updated, input_signature=[tf.TensorSpec((None, 10), tf.float32)], autograph=False)
    graph_def, inputs, outputs = frozen._freeze(called.get_concrete_function())
    with _converting(MODEL):
        tf2onnx.convert.from_graph_def(
            graph_def, input_names=inputs, output_names=outputs, opset=OPSET, output_path=str(tmp_path / "net.onnx")
        )
    (found,) = model_zoo.run_onnx(tmp_path / "net.onnx", {inputs[0]: array}).values()
    np.testing.assert_array_equal(found, whole)


def test_places_in_sorted_boundaries(tmp_path):
    edges = [-1.0, 0.0, 0.0, 0.5]
    x = np.float32([[-2, -1, -0.5, 0, 0.25, 0.5, 9]])
    check(tmp_path, lambda v: RAW.Bucketize(input=v, boundaries=edges), x)
    for side in ("left", "right"):
        check(tmp_path, lambda v, side=side: tf.searchsorted(tf.constant([edges]), v, side), x, free=())


def test_functions_of_single_numbers(tmp_path):
    x = np.float32([[-0.9999, -0.5, -0.01, 0.0, 0.3, 0.97]])
    check(tmp_path, lambda v: (tf.math.erfinv(v), tf.math.erfc(v), tf.math.ndtri((v + 1) / 2)), x, atol=1e-4)


def test_exponentials_and_logarithms_keep_their_digits_near_zero(tmp_path):
    x = np.float32([[-0.9, -0.3, -1e-4, -1e-7, 0, 3e-8, 1e-5, 0.2, 0.6, 5, 60, np.inf]])
    check(tmp_path, lambda v: (tf.math.expm1(v), tf.math.log1p(v)), x, atol=1e-12)


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_running_products(tmp_path, exclusive, reverse):
    check(tmp_path, lambda v: tf.math.cumprod(v, 1, exclusive=exclusive, reverse=reverse), noise(2, 13, 3))


def test_colours(tmp_path):
    colours = np.random.default_rng(0).random((2, 5, 6, 3)).astype("f")
    colours[0, 0] = [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.2]]
    check(tmp_path, lambda v: (tf.image.rgb_to_hsv(v), tf.image.hsv_to_rgb(v)), colours)


def test_cross_products_with_broadcast_shapes(tmp_path):
    def crossed(x, y):
        shape = tf.broadcast_dynamic_shape(tf.shape(x), tf.shape(y))
        return tf.linalg.cross(tf.broadcast_to(x, shape), tf.broadcast_to(y, shape))

    check(tmp_path, crossed, noise(2, 4, 3), noise(2, 1, 3))


def test_convolutions_of_volumes_in_groups(tmp_path):
    kernel = noise(2, 2, 2, 2, 6)

    @tf.function(jit_compile=True)
    def compiled(x):
        return tf.nn.convolution(x, kernel, data_format="NDHWC")

    check(tmp_path, lambda x: compiled(x) + 1, noise(2, 5, 5, 5, 4), atol=1e-4)


@pytest.mark.parametrize("keys", [[3, 5, 1], [0, -4, 7, 900], [5, 10**7, -(10**9)]])
def test_lookup_tables_of_whole_numbers(tmp_path, keys):
    """Dense keys become an array, others a comparison; absent keys give the default."""
    initial = tf.lookup.KeyValueTensorInitializer(
        tf.constant(keys, tf.int64), tf.range(10, 10 + len(keys), dtype=tf.int64)
    )
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(initial, -1)
    module.call = tf.function(
        lambda x: {"y": module.table.lookup(x)}, input_signature=[tf.TensorSpec((None, 3), tf.int64, name="x")]
    )
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.call})
    found = frozen.of_saved_model(saved_model.load(tmp_path / "saved"), "serving_default", ["x"])
    asked = np.array([[keys[0], keys[-1], 2], [10**12, -7, keys[1]]], np.int64)
    assert not any("Lookup" in node.op for node in found.graph_def.node)
    (tensor,) = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(found.graph_def, name=""), []).prune(
        found.inputs["x"], [found.outputs["y"]]
    )(tf.constant(asked))
    np.testing.assert_array_equal(tensor.numpy(), module.call(asked)["y"].numpy())


def test_a_table_that_would_be_too_large_is_left_in_the_graph(monkeypatch):
    monkeypatch.setattr(rewrites, "DENSE_KEYS", 2)
    monkeypatch.setattr(rewrites, "COMPARED_KEYS", 2)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.int64, [None])
        table = tf.compat.v1.placeholder(tf.resource, [], name="table")
        RAW.LookupTableFindV2(table_handle=table, keys=x, default_value=tf.constant(0, tf.int64))
    graph_def = graph.as_graph_def()
    keys = np.array([1, 5, 9])
    rewrites.inline_tables(graph_def, lambda *_: (keys, keys))
    assert [node.op for node in graph_def.node].count("LookupTableFindV2") == 1


def test_sizes_read_from_a_shape_become_constants_where_they_are_fixed():
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4, 6, 3])
        tf.identity(tf.shape(x)[1:3], name="fixed")
        tf.identity(tf.shape(x)[-1], name="last")
        tf.identity(tf.shape(x)[0], name="free")
        tf.identity(tf.shape(x)[:2], name="partly")
    graph_def = graph.as_graph_def()
    rewrites.fold_sizes(graph_def)
    nodes = {node.name: node for node in graph_def.node}
    found = {
        name: tf.make_ndarray(nodes[nodes[name].input[0]].attr["value"].tensor).tolist()
        for name in ("fixed", "last", "free", "partly")
        if nodes[nodes[name].input[0]].op == "Const"
    }
    assert found == {"fixed": [4, 6], "last": 3}


TRANSFORMS = np.float32(
    [
        [1, 0.1, -0.5, -0.2, 1, 0.7, 0, 0],
        [0.5, 0, 0.25, 0, 0.5, 0.25, 0, 0],
        [2, 0, -6.5, 0, 2, 3.5, 0, 0],  # halves between pixels
        [3, -1, 20, 1, 2, -17, 0, 0],  # far outside
        [1, 0.2, 1, -0.3, 1, 2, 0.05, -0.25],  # divides by 0 at (0, 4)
    ]
)


@pytest.mark.parametrize("fill", ["CONSTANT", "NEAREST", "REFLECT", "WRAP"])
@pytest.mark.parametrize("interpolation", ["NEAREST", "BILINEAR"])
def test_projective_transforms(tmp_path, interpolation, fill):
    """A transform for each image, sizes known only when it runs, and another size of the result."""

    def moved(images, transforms):
        return RAW.ImageProjectiveTransformV3(
            images=images, transforms=transforms, output_shape=tf.add(tf.shape(images)[1:3], [1, -1]), fill_value=0.7,
            interpolation=interpolation, fill_mode=fill,
        )  # fmt: skip

    check(tmp_path, moved, noise(5, 7, 9, 2), TRANSFORMS, atol=1e-4, free=(0, 1, 2))


@pytest.mark.parametrize("kind", ["uint8", "int32"])
def test_one_projective_transform_of_whole_numbers(tmp_path, kind):
    def moved(images):
        return RAW.ImageProjectiveTransformV3(
            images=images, transforms=TRANSFORMS[:1], output_shape=[6, 1], fill_value=3.0, interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )  # fmt: skip

    draw = np.random.default_rng(0).integers(0, 200, (3, 6, 1, 2))
    check(tmp_path, moved, draw.astype(kind), atol=1)  # cut off after rounding
