"""The model of a deployment in Triton's Python backend.

Tensors come and go by DLPack: the backend of Triton 2.51 reads NumPy 2's arrays wrongly. Requests that arrive together are run as one
batch; a model with a fixed batch gets the missing samples filled up. Metrics can be read at the server's port for metrics, within a second
after the answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb  # comes with the server

LOOK_S = 1.0
CAPSULE = "PyCapsule_GetPointer called with incorrect name"


class TritonPythonModel:
    """One instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the model; ``args`` are Triton's."""
        folder = Path(args["model_repository"]) / args["model_version"]
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        sys.unraisablehook = _without_capsules(sys.unraisablehook)
        sys.path.insert(0, str(folder))
        import counting  # beside this file, as the next
        import runner

        self._how = json.loads((folder / "options.json").read_text(encoding="utf-8"))
        self._run = runner.open_model(folder, self._how["options"])
        self._counts = counting.Counts(self._how, args["model_name"])
        settings = json.loads(args["model_config"]).get("parameters", {}).get("watch")
        self._watch: Any = None
        if settings and self._how["batched"]:
            import watching  # beside this file

            asked = json.loads(settings["string_value"])
            self._watch = watching.Watcher(folder.resolve(), self._how, args["model_instance_name"], asked)

    def finalize(self) -> None:
        """Close what was opened; Triton calls it before the process ends."""
        if self._watch:
            self._watch.close()
        self._counts.close()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests, each with its own samples, by one call; one by one where they cannot be joined."""
        began = time.perf_counter()
        if not self._how["batched"] or len(requests) == 1:
            answers = [self._answered([request])[0] for request in requests]
        else:
            answers = self._answered(requests)
        seconds = time.perf_counter() - began
        self._counts.answered(seconds, len(requests), dict(self._watch.counts) if self._watch else {})
        return answers

    def _answered(self, requests: list[Any]) -> list[Any]:
        try:
            parts = [[_array(request, name) for name in self._how["inputs"]] for request in requests]
            if len({tuple(array.shape[1:] for array in part) for part in parts}) > 1:
                return [self._answered([request])[0] for request in requests]  # of different free sizes
            sizes = [len(part[0]) for part in parts] if self._how["batched"] else [0]
            arrays = [part[0] if len(part) == 1 else np.concatenate(part) for part in zip(*parts, strict=True)]
            found = self._called(arrays)
        except Exception as cause:  # the server goes on, and the client gets the reason
            self._counts.failed(len(requests))
            return [pb.InferenceResponse(error=pb.TritonError(f"{type(cause).__name__}: {cause}")) for _ in requests]
        ends = np.cumsum(sizes)
        slices = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
        cut = slices if self._how["batched"] else [slice(None)]
        for rows in cut if self._watch else ():
            named = zip(self._how["inputs"], arrays, strict=True)
            self._watch.offer({name: array[rows] for name, array in named}, {k: v[rows] for k, v in found.items()})
        return [pb.InferenceResponse([_tensor(name, array[rows]) for name, array in found.items()]) for rows in cut]

    def _called(self, arrays: list[Any]) -> dict[str, Any]:
        fixed = self._how["fixed_batch"] if self._how["batched"] else None
        count = len(arrays[0]) if fixed else None
        if fixed:
            arrays = [np.resize(array, (fixed, *array.shape[1:])) for array in arrays]
        inputs = dict(zip(self._how["inputs"], arrays, strict=True))
        self._counts.inputs(inputs, count)  # of a call that fails as well
        found = self._run(inputs)
        outputs = {name: found[name][:count] if fixed else found[name] for name in self._how["outputs"]}
        self._counts.outputs(outputs)
        return outputs


def _array(request: Any, name: str) -> Any:
    return np.from_dlpack(pb.get_input_tensor_by_name(request, name))


def _tensor(name: str, array: Any) -> Any:
    return pb.Tensor.from_dlpack(name, np.ascontiguousarray(array))


def _end_with(server: int) -> None:
    """Wait until the server, which started this process, has ended, and end this process where it is still there: the server was killed.
    It does not end by itself then (2.51), nor by SIGTERM.
    """
    with contextlib.suppress(OSError, AttributeError):  # before Linux 5.3, or not allowed here
        ended = select.poll()
        ended.register(os.pidfd_open(server), select.POLLIN)
        ended.poll()
    while os.getppid() == server:
        time.sleep(LOOK_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _without_capsules(before: Any) -> Any:
    """Leave out one harmless message for each output: the server gives the capsule of a tensor another name."""

    def hook(found: Any) -> None:
        if CAPSULE not in str(found.exc_value):
            before(found)

    return hook
