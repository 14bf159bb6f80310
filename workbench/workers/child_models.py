"""Worker tasks that read, convert and rewrite models, build engines from them, and run ONNX's own operator cases."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.data.samples import load_samples
from workbench.errors import BuildError, during
from workbench.protocols import Progress, Source
from workbench.records import EngineSpec, Model, from_json, to_json


def inspect(progress: Progress, path: str, signature: str = "", input_shapes: str = "", input_values: str = "") -> Any:
    from workbench.models.inspection import inspect_model

    progress("read model")
    return to_json(inspect_model(path, signature, input_shapes, input_values))


def train_demo(progress: Progress, into: str) -> Any:
    from workbench.models.demo import train

    return train(Path(into), progress)


def export_saved_model(progress: Progress, model: dict[str, Any], into: str) -> None:
    from workbench.export.convert import saved_model_of

    progress("export SavedModel")
    saved_model_of(from_json(Model, model), Path(into))


def export_onnx(
    progress: Progress,
    model: dict[str, Any],
    saved_model: str | None,
    samples: str | None,
    into: str,
    batches: Sequence[int] = (),
) -> Any:
    from workbench.export.convert import export

    record = from_json(Model, model)
    real = load_samples(Path(samples)) if samples else None
    return to_json(export(record, Path(saved_model) if saved_model else None, real, Path(into), progress, batches))


def examine(progress: Progress, path: str, model: dict[str, Any], results: list[str]) -> Any:
    from workbench.conformance.examination import examine as look

    return to_json(look(Path(path), from_json(Model, model), progress, [Path(folder) for folder in results]))


def rewrite(progress: Progress, **asked: Any) -> Any:
    from workbench.precision.rewrite import rewrite_from_json

    return rewrite_from_json(progress, **asked)


def fix_batch(progress: Progress, source: str, batch: int, sizes: dict[str, list[int]], into: str) -> None:
    from workbench.precision.rewrite import fix_batch as fix

    progress(f"fix batch to {batch}")
    fix(Path(source), batch, Path(into), sizes)


def build(progress: Progress, source: dict[str, Any], spec: dict[str, Any], into: str) -> Any:
    """Build one engine from a :class:`workbench.protocols.Source` as JSON; return its facts and the seconds that the build took."""
    from workbench.backends import get

    what = from_json(EngineSpec, spec)
    backend = get(what.backend)
    for name in backend.imports:
        importlib.import_module(name)
    origin = from_json(Source, source)
    backend.check_files(origin.path)
    progress("build")
    began = time.perf_counter()
    with during("build", what.label, BuildError):
        built = backend.build(origin, what, Path(into), progress)
    return {**to_json(built), "build_s": time.perf_counter() - began}


def conformance_cases(progress: Progress, pattern: str) -> Any:
    """The names of matching cases, and how each uses its operator (``None``: it has several operators)."""
    from workbench.conformance.cases import load

    progress("load the cases of the package 'onnx'")
    return [[name, to_json(case.use) if case.use else None] for name, case in load(pattern).items()]


def conformance_case(progress: Progress, case: str, spec: dict[str, Any]) -> Any:  # noqa: ARG001 - every task takes progress
    """Run one case with one backend; return a ``CaseOutcome`` as JSON. The cases are loaded once in a process."""
    from workbench.conformance.cases import case_of
    from workbench.conformance.check import check

    return to_json(check(case_of(case), from_json(EngineSpec, spec)))


TASKS = (
    inspect, train_demo, export_saved_model, export_onnx, examine, rewrite, fix_batch, build, conformance_cases, conformance_case,
)  # fmt: skip
