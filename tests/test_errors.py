"""Messages of errors: one line each, with the reason, whatever a file holds."""

from workbench.errors import InputError, brief, out_of_memory


def test_names_out_of_damaged_files_stay_on_one_line():
    error = InputError("The node 'Mat\x1aMul\n\x06' is\tnothing known.")
    assert error.message == str(error) == "The node 'Mat?Mul ?' is nothing known."


def test_the_reason_that_follows_places_in_a_librarys_source_is_kept() -> None:
    places = "".join(
        f"Exception from src/part{n}.cpp:{n}:\nCheck 'a == b' failed at src/check{n}.cpp:{n}:\n" for n in range(4)
    )
    assert brief(RuntimeError(f"{places}Model was not converted.\n-- No rule for: Det-17")) == (
        "Model was not converted. -- No rule for: Det-17"
    )
    assert brief(RuntimeError("Exception from src/part.cpp:1:")) == "Exception from src/part.cpp:1:"


def test_a_library_that_did_not_fit_into_memory_is_known():
    """NumPy's error where its libraries could not be mapped under a limit of memory."""
    text = "Importing the numpy C-extensions failed. … Original error was: libopenblas.so: failed to map segment from shared object"
    assert out_of_memory(ImportError(text))
