"""NVIDIA ModelOpt in a named environment: AutoCast for 16-bit floats, and quantization of ONNX files for TensorRT.

It needs PyTorch and pins other versions of ONNX and ONNX Runtime, so it cannot share an environment with the workbench. It is
run by its own command lines (read from the source of version 0.47), with files as inputs and outputs.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from workbench.data.samples import Samples
from workbench.environments import adding, registry
from workbench.environments.registry import Environment
from workbench.environments.start import NEEDS, variables
from workbench.errors import ExportError, InputError, StoreError
from workbench.models.onnx_file import graphs
from workbench.precision.selection import Selection
from workbench.protocols import AVAILABLE, Availability, unavailable
from workbench.store.arrays import write_npz
from workbench.system.supervisor import supervised

PACKAGE = "nvidia-modelopt"
FIX = (
    f"python3 -m venv modelopt && modelopt/bin/pip install '{PACKAGE}[onnx]' {' '.join(NEEDS)} && "
    "workbench environment add modelopt modelopt/bin/python (several GB, with PyTorch; where an environment has it already, add that one again)"
)
LIMIT_S, STOP_S = 3600.0, 1.0
LAST_LINES = 3


def available() -> Availability:
    """Whether an environment has it; starts no process."""
    found = registry.that_has(PACKAGE)
    if found is None:
        return unavailable(f"no environment had {PACKAGE} when it was added", FIX)
    if not os.access(found.python, os.X_OK):
        return unavailable(
            f"{PACKAGE} is in the environment '{found.name}', whose {found.python} is not there any more", FIX
        )
    return AVAILABLE


def identity() -> str:
    """What decides the files that it writes: the versions of its Python and packages; "" where no environment is known to have it."""
    try:
        found = registry.that_has(PACKAGE)
    except StoreError:  # said where it is asked for
        return ""
    versions = sorted(found.packages.items()) if found else []
    packages = [f"{name} {version}" for name, version in versions if name not in NEEDS or name == "numpy"]
    return ", ".join([f"Python {found.version}", *packages]) if found else ""


def rewrite(source: Path, form: str, into: Path, samples: Samples | None, selection: Selection) -> dict[str, Any]:
    """Rewrite ``source`` with ModelOpt: ``fp16-modelopt``, ``bf16-modelopt``, ``int8-modelopt`` or ``fp8-modelopt``.

    Raises:
        InputError: no environment has it, the environment has changed since it was added, or an entry of the selection matches no node.
        ExportError: it failed, took over an hour, or wrote no file; the text ends with its last output.
    """
    environment = _usable()
    data = into.with_name("calibration.npz")
    if samples is not None:
        write_npz(data, samples.feeds(0, samples.count))
    command = [environment.python, *arguments(source, form, into, data if samples is not None else None, selection)]
    attended = supervised(command, stop_s=STOP_S)  # a worker may be killed while it runs
    try:
        done = subprocess.run(
            attended,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
            check=False,
            cwd=into.parent,
            env=variables({}),
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise ExportError(f"ModelOpt did not finish: {cause}") from cause
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    print(*said, sep="\n")
    if done.returncode != 0 or not into.is_file():
        how = f"ended with status {done.returncode}" if done.returncode else "wrote no file"
        raise ExportError(f"ModelOpt {how}: {' '.join(said[-LAST_LINES:])[:500]}")
    return {"by": "ModelOpt", "samples": samples.count if samples is not None else 0}


def _usable() -> Environment:
    found = registry.that_has(PACKAGE)
    able = available()
    if found is None or not able:
        raise InputError(f"{able.reason}. To install it: {able.fix}")
    if wrong := adding.problem(found):
        again = f"workbench environment add {found.name} {found.python}"
        raise InputError(
            f"The environment '{found.name}', which has {PACKAGE}, cannot be used: {wrong}. Add it again: {again}"
        )
    return found


def arguments(source: Path, form: str, into: Path, data: Path | None, selection: Selection) -> list[str]:
    """The arguments of its Python that rewrite a model."""
    precision = form.partition("-")[0]
    if precision in ("fp16", "bf16"):
        words = ["-m", "modelopt.onnx.autocast", "--low_precision_type", precision, "--keep_io_types"]
        words += ["--calibration_data", str(data)] if data else []
        only = ("--op_types_to_include", "--nodes_to_include")
    else:
        words = ["-m", "modelopt.onnx.quantization", "--quantize_mode", precision]
        words += ["--high_precision_dtype", "fp32"]
        words += ["--calibration_data_path", str(data)] if data else []
        only = ("--op_types_to_quantize", "--nodes_to_quantize")
    words += ["--onnx_path", str(source), "--output_path", str(into)]
    return words + _listed(source, selection, only)


def _listed(source: Path, selection: Selection, only: tuple[str, str]) -> list[str]:
    """The selection as options, with separate options for operations and nodes."""
    import onnx

    if not selection:
        return []
    nodes = [node for part in graphs(onnx.load(source, load_external_data=False).graph) for node in part.node]
    selection.check(nodes)
    kinds = {node.op_type for node in nodes}
    words: list[str] = []
    for entries, (of_kinds, of_nodes) in (
        (selection.quantize, only),
        (selection.keep, ("--op_types_to_exclude", "--nodes_to_exclude")),
    ):
        for option, chosen in (
            (of_kinds, [entry for entry in entries if entry in kinds]),
            (of_nodes, [entry for entry in entries if entry not in kinds]),
        ):
            words += [option, *chosen] if chosen else []
    return words
