import ml_dtypes
import numpy as np

from workbench.data import bfloat16


def test_a_number_goes_to_its_bits_and_back_rounded_to_nearest():
    given = np.array([[1.0, -2.5], [1.00390625, 3e38]], np.float32)
    bits = bfloat16.to_bits(given)
    assert (bits.dtype, bits.shape) == (np.uint16, (2, 2))
    assert bits[0].tolist() == [0x3F80, 0xC020]
    np.testing.assert_array_equal(bfloat16.from_bits(bits), given.astype(ml_dtypes.bfloat16).astype(np.float32))
    assert bfloat16.from_bits(bits)[1, 0] == 1.0  # halfway between two: to the even one


def test_shapes_without_axes_and_strided_arrays_keep_their_shape():
    assert bfloat16.to_bits(np.float64(2)).shape == ()
    strided = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    np.testing.assert_array_equal(bfloat16.from_bits(bfloat16.to_bits(strided)), strided)


def test_bits_under_another_name_are_read_as_bits():
    """OpenVINO hands bfloat16 out as float16."""
    bits = bfloat16.to_bits(np.float32([1, 2])).view(np.float16)
    assert bfloat16.from_bits(bits).tolist() == [1.0, 2.0]


def test_real_gives_a_copy_in_a_type_of_numpy():
    array = np.array([1.5], ml_dtypes.bfloat16)
    assert bfloat16.real(array).dtype == np.float32
    whole = np.array([3], np.int64)
    copy = bfloat16.real(whole)
    copy[0] = 0
    assert (whole[0], copy.dtype) == (3, np.int64)
