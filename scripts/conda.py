"""Write environment.yml and environment-gpu.yml from pyproject.toml; ``--check`` compares and writes nothing."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
CPU_EXTRAS = ("tensorflow", "app", "litert", "openvino", "text", "loadgen", "serving")
GPU_EXTRAS = ("rtx", "gpu")
FROM_CONDA = {
    "cattrs", "cloudpickle", "ipykernel", "ipympl", "ipywidgets", "jupyterlab", "markupsafe", "matplotlib", "nbconvert", "nh3", "numpy",
    "pandas", "papermill", "pillow", "psutil", "pycocotools", "scikit-learn", "scipy", "tqdm", "voila",
}  # fmt: skip
"""Packages that conda-forge builds with the same contents; all others come from the Python package index, as with pip."""
REPLACED = {"onnxruntime": "onnxruntime-gpu"}
"""Packages that the GPU file leaves out: the other one has the same files, with more in them, and the two overwrite each other."""
HEAD = """\
# {what}. Written by scripts/conda.py from pyproject.toml; do not edit.
#   conda env create -f {file} && conda activate {name}
name: {name}
channels:
  - conda-forge
dependencies:
  - python{python}
  - pip
"""
FILES = {
    "environment.yml": ("For a machine without an NVIDIA GPU", "inference-workbench", CPU_EXTRAS),
    "environment-gpu.yml": ("For a machine with an NVIDIA GPU", "inference-workbench-gpu", (*CPU_EXTRAS, *GPU_EXTRAS)),
}


def content(file: str) -> str:
    """The text of one of the two files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    what, name, extras = FILES[file]
    optional = {extra: project["optional-dependencies"][extra] for extra in extras}
    groups = {"": project["dependencies"], **optional}
    wanted = [Requirement(line).name for lines in groups.values() for line in lines]
    kept = {
        title: [line for line in lines if REPLACED.get(Requirement(line).name) not in wanted]
        for title, lines in groups.items()
    }
    head = HEAD.format(what=what, file=file, name=name, python=project["requires-python"])
    return head + "".join(_conda(kept)) + "  - pip:\n" + "".join(_pip(kept))


def _conda(groups: dict[str, list[str]]) -> Iterator[str]:
    for lines in groups.values():
        yield from (f"  - {line}\n" for line in lines if Requirement(line).name in FROM_CONDA)


def _pip(groups: dict[str, list[str]]) -> Iterator[str]:
    for title, lines in groups.items():
        rest = [line for line in lines if Requirement(line).name not in FROM_CONDA]
        if title and rest:
            yield f"      # {title}\n"
        yield from (f'      - "{line}"\n' for line in rest)
    yield "      # the workbench itself, from this folder\n      - --editable .\n"


def main() -> None:
    changed = [
        file for file in FILES if not (ROOT / file).is_file() or (ROOT / file).read_text("utf-8") != content(file)
    ]
    if "--check" in sys.argv[1:]:
        sys.exit(f"{', '.join(changed)} differs from pyproject.toml. Run: python scripts/conda.py" if changed else 0)
    for file in changed:
        (ROOT / file).write_text(content(file), encoding="utf-8")
        print(f"wrote {file}")


if __name__ == "__main__":
    main()
