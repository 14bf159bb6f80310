"""Arrays for an input of the model: only what keeps every value is converted, and a wrong order of axes gets its own line."""

from __future__ import annotations

import re

import numpy as np
import pytest

from workbench.data.dataset import dataset
from workbench.data.inputs import fed
from workbench.errors import InputError
from workbench.records import TEXT, Model, TensorSpec


def spec(dtype="float32", *inner, **more):
    return TensorSpec("x", dtype, (None, *inner), **more)


def refused(one, array) -> str:
    with pytest.raises(InputError) as error:
        fed(one, array, "the array 'x'")
    assert "\n" not in error.value.message
    return error.value.message


@pytest.mark.parametrize(("inner", "shape", "line"), [
    ((8, 8, 3), (30, 3, 8, 8), "x.transpose(0, 2, 3, 1)"),
    ((3, 8, 8), (30, 8, 8, 3), "x.transpose(0, 3, 1, 2)"),
    ((6, 8, 3), (30, 3, 6, 8), "x.transpose(0, 2, 3, 1)"),
    ((6, 8, 3), (30, 8, 6, 3), "x.transpose(0, 2, 1, 3)"),
    ((8, 8, 3), (8, 8, 3, 30), "x.transpose(3, 0, 1, 2)"),
    ((4, 8, 8, 3), (30, 3, 4, 8, 8), "x.transpose(0, 2, 3, 4, 1)"),
    ((16, 3), (30, 3, 16), "x.transpose(0, 2, 1)"),
    ((None, 3), (30, 3, 16), "x.transpose(0, 2, 1)"),
    ((None, None, 3), (30, 3, 8, 8), "x.transpose(0, 2, 3, 1)"),
    ((12,), (12, 30), "x.transpose(1, 0)"),
])  # fmt: skip
def test_another_order_of_axes_is_refused_with_the_transposition(inner, shape, line):
    one = spec("float32", *inner)
    says = refused(one, np.zeros(shape, np.float32))
    assert f"The axes are in another order: use {line}; a reshape would mix up the values" in says
    order = eval(line.replace("x.transpose", ""))
    assert fed(one, np.zeros(shape, np.float32).transpose(order), "it").shape[0] == 30


def test_the_line_puts_every_value_in_its_place():
    right = np.arange(2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3)
    says = refused(spec("float32", 8, 8, 3), right.transpose(0, 3, 1, 2))
    line = re.search(r"x\.transpose\([\d, ]+\)", says)[0]
    np.testing.assert_array_equal(eval(line, {"x": right.transpose(0, 3, 1, 2)}), right)


@pytest.mark.parametrize(("inner", "shape", "says"), [
    ((28, 28, 1), (30, 28, 28), "use numpy.expand_dims(x, 3)"),
    ((28, 28), (30, 28, 28, 1), "use x.squeeze(3)"),
    ((), (30, 1), "use x.squeeze(1)"),
    ((1,), (30,), "use numpy.expand_dims(x, 1)"),
    ((28, 28, 1), (28, 28, 1), "It is a single sample: use x[numpy.newaxis]"),
    ((28, 28, 1), (30, 784), "If each row was flattened from [28 × 28 × 1], use x.reshape(-1, 28, 28, 1)."),
    ((8, 8, 3), (30, 192), "flattened with the channels first, use x.reshape(-1, 3, 8, 8).transpose(0, 2, 3, 1)"),
    ((3, 8, 8), (30, 192), "if it was flattened with the channels last, use x.reshape(-1, 8, 8, 3).transpose(0, 3, 1, 2)"),
    ((192,), (30, 8, 8, 3), "trained on samples flattened in this order of axes, use x.reshape(len(x), -1)"),
    ((8, 8, 3), (30, 4, 16, 3), "a reshape would mix up the values"),
    ((8, 8, 3), (30, 9, 9, 3), "Save samples of the size that 'x' takes"),
    ((8, 8, 3), (), "Save samples of the size that 'x' takes"),
])  # fmt: skip
def test_other_shapes_say_what_to_write(inner, shape, says):
    assert says in refused(spec("float32", *inner), np.zeros(shape, np.float32))


