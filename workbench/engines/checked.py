"""Files that TensorFlow and Keras are about to load from the store, checked as files that come from outside are.

The other libraries' files hold nothing that could do more than compute: ONNX, OpenVINO's IR and TensorFlow Lite name operations that the
library has built in. TensorFlow's graphs can write files, and Keras configurations can name code.
"""

from __future__ import annotations

from pathlib import Path

SELF_MADE = ("tftrt",)
"""Backends whose graphs hold programs of their own, which the check would refuse; their entries have to be signed in any case."""


def check_files(place: Path, backend: str) -> None:
    """Check what ``backend`` would load from ``place``, a file or a folder with an engine or with what one is built from.

    Raises:
        InputError: a graph or a configuration would do more than compute; the text names the node or the layer.
    """
    if backend in SELF_MADE or backend != "tensorflow":
        return
    from workbench.models import safety
    from workbench.models.formats import keras, saved_model

    for graph in (place / "saved_model.pb", *place.rglob("*/saved_model.pb")):
        if graph.is_file():
            safety.check_folder(graph.parent)
            saved_model.check_graphs(graph.parent)
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    for path in files:
        if path.suffix.lower() in (".keras", *keras.HDF5_ENDINGS) and place in (path, path.parent):
            keras.check(path)
