"""EfficientNet-Lite0 as a Keras model, from a PyTorch checkpoint that is read without PyTorch and without running its code."""

from __future__ import annotations

import pickle
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
TENSORS = 296
STAGES = (  # blocks, stride, expansion: table 1 of arXiv:1905.11946, without squeeze-and-excite
    (1, 1, 1),
    (2, 2, 6),
    (2, 2, 6),
    (3, 2, 6),
    (3, 1, 6),
    (4, 2, 6),
    (1, 1, 6),
)


class CheckpointError(ValueError):
    """The checkpoint is no plain table of tensors, or not the one that the model wants."""


@dataclass
class _Storage:
    """A flat array that several tensors may look into; its numbers come later in the file than its name."""

    dtype: str
    size: int
    flat: np.ndarray | None = None


@dataclass(frozen=True)
class _View:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in entries

    def array(self) -> np.ndarray:
        import numpy as np

        flat = self.storage.flat
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))
        whole = [self.offset, *self.shape, *self.strides]
        if flat is None or min(whole) < 0 or (0 not in self.shape and last >= flat.size):
            raise CheckpointError(f"A tensor of shape {self.shape} reaches beyond the numbers that the file holds.")
        steps = tuple(step * flat.itemsize for step in self.strides)
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, steps, writeable=False).copy()


