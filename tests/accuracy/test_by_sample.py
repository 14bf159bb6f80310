"""Outputs by sample: whole batches, several rows a sample, shared rows, rows that follow the data; and their file."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.accuracy.by_sample import by_call, is_ragged, load_outputs, of_all_samples, ragged, save_outputs
from workbench.errors import RunError
from workbench.records import TensorSpec

COUNT = 7
DATA = np.arange(COUNT * 3, dtype=np.float32).reshape(COUNT, 3)
COUNTS = np.array([2, 0, 1, 3, 1, 1, 2])


def feeds(start: int, size: int) -> dict[str, np.ndarray]:
    return {"x": DATA[np.arange(start, start + size) % COUNT]}


def places(x: np.ndarray) -> np.ndarray:
    """Which samples these are."""
    return (x[:, 0] / 3).astype(int)


def found_rows(x: np.ndarray) -> np.ndarray:
    """As many rows for each sample as :data:`COUNTS` says: the sample's number and a running one."""
    return np.array([(place, k) for place in places(x) for k in range(COUNTS[place])], np.int64).reshape(-1, 2)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 16])
def test_every_sample_once_whatever_the_batch(batch):
    outputs = of_all_samples(lambda given: {"y": given["x"] * 2}, feeds, COUNT, batch)
    np.testing.assert_array_equal(outputs["y"], DATA * 2)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_several_rows_a_sample_become_an_axis(batch):
    spec = TensorSpec("y", "float32", (None, 3), rows=2)
    outputs = of_all_samples(lambda given: {"y": given["x"].repeat(2, axis=0)}, feeds, COUNT, batch, [spec])
    assert outputs["y"].shape == (COUNT, 2, 3)
    np.testing.assert_array_equal(outputs["y"][:, 1], DATA)


def test_samples_that_share_a_row_each_get_it():
    spec = TensorSpec("y", "float32", (None,), samples_per_row=2)
    outputs = of_all_samples(lambda given: {"y": given["x"][::2, 0]}, feeds, COUNT, 4, [spec])
    np.testing.assert_array_equal(outputs["y"], [0, 0, 6, 6, 12, 12, 18])


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("batch", [1, 4])
def test_rows_that_follow_the_data_belong_to_their_sample(batch, declared):
    """At a larger batch nothing says where one sample's rows end, so that each sample is run alone."""
    spec = (
        TensorSpec("sel", "int64", (None, 2), None, ragged_axis=0)
        if declared
        else TensorSpec("sel", "int64", (None, 2))
    )
    outputs = of_all_samples(lambda given: {"sel": found_rows(given["x"])}, feeds, COUNT, batch, [spec])
    assert is_ragged(outputs["sel"])
    assert [len(rows) for rows in outputs["sel"]] == [*COUNTS]
    assert all((rows[:, 0] == place).all() for place, rows in enumerate(outputs["sel"]))


def test_rows_along_another_axis_come_first_and_the_batch_of_one_is_left_out():
    spec = TensorSpec("at", "int64", (None, 2, None), 0, ragged_axis=2)
    run = lambda given: {"at": np.zeros((1, 2, COUNTS[places(given["x"])[0]]), np.int64)}  # noqa: E731
    outputs = of_all_samples(run, feeds, COUNT, 1, [spec])
    assert [rows.shape for rows in outputs["at"]] == [(count, 2) for count in COUNTS]


def fixed(size: int, order=None):
    """An engine of this batch alone: rows [place in the batch, sample, running number], and the running numbers by themselves."""

    def run(given):
        if len(given["x"]) != size:
            raise ValueError("Got invalid dimensions for input: x")
        rows = [(at, *row) for at, one in enumerate(given["x"]) for row in found_rows(one[np.newaxis])]
        rows = np.array(rows, np.int64).reshape(-1, 3)
        rows = rows if order is None else rows[order(len(rows))]
        return {"sel": rows, "k": rows[:, 2]}

    return run


INDEXED = [
    TensorSpec("sel", "int64", (None, 3), None, ragged_axis=0, index_output="sel"),
    TensorSpec("k", "int64", (None,), None, ragged_axis=0, index_output="sel"),
]


