"""Triton's server binary in this Python: where it is, and what it needs to start.

The wheel ``nvidia-pytriton`` holds the server, its Python backend, and a stub for each version of Python. Its own dependencies forbid
NumPy 2, so it is installed without them; nothing of it is imported.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from workbench.errors import MissingPackageError

MODULE, FIX = "pytriton", 'pip install --no-deps "nvidia-pytriton==0.7.0"'
BRINGS_LIBPYTHON = (3, 13)
"""The stub for this version brings its own libpython, those of earlier versions load the interpreter's."""


@dataclass(frozen=True)
class Installed:
    """The server's files, and the folder of the interpreter's shared library."""

    root: Path  # the folder ``tritonserver`` of the wheel
    stub: Path
    libraries: Path  # shared libraries that the wheel brings
    libpython: Path | None  # the folder of libpython; None: the stub brings its own

    @property
    def binary(self) -> Path:
        return self.root / "bin" / "tritonserver"

    def environment(self) -> dict[str, str]:
        """Variables of the server's process: its models run in this Python, with this Python's packages."""
        packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        folders = [str(path) for path in (self.libpython, self.libraries) if path is not None]
        known = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        known |= {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": os.pathsep.join(packages),
            "LD_LIBRARY_PATH": os.pathsep.join([*folders, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]),
            "PYTHONDONTWRITEBYTECODE": "1",  # the deployment's folder stays as it is
        }
        if self.libpython is None:
            known["PYTHONHOME"] = sys.base_prefix
        return known


def installed() -> Installed:
    """The server of this Python.

    Raises:
        MissingPackageError: the wheel is not installed, has no stub for this Python, or the interpreter has no shared library.
    """
    spec = find_spec(MODULE)
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    root = next((place / "tritonserver" for place in places if (place / "tritonserver" / "bin").is_dir()), None)
    if root is None:
        raise MissingPackageError(
            f"Triton's server is not installed in this Python (Linux on x86_64 with glibc 2.35 or later). To install it: {FIX}"
        )
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        known = ", ".join(sorted(path.name for path in (root / "python_backend_stubs").iterdir()))
        raise MissingPackageError(
            f"The installed Triton runs models in Python {known}, and this is {version}. Use one of these."
        )
    own = None if sys.version_info[:2] >= BRINGS_LIBPYTHON else _libpython(version)
    return Installed(root, stub, root.parent.parent / "nvidia_pytriton.libs", own)


def _libpython(version: str) -> Path:
    """The folder of the interpreter's shared library, which the stub loads by name.

    Raises:
        MissingPackageError: the interpreter was built without one.
    """
    name = f"libpython{version}.so.1.0"
    folders = [Path(sys.base_prefix) / "lib"]
    folders += [Path(found) for key in ("LIBDIR", "LIBPL") if (found := sysconfig.get_config_var(key))]
    folders += [
        Path(sys.base_prefix) / "lib" / found for key in ("MULTIARCH",) if (found := sysconfig.get_config_var(key))
    ]
    for folder in folders:
        if (folder / name).is_file():
            return folder
    raise MissingPackageError(
        f"This Python ({sys.base_prefix}) has no shared library {name}, which Triton loads. Use a Python that was built with "
        "--enable-shared: Debian's with the package libpython3, conda's, or pyenv's with PYTHON_CONFIGURE_OPTS=--enable-shared."
    )
