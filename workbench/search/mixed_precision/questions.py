"""Questions about one model's precision, from a notebook: which layers lose too much in INT8, and which mixed model is best here.

The work happens in a child process; answers are kept in the store.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import backends
from workbench.accuracy.budget import budget_for
from workbench.accuracy.metrics import metric_of
from workbench.errors import InputError
from workbench.precision.rewrite import CALIBRATED_FORMS, FORMS
from workbench.precision.selection import Selection
from workbench.records import Calibration, from_json, to_json
from workbench.runs.reading import Say
from workbench.search.mixed_precision.records import Repair
from workbench.search.mixed_precision.repair import MIN_SIZE
from workbench.search.mixed_precision.sensitivity import ALONE, Range, Sensitivity
from workbench.search.mixed_precision.subject import StudySubject, opened, subject
from workbench.search.mixed_precision.tasks import StudyRequest
from workbench.settings.experiment import Experiment
from workbench.settings.kinds import choose
from workbench.store import Draft, Store, key_of
from workbench.system import measuring_lock
from workbench.workers.worker import DEFAULT_LIMIT_S, NO_GPU, Worker, thread_env

if TYPE_CHECKING:
    import pandas as pd

TASKS = "workbench.search.mixed_precision.tasks"
"""The module of the tasks, which a worker process imports."""


def rewritten(
    experiment: Experiment | None = None,
    form: str = "fp32",
    *,
    store: Store | str | Path | None = None,
    say: Say = lambda _: None,
) -> Path:
    """The ONNX file that engines of a form are built from, to be looked at: "fp32", "fp16", "bf16", "int8-u8" (unsigned
    activations, for CPUs), "int8-s8" (signed ones, for TensorRT), or another of ``workbench.precision.rewrite.FORMS``.

    Of the experiment its model, data, calibration, ``quantize`` and ``keep`` count. The file is kept in the store: read it, and do not
    write to it.

    Raises:
        InputError: there is no such form, or it needs calibration samples and the data have none.
        ExportError: the model cannot be converted to it.

    Example::

        path = workbench.rewritten(workbench.Experiment(model="model.onnx"), "int8-u8")
    """
    asked, place = (experiment or Experiment()).resolved(), Store.of(store).prepare().for_run(say)
    choose("form", [form], FORMS)
    with opened(asked, place, say) as executor:
        found = executor.prepared(
            f"onnx:{form}",
            method=Calibration(asked.calibration) if form in CALIBRATED_FORMS else None,
            selection=Selection(asked.quantize, asked.keep),
        )
        return found.source.path


def layer_sensitivity(
    experiment: Experiment | None = None,
    *,
    store: Store | str | Path | None = None,
    backend: str = "",
    samples: int = 128,
    limit_s: float = 120.0,
    ways: tuple[str, ...] = (ALONE,),
    say: Say = lambda _: None,
) -> Sensitivity:
    """How much INT8 harms, by kind of operation and by layer: each alone, and with ``ways`` also each left out alone.

    Of the experiment its model, data (with ``pixels``), calibration, ``metric`` and ``score_output`` count. ``samples`` of the
    test data are used, and ``limit_s`` seconds for single layers: units that were not tried by then are listed. The answer is kept in
    the store.

    Raises:
        InputError: the data have no calibration samples, the metric does not suit them, or the backend does not build INT8 from
            ONNX.

    Example::

        found = workbench.layer_sensitivity(workbench.Experiment(model="model.onnx", data="samples.npz"))
    """
    asked, place = (experiment or Experiment()).resolved(), Store.of(store).prepare().for_run(say)
    backend = _searching(backend)
    with subject(asked, place, samples, say) as about:
        key = key_of(about=about.key, backend=backend, limit_s=limit_s, ways=ways, what="sensitivity")
        fill = _answered("sensitivity", about, asked, backend, limit_s, ways=ways)
        found = about.store.make("sensitivity", key, fill, check=partial(from_json, Sensitivity))
        return from_json(Sensitivity, found.facts)


def mixed_precision(
    experiment: Experiment | None = None,
    *,
    budget: str | float | None = None,
    store: Store | str | Path | None = None,
    backend: str = "",
    samples: int = 256,
    min_size: float = MIN_SIZE,
    limit_s: float = 300.0,
    say: Say = lambda _: None,
) -> Repair:
    """The fastest model of INT8 and FP32 that loses no more than ``budget``: which nodes stay in FP32.

    The budget is spelled as in an experiment (``0.5 points``, ``1 %``, or a number in the metric's own unit); left out, it is
    the experiment's. Quality is the experiment's metric where the data have labels, else agreement with FP32. The search looks
    at ``samples`` test samples; the guard judges what it found on others, up to eight times as many (``best.judged``). It is
    limited to about ``limit_s`` seconds for each of its two parts, and keeps its answer in the store. Speed is measured in turns
    against FP32 on the same backend.

    Raises:
        InputError: as :func:`layer_sensitivity`, or there is no budget.

    Example::

        found = workbench.mixed_precision(workbench.Experiment(model="model.onnx", data="samples.npz"), budget="0.5 points")
    """
    asked, place = (experiment or Experiment()).resolved(), Store.of(store).prepare().for_run(say)
    metric = metric_of(asked.metric)
    allowed = budget_for(asked.budget if budget is None else str(budget), share=metric is None or metric.share)
    if allowed is None:
        raise InputError("A repair needs a budget, and 'budget' is 'none'. Give for example '0.5 points'.")
    backend = _searching(backend)
    with subject(asked, place, samples, say) as about:
        limits = {"budget": asdict(allowed), "min_size": min_size}
        key = key_of(about=about.key, backend=backend, limit_s=limit_s, limits=limits, what="repair")
        fill = _answered("repair", about, asked, backend, limit_s, **limits)
        found = about.store.make("repair", key, fill, check=partial(from_json, Repair))
        return from_json(Repair, found.facts)


def value_ranges(
    experiment: Experiment | None = None,
    *,
    store: Store | str | Path | None = None,
    samples: int = 32,
    say: Say = lambda _: None,
) -> pd.DataFrame:
    """Every inner tensor of the FP32 model over real samples: range, NaN and infinity, what FP16 cannot hold, outliers.

    The column "doubts" describes problems of a tensor; "": no problem was found.

    Example::

        table = workbench.value_ranges(workbench.Experiment(model="model.onnx", data="samples.npz"))
    """
    import pandas as pd

    asked = (experiment or Experiment()).resolved()
    with subject(asked, Store.of(store).prepare().for_run(say), samples, say) as about:

        def fill(draft: Draft) -> None:
            batch = about.model.fixed_batch or 8
            draft.facts = about.pool.call(
                "onnx",
                f"{TASKS}:scan",
                progress=say,
                source=str(about.form.source.path),
                samples=str(about.seen),
                batch=batch,
            )

        facts = about.store.make("ranges", key_of(about=about.key, what="ranges"), fill, check=_ranges).facts
    found = _ranges(facts)
    table = pd.DataFrame([to_json(each) for each in found])
    table["doubts"] = [each.doubts for each in found]
    return table


def _ranges(facts: Any) -> list[Range]:
    return [from_json(Range, each) for each in facts]


def _searching(name: str) -> str:
    """The backend to search with, the first that can where none is named."""
    able = backends.searching()
    if not name:
        return able[0]
    backends.check(name, here=True)
    if name not in able:
        raise InputError(f"Mixed precision is tried with backends that build INT8 from ONNX for the CPU; found '{name}'. "
                         f"Choose from: {', '.join(able)}.")  # fmt: skip
    return name


def _answered(
    task: str, about: StudySubject, experiment: Experiment, backend: str, limit_s: float, **more: Any
) -> Callable[[Draft], None]:
    """A function that runs the task of a worker process and keeps its answer in a draft of the store."""

    def fill(draft: Draft) -> None:
        work = draft.folder / "work"
        work.mkdir()
        request = StudyRequest(
            source=about.form.source,
            calibration=about.calibration,
            seen=about.seen,
            unseen=about.unseen,
            method=Calibration(experiment.calibration),
            backend=backend,
            threads=experiment.threads,
            batch=about.model.fixed_batch or experiment.batches[0],
            folder=work,
            metric=experiment.metric,
            output=experiment.score_output,
            comparable=about.comparable,
            together=not about.model.runs_alone,
        )
        # it takes turns by itself, alone where it times and beside others where it tries, and so needs their folder
        writable = [about.store.root, measuring_lock.folder()]
        env = NO_GPU | thread_env(experiment.threads)
        with Worker(about.store.log_path(task), env=env, writable=writable) as worker:
            draft.facts = worker.call(
                f"{TASKS}:{task}",
                limit_s=max(DEFAULT_LIMIT_S, 4 * limit_s),
                progress=about.say,
                study=to_json(request),
                seconds=limit_s,
                **more,
            )
        shutil.rmtree(work)  # models that were tried have no use without their figures, and can be made again

    return fill
