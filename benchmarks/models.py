"""Shared by the benchmarks: the models that they work on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper, save
from record import ROOT

from workbench import open_model
from workbench.store import Store

SIZES = ((2, 16), (4, 160), (6, 384), (8, 640), (10, 1280))  # layers and width: about 0.01, 0.05, 0.3, 1 and 5 ms


def chain(path: Path, layers: int, width: int) -> Path:
    """``layers`` times MatMul and Relu; weights scaled so that values neither grow nor vanish into slow subnormals."""
    draw = np.random.default_rng(0)
    weights, nodes = [], []
    for layer in range(layers):
        weight = draw.standard_normal((width, width), dtype=np.float32) * np.float32((2 / width) ** 0.5)
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"m{layer}"]))
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [f"x{layer + 1}"]))
    ends = [helper.make_tensor_value_info(f"x{end}", TensorProto.FLOAT, ["n", width]) for end in (0, layers)]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


class _Net:
    """Convolutions with ReLU and residual sums on images of the layout [n, channels, height, width], random weights."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self._draw = np.random.default_rng(0)

    def add(self, op: str, *inputs: str, **attributes: object) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, *shape: int, gain: float = 2.0) -> str:
        """Scaled as by He et al. (2015), so that values neither grow nor vanish."""
        scale = np.float32((gain / np.prod(shape[1:])) ** 0.5) if len(shape) > 1 else np.float32(0.01)
        name = f"w{len(self.weights)}"
        values = self._draw.standard_normal(shape, dtype=np.float32) * scale
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, x: str, channels: tuple[int, int], kernel: int, stride: int = 1, gain: float = 2.0) -> str:
        weight, bias = self.weight(channels[1], channels[0], kernel, kernel, gain=gain), self.weight(channels[1])
        edge = kernel // 2
        return self.add(
            "Conv", x, weight, bias, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[edge] * 4, group=1
        )

    def depthwise(self, x: str, channels: int, stride: int) -> str:
        """A 3 × 3 convolution of every channel by itself."""
        weight, bias = self.weight(channels, 1, 3, 3), self.weight(channels)
        return self.add(
            "Conv", x, weight, bias, kernel_shape=[3, 3], strides=[stride] * 2, pads=[1] * 4, group=channels
        )

    def relu6(self, x: str) -> str:
        if "six" not in (weight.name for weight in self.weights):
            self.weights.append(numpy_helper.from_array(np.float32(0), "zero"))
            self.weights.append(numpy_helper.from_array(np.float32(6), "six"))
        return self.add("Clip", x, "zero", "six")

    def saved(self, path: Path, image: tuple[int, int, int], result: str, classes: int) -> Path:
        ends = [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", *image]),
            helper.make_tensor_value_info(result, TensorProto.FLOAT, ["n", classes]),
        ]
        graph = helper.make_graph(self.nodes, "net", ends[:1], ends[1:], self.weights)
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
        return path


def resnet50(path: Path) -> Path:
    """The layers of ResNet-50 (He et al. 2016, with the stride in the 3 × 3 convolution): 25.5 million parameters, folded
    batch normalization, 224 × 224 images, random weights.
    """
    net = _Net()
    x = net.add("Relu", net.conv("image", (3, 64), 7, 2))
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    wide = 64
    for stage, (blocks, inner) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for block in range(blocks):
            stride = 2 if block == 0 and stage else 1
            y = net.add("Relu", net.conv(x, (wide, inner), 1))
            y = net.add("Relu", net.conv(y, (inner, inner), 3, stride))
            y = net.conv(y, (inner, 4 * inner), 1, gain=0.2)  # so that sixteen sums do not add up to large values
            x = net.conv(x, (wide, 4 * inner), 1, stride, gain=1.0) if block == 0 else x
            x, wide = net.add("Relu", net.add("Add", x, y)), 4 * inner
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    x = net.add("Gemm", x, net.weight(1000, wide, gain=1.0), net.weight(1000), transB=1)
    return net.saved(path, (3, 224, 224), x, 1000)


