"""Questions about one model's precision, from a notebook: which layers cannot bear INT8, and which mixed model is best here.

The work happens in a child process; answers are kept in the store.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import backends
from workbench.choices.budget import budget_of
from workbench.data.dataset import Dataset
from workbench.data.samples import Samples
from workbench.errors import InputError, writing
from workbench.experiment import Experiment
from workbench.precision.rewrite import CALIBRATED_FORMS, FORMS
from workbench.precision.selection import Selection
from workbench.records import Calibration, Model, from_json, to_json
from workbench.runs.sources import DEMO, Form, Sources, data_of, demo_model, read_model
from workbench.search.found import Repair
from workbench.search.repair import MIN_SIZE
from workbench.search.sensitivity import ALONE, Range, Sensitivity
from workbench.settings_table.kinds import choose
from workbench.store import Draft, Store, key_of
from workbench.system import turns
from workbench.system.machine import check_threads, this_machine, version_of
from workbench.workers.worker import DEFAULT_LIMIT_S, NO_GPU, Pool, Worker, thread_env

if TYPE_CHECKING:
    import pandas as pd

VERSION = 4
"""Of how these questions are answered: raise it when answers of before would differ."""
UNSEEN = 8
Say = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """The model and the samples that a question is about."""

    model: Model
    form: Form  # in FP32, as ONNX
    calibration: Path
    seen: Path  # samples that a search may look at
    unseen: Path  # samples for its last word
    pool: Pool
    store: Store
    key: str


@contextmanager
def _opened(experiment: Experiment, store: Store, say: Say) -> Iterator[tuple[Pool, Dataset, Sources]]:
    with Pool(store.log_path, threading.Event()) as pool:
        path = str(demo_model(store, pool, say)) if experiment.model == DEMO else experiment.model
        asked = (experiment.signature, experiment.input_shapes, experiment.input_values)
        model = read_model(store, pool, path, *asked)
        data = data_of(experiment, model, calibrating=True)
        yield pool, data, Sources(store, pool, model, data, say)


@contextmanager
def _subject(experiment: Experiment, store: Store, count: int, say: Say) -> Iterator[Subject]:
    check_threads(experiment.threads)
    with _opened(experiment, store, say) as (pool, data, sources):
        calibration = data.calibration
        if calibration is None:
            raise InputError(
                "INT8 needs real samples to calibrate and to judge with, and these data have none. Give 'data' as an .npz file."
            )
        form = sources.get("onnx:fp32")
        seen, unseen = _halves(data, count, experiment.seed)
        key = key_of(
            form=form.key,
            samples=[calibration.digest, seen.digest, unseen.digest],
            calibration=experiment.calibration,
            threads=experiment.threads,
            metric=[experiment.metric, experiment.score_output],
            versions=[version_of(name) for name in ("onnxruntime", "onnx", "openvino")],
            machine=to_json(this_machine()),
            version=VERSION,
        )
        first, second, third = (sources.samples_file(each) for each in (calibration, seen, unseen))
        yield Subject(sources.model, form, first, second, third, pool, store, key)


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
        ExportError: the model cannot be brought to it.
    """
    asked, place = (experiment or Experiment()).resolved(), Store.of(store).prepare()
    choose("form", [form], FORMS)
    with _opened(asked, place, say) as (_, _, sources):
        found = sources.get(
            f"onnx:{form}",
            method=Calibration(asked.calibration) if form in CALIBRATED_FORMS else None,
            samples=asked.calibration_samples,
            selection=Selection(asked.quantize, asked.keep),
        )
        return found.source.path


