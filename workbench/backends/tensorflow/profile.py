"""Read TensorFlow's profile: the time of every operation, from the events that it writes (an XSpace)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.graph.provenance import kind_of
from workbench.protocols import Closing, LayerTimings
from workbench.records.layers import LayerTime

if TYPE_CHECKING:
    import numpy as np

BASIS = "TensorFlow's profiler (host trace): wall time of each operation, waiting included"
CALL = "FunctionRun"
_ROOT = "StatefulPartitionedCall/"


class ProfiledTensorFlow(Closing):
    """A session whose calls are recorded between :meth:`begin` and :meth:`end`."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._folder = tempfile.TemporaryDirectory(prefix="profile-")
        self._calls = 0

    def close(self) -> None:
        self._session.close()
        self._folder.cleanup()

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        call: Callable[[], object] = self._session.stage(feeds)
        return call

    def begin(self) -> None:
        import tensorflow as tf

        options = tf.profiler.experimental.ProfilerOptions(
            host_tracer_level=2, python_tracer_level=0, device_tracer_level=0
        )
        tf.profiler.experimental.start(self._folder.name, options=options)
        self._calls = 0

    def collect(self) -> None:
        self._calls += 1

    def end(self) -> LayerTimings:
        import tensorflow as tf
        from tensorflow.tsl.profiler.protobuf import xplane_pb2

        tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        for path in Path(self._folder.name).rglob("*.xplane.pb"):
            space.MergeFromString(path.read_bytes())
        return layers_of(space, self._calls)


def layers_of(space: Any, calls: int) -> LayerTimings:
    """The operations of ``calls`` calls. The event of an operation is called ``name:Type``; those of one name are in the
    order of the calls, and an operation that ran several times in a call has the sum.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    ops: dict[str, str] = {}
    for plane in space.planes:
        names = {key: value.name for key, value in plane.event_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                name, colon, op = names.get(event.metadata_id, "").rpartition(":")
                if colon and op.isidentifier() and "/" in name and " " not in name:
                    found.setdefault(name, []).append((line.timestamp_ns * 1000 + event.offset_ps, event.duration_ps))
                    ops[name] = op
    layers = []
    for name, events in found.items():
        per_call = len(events) // calls if calls else 0
        if per_call == 0 or len(events) % calls:
            continue  # incomplete: a recording may lose events
        durations = [duration for _, duration in sorted(events)]
        times = [sum(durations[n * per_call : (n + 1) * per_call]) // 1000 for n in range(calls)]
        short = name.rpartition(_ROOT)[2]  # of signatures called by signatures
        layers.append(
            (min(start for start, _ in events), LayerTime(short, ops[name], kind_of(ops[name]), times_ns=tuple(times)))
        )
    ordered = tuple(layer for _, layer in sorted(layers, key=lambda pair: pair[0]))
    return LayerTimings(ordered, {}, BASIS)
