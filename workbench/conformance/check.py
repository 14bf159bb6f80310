"""Run one case with one backend: read, prepare, build, open, run and compare. Runs in a child process."""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import backends
from workbench.conformance.cases import Case
from workbench.conformance.outcomes import WITHIN_ROUNDING, CaseOutcome, CaseVerdict
from workbench.data import bfloat16
from workbench.errors import BuildError, RunError, WorkbenchError, brief, during
from workbench.models.formats import onnx as onnx_format
from workbench.models.onnx_file import load_onnx
from workbench.models.onnx_signature import normalize
from workbench.precision.rewrite import rewrite
from workbench.protocols import Source
from workbench.records import Calibration, EngineRecord, EngineSpec, Model, Precision, Region
from workbench.settings.shapes import with_batch_axes

if TYPE_CHECKING:
    import numpy as np

PRECISIONS = {Precision.FP32: 0.0, Precision.FP16: 2**-8, Precision.BF16: 2**-5}
"""Precisions whose results can be compared with a definition, and their tolerance as a share of the largest absolute value:
eight units in the last place of the format. FP32 has only the tolerance of the case.
"""

BFLOAT16_RTOL = 2**-6
"""Relative tolerance of bfloat16 outputs in ``onnx.backend.test.runner``: two units in the last place."""

ROUNDING = 8
"""Units in the last place of the largest value: a difference up to this counts as rounding, regardless of the case's tolerance."""

NOT_RUN = "Could not run it"
"""Beginning of ``detail`` if an engine was built and opened but failed to run."""

DETAIL = 160
"""The most characters of a library's message that are kept."""

NOISE = re.compile(
    r"Exception from \S+:\d+:\s*|Check '.*?' failed at \S+:\d+:\s*|\[ONNXRuntimeError\] : \d+ : \w+ : |"
    r"Load model from \S+ failed:|/onnxruntime_src/\S+ "
)
"""Prefixes of libraries' messages."""


class _NotApplicableError(Exception):
    """The backend does not support such a model."""


