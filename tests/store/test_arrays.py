"""Arrays in files that every NumPy writes alike."""

import numpy as np
import pytest

from workbench.store.arrays import write_npz


def test_arrays_are_written_as_numpy_writes_them(tmp_path):
    arrays = {"x": np.arange(6).reshape(2, 3), "a/b": np.float32(2), "allow_pickle": np.array(["text"])}
    write_npz(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert sorted(file.files) == sorted(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(file[name], array)
    with pytest.raises(ValueError, match="pickle"):
        write_npz(tmp_path / "b.npz", {"x": np.array([{}], dtype=object)})
