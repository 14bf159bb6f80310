"""Run the model of a deployment by ONNX Runtime.

This file is copied into deployments; it imports NumPy's and ONNX Runtime's packages and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Arrays = Mapping[str, Any]


def open_model(folder: Path, options: Mapping[str, Any]) -> Callable[[Arrays], dict[str, Any]]:
    """Open the ONNX file ``options["file"]`` in ``folder``.

    Args:
        folder: the folder with the model's files.
        options: ``file``; ``threads`` inside one operator; ``level``, the name of a graph optimization level; ``without``, the names
            of optimizers that are disabled.

    Returns:
        A function from arrays by input name to arrays by output name. Several threads may call it at once.

    """
    import onnxruntime as ort

    chosen = ort.SessionOptions()
    chosen.intra_op_num_threads = int(options["threads"])
    chosen.inter_op_num_threads = 1
    chosen.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    chosen.log_severity_level = 3
    chosen.graph_optimization_level = getattr(ort.GraphOptimizationLevel, options["level"])
    chosen.add_session_config_entry("session.set_denormal_as_zero", "1")
    chosen.add_session_config_entry("session.x64quantprecision", "1")  # exact INT8 on CPUs without VNNI
    try:
        session = _session(folder, options, chosen)
    except Exception:  # not for signed activations in the operator format, whose kernels are exact
        chosen.add_session_config_entry("session.x64quantprecision", "0")
        session = _session(folder, options, chosen)
    names = [output.name for output in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _session(folder: Path, options: Mapping[str, Any], chosen: Any) -> Any:
    import onnxruntime as ort

    return ort.InferenceSession(
        str(folder / options["file"]),
        chosen,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(options["without"]) or None,
    )
