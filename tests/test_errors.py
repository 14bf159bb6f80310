"""Errors for people: one line each, whatever a file holds."""

from workbench.errors import InputError


def test_names_out_of_damaged_files_stay_on_one_line():
    error = InputError("The node 'Mat\x1aMul\n\x06' is\tnothing known.")
    assert error.message == str(error) == "The node 'Mat?Mul ?' is nothing known."