def mobilenetv2(path: Path) -> Path:
    """The layers of MobileNetV2 (Sandler et al. 2018, table 2, width 1.0): 3.5 million parameters, folded batch normalization,
    224 × 224 images, random weights.
    """
    net = _Net()
    x, wide = net.relu6(net.conv("image", (3, 32), 3, 2)), 32
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, channels, blocks, first_stride in stages:
        for block in range(blocks):
            stride, inner = first_stride if block == 0 else 1, expansion * wide
            y = net.relu6(net.conv(x, (wide, inner), 1)) if expansion > 1 else x
            y = net.relu6(net.depthwise(y, inner, stride))
            y = net.conv(y, (inner, channels), 1, gain=1.0)
            x = net.add("Add", x, y) if stride == 1 and wide == channels else y
            wide = channels
    x = net.relu6(net.conv(x, (wide, 1280), 1))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    x = net.add("Gemm", x, net.weight(1000, 1280, gain=1.0), net.weight(1000), transB=1)
    return net.saved(path, (3, 224, 224), x, 1000)


def small_cnn(path: Path) -> Path:
    """Five convolutions and a dense layer on 28 × 28 images, as large as the demo."""
    net = _Net()
    x, wide = "image", 1
    for channels, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        x, wide = net.add("Relu", net.conv(x, (wide, channels), 3, stride)), channels
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    x = net.add("Gemm", x, net.weight(10, wide, gain=1.0), net.weight(10), transB=1)
    return net.saved(path, (1, 28, 28), x, 10)


def deep_cnn(path: Path) -> Path:
    """Sixteen convolutions of 64 channels on 28 × 28 images: milliseconds of work for a sample of three kilobytes."""
    net = _Net()
    x, wide = "image", 1
    for _ in range(16):
        x, wide = net.add("Relu", net.conv(x, (wide, 64), 3)), 64
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    x = net.add("Gemm", x, net.weight(10, wide, gain=1.0), net.weight(10), transB=1)
    return net.saved(path, (1, 28, 28), x, 10)


def store_with_demo(folder: Path) -> Store:
    """A store in ``folder`` with a copy of the demo from the repository's own store, where it is trained if need be."""
    own = Store(ROOT / ".workbench")
    open_model("demo", store=own)
    shutil.copytree(own.root / "demo", folder / "demo")
    return Store(folder)


MODELS = ("demo", "mobilenetv2", "resnet50")
KERAS_NAMES = {"mobilenetv2": "MobileNetV2", "resnet50": "ResNet50"}  # of keras.applications
KEPT = ROOT / ".workbench" / "benchmarks"


def benchmark_store() -> Store:
    """Where models and engines of the larger benchmarks are kept, so that they are made once."""
    KEPT.mkdir(parents=True, exist_ok=True)
    store = Store(KEPT)
    return store if (KEPT / "demo").exists() else store_with_demo(KEPT)


def model_file(name: str) -> str:
    """The model for an experiment; those of Keras are made at first use, in a process of their own."""
    if name == "demo":
        return name
    path = KEPT / f"{name}.keras"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, __file__, name, str(path)], check=True)
    return str(path)


def save_keras(name: str, path: Path) -> None:
    """A model of Keras' applications with random weights. Its own initial weights make values vanish towards subnormal
    numbers, which are slow; these are scaled as by He et al. (2015).
    """
    import keras

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, KERAS_NAMES[name])(weights=None)
    draw = np.random.default_rng(0)
    for layer in model.layers:
        for weight in layer.weights:
            if weight.path.endswith("kernel"):
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                fan_in = int(np.prod(weight.shape[:2])) if depthwise else int(np.prod(weight.shape[:-1]))
                values = draw.standard_normal(weight.shape, dtype=np.float32) * np.float32((2 / fan_in) ** 0.5)
                weight.assign(values)
    model.save(path)


if __name__ == "__main__":
    save_keras(sys.argv[1], Path(sys.argv[2]))
