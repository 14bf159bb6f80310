"""The model and the samples that a question about precision is about."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.accuracy.agreement import Comparable
from workbench.data.dataset import Dataset
from workbench.data.samples import Samples
from workbench.errors import InputError
from workbench.plan.planning import subject_of
from workbench.records import Model, to_json
from workbench.runs.engines import Means, PreparedModel
from workbench.runs.executor import Executor
from workbench.runs.reading import Say, demo_model, read_model
from workbench.runs.sources import DEMO, data_of
from workbench.settings.experiment import Experiment
from workbench.store import Store, key_of
from workbench.system.limits import limits_of
from workbench.system.machine import check_threads, this_machine, versions_of
from workbench.workers.pool import Pool

VERSION = 4
"""Version of the computation of these answers: raise it when earlier answers would differ."""
UNSEEN = 8


@dataclass(frozen=True)
class StudySubject:
    """The model and the samples that a question is about."""

    model: Model
    form: PreparedModel  # in FP32, as ONNX
    calibration: Path
    seen: Path  # samples that a search may look at
    unseen: Path  # samples for its last word
    pool: Pool
    store: Store
    key: str
    comparable: Comparable  # what the run knows of the model's outputs
    say: Say


@contextmanager
def opened(experiment: Experiment, store: Store, say: Say) -> Iterator[Executor]:
    limits = limits_of(experiment.step_memory_mib, experiment.step_s)
    with Pool(store.log_path, threading.Event(), limits=limits) as pool, store.in_use("studying a model"):
        pool.waiting = say
        path = str(demo_model(store, pool, say)) if experiment.model == DEMO else experiment.model
        asked = (experiment.signature, experiment.input_shapes, experiment.input_values)
        model = read_model(store, pool, path, *asked)
        data = data_of(experiment, model, calibrating=True)
        yield Executor(Means(store, pool, say), subject_of(experiment, model, data), data)


@contextmanager
def subject(experiment: Experiment, store: Store, count: int, say: Say) -> Iterator[StudySubject]:
    check_threads(experiment.threads)
    with opened(experiment, store, say) as executor:
        data = executor.data
        calibration = data.calibration
        if calibration is None:
            raise InputError(
                "INT8 needs real samples to calibrate and to judge with, and these data have none. Give 'data' as an .npz file."
            )
        form = executor.prepared("onnx:fp32")
        seen, unseen = halves(data, count, experiment.seed)
        key = key_of(
            form=form.key,
            samples=[calibration.digest, seen.digest, unseen.digest],
            calibration=experiment.calibration,
            threads=experiment.threads,
            metric=[experiment.metric, experiment.score_output],
            versions=versions_of("onnxruntime", "onnx", "openvino"),
            machine=to_json(this_machine()),
            version=VERSION,
        )
        first, second, third = (executor.samples_file(each) for each in (calibration, seen, unseen))
        yield StudySubject(
            executor.model, form, first, second, third, executor.means.pool, store, key, executor.comparable, say
        )


def halves(data: Dataset, count: int, seed: int) -> tuple[Samples, Samples]:
    """Two parts of the test samples without a common one, drawn at random, because files are often sorted: at most ``count`` for
    the search, and up to :data:`UNSEEN` times as many for its last word, which takes more to be shown than to be found.
    """
    total = data.test.count
    if total < 4:
        raise InputError(f"At least 4 test samples are needed to search and to confirm; found {total}. Give more data.")
    drawn = np.random.default_rng(seed).permutation(total)
    half = min(count, total // 2)
    return data.test.take(drawn[:half]), data.test.take(drawn[half : (1 + UNSEEN) * half])
