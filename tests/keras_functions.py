"""Small Keras models, one for each common function of ``keras.ops``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Make = Callable[[], Any]
"""Builds one ``keras.Model``; weights are drawn after ``keras.utils.set_random_seed``."""

SEQUENCE = (12, 6)
PICTURE = (16, 16, 4)
VOLUME = (8, 8, 8, 4)


def applying(function: Callable[..., Any], *shapes: tuple[int | None, ...], dtype: str = "float32") -> Make:
    """A model that applies a function of ``keras.ops`` to inputs of the given shapes."""

    def built() -> Any:
        import keras

        given = [keras.Input(shape, dtype=dtype, name=name) for name, shape in zip("xyz", shapes, strict=False)]
        return keras.Model(given if len(given) > 1 else given[0], function(*given))

    return built


def functions() -> dict[str, Make]:
    import keras
    import numpy as np

    o = keras.ops
    row, square, picture = (8,), (6, 6), (8, 8, 3)
    unary = [
        "abs",
        "arcsinh",
        "arctan",
        "cbrt",
        "ceil",
        "cos",
        "cosh",
        "erf",
        "exp",
        "exp2",
        "expm1",
        "floor",
        "gelu",
        "hard_sigmoid",
        "hard_silu",
        "hard_tanh",
        "hard_shrink",
        "log_sigmoid",
        "log_softmax",
        "mean",
        "median",
        "negative",
        "nan_to_num",
        "reciprocal",
        "relu6",
        "round",
        "selu",
        "sigmoid",
        "sign",
        "signbit",
        "silu",
        "sin",
        "sinc",
        "sinh",
        "soft_shrink",
        "softmax",
        "softplus",
        "softsign",
        "sparse_plus",
        "sparsemax",
        "squareplus",
        "square",
        "std",
        "sum",
        "sum",
        "tan",
        "tanh",
        "tanh_shrink",
        "trunc",
        "var",
        "isfinite",
        "isinf",
        "isnan",
        "argmax",
        "argmin",
        "argsort",
        "sort",
        "cumsum",
        "cumprod",
        "flip",
        "logsumexp",
        "max",
        "min",
        "prod",
        "any",
        "all",
        "count_nonzero",
        "diff",
        "nanmean",
        "zeros_like",
        "ones_like",
        "celu",
        "elu",
        "leaky_relu",
        "glu",
        "ravel",
        "deg2rad",
        "rad2deg",
    ]
    made: dict[str, Make] = {}
    for name in dict.fromkeys(unary):
        whole = name in (
            "mean",
            "median",
            "std",
            "sum",
            "var",
            "any",
            "all",
            "count_nonzero",
            "max",
            "min",
            "prod",
            "nanmean",
        )
        along = whole or name in ("argmax", "argmin", "cumsum", "cumprod", "logsumexp", "flip")
        function = getattr(o, name)
        made[f"ops.{name}"] = applying(
            lambda x, function=function, along=along: function(x, axis=-1) if along else function(x), SEQUENCE
        )
    for name in ("sqrt", "log", "log2", "log10", "log1p", "rsqrt", "arccosh"):
        made[f"ops.{name}"] = applying(lambda x, name=name: getattr(o, name)(o.abs(x) + 1.1), SEQUENCE)
    for name in ("arcsin", "arccos", "arctanh", "erfinv"):
        made[f"ops.{name}"] = applying(lambda x, name=name: getattr(o, name)(0.9 * o.tanh(x)), SEQUENCE)
    for name in [
        "add",
        "subtract",
        "multiply",
        "divide",
        "maximum",
        "minimum",
        "arctan2",
        "logaddexp",
        "greater",
        "less",
        "equal",
        "mod",
        "floor_divide",
        "hypot",
    ]:
        made[f"ops.{name}"] = applying(getattr(o, name), row, row)
    for name in ["bitwise_and", "bitwise_or", "bitwise_xor"]:
        made[f"ops.{name}"] = applying(getattr(o, name), row, row, dtype="int32")
    made["ops.bitwise_not"] = applying(o.bitwise_not, row, dtype="int32")
    made["ops.left_shift"] = applying(lambda x: o.left_shift(x, 2), row, dtype="int32")
    made["ops.right_shift"] = applying(lambda x: o.right_shift(x, 1), row, dtype="int32")
    table = np.arange(36, dtype=np.float32).reshape(12, 3)
    bins = np.array([-0.5, 0.1, 0.9], np.float32)
    turned = np.array([1, 0.1, -0.5, -0.2, 1, 0.7, 0, 0], np.float32)
    halves = np.array(
        [2, 0, -6.5, 0, 2, 3.5, 0, 0], np.float32
    )  # halves between pixels, and places far outside on both sides
    made |= {
        "ops.argmax whole": applying(lambda x: o.argmax(x, axis=1, keepdims=True), SEQUENCE),
        "ops.average_pool": applying(lambda x: o.average_pool(x, 2), picture),
        "ops.cast": applying(lambda x: o.cast(x, "int32"), row),
        "ops.clip": applying(lambda x: o.clip(x, -0.5, 0.5), row),
        "ops.concatenate": applying(lambda x, y: o.concatenate([x, y], axis=-1), row, row),
        "ops.cross": applying(o.cross, (4, 3), (4, 3)),
        "ops.det": applying(o.det, square),
        "ops.depth_to_space": applying(lambda x: o.depth_to_space(x, 2), PICTURE),
        "ops.diagonal": applying(lambda x: o.diagonal(x, axis1=1, axis2=2), square),
        "ops.digitize": applying(lambda x: o.digitize(x, bins), row),
        "ops.dot_product_attention": applying(o.dot_product_attention, (5, 2, 4), (6, 2, 4), (6, 2, 4)),
        "ops.einsum": applying(lambda x, y: o.einsum("bij,bjk->bik", x, y), square, square),
        "ops.expand_dims": applying(lambda x: o.expand_dims(x, 1), row),
        "ops.extract_sequences": applying(lambda x: o.extract_sequences(x, 8, 4), (32,)),
        "ops.fft": applying(lambda x, y: o.fft((x, y)), (16,), (16,)),
        "ops.fft2": applying(lambda x, y: o.fft2((x, y)), (8, 8), (8, 8)),
        "ops.ifft2": applying(lambda x, y: o.ifft2((x, y)), (8, 8), (8, 8)),
        "ops.rfft": applying(o.rfft, (16,)),
        "ops.rfft longer": applying(lambda x: o.rfft(x, fft_length=24), (16,)),
        "ops.irfft": applying(lambda x, y: o.irfft((x, y)), (9,), (9,)),
        "ops.stft": applying(lambda x: o.stft(x, 16, 8, 16), (64,)),
        "ops.istft": applying(lambda x: o.istft(o.stft(x, 16, 8, 16), 16, 8, 16), (64,)),
        "ops.gaussian_blur": applying(o.image.gaussian_blur, picture),
        "ops.image.affine_transform": applying(lambda x: o.image.affine_transform(x, turned), picture),
        **{
            f"ops.image.affine_transform {how} {fill}": applying(
                lambda x, how=how, fill=fill: o.image.affine_transform(x, halves, how, fill, 0.5), picture
            )
            for how in ("nearest", "bilinear")
            for fill in ("constant", "nearest", "reflect", "wrap")
        },
        "ops.image.crop_images": applying(
            lambda x: o.image.crop_images(x, 1, 2, target_height=4, target_width=5), picture
        ),
        "ops.image.extract_patches": applying(lambda x: o.image.extract_patches(x, 4), picture),
        "ops.image.hsv_to_rgb": applying(lambda x: o.image.hsv_to_rgb(o.sigmoid(x)), picture),
        "ops.image.pad_images": applying(
            lambda x: o.image.pad_images(x, 1, 2, target_height=12, target_width=12), picture
        ),
        "ops.image.resize area": applying(lambda x: o.image.resize(x, (5, 3), "area"), picture),
        "ops.image.resize lanczos3": applying(
            lambda x: o.image.resize(x, (13, 5), "lanczos3", antialias=True), picture
        ),
        "ops.image.rgb_to_grayscale": applying(o.image.rgb_to_grayscale, picture),
        "ops.image.rgb_to_hsv": applying(lambda x: o.image.rgb_to_hsv(o.sigmoid(x)), picture),
        "ops.image.scale_and_translate": applying(
            lambda x: o.image.scale_and_translate(
                x, (2, 10, 12, 3), np.array([1.2, 1.4], np.float32), np.array([0.5, -0.3], np.float32), (1, 2), "linear"
            ),
            picture,
        ),
        "ops.inner": applying(lambda x: o.inner(x, np.ones((3, 8), np.float32)), row),
        "ops.inv": applying(lambda x: o.inv(x + 5 * np.eye(6, dtype=np.float32)), square),
        "ops.isin": applying(lambda x: o.isin(x, np.array([1, 4])), row, dtype="int32"),
        "ops.layer_normalization": applying(o.layer_normalization, SEQUENCE),
        "ops.linspace": applying(lambda x: x + o.linspace(0.0, 1.0, 8), row),
        "ops.logical_and": applying(lambda x, y: o.logical_and(x > 0, y > 0), row, row),
        "ops.logical_not": applying(lambda x: o.logical_not(x > 0), row),
        "ops.matmul": applying(o.matmul, square, square),
        "ops.max_pool": applying(lambda x: o.max_pool(x, 2), picture),
        "ops.meshgrid": applying(lambda x: x + o.meshgrid(o.arange(6.0), o.arange(6.0))[0], square),
        "ops.moments": applying(lambda x: o.moments(x, axes=[1]), SEQUENCE),
        "ops.moveaxis": applying(lambda x: o.moveaxis(x, 1, 2), SEQUENCE),
        "ops.norm": applying(lambda x: o.norm(x, axis=-1), SEQUENCE),
        "ops.normalize": applying(o.normalize, row),
        "ops.one_hot": applying(lambda x: o.one_hot(x, 8), (4,), dtype="int32"),
        "ops.outer": applying(lambda x: o.expand_dims(x, 2) * o.expand_dims(x, 1), row),
        "ops.pad": applying(lambda x: o.pad(x, [[0, 0], [1, 2], [0, 0]], mode="reflect"), SEQUENCE),
        "ops.power": applying(lambda x: o.power(o.abs(x), 1.7), row),
        "ops.quantile": applying(lambda x: o.quantile(x, 0.3, axis=-1), row),
        "ops.repeat": applying(lambda x: o.repeat(x, 2, axis=1), SEQUENCE),
        "ops.roll": applying(lambda x: o.roll(x, 2, axis=1), SEQUENCE),
        "ops.rot90": applying(lambda x: o.rot90(x, axes=(1, 2)), square),
        "ops.scatter_update": applying(
            lambda x: o.scatter_update(x, np.array([[0, 1], [0, 3]]), np.array([7.0, 9.0], np.float32)), row
        ),
        "ops.searchsorted": applying(lambda x: o.searchsorted(bins, o.ravel(x)), (1,)),
        "ops.segment_sum": applying(
            lambda x: o.transpose(o.segment_sum(o.transpose(x), np.array([0, 0, 1, 1, 2, 2, 2, 3]), 4)), row
        ),
        "ops.select": applying(lambda x, y: o.select([x > 0, y > 0], [x, y], 0.0), row, row),
        "ops.slice": applying(lambda x: o.slice(x, (0, 1), (1, 3)), row),
        "ops.slice_update": applying(lambda x: o.slice_update(x, (0, 2), np.full((1, 3), 7, np.float32)), row),
        "ops.space_to_depth": applying(lambda x: o.space_to_depth(x, 2), PICTURE),
        "ops.split": applying(lambda x: o.split(x, 2, axis=-1), row),
        "ops.squeeze": applying(lambda x: o.squeeze(x, 1), (1, 8)),
        "ops.stack": applying(lambda x, y: o.stack([x, y], axis=1), row, row),
        "ops.swapaxes": applying(lambda x: o.swapaxes(x, 1, 2), SEQUENCE),
        "ops.take": applying(lambda x: o.take(table, x, axis=0), (4,), dtype="int32"),
        "ops.take_along_axis": applying(
            lambda x: o.take_along_axis(x, o.argsort(x, axis=-1)[:, :, :2], axis=-1), SEQUENCE
        ),
        "ops.tensordot": applying(lambda x: o.tensordot(x, np.ones((6, 3), np.float32), axes=1), SEQUENCE),
        "ops.threshold": applying(lambda x: o.threshold(x, 0.1, 0.0), row),
        "ops.tile": applying(lambda x: o.tile(x, (1, 2)), row),
        "ops.top_k": applying(lambda x: o.top_k(x, 3), row),
        "ops.trace": applying(lambda x: o.trace(x, axis1=1, axis2=2), square),
        "ops.transpose": applying(lambda x: o.transpose(x, (0, 2, 1)), SEQUENCE),
        "ops.tril": applying(o.tril, square),
        "ops.triu": applying(o.triu, square),
        "ops.unstack": applying(lambda x: o.unstack(x, axis=1), (3, 4)),
        "ops.where": applying(lambda x, y: o.where(x > 0, x, y), row, row),
        "ops.cholesky": applying(
            lambda x: o.cholesky(o.matmul(x, o.transpose(x, (0, 2, 1))) + 6 * np.eye(6, dtype=np.float32)), square
        ),
        "ops.solve": applying(lambda x: o.solve(x + 5 * np.eye(6, dtype=np.float32), x), square),
        "ops.svd": applying(lambda x: o.svd(x, compute_uv=False), square),
        "ops.qr": applying(lambda x: o.qr(x)[1], square),
        "ops.view": applying(lambda x: o.view(x, "int32"), row),
        "ops.nonzero": applying(lambda x: o.nonzero(x)[1], row),
    }
    return made
