"""Run the model of a deployment by OpenVINO on the CPU.

This file is copied into deployments; it imports NumPy's and OpenVINO's packages and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Arrays = Mapping[str, Any]


def open_model(folder: Path, options: Mapping[str, Any]) -> Callable[[Arrays], dict[str, Any]]:
    """Open the file ``options["file"]`` in ``folder``: an ONNX file, or a blob that OpenVINO exported for one type of CPU.

    Args:
        folder: the folder with the model's files.
        options: ``file``; ``compiled``, whether it is a blob; ``config``, OpenVINO's properties by name; ``inputs`` and ``outputs``,
            the names in OpenVINO's order.

    Returns:
        A function from arrays by input name to arrays by output name. Each thread that calls it has an infer request of its own.

    """
    import numpy as np
    import openvino

    core = openvino.Core()
    path, config = folder / options["file"], dict(options["config"])
    if options["compiled"]:
        model = core.import_model(path.read_bytes(), "CPU", config)
    else:
        model = core.compile_model(core.read_model(str(path)), "CPU", config)
    places = {name: place for place, name in enumerate(options["inputs"])}
    outputs, kept = list(options["outputs"]), threading.local()

    def run(feeds: Arrays) -> dict[str, Any]:
        if not hasattr(kept, "request"):
            kept.request = model.create_infer_request()
        found = kept.request.infer({places[name]: array for name, array in feeds.items()}, share_inputs=True)
        return {name: np.array(found[place]) for place, name in enumerate(outputs)}

    return run
