"""List the nodes of an ONNX file for which ONNX Runtime has no CPU kernel, without building an engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from workbench.models.onnx_file import graphs
from workbench.protocols import Refusal


def refusals(onnx: Path) -> tuple[Refusal, ...]:
    """One refusal for each unsupported node, or one for the file if ONNX Runtime names none; empty: it opens the file."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        ort.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    except Exception as cause:
        return _without_kernel(onnx) or (_refusal(str(cause)),)
    return ()


def _without_kernel(path: Path) -> tuple[Refusal, ...]:
    """The nodes without a registered CPU kernel, except those that ONNX defines as functions of other nodes."""
    import onnx
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kernels: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for kernel in state.get_all_opkernel_def():
        if kernel.provider == "CPUExecutionProvider":
            kernels.setdefault((kernel.domain, kernel.op_name), []).append(kernel.version_range)
    proto = onnx.load(path, load_external_data=False)
    opsets = {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in proto.opset_import}
    own = {(function.domain, function.name) for function in proto.functions}
    refused = []
    for node in (node for part in graphs(proto.graph) for node in part.node):
        domain = "" if node.domain == "ai.onnx" else node.domain
        version = opsets.get(domain, 1)
        try:
            schema: Any = onnx.defs.get_schema(node.op_type, version, domain)
            version, composed = schema.since_version, schema.has_function or schema.has_context_dependent_function
        except onnx.defs.SchemaError:
            composed = False
        known = any(low <= version <= high for low, high in kernels.get((domain, node.op_type), ()))
        if not known and not composed and (domain, node.op_type) not in own:
            known_op = (domain, node.op_type) in kernels
            found = "CPU kernels only of another opset" if known_op else "no CPU kernel for it"
            name = node.name or next(iter(node.output), "")
            op = f"{domain}.{node.op_type}" if domain else node.op_type
            refused.append(Refusal(name, op, f"ONNX Runtime has {found}"))
    return tuple(refused)


def _refusal(text: str) -> Refusal:
    """The error text of ONNX Runtime, with the node and the operator where one of the known patterns holds them."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?", "", " ".join(text.split()))
    if kernel := re.search(r"implementation for ([\w.:]+)\(\d+\) node with name '([^']*)'", text):
        return Refusal(kernel[2], kernel[1], "ONNX Runtime has no CPU kernel for it with these types")
    typed = re.search(r"of operator \((\w+)\) in node:? \(([^)]*)\)", text)
    inferred = re.search(r"[Nn]ode ?\(([^)]*)\) Op \((\w+)\)", text)
    node, op = (typed[2], typed[1]) if typed else (inferred[1], inferred[2]) if inferred else ("", "")
    return Refusal(node, op, f"ONNX Runtime cannot open it: {text[:300]}")
