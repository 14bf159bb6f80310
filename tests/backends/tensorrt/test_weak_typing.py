"""TensorRT 8.5 and 8.6: what differs from 10.x. The library needs a GPU for everything (see tests/gpu), so what it is asked is seen on
stand-ins with the members that the bindings of 8.6.1 were seen to have.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import small_onnx
from onnx import TensorProto, helper

from workbench.backends.tensorrt import backend as tensorrt
from workbench.backends.tensorrt import build as trt_build
from workbench.backends.tensorrt import inspector, options, refit, weak_typing
from workbench.backends.tensorrt.causes import explain
from workbench.backends.tensorrt.flavours import FULL, joined_versions, network_flags, numbers_of
from workbench.errors import BuildError
from workbench.records import EngineSpec, Precision, RealizedPrecision

FP32 = EngineSpec("tensorrt", Precision.FP32)


class Config:
    """Keeps the flags that it was given."""

    def __init__(self, **members):
        self.given = []
        self.__dict__.update(members)

    def set_flag(self, flag):
        self.given.append(flag)


def library8(**more):
    flags = SimpleNamespace(FP16="FP16", INT8="INT8", TF32="TF32", REFIT="REFIT", PREFER_PRECISION_CONSTRAINTS="PREFER")
    return SimpleNamespace(
        __name__="tensorrt",
        __version__="8.6.1",
        NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0, EXPLICIT_PRECISION=1),
        BuilderFlag=flags,
        DataType=SimpleNamespace(HALF="half", FLOAT="float"),
        **more,
    )


def network(*layers):
    return SimpleNamespace(
        num_layers=len(layers),
        get_layer=layers.__getitem__,
        num_inputs=0,
        num_outputs=0,
        get_input=None,
        get_output=None,
    )


def mixed(path):
    """A convolution in FP16 and one in FP32."""
    image, result = ("x", TensorProto.FLOAT, (None, 3, 16, 16)), ("y", TensorProto.FLOAT, (None, 8, 16, 16))
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], name="to_half", to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["h", "w"], ["a"], name="fast", pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["a"], ["b"], name="to_float", to=TensorProto.FLOAT),
        helper.make_node("Conv", ["b", "v"], ["y"], name="kept", pads=[1, 1, 1, 1]),
    ]
    held = [
        small_onnx.weights("w", (8, 3, 3, 3), TensorProto.FLOAT16),
        small_onnx.weights("v", (8, 8, 3, 3), TensorProto.FLOAT),
    ]
    return small_onnx.saved(path, nodes, [image], [result], held)


@pytest.mark.parametrize(
    ("make", "flags"),
    [
        (lambda path: small_onnx.convolution(path).path, ()),
        (lambda path: small_onnx.convolution(path, TensorProto.FLOAT16).path, ("FP16",)),
        (lambda path: small_onnx.quantized(path).path, ("INT8",)),
        (mixed, ("FP16",)),
    ],
)
def test_the_file_decides_which_formats_are_allowed(tmp_path, make, flags):
    config = Config()
    weak_typing.allow(library8(), config, network(), make(tmp_path / "m.onnx"))
    assert tuple(flag for flag in config.given if flag != "PREFER") == flags


def test_nodes_of_a_file_with_fp16_are_held_to_their_own_type(tmp_path):
    layers = [
        SimpleNamespace(name="a", metadata="[ONNX Layer: fast]", precision=None),
        SimpleNamespace(name="kept", precision=None),  # 8.5 has no metadata
        SimpleNamespace(name="to_float", metadata="[ONNX Layer: to_float]", precision=None),
    ]
    config = Config()
    weak_typing.allow(library8(), config, network(*layers), mixed(tmp_path / "m.onnx"))
    assert [layer.precision for layer in layers] == ["half", "float", None]
    assert "PREFER" in config.given


def test_where_all_is_fp16_it_is_asked_for_and_not_merely_allowed(tmp_path):
    """The builder takes FP32 for small convolutions where both are allowed."""
    layer = SimpleNamespace(name="conv", precision=None)
    weak_typing.allow(
        library8(), Config(), network(layer), small_onnx.convolution(tmp_path / "m.onnx", TensorProto.FLOAT16).path
    )
    assert layer.precision == "half"


OUT_OF_RANGE = (
    "3: [executionContext.cpp::setInputShape::2229] Error Code 3: API Usage Error (Parameter check failed at: "
    "runtime/api/executionContext.cpp::setInputShape::2229, condition: satisfyProfile. Runtime dimension does not satisfy any optimization "
    "profile.)"
)


def test_a_batch_outside_the_range_is_reported_as_8_6_writes_it():
    assert explain([OUT_OF_RANGE]).startswith("a size lies outside the range that the engine was built for")


def test_the_batch_is_explicit_and_a_strong_library_is_not_asked_for_that():
    assert network_flags(library8()) == 1
    assert weak_typing.is_weak(library8())
    strong = SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1))
    assert network_flags(strong) == 2
    assert not weak_typing.is_weak(strong)
    assert network_flags(SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace())) == 0


@pytest.mark.parametrize(
    ("bindings", "number", "reported"),
    [
        ("8.6.1", 8600, "8.6.0 (bindings 8.6.1)"),
        ("8.6.1", 8601, "8.6.1"),
        ("8.5.3.1", 8503, "8.5.3.1"),
        ("11.4.0.106", 110400, "11.4.0.106"),
        ("10.16.1.11", 101602, "10.16.2 (bindings 10.16.1.11)"),
    ],
)
def test_the_library_s_version_is_reported_beside_that_of_its_bindings(bindings, number, reported):
    assert joined_versions(bindings, number) == reported
    assert len(numbers_of(reported)) >= 3
    assert numbers_of(reported)[:2] == numbers_of(bindings)[:2]


def test_without_a_progress_monitor_there_is_none():
    assert trt_build._monitor(library8(), lambda _: None) is None


@pytest.mark.parametrize(
    ("spec", "version", "reason"),
    [
        (replace(FP32, precision=Precision.BF16), (8, 6, 0), "TensorRT 8.6 builds no BF16 from ONNX"),
        (replace(FP32, precision=Precision.FP8), (8, 6, 0), "TensorRT 8.6 builds no FP8 from ONNX"),
        (replace(FP32, precision=Precision.INT8, method="weights"), (8, 6), "stores no weights in fewer bits"),
        (replace(FP32, optimization_level=2), (8, 5, 3), "TensorRT 8.5 has no optimization levels"),
        (replace(FP32, optimization_level=2), (8, 6, 0), ""),
        (replace(FP32, precision=Precision.INT8), (8, 6, 0), ""),
        (replace(FP32, precision=Precision.BF16), (10, 0), ""),
        (replace(FP32, precision=Precision.BF16), (), ""),  # not known
    ],
)
def test_formats_that_it_lacks_are_refused_when_a_run_is_planned(spec, version, reason):
    able = weak_typing.refusal(version, spec)
    assert bool(able) == (not reason)
    assert reason in able.reason


def test_options_have_the_version_that_they_came_with(monkeypatch):
    def asked(version, *names):
        monkeypatch.setattr("workbench.backends.tensorrt.flavours.version_of", lambda *_: version)
        return options.refusal(names, FULL, gpu=True)

    assert asked("8.6.0", "refit", "version-compatible", "allow-fp16")
    assert asked("8.6.0", "weight-streaming").reason.endswith("from 10.0 on, and this is 8.6")
    assert "take every layer's format from the model" in asked("10.3.0", "allow-fp16").reason
    assert not asked("8.5.3", "hardware-compatible")


def test_no_level_can_be_set_where_there_is_none():
    builder = SimpleNamespace(create_builder_config=lambda: Config(clear_flag=lambda _: None))
    trt = library8(ProfilingVerbosity=SimpleNamespace(DETAILED=2))
    log = SimpleNamespace(errors=list, text=str)
    with pytest.raises(BuildError, match="no optimization levels"):
        trt_build._config(trt, builder, replace(FP32, optimization_level=1), log)
    plain = trt_build._config(trt, builder, FP32, log)
    assert not hasattr(plain, "builder_optimization_level")


def test_a_node_that_the_parser_refuses_is_named_from_the_log(tmp_path):
    class Parser:
        num_errors = 1

        def __init__(self, *_):
            pass

        def parse_from_file(self, path):
            return False

        def get_error(self, number):
            return SimpleNamespace(desc=lambda: "No importer registered for op: Strange", node=lambda: 5)

    log = SimpleNamespace(
        errors=lambda: ['ModelImporter.cpp:768: While parsing node number 5 [Strange -> "y"]:'], text=lambda: ""
    )
    trt = library8(OnnxParser=Parser)
    with pytest.raises(BuildError, match="refused the ONNX file: Strange 'y': No importer registered"):
        trt_build._parsed(trt, SimpleNamespace(create_network=lambda flags: object()), tmp_path / "m.onnx", log)


def test_refused_nodes_are_those_outside_the_supported_parts(tmp_path):
    path = mixed(tmp_path / "m.onnx")
    assert weak_typing.refused((True, []), path) == ()
    (found,) = weak_typing.refused((False, [([0, 1], True), ([3], False), ([2], True)]), path)
    assert (found.node, found.op) == ("kept", "Conv")


def test_weights_that_fp16_cannot_hold_are_a_note():
    lines = [
        " - 56 weights are affected by this issue: Detected subnormal FP16 values.",
        "TensorRT encountered issues when converting weights between types and that could affect accuracy.",
        " - 2 weights are affected by this issue: Detected values beyond finite FP16 range and cut them.",
    ]
    first, second = trt_build._of_weights(lines)
    assert first.startswith("56 weight tensors hold values that are subnormal")
    assert second.startswith("2 weight tensors hold values that are beyond the range")


def test_weights_go_by_name_where_the_parser_does_not_refit(tmp_path):
    given = {}

    class Refitter:
        def get_all_weights(self):
            return ["w", "made by the parser"]

        def set_named_weights(self, name, weights):
            given[name] = weights
            return True

    path = small_onnx.convolution(tmp_path / "m.onnx").path
    held = refit._give(library8(Weights=lambda array: array), Refitter(), path, "Refit", None)
    (tensor,) = onnx.load(path).graph.initializer
    np.testing.assert_array_equal(given["w"], onnx.numpy_helper.to_array(tensor))
    assert [id(array) for array in held] == [id(given["w"])]  # kept until the library has read it


WITHOUT_NODES = """{"Layers": [
 {"Name": "{ForeignNode[a...b]}", "LayerType": "Myelin", "Inputs": [], "Outputs": []},
 {"Name": "c1", "LayerType": "CaskConvolution", "Metadata": "",
  "Inputs": [{"Name": "i", "Location": "Device", "Dimensions": [1], "Format/Datatype": "Row major linear FP16 format"}], "Outputs": []},
 {"Name": "Reformatting CopyNode for c1", "LayerType": "Reformat",
  "Inputs": [{"Name": "j", "Dimensions": [1], "Format/Datatype": "Row major linear FP32"}], "Outputs": []}
], "Bindings": ["i"]}"""


@pytest.mark.parametrize("weak", [True, False])
def test_where_layers_name_no_nodes_a_weak_engine_is_judged_by_its_own_layers(tmp_path, monkeypatch, weak):
    """The types of a weakly typed network say nothing of what was built."""
    layer = SimpleNamespace(
        name="conv",
        type=SimpleNamespace(name="CONVOLUTION"),
        num_inputs=1,
        num_outputs=0,
        get_output=None,
        get_input=lambda _: SimpleNamespace(name="i", dtype=SimpleNamespace(name="FLOAT"), shape=(1,)),
    )
    monkeypatch.setattr(tensorrt, "this_machine", lambda: SimpleNamespace(gpu="some GPU"))
    monkeypatch.setattr(tensorrt, "inspection_json", lambda *_, **__: WITHOUT_NODES)
    outcome = trt_build.BuiltPlan(b"", network(layer), "8.6.0", (), weak)
    source = small_onnx.convolution(tmp_path / "m.onnx")
    _, found = tensorrt._read_back(outcome, source, FP32)
    assert found.layers == ({"fp16": 1} if weak else {"fp32": 1})
    assert ("inspector" in found.basis) == weak


def test_an_engine_that_cannot_be_read_has_no_known_precision(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise BuildError("no memory")

    monkeypatch.setattr(tensorrt, "this_machine", lambda: SimpleNamespace(gpu="some GPU"))
    monkeypatch.setattr(tensorrt, "inspection_json", broken)
    outcome = trt_build.BuiltPlan(b"", network(), "8.6.0", (), weak=True)
    _, found = tensorrt._read_back(outcome, small_onnx.convolution(tmp_path / "m.onnx"), FP32)
    assert found == RealizedPrecision({}, "nothing: the engine could not be read here (no memory)")


def test_the_inspector_of_8_6_leaves_control_characters_in_its_json():
    raw = (
        '{"Layers": [{"Name": "c", "LayerType": "CaskConvolution", "Metadata": "[ONNX Layer: a]\x1e[ONNX Layer: b]"}]}'
    )
    assert inspector.read(raw).layers[0].origin == ("a", "b")


@pytest.mark.parametrize(
    ("library", "given"),
    [
        (SimpleNamespace(PreviewFeature=SimpleNamespace(PROFILE_SHARING_0806="sharing")), [("sharing", True)]),
        (SimpleNamespace(PreviewFeature=SimpleNamespace(FASTER_DYNAMIC_SHAPES_0805="faster")), []),
        (SimpleNamespace(), []),
    ],
)
def test_contexts_share_the_profile_where_the_library_can(library, given):
    found = []
    weak_typing.share_profile(library, Config(set_preview_feature=lambda *what: found.append(what)))
    assert found == given