def _halves(data: Dataset, count: int, seed: int) -> tuple[Samples, Samples]:
    """Two parts of the test samples without a common one, drawn at random, because files are often sorted: at most ``count`` for
    the search, and up to :data:`UNSEEN` times as many for its last word, which takes more to be shown than to be found.
    """
    import numpy as np

    total = data.test.count
    if total < 4:
        raise InputError(f"At least 4 test samples are needed to search and to confirm; found {total}. Give more data.")
    drawn = np.random.default_rng(seed).permutation(total)
    half = min(count, total // 2)
    return data.test.take(drawn[:half]), data.test.take(drawn[half : (1 + UNSEEN) * half])


def layer_sensitivity(
    experiment: Experiment | None = None,
    *,
    store: Store | str | Path | None = None,
    backend: str = "onnxruntime",
    samples: int = 128,
    limit_s: float = 120.0,
    ways: tuple[str, ...] = (ALONE,),
    say: Say = lambda _: None,
) -> Sensitivity:
    """How much INT8 harms, by kind of operation and by layer: each alone, and with ``ways`` also each left out alone.

    Of the experiment its model, data (with ``pixels``), calibration, ``metric`` and ``score_output`` count. ``samples`` of the
    test data are used, and ``limit_s`` seconds for single layers: what was not tried by then is told. The answer is kept in
    the store.

    Raises:
        InputError: the data have no calibration samples, the metric does not suit them, or the backend does not build INT8 from
            ONNX.
    """
    asked, place = (experiment or Experiment()).resolved(), Store.of(store).prepare()
    _check_backend(backend)
    with _subject(asked, place, samples, say) as about:
        key = key_of(about=about.key, backend=backend, limit_s=limit_s, ways=ways, what="sensitivity")
        found = about.store.make(
            "sensitivity", key, _asked("sensitivity", about, asked, backend, say, limit_s, ways=ways)
        )
        return from_json(Sensitivity, found.facts)


def mixed_precision(
    experiment: Experiment | None = None,
    *,
    budget: str | float | None = None,
    store: Store | str | Path | None = None,
    backend: str = "onnxruntime",
    samples: int = 256,
    min_size: float = MIN_SIZE,
    limit_s: float = 300.0,
    say: Say = lambda _: None,
) -> Repair:
    """The fastest model of INT8 and FP32 that loses no more than ``budget``: which nodes stay in FP32.

    The budget is spelled as in an experiment (``0.5 points``, ``1 %``, or a number in the metric's own unit); left out, it is
    the experiment's. Quality is the experiment's metric where the data have labels, else agreement with FP32. The search looks
    at ``samples`` test samples; the guard judges what it found on others, up to eight times as many (``found.judged``). It is
    limited to about ``limit_s`` seconds for each of its two parts, and keeps its answer in the store. Speed is measured in turns
    against FP32 on the same backend.

    Raises:
        InputError: as :func:`layer_sensitivity`, or the budget is none.
    """
    asked, place = (experiment or Experiment()).resolved(), Store.of(store).prepare()
    allowed = budget_of(asked.budget if budget is None else str(budget))
    if allowed is None:
        raise InputError("A repair needs a budget, and 'budget' is none. Give for example '0.5 points'.")
    _check_backend(backend)
    with _subject(asked, place, samples, say) as about:
        limits = {"budget": asdict(allowed), "min_size": min_size}
        key = key_of(about=about.key, backend=backend, limit_s=limit_s, limits=limits, what="repair")
        found = about.store.make("repair", key, _asked("repair", about, asked, backend, say, limit_s, **limits))
        return from_json(Repair, found.facts)


def value_ranges(
    experiment: Experiment | None = None,
    *,
    store: Store | str | Path | None = None,
    samples: int = 32,
    say: Say = lambda _: None,
) -> pd.DataFrame:
    """Every inner tensor of the FP32 model over real samples: range, NaN and infinity, what FP16 cannot hold, outliers.

    "doubts" says in words what is wrong with a tensor; "" where nothing is.
    """
    import pandas as pd

    asked = (experiment or Experiment()).resolved()
    with _subject(asked, Store.of(store).prepare(), samples, say) as about:

        def fill(draft: Draft) -> None:
            batch = about.model.fixed_batch or 8
            draft.facts = about.pool.call(
                "onnx", "scan", progress=say, source=str(about.form.source.path), samples=str(about.seen), batch=batch
            )

        facts = about.store.make("ranges", key_of(about=about.key, what="ranges"), fill).facts
    found = [from_json(Range, each) for each in facts]
    table = pd.DataFrame([to_json(each) for each in found])
    table["doubts"] = [each.doubts for each in found]
    return table


def _check_backend(name: str) -> None:
    backends.check(name)
    if name not in ("onnxruntime", "openvino"):
        raise InputError(f"Mixed precision is tried with backends that build INT8 from ONNX for the CPU; found '{name}'. "
                         "Choose from: onnxruntime, openvino.")  # fmt: skip


def _asked(
    task: str, about: Subject, asked: Experiment, backend: str, say: Say, limit_s: float, **more: Any
) -> Callable[[Draft], None]:
    def fill(draft: Draft) -> None:
        work = draft.folder / "work"
        work.mkdir()
        # it takes turns by itself, alone where it times and beside others where it tries, and so needs their folder
        writable = [about.store.root, turns.folder()]
        env = NO_GPU | thread_env(asked.threads)
        with Worker(about.store.log_path(task), env=env, writable=writable) as worker:
            draft.facts = worker.call(
                task,
                limit_s=max(DEFAULT_LIMIT_S, 4 * limit_s),
                progress=say,
                source=str(about.form.source.path),
                inputs=to_json(about.form.source.inputs),
                outputs=to_json(about.form.source.outputs),
                calibration=str(about.calibration),
                seen=str(about.seen),
                unseen=str(about.unseen),
                method=asked.calibration,
                backend=backend,
                threads=asked.threads,
                batch=about.model.fixed_batch or asked.batches[0],
                metric=asked.metric,
                output=asked.score_output,
                folder=str(work),
                seconds=limit_s,
                **more,
            )
        _empty(work)

    return fill


def _empty(folder: Path) -> None:
    """The models that were tried are worth nothing without their figures, and can be made again."""
    import shutil

    shutil.rmtree(folder)


def save_keep(found: Repair, path: Path) -> None:
    """Write a repair as JSON that people can read, and that ``Experiment.keep`` takes by its name: nodes that stay in FP32."""
    text = {
        "keep": list(found.keep),
        "found": found.found.told if found.found else found.why,
        "metric": found.metric,
        "fp32": found.fp32_quality,
        "budget": found.budget,
        "backend": found.backend,
        "tried": [each.told for each in found.tried],
    }
    path = Path(path).expanduser()
    with writing(path):
        path.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def table(found: Sensitivity, way: str = ALONE) -> pd.DataFrame:
    """Layers by damage, the worst first: SQNR of the outputs in dB (empty where nothing changed), quality and what it lost."""
    import pandas as pd

    rows = [
        {
            "layer": each.what,
            "type": each.op,
            "depth": each.depth,
            "SQNR dB": each.sqnr_db,
            found.metric: each.quality,
            "lost": each.lost,
            "weights": each.weight_elements,
        }
        for each in found.ranked(way)
    ]
    return pd.DataFrame(rows)