@pytest.mark.parametrize("order", [None, lambda count: np.random.default_rng(count).permutation(count)])
@pytest.mark.parametrize("batch", [2, 4])
def test_rows_with_a_batch_index_belong_to_their_sample(batch, order):
    """As a batch of 1 gives them, whatever the order, and without the samples that fill the last batch."""
    outputs = of_all_samples(fixed(batch, order), feeds, COUNT, batch, INDEXED)
    alone = of_all_samples(fixed(1), feeds, COUNT, 1, INDEXED)
    for name in ("sel", "k"):
        assert [sorted(rows.tolist()) for rows in outputs[name]] == [rows.tolist() for rows in alone[name]]


def test_rows_without_a_batch_index_are_given_by_call():
    spec = TensorSpec("k", "int64", (None,), None, ragged_axis=0)
    outputs = of_all_samples(fixed(4), feeds, COUNT, 4, [spec])
    assert [len(rows) for rows in outputs["k"]] == [COUNTS[:4].sum(), COUNTS[4:].sum() + COUNTS[0]]
    assert by_call(outputs, COUNT) == ["sel", "k"]  # nothing is known of the first


def test_a_batch_index_that_is_none_is_refused():
    run = lambda given: {"sel": np.full((3, 3), len(given["x"]))}  # noqa: E731
    with pytest.raises(RunError) as caught:
        of_all_samples(run, feeds, COUNT, 4, INDEXED[:1], together=True)
    assert str(caught.value) == (
        "The rows of the output 'sel', 3 for a batch of 4, cannot be assigned to samples: the batch index, output 'sel', has 4 "
        "in column 0. Use a batch of 1, or export the model with a dynamic batch."
    )


def test_outputs_without_a_batch_are_left_out_where_others_have_one():
    specs = [TensorSpec("y", "float32", (None, 3)), TensorSpec("table", "float32", (5,), None)]
    run = lambda given: {"y": given["x"], "table": np.ones(5)}  # noqa: E731
    assert list(of_all_samples(run, feeds, COUNT, 2, specs)) == ["y"]
    alone = of_all_samples(lambda _: {"table": np.ones(5)}, feeds, COUNT, 7, specs[1:])
    assert alone["table"].shape == (1, 5)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "uint64"])
def test_no_arithmetic_on_integers_wraps(dtype):
    """The negative of uint8 scores put classes of probability 0 first."""
    ends = np.iinfo(dtype)
    outputs = of_all_samples(lambda given: {"y": np.full(len(given["x"]), ends.max, dtype)}, feeds, COUNT, 2)
    assert (-outputs["y"] == -float(ends.max)).all()
    low = of_all_samples(lambda given: {"y": np.full(len(given["x"]), ends.min, dtype)}, feeds, COUNT, 2)
    assert (low["y"] - outputs["y"] == float(ends.min) - float(ends.max)).all()


def test_the_file_holds_everything_without_a_pickle(tmp_path):
    outputs = {
        "scores": np.array([[0, 255], [7, 1]], np.int64),
        "text": np.array([["a"], ["bc"]], object),
        "sel": ragged([np.array([[1, -2]], np.int64), np.zeros((0, 2), np.int64)]),
        "boxes": ragged([np.float32([[0.5, 1]]), np.zeros((0, 2), np.float32)]),
        "flag": np.array([True, False]),
    }
    path = tmp_path / "outputs.npz"
    save_outputs(outputs, path)
    with np.load(path, allow_pickle=False) as file:
        assert file["scores"].dtype == np.uint8  # narrow on the disk
        assert {name for name in file.files if file[name].dtype == object} == set()
    found = load_outputs(path)
    assert set(found) == set(outputs)
    for name, array in outputs.items():
        if is_ragged(array):
            assert [each.dtype for each in found[name]] == [each.dtype for each in array]
            assert all(np.array_equal(a, b) and a.shape == b.shape for a, b in zip(array, found[name], strict=True))
        else:
            np.testing.assert_array_equal(found[name], array)
    assert found["scores"].dtype == np.int64


def test_bfloat16_is_given_as_float32():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    run = lambda given: {"y": given["x"].astype(ml_dtypes.bfloat16)}  # noqa: E731
    assert of_all_samples(run, feeds, COUNT, 2)["y"].dtype == np.float32
