"""Messages of errors: one line each, with the reason, whatever a file holds."""

import subprocess
import sys

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


LIMITED = """
import resource, sys
from workbench.errors import StoreError, during, writing
resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
for block in (lambda: writing("here"), lambda: during("open", "it")):
    kept = []
    try:
        with block():
            while True:
                kept.append(open(sys.executable, "rb"))
    except StoreError as error:
        kept.clear()
        print(error)
"""


def test_a_limit_of_open_files_is_named_with_what_to_do() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "Could not write to here. Too many files were open at once. Raise the limit of open files (ulimit -n); 1024 is usual.",
        "Could not open it. Too many files were open at once. Raise the limit of open files (ulimit -n); 1024 is usual.",
    ]
