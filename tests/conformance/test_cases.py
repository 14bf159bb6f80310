"""ONNX's own cases as the installed package has them."""

from __future__ import annotations

import numpy as np

from workbench.conformance.cases import case_of, load


def test_every_kind_of_case_is_there_under_a_name_of_its_own():
    cases = load()
    own = [name for name in cases if not name.endswith("/constants")]
    assert len(own) > 1900
    assert len(cases) - len(own) > 400
    assert {case.kind for case in cases.values()} == {"node", "simple", "pytorch-operator", "pytorch-converted"}
    assert list(cases) == sorted(cases)


def test_a_pattern_chooses_with_or_without_onnx_own_beginning():
    assert (
        set(load("softmax_axis_?"))
        == set(load("test_softmax_axis_?"))
        == {f"softmax_axis_{axis}" for axis in (0, 1, 2)}
    )
    assert load("no such case") == {}


def test_inputs_and_outputs_by_name():
    ((feeds, wanted),) = case_of("add").feeds
    assert set(feeds) == {"x", "y"}
    np.testing.assert_allclose(wanted["sum"], feeds["x"] + feeds["y"])
    ((feeds, _),) = case_of("Conv2d").feeds  # of an old opset, whose weights are inputs too
    assert set(feeds) == {"0"}


def test_small_further_inputs_become_constants():
    again = case_of("tile/constants")
    assert [value.name for value in again.model.graph.input] == ["x"]
    assert {tensor.name for tensor in again.model.graph.initializer} == {"y"}
    ((feeds, wanted),) = again.feeds
    ((given, defined),) = case_of("tile").feeds
    assert set(feeds) == {"x"}
    np.testing.assert_array_equal(wanted["z"], np.tile(given["x"], given["y"]))
    np.testing.assert_array_equal(wanted["z"], defined["z"])
    assert "repeats is not a constant" in case_of("tile").use.properties
    assert "repeats is not a constant" not in again.use.properties


def test_how_a_case_uses_its_operator_is_known_where_it_has_one():
    use = case_of("maxpool_2d_ceil").use
    assert (use.op, use.version) == ("MaxPool", 22)
    assert {"ceil_mode = 1", "result smaller than the input", "x is float"} <= {
        one.replace("X", "x") for one in use.properties
    }
    assert case_of("gelu_tanh_1_expanded").use is None


def test_random_operators_are_reported():
    assert case_of("bernoulli").random == "Bernoulli gives random numbers"
    assert case_of("training_dropout").random == "Dropout gives random numbers"
    assert case_of("dropout_default").random == ""
