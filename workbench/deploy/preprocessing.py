"""What a client has to send: inputs, the values that they were measured on, and how images become an input, as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.accuracy.class_order import order_of
from workbench.data.classes import classes
from workbench.data.images import preparation
from workbench.data.observed import observed
from workbench.deploy.chosen import Chosen
from workbench.errors import InputError
from workbench.records import to_json
from workbench.settings.pixels import AUTO

SCHEMA = "workbench/preprocessing/1"


def preprocessing(chosen: Chosen) -> dict[str, Any]:
    """The content of ``preprocessing.json``: ``inputs`` with the values of the test samples, ``images`` where the run read a folder of
    images (:func:`workbench.data.images.preparation`), and ``classes``, the number of each folder's class.
    """
    asked, model = chosen.about["parameters"] or {}, chosen.model
    values = {each.name: to_json(each.tested) for each in observed(chosen.samples, None)}
    inputs = [
        {
            "name": spec.name,
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "batch_axis": spec.batch_axis,
            "scale": spec.scale or None,
            "zero_point": spec.zero_point if spec.scale else None,
            "values": values.get(spec.name),
        }
        for spec in model.inputs
    ]
    document: dict[str, Any] = {"schema": SCHEMA, "data": chosen.about["data"], "inputs": inputs}
    folder = Path(str(asked.get("data", ""))).expanduser()
    document |= {"images": None, "classes": None}
    if folder.is_dir():
        try:
            document["images"] = preparation(model.inputs[0], str(asked.get("pixels", AUTO)))
            places = {each: place for place, each in enumerate(order_of(str(asked.get("class_order", ""))))}
            document["classes"] = {  # by the name of the folder, as the model numbers them
                name: places.get(name, places.get(str(number), number))
                for name, number in classes(folder, model).items()
            }
        except InputError:  # what is there now is not what was read
            document |= {"images": None, "classes": None}
    return document