def check(case: Case, spec: EngineSpec) -> CaseOutcome:
    """Run ``case`` with the backend of ``spec``; errors of the case or the library are in the outcome."""
    if case.random:
        return CaseOutcome(case.name, CaseVerdict.NOT_APPLICABLE, detail=case.random)
    folder = Path(tempfile.mkdtemp(prefix="case-"))
    try:
        return _checked(case, spec, folder)
    except _NotApplicableError as cause:
        return CaseOutcome(case.name, CaseVerdict.NOT_APPLICABLE, detail=str(cause))
    except Exception as cause:
        text = cause.message if isinstance(cause, WorkbenchError) else f"{type(cause).__name__}: {cause}"
        return CaseOutcome(case.name, CaseVerdict.ERROR, detail=_detail(text, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _checked(case: Case, spec: EngineSpec, folder: Path) -> CaseOutcome:
    import onnx

    file = folder / "case.onnx"
    onnx.save(case.model, file)
    try:
        model = _read(file)
    except WorkbenchError as error:
        return CaseOutcome(case.name, CaseVerdict.REFUSED, detail=_detail(error.message, folder))
    source = Source(_prepared(file, model, spec, folder), model.inputs, model.outputs)
    engine = folder / "engine"
    engine.mkdir()
    backend = backends.get(spec.backend)
    with during("build", "it", BuildError):
        built = backend.build(source, spec, engine, lambda _: None)
    if not built.runnable or (spec.mode in backend.devices and not backend.measures(spec, Region.HOST_TO_HOST)):
        return CaseOutcome(case.name, CaseVerdict.BUILT)
    record = EngineRecord(
        spec=spec,
        key="",
        library=built.library,
        library_version=built.library_version,
        realized=built.realized,
        size_bytes=0,
        build_s=0.0,
        device=backends.device(spec),
        inputs=model.inputs,
    )
    worst = OutputDifference()
    with during("open", "it", RunError):
        session = backend.open(engine, record)
    with session:
        for feeds, wanted in case.feeds:
            with during("run", "it", RunError):
                found = session.run({name: bfloat16.real(value) for name, value in feeds.items()})
            worst = max(worst, compare(wanted, found, case, spec.precision), key=lambda one: one.rank)
    if not worst.wrong:
        return CaseOutcome(case.name, CaseVerdict.RIGHT)
    return CaseOutcome(case.name, CaseVerdict.WRONG, _digits(worst.absolute), _digits(worst.relative), worst.detail)


def _read(file: Path) -> Model:
    facts = onnx_format.read(file, "")
    inputs = with_batch_axes(facts.pop("inputs"), facts.pop("axis_names"))
    facts.pop("without_shape")  # outputs without a declared shape, which only a run shows
    # the case expects the integers of its quantizing operator, not the numbers that they represent
    outputs = tuple(replace(spec, scale=0.0, zero_point=0) for spec in facts.pop("outputs"))
    return Model(
        path=str(file),
        name="case",
        format="onnx",
        inputs=inputs,
        outputs=outputs,
        size_bytes=0,
        digest="",
        **facts,
    )


def _prepared(file: Path, model: Model, spec: EngineSpec, folder: Path) -> Path:
    """The file that the backend builds from, prepared like every ONNX model."""
    import onnx

    backend = backends.get(spec.backend)
    able = backend.supports(spec, model)
    if not able:
        raise _NotApplicableError(able.reason)
    form = backend.source(spec, model).partition(":")
    if form[0] != "onnx":
        raise _NotApplicableError(f"{backend.title} does not build from ONNX files")
    proto = load_onnx(file)
    normalize(proto, model, {})
    plain = folder / "fp32.onnx"
    onnx.save(proto, plain)
    if form[2] == "fp32":
        return plain
    into = folder / f"{form[2]}.onnx"
    rewrite(plain, form[2], into, calibration=None, method=Calibration.MINMAX, progress=lambda _: None)
    return into


@dataclass(frozen=True)
class OutputDifference:
    """The difference between outputs and their definition."""

    wrong: bool = False
    absolute: float | None = 0.0  # None: not numeric, see ``detail``
    relative: float | None = 0.0
    detail: str = ""

    @property
    def rank(self) -> tuple[bool, float]:
        return self.wrong, math.inf if self.absolute is None else self.absolute


def compare(wanted: Mapping[str, Any], actual: Mapping[str, Any], case: Case, precision: Precision) -> OutputDifference:
    """The difference of the worst output in shape, type and values, with the tolerances of the case and the precision."""
    worst = OutputDifference()
    for name, expected in wanted.items():
        if name not in actual:
            return OutputDifference(True, None, None, f"the output '{name}' is missing")
        one = _compared(expected, actual[name], case, precision)
        worst = max(worst, one, key=lambda each: each.rank)
    return worst


def _compared(expected: Any, array: Any, case: Case, precision: Precision) -> OutputDifference:
    import numpy as np

    brain = expected.dtype.name == bfloat16.NAME
    expected, array = np.asarray(bfloat16.real(expected)), bfloat16.real(np.asarray(array))
    if expected.shape != array.shape:
        return OutputDifference(True, None, None, f"shape {list(array.shape)} instead of {list(expected.shape)}")
    if expected.dtype.kind in "OSUT":
        same = np.array_equal(expected.astype(str), array.astype(str))
        return OutputDifference() if same else OutputDifference(True, None, None, "another text")
    if expected.dtype != array.dtype:
        return OutputDifference(True, None, None, f"{array.dtype} instead of {expected.dtype}")
    if expected.dtype.kind == "b":
        off = int((expected != array).sum())
        text = f"{off} of {expected.size} truth values differ"
        return OutputDifference(True, None, None, text) if off else OutputDifference()
    rtol = max(case.rtol, BFLOAT16_RTOL) if brain else case.rtol
    found = _numbers(expected.astype(np.float64), array.astype(np.float64), rtol, case.atol, PRECISIONS[precision])
    if expected.dtype.kind == "f" and found.relative and found.relative <= ROUNDING * np.finfo(expected.dtype).eps:
        return replace(found, detail=WITHIN_ROUNDING)
    return found


def _numbers(expected: np.ndarray, array: np.ndarray, rtol: float, atol: float, share: float) -> OutputDifference:
    """As ``numpy.testing.assert_allclose``: infinities and NaN must be in the same places."""
    import numpy as np

    finite = np.isfinite(expected)
    largest = float(np.abs(expected[finite]).max(initial=0.0))
    if np.isclose(array, expected, rtol=rtol, atol=atol + share * largest, equal_nan=True).all():
        return OutputDifference()
    both = finite & np.isfinite(array)
    odd = int((~both & ~np.isclose(array, expected, equal_nan=True)).sum())
    if odd:
        return OutputDifference(
            True, None, None, f"{odd} of {expected.size} values are NaN or infinite in one and not in the other"
        )
    absolute = float(np.abs(array[both] - expected[both]).max())
    return OutputDifference(True, absolute, absolute / largest if largest else None)


def _digits(number: float | None) -> float | None:
    """Round to three digits, which keeps the files small."""
    return None if number is None else float(f"{number:.3g}")


def _detail(text: str, folder: Path) -> str:
    """A message without parts that differ between runs, so that equal reasons give equal texts."""
    text = NOISE.sub("", text.replace(f"{folder}/", "").replace("\n", " "))
    return brief(ValueError(text), DETAIL)
