"""Small Keras models, one for each layer and each common function of ``keras.ops``, and the names of all architectures.

Used by ``scripts/keras_conformance.py``, which converts them all, and by the tests, which convert a few.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from keras_functions import PICTURE, SEQUENCE, VOLUME, Make, functions

NO_MODEL = {
    "Layer": "the base class",
    "Wrapper": "the base class of wrappers",
    "InputSpec": "not a layer",
    "Lambda": "holds Python code, which is not run",
    "TorchModuleWrapper": "holds a PyTorch module",
    "FlaxLayer": "holds a JAX function",
    "JaxLayer": "holds a JAX function",
    "TFSMLayer": "reads another SavedModel from a path",
    "MaxNumBoundingBoxes": "takes bounding boxes, not tensors",
}
"""Classes of ``keras.layers`` for which no small model is made, and why."""


def architectures() -> tuple[str, ...]:
    """The functions of ``keras.applications`` that build a model, in alphabetical order."""
    import keras

    return tuple(
        name for name, value in inspect.getmembers(keras.applications, inspect.isfunction) if name[0].isupper()
    )


def architecture(name: str) -> Any:
    """One architecture of ``keras.applications`` with random weights and the logits as output.

    Without the softmax the random network's outputs differ enough from sample to sample for a comparison to say something.
    """
    import keras

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, classifier_activation=None)
    if name in SETTLED:
        settle(model)
    return model


SETTLED = ("EfficientNetV2M", "EfficientNetV2L")
"""Architectures so deep that with random weights alone the outputs depend on the last digits of the inputs."""


def settle(model: Any) -> None:
    """Take the statistics of every batch normalization from five made-up pictures, so that values keep their size at any depth.

    The pictures are of several kinds (noise, a ramp, a dark and a coarse one): with noise alone, a ramp lies so far from the
    statistics that the outputs again depend on the last digits of the inputs.
    """
    import keras
    import numpy as np

    normalized = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [layer.momentum for layer in normalized]
    for layer in normalized:
        layer.momentum = 0.0
    height, width, channels = model.input_shape[1:]
    draw = np.random.default_rng(0)
    noise = draw.uniform(0, 255, (2, height, width, channels))
    ramp = np.broadcast_to(np.linspace(0, 255, height)[None, :, None, None], (1, height, width, channels))
    dark = draw.uniform(0, 1, (1, height, width, channels))
    coarse = draw.uniform(0, 255, (1, height // 32, width // 32, channels)).repeat(32, axis=1).repeat(32, axis=2)
    model(np.concatenate([noise, ramp, dark, coarse]).astype("float32"), training=True)
    for layer, momentum in zip(normalized, before, strict=True):
        layer.momentum = momentum


def layer_classes() -> tuple[str, ...]:
    """The distinct layer classes of ``keras.layers``, without aliases such as ``Convolution2D`` for ``Conv2D``."""
    import keras

    found = {value.__name__ for _, value in inspect.getmembers(keras.layers, inspect.isclass)}
    return tuple(sorted(name for name in found if name not in NO_MODEL))


def small_models() -> dict[str, Make]:
    """All small models by name: ``Conv2D`` for a layer, ``Conv2D groups=2`` for a variant of it, ``ops.argmax`` for a function."""
    return {**_layers(), **_pictures(), **_recurrent(), **_preprocessing(), **_several_inputs(), **functions()}


def build(name: str) -> Any:
    """The small model ``name``, with weights from a fixed seed."""
    import keras

    keras.utils.set_random_seed(0)
    return small_models()[name]()


def _through(shape: tuple[int | None, ...], make: Callable[[], Any], dtype: str = "float32", **call: Any) -> Make:
    """A model that applies one layer to one input of the given shape (without the batch)."""

    def built() -> Any:
        import keras

        x = keras.Input(shape, dtype=dtype, name="x")
        return keras.Model(x, make()(x, **call))

    return built


def _layers() -> dict[str, Make]:
    import keras

    la = keras.layers
    by_rank = {1: SEQUENCE, 2: PICTURE, 3: VOLUME}
    made: dict[str, Make] = {
        "Activation": _through((8,), lambda: la.Activation("tanh")),
        "ActivityRegularization": _through((8,), lambda: la.ActivityRegularization(0.1)),
        "AlphaDropout": _through((8,), lambda: la.AlphaDropout(0.3)),
        "BatchNormalization": _through(PICTURE, la.BatchNormalization),
        "Dense": _through((8,), lambda: la.Dense(5)),
        "Dropout": _through((8,), lambda: la.Dropout(0.3)),
        "EinsumDense": _through(SEQUENCE, lambda: la.EinsumDense("abc,cd->abd", output_shape=(None, 5))),
        "ELU": _through((8,), la.ELU),
        "Flatten": _through(SEQUENCE, la.Flatten),
        "GaussianDropout": _through((8,), lambda: la.GaussianDropout(0.3)),
        "GaussianNoise": _through((8,), lambda: la.GaussianNoise(0.3)),
        "GroupNormalization": _through(PICTURE, lambda: la.GroupNormalization(2)),
        "Identity": _through((8,), la.Identity),
        "LayerNormalization": _through(SEQUENCE, la.LayerNormalization),
        "LeakyReLU": _through((8,), la.LeakyReLU),
        "Masking": _through(SEQUENCE, la.Masking),
        "Permute": _through(SEQUENCE, lambda: la.Permute((2, 1))),
        "PReLU": _through((8,), lambda: la.PReLU("ones")),
        "ReLU": _through((8,), lambda: la.ReLU(6.0, 0.1, 0.2)),
        "RepeatVector": _through((8,), lambda: la.RepeatVector(3)),
        "Reshape": _through(SEQUENCE, lambda: la.Reshape((8, 9))),
        "RMSNormalization": _through(SEQUENCE, la.RMSNormalization),
        "Softmax": _through((8,), la.Softmax),
        "SpectralNormalization": _through((8,), lambda: la.SpectralNormalization(la.Dense(5))),
        "TimeDistributed": _through(SEQUENCE, lambda: la.TimeDistributed(la.Dense(5))),
        "UnitNormalization": _through(SEQUENCE, la.UnitNormalization),
        "Pipeline": _through(PICTURE, lambda: la.Pipeline([la.Rescaling(0.5), la.CenterCrop(8, 8)])),
        "Embedding": _through((12,), lambda: la.Embedding(20, 5), "int32"),
        "ReversibleEmbedding": _through((12,), lambda: la.ReversibleEmbedding(20, 5), "int32"),
    }
    for rank, shape in by_rank.items():
        d = f"{rank}D"
        for kind in ("Conv", "Conv groups=2", "Conv dilation", "Conv same strides=2"):
            options: dict[str, dict[str, Any]] = {
                "Conv": {},
                "Conv groups=2": {"groups": 2},
                "Conv dilation": {"dilation_rate": 2},
                "Conv same strides=2": {"padding": "same", "strides": 2},
            }
            layer, chosen = getattr(la, f"Conv{d}"), options[kind]
            made[f"Conv{d}{kind.removeprefix('Conv')}"] = _through(
                shape, lambda layer=layer, chosen=chosen: layer(6, 3, **chosen)
            )
        for name, arguments in (
            (f"Conv{d}Transpose", (6, 3)),
            (f"MaxPooling{d}", (2,)),
            (f"AveragePooling{d}", (2,)),
            (f"GlobalMaxPooling{d}", ()),
            (f"GlobalAveragePooling{d}", ()),
            (f"AdaptiveAveragePooling{d}", (3,)),
            (f"AdaptiveMaxPooling{d}", (3,)),
            (f"Cropping{d}", (1,)),
            (f"ZeroPadding{d}", (1,)),
            (f"UpSampling{d}", (2,)),
            (f"SpatialDropout{d}", (0.3,)),
        ):
            layer = getattr(la, name)
            made[name] = _through(shape, lambda layer=layer, arguments=arguments: layer(*arguments))
        if rank < 3:
            made[f"SeparableConv{d}"] = _through(shape, lambda d=d: getattr(la, f"SeparableConv{d}")(6, 3))
            made[f"DepthwiseConv{d}"] = _through(
                shape, lambda d=d: getattr(la, f"DepthwiseConv{d}")(3, depth_multiplier=2)
            )
        made[f"ConvLSTM{d}"] = _through((3, *(6,) * rank, 2), lambda d=d: getattr(la, f"ConvLSTM{d}")(3, 3))
    made["Conv1D causal"] = _through(SEQUENCE, lambda: la.Conv1D(6, 3, padding="causal"))
    made["UpSampling2D bilinear"] = _through(PICTURE, lambda: la.UpSampling2D(2, interpolation="bilinear"))
    return made


def _pictures() -> dict[str, Make]:
    import keras

    la, shape = keras.layers, (16, 16, 3)
    augmentations: dict[str, Make] = {
        "AugMix": lambda: la.AugMix((0, 1)),
        "AutoContrast": lambda: la.AutoContrast(value_range=(0, 1)),
        "CutMix": la.CutMix,
        "ContrastLimitedAdaptiveHistogramEqualization": lambda: la.ContrastLimitedAdaptiveHistogramEqualization(
            value_range=(0, 1), tile_grid_size=(4, 4)
        ),
        "Equalization": lambda: la.Equalization(value_range=(0, 1)),
        "MixUp": la.MixUp,
        "RandAugment": lambda: la.RandAugment((0, 1)),
        "RandomBrightness": lambda: la.RandomBrightness(0.2, value_range=(0, 1)),
        "RandomColorDegeneration": lambda: la.RandomColorDegeneration(0.5, value_range=(0, 1)),
        "RandomColorJitter": lambda: la.RandomColorJitter((0, 1), 0.2, 0.2, 0.2, 0.2),
        "RandomContrast": lambda: la.RandomContrast(0.2, value_range=(0, 1)),
        "RandomCrop": lambda: la.RandomCrop(8, 8),
        "RandomElasticTransform": lambda: la.RandomElasticTransform(value_range=(0, 1)),
        "RandomErasing": lambda: la.RandomErasing(value_range=(0, 1)),
        "RandomFlip": la.RandomFlip,
        "RandomGaussianBlur": lambda: la.RandomGaussianBlur(value_range=(0, 1)),
        "RandomGrayscale": la.RandomGrayscale,
        "RandomHue": lambda: la.RandomHue(0.2, value_range=(0, 1)),
        "RandomInvert": lambda: la.RandomInvert(value_range=(0, 1)),
        "RandomPerspective": la.RandomPerspective,
        "RandomPosterization": lambda: la.RandomPosterization(4, value_range=(0, 1)),
        "RandomRotation": lambda: la.RandomRotation(0.2),
        "RandomSaturation": lambda: la.RandomSaturation(0.2, value_range=(0, 1)),
        "RandomSharpness": lambda: la.RandomSharpness(0.2, value_range=(0, 1)),
        "RandomShear": lambda: la.RandomShear((0.1, 0.2), (0.1, 0.2)),
        "RandomTranslation": lambda: la.RandomTranslation(0.2, 0.2),
        "RandomZoom": lambda: la.RandomZoom(0.2),
        "Solarization": lambda: la.Solarization(value_range=(0, 1)),
        "CenterCrop": lambda: la.CenterCrop(8, 8),
        "Rescaling": lambda: la.Rescaling(1 / 255, offset=-0.5),
    }
    made = {name: _through(shape, layer) for name, layer in augmentations.items()}
    for how in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5", "area"):
        name = "Resizing" if how == "bilinear" else f"Resizing {how}"
        made[name] = _through(shape, lambda how=how: la.Resizing(24, 10, interpolation=how))
    made["Resizing antialias"] = _through(shape, lambda: la.Resizing(7, 9, antialias=True))
    made["Resizing crop"] = _through(shape, lambda: la.Resizing(8, 12, crop_to_aspect_ratio=True))
    return made


def _recurrent() -> dict[str, Make]:
    import keras

    la = keras.layers
    return {
        "SimpleRNN": _through(SEQUENCE, lambda: la.SimpleRNN(5)),
        "GRU": _through(SEQUENCE, lambda: la.GRU(5)),
        "LSTM": _through(SEQUENCE, lambda: la.LSTM(5)),
        "LSTM return_sequences": _through(SEQUENCE, lambda: la.LSTM(5, return_sequences=True)),
        "LSTM free length": _through((None, 6), lambda: la.LSTM(5)),
        "Bidirectional": _through(SEQUENCE, lambda: la.Bidirectional(la.LSTM(5))),
        "RNN": _through(SEQUENCE, lambda: la.RNN(la.LSTMCell(5))),
        "SimpleRNNCell": _through(SEQUENCE, lambda: la.RNN(la.SimpleRNNCell(5))),
        "GRUCell": _through(SEQUENCE, lambda: la.RNN(la.GRUCell(5))),
        "LSTMCell": _through(SEQUENCE, lambda: la.RNN(la.LSTMCell(5), return_sequences=True)),
        "StackedRNNCells": _through(SEQUENCE, lambda: la.RNN(la.StackedRNNCells([la.LSTMCell(5), la.GRUCell(4)]))),
        "Masking LSTM": _masked_lstm,
    }


def _masked_lstm() -> Any:
    import keras

    x = keras.Input((12,), dtype="int32", name="x")
    embedded = keras.layers.Embedding(20, 5, mask_zero=True)(x)
    return keras.Model(x, keras.layers.LSTM(5)(embedded))


def _preprocessing() -> dict[str, Make]:
    import keras

    la = keras.layers
    return {
        "CategoryEncoding": _through((4,), lambda: la.CategoryEncoding(8, output_mode="multi_hot"), "int32"),
        "CategoryEncoding one_hot": _through((1,), lambda: la.CategoryEncoding(8, output_mode="one_hot"), "int32"),
        "Discretization": _through((4,), lambda: la.Discretization([-0.5, 0.0, 0.7])),
        "Discretization one_hot": _through((1,), lambda: la.Discretization([-0.5, 0.0, 0.7], output_mode="one_hot")),
        "HashedCrossing": _crossing,
        "Hashing": _through((4,), lambda: la.Hashing(8), "int32"),
        "IntegerLookup": _through((4,), lambda: la.IntegerLookup(vocabulary=[3, 5, 1]), "int64"),
        "IntegerLookup multi_hot": _through(
            (4,), lambda: la.IntegerLookup(vocabulary=[3, 5, 100000], output_mode="multi_hot"), "int64"
        ),
        "MelSpectrogram": _through(
            (512,),
            lambda: la.MelSpectrogram(
                num_mel_bins=16, sampling_rate=8000, sequence_stride=64, fft_length=128, max_freq=4000
            ),
        ),
        "Normalization": _through((8,), lambda: la.Normalization(mean=0.3, variance=2.0)),
        "STFTSpectrogram": _through(
            (512, 1), lambda: la.STFTSpectrogram("real", frame_length=64, frame_step=32, fft_length=64)
        ),
        "StringLookup": _through((4,), lambda: la.StringLookup(vocabulary=["red", "green"]), "string"),
        "TextVectorization": _through((1,), lambda: la.TextVectorization(vocabulary=["red", "green"]), "string"),
    }


def _crossing() -> Any:
    import keras

    x, y = (keras.Input((1,), dtype="int32", name=name) for name in "xy")
    return keras.Model([x, y], keras.layers.HashedCrossing(8)((x, y)))


def _several_inputs() -> dict[str, Make]:
    import keras

    la = keras.layers

    def joined(make: Callable[[], Any], *shapes: tuple[int, ...], how: Callable[..., Any] | None = None) -> Make:
        def built() -> Any:
            given = [keras.Input(shape, name=name) for name, shape in zip("xyz", shapes, strict=False)]
            return keras.Model(given, how(make(), *given) if how else make()(given))

        return built

    made = {
        name: joined(getattr(la, name), (8,), (8,))
        for name in ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")
    }
    return {
        **made,
        "Dot": joined(lambda: la.Dot(1), (8,), (8,)),
        "Attention": joined(la.Attention, (5, 8), (6, 8)),
        "AdditiveAttention": joined(la.AdditiveAttention, (5, 8), (6, 8)),
        "MultiHeadAttention": joined(
            lambda: la.MultiHeadAttention(2, 4), (5, 8), (6, 8), how=lambda layer, x, y: layer(x, y)
        ),
        "MultiHeadAttention causal": joined(
            lambda: la.MultiHeadAttention(2, 4), (5, 8), how=lambda layer, x: layer(x, x, use_causal_mask=True)
        ),
        "GroupedQueryAttention": joined(
            lambda: la.GroupQueryAttention(4, 4, 2), (5, 8), (6, 8), how=lambda layer, x, y: layer(x, y)
        ),
        "InputLayer": joined(la.Add, (8,), (8,)),
    }
