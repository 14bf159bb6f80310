import numpy as np
import pytest

from workbench.data.dataset import dataset, digits
from workbench.data.samples import Samples
from workbench.data.splits import held_apart, row_digests
from workbench.errors import InputError
from workbench.records import Model, TensorSpec

SPEC = (TensorSpec("x", "float32", (None, 3)),)
MODEL = Model("m", "m", "onnx", SPEC, (TensorSpec("y", "float32", (None, 2)),), 1, 1, "d")


def rows(*values):
    return np.repeat(np.array(values, np.float32)[:, None], 3, axis=1)


def npz(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return str(folder / "data.npz")


def test_no_digit_calibrates_and_tests():
    _, calibration, test = digits()
    both = set(row_digests(calibration)) & set(row_digests(test))
    assert both == set()
    assert len(set(row_digests(test))) > 1400


def test_a_row_is_told_by_all_inputs_and_their_types():
    first = Samples("a", {"x": rows(1, 2), "z": rows(5, 5)})
    assert row_digests(first)[0] != row_digests(first)[1]
    assert row_digests(first)[0] == row_digests(Samples("b", {"z": rows(5), "x": rows(1)}, np.array([7])))[0]
    assert row_digests(first)[0] != row_digests(Samples("c", {"x": rows(1), "z": rows(6)}))[0]
    assert row_digests(Samples("d", {"x": rows(1)})) != row_digests(Samples("d", {"x": rows(1).astype(np.float64)}))


@pytest.mark.parametrize("arrays", [
    {"x": rows(1, 2, 3, 1, 4, 2), "y": np.array([0, 1, 0, 0, 1, 1])},  # the first two calibrate, and come again
    {"x": rows(1, 3, 2, 4), "y": np.array([0, 0, 1, 1]), "x_calibration": rows(1, 2)},
])  # fmt: skip
def test_rows_that_calibrate_are_not_tested_and_that_is_told(tmp_path, arrays):
    found = dataset(npz(tmp_path, **arrays), MODEL, 2, 0, demo=False)
    assert not set(row_digests(found.calibration)) & set(row_digests(found.test))
    assert found.test.inputs["x"][:, 0].tolist() == [3, 4]
    assert found.test.labels.tolist() == [0, 1]
    assert "2 more were the same as calibration samples and are not tested, 2 are" in found.description


def test_data_that_hold_nothing_else_are_refused(tmp_path):
    with pytest.raises(InputError, match="All 3 test samples are among the calibration samples too"):
        dataset(npz(tmp_path, x=rows(1, 1, 1, 1, 1)), MODEL, 2, 0, demo=False)


def test_what_is_apart_is_left_as_it_is():
    test = Samples("t", {"x": rows(3, 4, 4)})
    assert held_apart(Samples("c", {"x": rows(1, 2)}), test) == (test, 0)  # a duplicate within the test samples stays
