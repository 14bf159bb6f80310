"""What a served model counts, in a thread of its own.

A number goes to Triton by a message whose reply is waited for, and its histograms take one value a message: together they would take
longer than a small model. So the numbers are added up here and sent as counters, a few times a second; a histogram is sent as the
counters that Prometheus makes of one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import triton_python_backend_utils as pb  # comes with the server

Arrays = dict[str, Any]

SHADOW = {
    "compared": "Samples that the source in FP32 answered too",
    "disagreements": "Samples that it answered differently",
    "dropped": "Requests that were to be compared and were not, because the queue was full",
    "failed": "Requests that were to be compared and whose comparison failed",
}
SEND_S = 0.25
MOST_BYTES, ENTRY_BYTES = 2**25, 2**10
"""Of what is not counted yet, at most; and of an entry beside its arrays."""
SWITCH_S = 0.0005
"""How long a thread may hold the interpreter while another waits for it."""


class Counts:
    """Seconds of a request in the model, errors by kind, statistics of the inputs, predicted classes."""

    def __init__(self, how: dict[str, Any], model: str) -> None:
        """``how["metrics"]`` holds the upper ends of the buckets, and the output whose largest value is the class."""
        found, self._model = how["metrics"], model
        self._families: dict[str, Any] = {}  # a metric ends with its family
        self._counters: list[Counter] = []
        self._seconds = self._histogram("wb_model_seconds", "Seconds of a request in the model", {}, found["seconds"])
        self._total_s = self._counter("wb_model_seconds_sum", "Seconds of all requests in the model", {})
        self._errors = {
            kind: self._counter("wb_errors", "Requests with an error, by kind", {"kind": kind})
            for kind in ("model", "not_finite_input", "not_finite_output")
        }
        self._inputs = {
            (name, kind): self._histogram(
                f"wb_input_{kind}", f"The {kind} of each sample's values", {"input": name}, known["ends"]
            )
            for name, each in found["inputs"].items()
            for kind, known in each.items()
        }
        self._shadow = {kind: self._counter(f"wb_shadow_{kind}", text, {}) for kind, text in SHADOW.items()}
        self._shadowed = dict.fromkeys(SHADOW, 0)
        self._output = found["output"]
        self._classes = [
            self._counter("wb_predictions", "Samples by predicted class", {"class": str(number)})
            for number in range(found["classes"])
        ]
        sys.setswitchinterval(SWITCH_S)
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, Callable[[], None]]] = []  # bytes, what counts them
        self._bytes, self._ended = 0, False
        self._thread = threading.Thread(target=self._work, name="counts", daemon=True)
        self._thread.start()

    def answered(self, seconds: float, requests: int, shadow: dict[str, int]) -> None:
        """So many requests took this long; ``shadow`` is what was compared with the source so far."""
        self._later(self._take_time, seconds, requests, shadow)

    def failed(self, requests: int) -> None:
        """The model raised an error for so many requests."""
        self._later(self._errors["model"].add, requests)

    def inputs(self, arrays: Arrays, count: int | None) -> None:
        """The model is called with these; of a batch that was filled up the first ``count`` samples were asked for."""
        self._keep(self._take_inputs, {name: arrays[name][:count] for name, _ in self._inputs})

    def outputs(self, arrays: Arrays) -> None:
        """The model gave these for the samples that were asked for."""
        self._keep(self._take_outputs, arrays)

    def close(self, limit_s: float = 5.0) -> None:
        """Send what waits, and end the thread."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(limit_s)

    def _keep(self, take: Callable[[Arrays], None], arrays: Arrays) -> None:
        kept = {
            name: np.array(array) for name, array in arrays.items()
        }  # the server takes its memory back after the answer
        self._later(take, kept, size=sum(array.nbytes for array in kept.values()))

    def _later(self, take: Callable[..., None], *values: Any, size: int = 0) -> None:
        """Keep this for the thread, which is not woken for it; where the thread is far behind wait for it, so that nothing is left out."""
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < MOST_BYTES)
            self._waiting.append((size + ENTRY_BYTES, partial(take, *values)))
            self._bytes += size + ENTRY_BYTES
            if self._bytes >= MOST_BYTES:
                self._changed.notify_all()

    def _work(self) -> None:
        ended = False
        while not ended:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._bytes >= MOST_BYTES, SEND_S)
                ended, waiting, self._waiting = self._ended, self._waiting, []
            for _, take in waiting:
                self._safely(take)
            with self._changed:
                self._bytes -= sum(size for size, _ in waiting)
                self._changed.notify_all()
            for counter in self._counters:
                self._safely(counter.send)

    def _safely(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as cause:  # the model goes on without it
            print(f"a metric was not counted: {cause!r}", file=sys.stderr, flush=True)

    def _take_time(self, seconds: float, requests: int, shadow: dict[str, int]) -> None:
        self._seconds.take(np.full(requests, seconds))
        self._total_s.add(seconds * requests)
        for kind, count in shadow.items():
            self._shadow[kind].add(count - self._shadowed[kind])
            self._shadowed[kind] = count

    def _take_inputs(self, arrays: Arrays) -> None:
        for (name, kind), histogram in self._inputs.items():
            rows = arrays[name].reshape(len(arrays[name]), -1).astype(np.float64)
            values = rows.mean(1) if kind == "mean" else rows.std(1)
            finite = np.isfinite(values)
            histogram.take(values[finite])
            if kind == "mean":
                self._errors["not_finite_input"].add(int((~finite).sum()))

    def _take_outputs(self, arrays: Arrays) -> None:
        wrong = any(not np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f")
        self._errors["not_finite_output"].add(int(wrong))
        if self._classes:
            scores = arrays[self._output]
            chosen = scores[np.isfinite(scores).all(1)].argmax(1)
            for number, found in zip(*np.unique(chosen, return_counts=True), strict=True):
                self._classes[int(number)].add(int(found))

    def _counter(self, name: str, text: str, labels: dict[str, str]) -> Counter:
        if name not in self._families:
            self._families[name] = pb.MetricFamily(name=name, description=text, kind=pb.MetricFamily.COUNTER)
        made = Counter(self._families[name].Metric(labels={"model": self._model, **labels}))
        self._counters.append(made)
        return made

    def _histogram(self, name: str, text: str, labels: dict[str, str], ends: list[float]) -> Histogram:
        # the total first: at no moment does a smaller bucket count more than a larger one
        total = self._counter(f"{name}_count", text, labels)
        names = ["+Inf", *(f"{end:.16g}" for end in reversed(ends))]
        buckets = [self._counter(f"{name}_bucket", text, {**labels, "le": one}) for one in names]
        return Histogram(np.array(ends), total, buckets)


class Counter:
    """A number that grows, and the part of it that the server does not know yet."""

    def __init__(self, metric: Any) -> None:
        self._metric, self._more = metric, 0.0

    def add(self, more: float) -> None:
        self._more += more

    def send(self) -> None:
        """Tell the server."""
        if self._more:
            self._metric.increment(self._more)
            self._more = 0.0


class Histogram:
    """How many values there were up to each of some ends, and in all."""

    def __init__(self, ends: Any, total: Counter, buckets: list[Counter]) -> None:
        """``buckets`` begin with that of all values, and go down from the largest of ``ends``, which ascend."""
        self._ends, self._total, self._buckets = ends, total, buckets

    def take(self, values: Any) -> None:
        """Count an array of numbers, shape [n]."""
        self._total.add(len(values))
        up_to = [len(values), *(values[:, None] <= self._ends).sum(0)[::-1]]
        for bucket, count in zip(self._buckets, up_to, strict=True):
            bucket.add(int(count))
