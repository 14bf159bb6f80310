"""Read ONNX Runtime's profile: the time of every kernel in every call, from the JSON that it writes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.backends.onnxruntime.session import options_of
from workbench.graph.provenance import kind_of
from workbench.models import ort_values
from workbench.models.operators import format_of
from workbench.protocols import Closing, LayerTimings
from workbench.records import EngineSpec
from workbench.records.layers import LayerTime

if TYPE_CHECKING:
    import numpy as np

BASIS = "ONNX Runtime's profiler: wall time of each kernel, in whole microseconds"
_KERNEL = "_kernel_time"


class ProfiledOrt(Closing):
    """A session on the CPU that profiles all its calls until :meth:`end`."""

    def __init__(self, path: Path, spec: EngineSpec) -> None:
        import onnxruntime as ort

        self._folder = tempfile.TemporaryDirectory(prefix="profile-")
        options = options_of(spec)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # the file is optimized
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(self._folder.name) / "run")
        self._session: Any = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._calls = 0

    def close(self) -> None:
        self._session = None
        self._folder.cleanup()

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        run, given = ort_values.runner(self._session), dict(feeds)
        return lambda: run(given)

    def begin(self) -> None:
        self._calls = 0

    def collect(self) -> None:
        self._calls += 1

    def end(self) -> LayerTimings:
        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8", errors="replace"))
        return layers_of(events, self._calls)


def layers_of(events: Iterable[Mapping[str, Any]], calls: int) -> LayerTimings:
    """The kernels of the last ``calls`` calls of a profile, in the order of their first run.

    A kernel that runs others (If, Loop) has its own time only, without theirs; one that runs several times in a call
    has the sum.
    """
    runs: list[list[tuple[str, Mapping[str, Any], int]]] = []
    nodes: list[Mapping[str, Any]] = []
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith(_KERNEL):
            nodes.append(event)
        elif event.get("cat") == "Session" and event.get("name") == "model_run":
            runs.append(_own_times(nodes))
            nodes = []
    kept = runs[-calls:] if calls else []
    times: dict[str, list[int]] = {}
    facts: dict[str, Mapping[str, Any]] = {}
    for place, run in enumerate(kept):
        for name, args, own in run:
            times.setdefault(name, [0] * len(kept))[place] += own * 1000
            facts.setdefault(name, args)
    return LayerTimings(tuple(_layer(name, facts[name], times[name]) for name in times), {}, BASIS)


def _own_times(nodes: list[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any], int]]:
    """Name, facts and microseconds of each kernel, without the time of kernels that ran within it."""
    ordered = sorted(nodes, key=lambda event: (event["ts"], -event["dur"]))
    own = [int(event["dur"]) for event in ordered]
    open_ones: list[int] = []
    for place, event in enumerate(ordered):
        while open_ones and event["ts"] >= ordered[open_ones[-1]]["ts"] + ordered[open_ones[-1]]["dur"]:
            open_ones.pop()
        if open_ones and ordered[open_ones[-1]]["args"].get("op_name") in ("If", "Loop", "Scan"):
            own[open_ones[-1]] -= int(event["dur"])
        open_ones.append(place)
    return [
        (str(event["name"]).removesuffix(_KERNEL), event["args"], max(0, own[place]))
        for place, event in enumerate(ordered)
    ]


def _layer(name: str, facts: Mapping[str, Any], times: list[int]) -> LayerTime:
    op = str(facts.get("op_name", ""))
    inputs, outputs = facts.get("input_type_shape", []), facts.get("output_type_shape", [])
    return LayerTime(
        name=name,
        op=op,
        kind=kind_of(op),
        precision=next((format_of(dtype) for entry in inputs for dtype in entry), ""),
        times_ns=tuple(times),
        inputs=", ".join(map(_tensor, inputs)),
        outputs=", ".join(map(_tensor, outputs)),
    )


def _tensor(entry: Mapping[str, list[int]]) -> str:
    dtype, shape = next(iter(entry.items()))
    return f"{dtype} {'×'.join(map(str, shape))}".strip()