def _view(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> _View:
    return _View(storage, offset, tuple(shape), tuple(strides))


class _Reader(pickle.Unpickler):
    """Knows four names; any other name in the file raises before anything is called."""

    ALLOWED = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _view,
        ("torch", "FloatStorage"): "<f4",
        ("torch", "LongStorage"): "<i8",
    }

    def __init__(self, file: BinaryIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise CheckpointError(f"The checkpoint asks for {module}.{name}, which a table of tensors does not need.")
        return self.ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, size, view = pid
        if kind != "storage" or view is not None:
            raise CheckpointError(f"The checkpoint refers to a '{kind}' that is no plain storage.")
        return self._storages.setdefault(key, _Storage(dtype, size))


def tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint in PyTorch's format from before version 1.6, by name.

    Such a file is five pickles (magic number, protocol, facts on the machine, tensors, names of storages), and then for
    every storage its length as int64 and its numbers.

    Raises:
        CheckpointError: another format, damaged, or with objects other than tensors.
    """
    import numpy as np

    storages: dict[str, _Storage] = {}
    with path.open("rb") as file:
        magic, protocol, machine, table, keys = (_Reader(file, storages).load() for _ in range(5))
        if magic != MAGIC or protocol != PROTOCOL or not machine["little_endian"]:
            raise CheckpointError(f"'{path.name}' is not a little-endian PyTorch checkpoint of protocol {PROTOCOL}.")
        for key in keys:
            storage = storages[key]
            size = int.from_bytes(file.read(8), "little")
            if size != storage.size:
                raise CheckpointError(f"A storage holds {size} numbers; the checkpoint declares {storage.size}.")
            content = file.read(size * np.dtype(storage.dtype).itemsize)
            storage.flat = np.frombuffer(content, storage.dtype)
    return {name: view.array() for name, view in table.items()}


def keras_model(table: Mapping[str, np.ndarray]) -> Any:
    """EfficientNet-Lite0 with the tensors of ``table``: images [n, 224, 224, 3], (x - 127) / 128, to 1000 probabilities.

    Padding is TensorFlow's "same", also at stride 2: the checkpoint came from TensorFlow, and the PyTorch code that
    belongs to it pads as TensorFlow does (less before than after), not with the same zeros on both sides.

    Raises:
        CheckpointError: a tensor is missing, left over, or of another shape.
    """
    import keras
    from keras import layers

    make = _Maker(table)
    image = keras.Input((224, 224, 3), name="image")
    x = make.normalized(make.convolved(image, "_conv_stem", 2), "_bn0", relu6=True)
    for block, stride, expansion in _blocks():
        entry = x
        if expansion > 1:
            x = make.normalized(make.convolved(x, f"{block}._expand_conv"), f"{block}._bn0", relu6=True)
        x = make.normalized(make.by_channel(x, f"{block}._depthwise_conv", stride), f"{block}._bn1", relu6=True)
        x = make.normalized(make.convolved(x, f"{block}._project_conv"), f"{block}._bn2")
        if stride == 1 and entry.shape[-1] == x.shape[-1]:
            x = layers.Add()([x, entry])
    x = make.normalized(make.convolved(x, "_conv_head"), "_bn1", relu6=True)
    x = layers.GlobalAveragePooling2D()(x)
    last = layers.Dense(1000, activation="softmax", name="fc")
    y = make.called(last, x, [make.taken("_fc.weight").T, make.taken("_fc.bias")])
    if make.left:
        names = ", ".join(sorted(make.left))
        raise CheckpointError(f"The checkpoint has tensors that the model does not use: {names}.")
    return keras.Model(image, y, name="efficientnet_lite0")


class _Maker:
    """Makes layers and gives each its tensors, which are taken off the table."""

    def __init__(self, table: Mapping[str, np.ndarray]) -> None:
        self.left = dict(table)

    def taken(self, name: str) -> np.ndarray:
        if name not in self.left:
            raise CheckpointError(f"The checkpoint has no tensor '{name}'.")
        return self.left.pop(name)

    def called(self, layer: Any, x: Any, weights: list[np.ndarray]) -> Any:
        y = layer(x)
        wanted = [tuple(weight.shape) for weight in layer.weights]
        if wanted != [weight.shape for weight in weights]:
            found = [weight.shape for weight in weights]
            raise CheckpointError(f"The layer '{layer.name}' takes tensors of the shapes {wanted}; found {found}.")
        layer.set_weights(weights)
        return y

    def normalized(self, x: Any, name: str, relu6: bool = False) -> Any:
        from keras import layers

        weights = [self.taken(f"{name}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        self.taken(f"{name}.num_batches_tracked")  # of use in training only
        y = self.called(layers.BatchNormalization(epsilon=1e-3, name=_plain(name)), x, weights)
        return layers.ReLU(6.0)(y) if relu6 else y

    def convolved(self, x: Any, name: str, stride: int = 1) -> Any:
        from keras import layers

        weight = self.taken(f"{name}.weight").transpose(2, 3, 1, 0)  # out, in, high, wide -> high, wide, in, out
        size, count = weight.shape[:2], weight.shape[3]
        return self.called(layers.Conv2D(count, size, stride, "same", use_bias=False, name=_plain(name)), x, [weight])

    def by_channel(self, x: Any, name: str, stride: int) -> Any:
        from keras import layers

        weight = self.taken(f"{name}.weight").transpose(
            2, 3, 0, 1
        )  # channels, 1, high, wide -> high, wide, channels, 1
        layer = layers.DepthwiseConv2D(weight.shape[:2], stride, "same", use_bias=False, name=_plain(name))
        return self.called(layer, x, [weight])


def _plain(name: str) -> str:
    return name.replace(".", "_").strip("_")


def _blocks() -> Iterator[tuple[str, int, int]]:
    """Name in the checkpoint, stride and expansion of every block."""
    number = 0
    for repeats, stride, expansion in STAGES:
        for repeat in range(repeats):
            yield f"_blocks.{number}", stride if repeat == 0 else 1, expansion
            number += 1


def save(checkpoint: Path, into: Path) -> Path:
    """The checkpoint as the Keras file ``into``; made once.

    Raises:
        CheckpointError: not the checkpoint of this model.
    """
    if not into.is_file():
        table = tensors(checkpoint)
        if len(table) != TENSORS:
            raise CheckpointError(f"'{checkpoint.name}' holds {len(table)} tensors; EfficientNet-Lite0 has {TENSORS}.")
        draft = into.with_name(f".{uuid.uuid4().hex}.keras")
        keras_model(table).save(draft)
        draft.replace(into)
    return into
