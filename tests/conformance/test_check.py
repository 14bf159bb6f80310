"""A quick subset of ONNX's cases through the backends, and how results are held against the definition."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

from workbench.conformance.cases import Case, case_of
from workbench.conformance.check import check, compare
from workbench.conformance.outcomes import WITHIN_ROUNDING, CaseVerdict
from workbench.records import EngineSpec, Precision

RIGHT = (
    "abs", "add_bcast", "and_bcast3v2d", "argmax_keepdims_example", "averagepool_2d_pads", "batchnorm_example",
    "basic_conv_with_padding", "cast_FLOAT_to_FLOAT16", "clip_default_int8_min", "concat_2d_axis_1", "conv_with_strides_padding",
    "convtranspose", "cumsum_1d", "depthtospace_example", "div_example", "einsum_batch_matmul", "elu_example", "erf",
    "expand_dim_changed", "flatten_axis1", "gather_0", "gelu_tanh_1", "gemm_all_attributes", "hardswish",
    "instancenorm_example", "layer_normalization_2d_axis1", "leakyrelu", "lstm_defaults", "matmul_3d", "maxpool_2d_pads",
    "max_one_input", "dropout_default", "operator_conv", "constant_pad/constants", "prelu_broadcast", "reduce_mean_keepdims_random/constants",
    "softmax_axis_1", "slice/constants", "split_equal_parts_1d_opset18", "where_example",
)  # fmt: skip
"""Forty cases of ordinary operators; "max_one_input" and "dropout_default" pass their input through."""


@pytest.mark.long
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_ordinary_operators_are_computed_as_defined(backend):
    pytest.importorskip(backend)
    assert len(RIGHT) == 40
    outcomes = [check(case_of(name), EngineSpec(backend, Precision.FP32)) for name in RIGHT]
    assert [outcome for outcome in outcomes if outcome.verdict != CaseVerdict.RIGHT] == []


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        ("onnxruntime", "resize_downsample_scales_linear_align_corners"),
        ("openvino", "rotary_embedding"),
        ("openvino", "spacetodepth_crd_mode_example"),
    ],
)
def test_what_a_library_computes_differently_is_wrong_by_a_number(backend, name):
    pytest.importorskip(backend)
    outcome = check(case_of(name), EngineSpec(backend, Precision.FP32))
    assert outcome.verdict == CaseVerdict.WRONG
    assert outcome.differs
    assert outcome.difference > 0.5
    assert outcome.relative > 0.1


@pytest.mark.parametrize(
    "name",
    ["qlinearconv/constants", "qlinearmatmul_2D_uint8_float32/constants", "qlinearmatmul_3D_int8_float32/constants"],
)
def test_integers_of_a_quantizing_operator_are_compared_as_they_are(name):
    """A model that ends in one gives the real numbers that they stand for; the case expects the integers."""
    assert check(case_of(name), EngineSpec("onnxruntime", Precision.FP32)).verdict == CaseVerdict.RIGHT


def test_a_case_of_an_old_opset_is_upgraded_and_right():
    outcomes = [
        check(case_of(name), EngineSpec("onnxruntime", Precision.FP32))
        for name in ("PReLU_2d_multiparam", "BatchNorm2d_eval")
    ]
    assert {outcome.verdict for outcome in outcomes} == {CaseVerdict.RIGHT}


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_bfloat16_is_given_and_taken(backend):
    pytest.importorskip(backend)
    names = ("cast_BFLOAT16_to_FLOAT", "cast_FLOAT_to_BFLOAT16")
    assert [check(case_of(name), EngineSpec(backend, Precision.FP32)).verdict for name in names] == [
        CaseVerdict.RIGHT
    ] * 2


def test_a_sequence_is_refused_random_numbers_are_not_a_case_and_a_missing_kernel_is_an_error():
    spec = EngineSpec("onnxruntime", Precision.FP32)
    refused = check(case_of("sequence_insert_at_back"), spec)
    assert (refused.verdict, "is a sequence, not a tensor" in refused.detail) == (CaseVerdict.REFUSED, True)
    random = check(case_of("bernoulli"), spec)
    assert (random.verdict, random.detail) == (CaseVerdict.NOT_APPLICABLE, "Bernoulli gives random numbers")
    error = check(case_of("image_decoder_decode_jpeg_rgb"), spec)
    assert error.verdict == CaseVerdict.ERROR
    assert error.detail.startswith("Could not build it: Could not find an implementation for ImageDecoder")


def test_a_backend_that_takes_no_such_precision_is_not_applicable():
    outcome = check(case_of("abs"), EngineSpec("onnxruntime", Precision.FP16))
    assert outcome.verdict == CaseVerdict.NOT_APPLICABLE
    assert "FP16" in outcome.detail


def case(expected: np.ndarray, rtol: float = 1e-3, atol: float = 1e-7) -> Case:
    graph = helper.make_graph([], "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    return Case("made", "node", helper.make_model(graph), (((), (expected,)),), rtol, atol)


def compared(expected, found, precision=Precision.FP32, **tolerance):
    expected = np.asarray(expected)
    return compare({"y": expected}, {"y": np.asarray(found)}, case(expected, **tolerance), precision)


def test_numbers_within_the_case_own_tolerance_are_right():
    assert not compared([1.0, 100.0], [1.0009, 99.95]).wrong
    found = compared([1.0, 100.0], [1.0, 100.2])
    assert (found.wrong, found.absolute, found.relative) == (True, pytest.approx(0.2), pytest.approx(0.002))
    assert not compared([1.0, 100.0], [1.0, 100.2], rtol=1e-2).wrong


@pytest.mark.parametrize(
    ("expected", "found", "detail"),
    [
        ([1.0, 2.0], [[1.0, 2.0]], "shape [1, 2] instead of [2]"),
        (np.float32([1]), np.float64([1]), "float64 instead of float32"),
        ([1.0, np.nan], [1.0, 0.0], "1 of 2 values are NaN or infinite in one and not in the other"),
        ([1.0, np.inf], [1.0, -np.inf], "1 of 2 values are NaN or infinite in one and not in the other"),
        ([True, False], [False, False], "1 of 2 truth values differ"),
        (["a"], ["b"], "another text"),
    ],
)
def test_what_is_not_numeric_is_reported_in_words(expected, found, detail):
    difference = compared(expected, found)
    assert (difference.wrong, difference.absolute, difference.detail) == (True, None, detail)


def test_nan_and_infinity_in_their_places_are_right():
    assert not compared([np.nan, np.inf, -np.inf], [np.nan, np.inf, -np.inf]).wrong


def test_an_output_that_is_missing_is_wrong():
    expected = np.float32([1])
    assert (
        compare({"y": expected}, {"z": expected}, case(expected), Precision.FP32).detail == "the output 'y' is missing"
    )


def test_a_difference_of_rounding_is_recognized():
    found = compared(np.float32([0.0, 1000.0]), np.float32([5e-4, 1000.0]))
    assert (found.wrong, found.detail) == (True, WITHIN_ROUNDING)
    assert compared(np.int32([0, 2**30]), np.int32([1, 2**30])).detail == ""


def test_lower_precisions_may_be_off_by_their_own_rounding_and_no_more():
    expected, off = np.float32([1.0, 100.0]), np.float32([1.3, 100.0])
    assert compared(expected, off).wrong
    assert not compared(expected, off, Precision.FP16).wrong
    assert compared(expected, np.float32([1.5, 100.0]), Precision.FP16).wrong
    assert not compared(expected, np.float32([4.0, 100.0]), Precision.BF16).wrong


def test_bfloat16_outputs_are_compared_as_real_numbers():
    expected = np.array([1.0, 2.0], ml_dtypes.bfloat16)
    assert not compared(expected, np.float32([1.015625, 2.0])).wrong
    assert compared(expected, np.float32([1.1, 2.0])).wrong


def test_a_crash_of_nothing_is_never_raised():
    """Whatever a case is like, there is an outcome."""
    broken = replace(case_of("abs"), data=(((np.zeros((7, 7), np.float32),), (np.zeros(3, np.float32),)),))
    outcome = check(broken, EngineSpec("onnxruntime", Precision.FP32))
    assert outcome.verdict == CaseVerdict.ERROR
    assert outcome.detail.startswith("Could not run it: ")
