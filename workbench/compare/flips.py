"""The samples for which two engines predict different classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.accuracy.by_sample import is_ragged, load_outputs
from workbench.accuracy.metrics import Metric, metric_of, top_k
from workbench.errors import InputError
from workbench.plan.scoring import batch_in_key
from workbench.records import Accuracy, Result, Results
from workbench.runs.scoring import outputs_of
from workbench.runs.sources import data_of
from workbench.store import Store

if TYPE_CHECKING:
    import numpy as np

    from workbench.data.dataset import Dataset
    from workbench.records import Model
    from workbench.settings.experiment import Experiment

SHOWN = 24


class Flip(NamedTuple):
    """One sample: its index among the test samples, its true class (``None`` without labels), the class that each of the two
    engines predicts, and the largest output of each. A class is its name, or its number where the data have no names.
    """

    place: int
    label: str | None
    first: str
    second: str
    first_value: float
    second_value: float
    inputs: dict[str, np.ndarray]  # by name, without the axis of the samples


class Flips(NamedTuple):
    """How many samples were compared, for how many the classes differ, in how many of those each engine is right, and the first
    :data:`SHOWN` of them.
    """

    samples: int
    output: str
    changed: int
    first_right: int | None  # among those that differ; None without labels
    second_right: int | None
    shown: tuple[Flip, ...]


def flips(results: Results, experiment: Experiment, first: Result, second: Result, store: Store) -> Flips:
    """Compare the predicted classes of two rows' engines, from their outputs in the store.

    Raises:
        InputError: outputs are missing, or hold no class per sample; the text says which.
    """
    import numpy as np

    score = _score(first, second)
    data = _data(experiment, results.model, score)
    name = score.output
    outputs = []
    for row in (first, second):
        batch = batch_in_key(results.model, row.spec, results.batches)
        path = outputs_of(store, row.engine, data, batch) if row.engine else None
        if path is None:
            raise InputError(
                f"The answers of '{row.row}' are not in the store. Run the experiment with this row again."
            )
        outputs.append(load_outputs(path)[name])
    if any(array.ndim != 2 or array.shape[1] < 2 for array in outputs):
        if any(is_ragged(array) for array in outputs):
            raise InputError(
                f"The output '{name}' has a number of rows that depends on the data, so that there are no classes to compare one by one."
            )
        shape = " × ".join(map(str, outputs[0].shape[1:])) or "one number"
        raise InputError(
            f"The output '{name}' holds {shape} per sample, which are not classes that could be compared one by one."
        )
    ours, theirs = (array.argmax(axis=1) for array in outputs)
    differs = np.flatnonzero(ours != theirs)
    truth = data.test.truth
    labels = truth.values if truth and truth.class_per_sample else None
    right: list[int | None] = [None, None]
    if labels is not None:
        right = [int((classes[differs] == labels[differs]).sum()) for classes in (ours, theirs)]
    shown = tuple(
        Flip(
            place=int(place),
            label=None if labels is None or labels[place] < 0 else data.class_name(labels[place]),
            first=data.class_name(ours[place]),
            second=data.class_name(theirs[place]),
            first_value=float(outputs[0][place].max()),
            second_value=float(outputs[1][place].max()),
            inputs={key: array[place] for key, array in data.test.inputs.items()},
        )
        for place in differs[:SHOWN]
    )
    return Flips(len(ours), name, len(differs), right[0], right[1], shown)


def _score(first: Result, second: Result) -> Accuracy:
    for row in (first, second):
        if row.accuracy is None:
            raise InputError(
                f"'{row.row}' was not scored, so its answers are not known. Choose a row with an accuracy."
            )
    assert first.accuracy is not None
    return first.accuracy


def _data(experiment: Experiment, model: Model, score: Accuracy) -> Dataset:
    """The samples as they were scored. Of a function that scored them only the name is known, which may also be that of a metric."""
    try:
        return data_of(experiment, model, metric=metric_of(score.metric) or top_k(1))
    except InputError:
        given = Metric(score.metric, lambda outputs, _: outputs, float)  # takes labels as they are
        return data_of(experiment, model, metric=given)


def picture(array: Any) -> Any:
    """One input as an 8-bit image, shape (height, width) or (height, width, 3); ``None`` where it is not a picture.

    Values are stretched from the sample's smallest to its largest, so that any scaling of inputs can be looked at.
    """
    import numpy as np

    image = np.asarray(array)
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] not in (1, 3):
        image = np.moveaxis(image, 0, -1)  # channels first
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    flat = image.ndim == 2 and min(image.shape) >= 8
    if not (flat or (image.ndim == 3 and image.shape[2] == 3)) or image.dtype.kind not in "fiu":
        return None
    values = image.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    return ((values - low) / ((high - low) or 1) * 255).astype(np.uint8)