@pytest.mark.parametrize(("array", "dtype"), [
    (np.array([True, False]), "float32"),
    (np.array([True, False]), "int64"),
    (np.array([True, False]), "float16"),
    (np.array([0, 255]), "uint8"),
    (np.array([-128, 127]), "int8"),
    (np.array([0, 1], np.uint8), "bool"),
    (np.array([0, 7], np.uint8), "int64"),
    (np.array([1.5, 2.5], ">f4"), "float32"),
    (np.array([1, 2], ">i4"), "int64"),
])  # fmt: skip
def test_conversions_that_keep_every_value_are_made(array, dtype):
    found = fed(spec(dtype), array, "it")
    assert found.dtype == np.dtype(dtype)
    assert found.dtype.isnative
    assert found.tolist() == array.tolist()


@pytest.mark.parametrize(("array", "dtype", "says"), [
    (np.array([0, 400]), "uint8", "takes uint8, 0 to 255, and the array 'x' (int64) holds values from 0 to 400. Converting would wrap"),
    (np.array([-1, 3]), "uint8", "holds values from -1 to 3"),
    (np.array([0, 200], np.uint8), "int8", "takes int8, -128 to 127"),
    (np.array([0, 2**40]), "int32", "holds values from 0 to 1099511627776"),
    (np.array([0, 2**63], np.uint64), "int64", "holds values from 0 to 9223372036854775808"),
    (np.array([0, 2]), "bool", "takes bool, 0 to 1"),
    (np.array([0.5, 2]), "int64", "has float64. Make the numbers whole as in training"),
    (np.array([0.5, 2]), "float32", "Convert it with x.astype('float32')."),
    (np.array([1, 2]), "float32", "Convert it with x.astype('float32') and scale the values as in training"),
    (np.array(["a", "b"]), "float32", "expects float32, but the array 'x' has text"),
    (np.array([1 + 2j]), "float32", "has complex128"),
    (np.array([1.0, np.inf], np.float32), "float32", "is not a number or is infinite is in row 1"),
])  # fmt: skip
def test_conversions_that_change_values_are_refused(array, dtype, says):
    assert says in refused(spec(dtype), array)


@pytest.mark.parametrize(("dtype", "scale"), [("uint8", 0.0), ("uint8", 0.5), ("float32", 0.0)])
def test_samples_without_values_are_taken(dtype, scale):
    found = fed(spec(dtype, None, scale=scale), np.zeros((3, 0), np.int64), "it")
    assert (found.shape, found.dtype) == ((3, 0), np.dtype(dtype))


def test_bytes_and_text_are_text():
    for array in (
        np.array(["01234", "ü"]),
        np.array([b"01234", "ü".encode()]),
        np.array(["01234", "ü"], object),
    ):
        assert fed(spec(TEXT), array, "it").tolist() == ["01234", "ü"]
    assert "bytes that are not UTF-8" in refused(spec(TEXT), np.array([b"\xff\xfe"]))
    assert "Save it with x.astype(str)" in refused(spec(TEXT), np.array([1234]))


def test_real_numbers_for_a_quantized_input_are_stored_and_other_scales_refused():
    one = spec("int8", scale=1 / 255, zero_point=-128)
    assert fed(one, np.array([0, 0.6, 1, 1.2], np.float32), "it").tolist() == [-128, 25, 127, 127]
    says = refused(one, np.array([0, 255], np.float32))
    assert "represents values from 0 to 1, and the array 'x' holds values from 0 to 255, which would be clipped" in says
    assert "takes real numbers, or its stored integers as int8" in refused(one, np.array([0, 100], np.uint8))


def test_values_in_a_large_array_are_all_looked_at(monkeypatch):
    monkeypatch.setattr("workbench.data.samples.CHUNK_BYTES", 64)
    array = np.zeros((100, 4), np.float32)
    array[77, 2] = np.nan
    assert "is in row 77" in refused(spec("float32", 4), array)


def test_an_order_of_axes_that_cannot_be_seen_is_reported(tmp_path):
    what = Model("m", "m", "onnx", (spec("float32", 3, 5, 3),), (), 1, 1, "d")
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 3, 5, 3), np.float32))
    found = dataset(str(tmp_path / "d.npz"), what, 0, 0, demo=False)
    assert "channels of 'x' first or last look the same ([3, 5, 3]): taken in the model's order" in found.description
