"""The user's model and samples, opened: by a run, or to be looked at before one."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.accuracy.class_order import order_of
from workbench.accuracy.detection import parse_roles
from workbench.accuracy.label_settings import Reading
from workbench.accuracy.metrics import Metric, metric_of
from workbench.data.array_names import Columns
from workbench.data.dataset import Dataset, dataset
from workbench.data.labels import Labelling
from workbench.errors import Cancelled, WorkbenchError
from workbench.models.live import kept_model
from workbench.plan.calibrates import calibrates
from workbench.records import ExportCheck, Model
from workbench.runs.engines import Means
from workbench.runs.executor import Executor
from workbench.runs.reading import Say, demo_model, read_model
from workbench.settings.experiment import Experiment
from workbench.store import Store
from workbench.system.limits import StepLimits
from workbench.workers.pool import Pool

DEMO = "demo"


def data_of(
    experiment: Experiment, model: Model, *, calibrating: bool | None = None, metric: Metric | None = None
) -> Dataset:
    """The samples of an experiment. All callers open them by this function, because other samples have other keys in the store.

    Args:
        experiment: its data, seed, pixels, precisions and metric count.
        model: the experiment's model, opened.
        calibrating: whether samples are set aside for calibration; ``None``: if one of its variants calibrates.
        metric: what compares the labels, where it is not the experiment's own; what labels are is decided for it.

    Raises:
        InputError: as :func:`workbench.data.dataset.dataset`.
    """
    if calibrating is None:
        calibrating = calibrates(experiment, model)
    how = Reading(
        experiment.labels,
        experiment.ignore_label,
        int(experiment.class_axis) if experiment.class_axis else None,
        parse_roles(experiment.box_outputs),
        experiment.score_output,
    )
    chosen = metric_of(experiment.metric) if metric is None else metric
    return dataset(
        experiment.data,
        model,
        experiment.calibration_samples if calibrating else 0,
        experiment.seed,
        demo=experiment.model == DEMO,
        pixels=experiment.pixels,
        labelling=Labelling(
            chosen, how, Columns(experiment.label_column, experiment.group_column), order_of(experiment.class_order)
        ),
        data_mib=experiment.data_mib,
    )


def open_model(
    model: Any,
    signature: str = "",
    input_shapes: str = "",
    input_values: str = "",
    *,
    store: Store | str | Path | None = None,
    say: Say = lambda _: None,
) -> Model:
    """Open a model file and describe it; ``"demo"`` is the built-in one, and a live ``keras.Model`` is saved first.

    The file is read in a child process, so a damaged one cannot harm the caller. Takes seconds for TensorFlow models.
    ``signature``, ``input_shapes`` and ``input_values`` are those of :class:`workbench.Experiment`; ``say`` is called with the step
    that goes on.

    Raises:
        InputError: the model cannot be used; the text says why and what to do.

    Example::

        model = workbench.open_model("model.onnx")
        print(model.inputs)
    """
    store = Store.of(store).prepare().for_run(say)
    path = model if isinstance(model, str | Path) else kept_model(model, store)
    with Pool(store.log_path, threading.Event()) as pool, store.in_use("opening a model"):
        pool.waiting = say
        if path == DEMO:
            path = demo_model(store, pool, say)
        return read_model(store, pool, str(path), signature, input_shapes, input_values)


@dataclass(frozen=True)
class Opened:
    """A model that was examined: its description, its conversion to ONNX and the content of its graph, or why it cannot be converted."""

    model: Model
    check: ExportCheck | None = None
    examination: Any = None  # of workbench.conformance.examination, as JSON
    problem: str = ""


def examine_model(
    path: str,
    signature: str = "",
    input_shapes: str = "",
    input_values: str = "",
    *,
    store: Store,
    say: Say,
    cancel: threading.Event | None = None,
    limits: StepLimits | None = None,
) -> Opened:
    """Open a model, convert it to ONNX and examine its graph. Takes as long as the export.

    Raises:
        InputError: the model cannot be opened.
    """
    store = store.prepare().for_run(say, cancel)
    with Pool(store.log_path, cancel or threading.Event(), limits=limits) as pool, store.in_use("examining a model"):
        pool.waiting = say
        place = str(demo_model(store, pool, say)) if path == DEMO else path
        model = read_model(store, pool, place, signature, input_shapes, input_values)
        executor = Executor.of(Means(store, pool, say), model, dataset("random", model, 0, 0, demo=False))
        try:
            found = executor.examination()
        except Cancelled:
            raise
        except WorkbenchError as error:
            return Opened(model, problem=error.message)
        return Opened(model, executor.check, found)
