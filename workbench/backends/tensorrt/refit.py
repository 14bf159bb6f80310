"""Replace the weights of an existing engine instead of building a new one: for a model that was trained further.

An engine that was built with the option ``refit`` is kept for that, in the store's folder ``cache``, under the structure of its
ONNX file. Structure is everything but the values of convolutions' and matrix products' weights: those are what may differ. The
name of the file holds the digest of its content, and a file that does not fit its name is not opened.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from workbench.backends.tensorrt import timing_cache
from workbench.backends.tensorrt.engine import EnginePlan
from workbench.backends.tensorrt.flavours import Flavour, checked, made
from workbench.errors import BuildError
from workbench.models.operators import WEIGHTED
from workbench.records import EngineSpec, to_json
from workbench.store import file_digest, key_of
from workbench.system.machine import this_machine

OPTION = "refit"


def structure(path: Path) -> str:
    """Digest of an ONNX file without the values of its weights; equal for two trainings of one model, exported alike."""
    import onnx

    graph = onnx.load(path).graph
    weights = {name for node in graph.node if node.op_type in WEIGHTED for name in node.input[1:]}
    # a tensor that is used otherwise too may decide more than values, such as a shape or a scale
    weights -= {name for node in graph.node for name in node.input[: 1 if node.op_type in WEIGHTED else None]}
    digest = hashlib.sha256()
    for part in (*graph.node, *graph.input, *graph.output):
        digest.update(part.SerializeToString(deterministic=True))
    for tensor in graph.initializer:
        if tensor.name in weights:
            digest.update(f"{tensor.name} {tensor.data_type} {list(tensor.dims)}".encode())
        else:
            digest.update(tensor.SerializeToString(deterministic=True))
    return digest.hexdigest()


class KeptEngine:
    """Where the engine of one structure, with these settings, by this library, on this GPU, is kept."""

    def __init__(self, flavour: Flavour, version: str, spec: EngineSpec, onnx: Path) -> None:
        self._key = key_of(
            structure=structure(onnx),
            spec=to_json(spec),
            flavour=flavour.module,
            version=version,
            gpu=this_machine().gpu,
        )
        self._folder = timing_cache.folder().parent / OPTION

    def find(self) -> bytes | None:
        """The plan; ``None`` if it does not exist or was changed."""
        for file in sorted(self._folder.glob(f"{self._key}-*.plan")):
            with suppress(OSError):
                if file_digest(file) == file.stem.partition("-")[2]:
                    return file.read_bytes()
        return None

    def keep(self, plan: bytes) -> None:
        """Write it whole or not at all. A disk that refuses it costs the next build's time only."""
        with suppress(OSError):
            timing_cache.write(plan, self._folder / f"{self._key}-{hashlib.sha256(plan).hexdigest()}.plan")


def _give(trt: Any, refitter: Any, file: Path, what: str, log: Any) -> list[Any]:
    """Give the refitter the weights of an ONNX file; arrays that must be kept until it has used them."""
    if hasattr(trt, "OnnxParserRefitter"):
        checked(trt.OnnxParserRefitter(refitter, log).refit_from_file(str(file)), what, log)
        return []
    import numpy as np  # before 10.0: by the names that the parser took from the file
    import onnx

    named = {tensor.name: tensor for tensor in onnx.load(file).graph.initializer}
    arrays = []
    for name in sorted(set(refitter.get_all_weights()) & named.keys()):
        arrays.append(np.ascontiguousarray(onnx.numpy_helper.to_array(named[name])))
        checked(refitter.set_named_weights(name, trt.Weights(arrays[-1])), f"{what} '{name}'", log)
    return arrays


def refitted(flavour: Flavour, plan: bytes, onnx: Path, *, host_code: bool = False) -> bytes:
    """The plan with the weights of an ONNX file of the same structure.

    Raises:
        BuildError, RunError: there is no GPU, or the library does not take the plan or the weights; the text says why.
    """
    opened = EnginePlan(flavour, plan, host_code=host_code)
    opened.load()
    trt, log = opened.trt, opened.log
    if not opened.engine.refittable:
        raise BuildError("The earlier engine was not built to have its weights replaced.")
    what = f"{flavour.title} could not replace the weights"
    refitter: Any = made(lambda: trt.Refitter(opened.engine, log), what, log)
    held = _give(trt, refitter, onnx, what, log)
    if missing := refitter.get_missing_weights():
        raise BuildError(f"{what}: the ONNX file lacks {', '.join(list(missing)[:3])}.", log=log.text())
    checked(refitter.refit_cuda_engine(), what, log)
    changed = bytes(checked(opened.engine.serialize(), what, log))
    del refitter, held  # before its engine, and that before the runtime
    opened.unload()
    return changed
