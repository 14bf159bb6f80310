"""Tasks of a worker process that runs ONNX's own operator cases; the cases are loaded once in a process."""

from __future__ import annotations

from typing import Any

from workbench.protocols import Progress
from workbench.records import EngineSpec, from_json, to_json


def conformance_cases(progress: Progress, pattern: str) -> Any:
    """Names of the cases that match, and how each uses its operator (``None``: it has several)."""
    from workbench.conformance.cases import load

    progress("load the cases of the package 'onnx'")
    return [[name, to_json(case.use) if case.use else None] for name, case in load(pattern).items()]


def conformance_case(progress: Progress, case: str, spec: dict[str, Any]) -> Any:  # noqa: ARG001 - every task takes progress
    """One case through one backend: an ``Outcome``."""
    from workbench.conformance.cases import case_of
    from workbench.conformance.check import check

    return to_json(check(case_of(case), from_json(EngineSpec, spec)))


TASKS = (conformance_cases, conformance_case)
