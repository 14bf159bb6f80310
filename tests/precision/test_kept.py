"""Nodes that stay in FP32: they do so in the engine that ONNX Runtime builds, and by names that a keep file can give."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.backends import get
from workbench.backends.onnxruntime import backend
from workbench.data.samples import Samples
from workbench.errors import BuildError
from workbench.models.exact_int8 import exact_session
from workbench.precision import kept as kept_module
from workbench.precision.kept import came_out_in_int8, hold, kept_in, note_kept
from workbench.precision.mixed import Quantizer
from workbench.precision.rewrite import rewrite
from workbench.precision.selection import Selection
from workbench.protocols import Source
from workbench.records import Calibration, EngineRecord, EngineSpec, Precision, TensorSpec

FLOAT = TensorProto.FLOAT
INPUTS = (TensorSpec("x", "float32", (None, 3, 16, 16)),)
OUTPUTS = (TensorSpec("y", "float32", (None, 6)),)


class Network:
    """Collects nodes and weights of a graph."""

    def __init__(self, named: bool = True) -> None:
        self.nodes, self.weights, self.draw, self.named = [], [], np.random.default_rng(0), named

    def weight(self, name, *shape, scale=0.2):
        self.weights.append(numpy_helper.from_array(self.draw.normal(0, scale, shape).astype(np.float32), name))
        return name

    def add(self, op, inputs, output, **attributes):
        name = f"{op.lower()}_{output}" if self.named else ""
        self.nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def conv(self, x, output, channels, width):
        weights = self.weight(f"w_{output}", width, channels, 3, 3), self.weight(f"b_{output}", width)
        return self.add("Conv", [x, *weights], output, pads=[1] * 4)

    def save(self, path, functions=()):
        opsets = [helper.make_opsetid("", 17), *[helper.make_opsetid("own", 1) for _ in functions]]
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "g",
            [value("x", FLOAT, ["batch", 3, 16, 16])],
            [value("y", FLOAT, ["batch", 6])],
            self.weights,
        )
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions), path)
        return path


def residual_network(path, named=True):
    """Convolutions, a sum, a product, a concatenation and pools: each between two others that are quantized."""
    net = Network(named)
    first = net.add("Relu", [net.conv("x", "c0", 3, 8)], "r0")
    second = net.conv(net.add("Relu", [net.conv(first, "c1", 8, 8)], "r1"), "c2", 8, 8)
    joined = net.add("Relu", [net.add("Add", [second, first], "a")], "r2")
    pooled = net.add("MaxPool", [net.conv(joined, "c3", 8, 8)], "p", kernel_shape=[2, 2], strides=[2, 2])
    gate = net.conv(pooled, "c4", 8, 8)
    product = net.add("Mul", [gate, net.add("Sigmoid", [gate], "s")], "m")
    both = net.add("Concat", [net.conv(product, "c5", 8, 8), product], "cc", axis=1)
    mean = net.add("AveragePool", [both], "ap", kernel_shape=[2, 2], strides=[2, 2])
    flat = net.add("Flatten", [net.add("GlobalAveragePool", [net.conv(mean, "c6", 16, 8)], "g")], "f")
    dense = net.add("MatMul", [flat, net.weight("wd", 8, 8)], "mm")
    net.add("MatMul", [net.add("Add", [dense, net.weight("bd", 8)], "z"), net.weight("we", 8, 6)], "y")
    return net.save(path)


@pytest.fixture(scope="module")
def samples():
    return Samples("s", {"x": np.random.default_rng(1).normal(size=(32, 3, 16, 16)).astype(np.float32)})


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return residual_network(tmp_path_factory.mktemp("kept") / "fp32.onnx")


def rewritten(network, folder, samples, keep=(), quantize=()):
    into = folder / "int8.onnx"
    rewrite(
        network, "int8-u8", into, calibration=samples, method=Calibration.MINMAX, progress=lambda _: None,
        selection=Selection(quantize, keep),
    )  # fmt: skip
    return into


def built(path, folder, **changes):
    spec = EngineSpec("onnxruntime", Precision.INT8, batches=(32,), **changes)
    into = folder / "engine"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    made = get("onnxruntime").build(Source(path, INPUTS, OUTPUTS), spec, into, lambda _: None)
    return into, EngineRecord(spec, "k", made.library, made.library_version, made.realized, 1, 0.0), made.realized


def outputs(path, samples, level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    return exact_session(path, options).run(None, samples.inputs)[0]


@pytest.mark.parametrize(
    "keep",
    [
        ("conv_c2",), ("conv_c1", "relu_r1"), ("conv_c2", "conv_c3"), ("conv_c0",), ("matmul_mm",), ("Conv",),
        ("add_a", "relu_r2"), ("Add",), ("mul_m",), ("Sigmoid",), ("concat_cc",), ("averagepool_ap",), ("GlobalAveragePool",),
        ("conv_c4", "add_a", "averagepool_ap", "matmul_mm"),
    ],
)  # fmt: skip
def test_kept_nodes_compute_in_fp32_in_the_engine(keep, network, samples, tmp_path):
    path = rewritten(network, tmp_path, samples, keep)
    model = onnx.load(path)
    kept = kept_in(model)
    meant = {node.name for node in onnx.load(network).graph.node if {node.name, node.op_type} & set(keep)}
    meant -= {"add_z"}  # a bias: preparing makes a Gemm of it and the product before it
    assert {name.split("/")[0] for name in kept} == meant
    engine, record, _ = built(path, tmp_path)
    optimized = onnx.load(engine / "engine.onnx").graph
    assert came_out_in_int8(path, engine / "engine.onnx") == ()
    assert [each.name for each in engine.iterdir()] == ["engine.onnx"]
    assert [value.name for value in optimized.output] == ["y"]
    int8 = {name.split("_token_")[0] for name in (n.name for n in optimized.node if n.op_type.startswith("Q"))}
    assert not int8 & set(kept)
    # the optimizer changes rounding only: the file as it stands gives the same numbers
    plain = outputs(path, samples)
    with get("onnxruntime").open(engine, record) as session:
        found = session.run(samples.inputs)["y"]
    assert np.abs(found - plain).max() < 0.02 * np.abs(plain).max()


def test_weights_of_kept_layers_stay_in_fp32_and_others_are_int8(network, samples, tmp_path):
    _, _, realized = built(rewritten(network, tmp_path, samples, ("conv_c2", "conv_c3", "matmul_mm")), tmp_path)
    assert realized.layers == {"int8": 6, "fp32": 3}
    _, _, plain = built(rewritten(network, tmp_path, samples), tmp_path)
    assert plain.layers == {"int8": 9}
    _, _, chosen = built(rewritten(network, tmp_path, samples, quantize=("conv_c1",)), tmp_path)
    assert chosen.layers == {"int8": 1, "fp32": 8}


def test_a_kept_layer_that_comes_out_in_int8_fails_the_row(network, samples, tmp_path, monkeypatch):
    path = rewritten(network, tmp_path, samples, ("conv_c2", "averagepool_ap"))

    def not_held(source, into):
        shutil.copyfile(source, into)
        return ("conv_c2", "averagepool_ap")

    monkeypatch.setattr(backend, "hold", not_held)
    with pytest.raises(
        BuildError,
        match=r"are in 'keep', but .* built them in INT8: averagepool_ap \(QLinearAveragePool\)\. Set 'opt",
    ):
        built(path, tmp_path)
    monkeypatch.setattr(backend, "REQUANTIZERS", ())
    with pytest.raises(BuildError, match=r"in INT8: conv_c2 \(QLinearConv\), averagepool_ap \(QLinearAveragePool\)\."):
        built(path, tmp_path)
    monkeypatch.setattr(backend, "hold", hold)  # the weights alone are quantized
    path = rewritten(network, tmp_path, samples, ("conv_c2",))
    with pytest.raises(BuildError, match=r"in INT8: conv_c2 \(\w*Conv with 8-bit weights\)\."):
        built(path, tmp_path)


def test_without_kept_nodes_nothing_is_held(network, samples, tmp_path):
    path = rewritten(network, tmp_path, samples)
    assert hold(path, tmp_path / "held.onnx") == ()
    assert not (tmp_path / "held.onnx").exists()
    note_kept(path, ["conv_c2", "nothing of that name"])
    assert kept_in(onnx.load(path)) == ("conv_c2",)
    assert hold(path, tmp_path / "held.onnx") == ("conv_c2",)


def with_functions(path):
    """A network whose layers are calls of a function in the file, without any names of nodes."""
    body = [
        helper.make_node("MatMul", ["X", "W"], ["M"]),
        helper.make_node("Add", ["M", "B"], ["A"]),
        helper.make_node("Relu", ["A"], ["Y"]),
    ]
    dense = helper.make_function("own", "Dense", ["X", "W", "B"], ["Y"], body, [helper.make_opsetid("", 17)])
    net = Network(named=False)
    x = net.add("Flatten", ["x"], "f")
    for number, (rows, columns) in enumerate([(768, 16), (16, 16)]):
        weights = net.weight(f"w{number}", rows, columns, scale=0.05), net.weight(f"b{number}", columns)
        x = net.add("Dense", [x, *weights], f"h{number}", domain="own")
    net.add("MatMul", [x, net.weight("w2", 16, 6)], "y")
    return net.save(path, [dense])


def with_normalization(path):
    """An operation that ONNX Runtime writes out in others, which have no names."""
    net = Network(named=False)
    x = net.conv("x", "c0", 3, 8)
    net.weights.append(numpy_helper.from_array(np.ones(2, np.float32), "scale"))
    net.weights.append(numpy_helper.from_array(np.zeros(2, np.float32), "bias"))
    x = net.conv(net.add("HardSwish", [x], "h"), "c1", 8, 8)
    x = net.add("MeanVarianceNormalization", [x], "n")
    flat = net.add("Flatten", [net.add("GlobalAveragePool", [net.conv(x, "c2", 8, 8)], "g")], "f")
    net.add("Gemm", [flat, net.weight("w", 8, 6), net.weight("b", 6)], "y")
    return net.save(path)


@pytest.mark.parametrize("make", [with_functions, with_normalization, lambda path: residual_network(path, named=False)])
def test_every_unit_of_a_search_has_names_that_a_keep_list_can_give(make, samples, tmp_path):
    source = make(tmp_path / "fp32.onnx")
    quantizer = Quantizer(source, samples, Calibration.MINMAX, tmp_path, lambda _: None)
    names = [name for unit in quantizer.units for name in unit.nodes]
    assert all(names)
    assert len(set(names)) == len(names)
    for unit in quantizer.units:
        given = tuple(dict.fromkeys(map(quantizer.original, unit.nodes)))
        path = rewritten(source, tmp_path, samples, given)
        # what was tried in the search and what the list makes have the same nodes in FP32
        tried = quantizer.write(tmp_path / "tried.onnx", [each for each in quantizer.units if each is not unit])
        assert set(kept_in(onnx.load(path))) == set(kept_in(onnx.load(tried))) == set(unit.nodes)


def test_a_joined_node_has_the_name_that_the_model_gave_it(network, samples, tmp_path):
    quantizer = Quantizer(network, samples, Calibration.MINMAX, tmp_path, lambda _: None)
    assert "matmul_mm/MatMulAddFusion" in quantizer.order
    assert quantizer.original("matmul_mm/MatMulAddFusion") == "matmul_mm"
    assert quantizer.original("conv_c1") == "conv_c1"
    # the name that the model gave is one that every form of it knows
    rewrite(
        network, "fp16", tmp_path / "fp16.onnx", calibration=None, method=Calibration.MINMAX, progress=lambda _: None,
        selection=Selection((), ("matmul_mm",)),
    )  # fmt: skip


def test_the_optimizer_that_quantizes_again_has_the_name_it_is_switched_off_by(network, samples, tmp_path):
    """If ONNX Runtime renames it, this fails, and not only the rows of users."""
    path = rewritten(network, tmp_path, samples, ("conv_c2",))
    options = ort.SessionOptions()
    results = {}
    for disabled in ([], list(kept_module.REQUANTIZERS)):
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled)
        results[bool(disabled)] = came_out_in_int8(path, tmp_path / "optimized.onnx")
    assert results == {False: ("conv_c2 (QLinearConv)",), True: ()}
