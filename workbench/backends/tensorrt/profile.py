"""Reports of TensorRT's profiler: the device's time of every layer of a call, on the stream of the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from workbench.backends.tensorrt.engine import EnginePlan, PlanContext
from workbench.backends.tensorrt.inspector import Inspection, Layer
from workbench.errors import RunError
from workbench.graph.provenance import kind_of
from workbench.protocols import LayerTimings
from workbench.records.layers import CallTimes, LayerTime

if TYPE_CHECKING:
    import numpy as np

    from workbench.protocols import Session

BASIS = "TensorRT's profiler: the GPU's time of each layer between events"


def reporter(trt: Any, times: CallTimes) -> Any:
    """An object that the library of this flavour calls with the name and the milliseconds of every layer."""

    class Reporter(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)  # a class of the library's: without this call it has no C++ object

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times.add(layer_name, round(ms * 1e6))

    return Reporter()


class ProfiledPlan:
    """A plan on one stream, without a CUDA graph, that reports its layers' times after each call.

    ``open_session`` makes the session from what makes its contexts: ``workbench.cuda.gpu.CudaSession``. ``inspection`` is the file
    beside the engine: the profiler reports only names and times.
    """

    def __init__(
        self,
        plan: EnginePlan,
        inspection: Inspection | None,
        open_session: Callable[[Callable[[int], PlanContext]], Session],
    ) -> None:
        self._plan = plan
        self._layers = {layer.name: layer for layer in inspection.layers} if inspection else {}
        self._times = CallTimes()
        self._context: PlanContext | None = None
        self._reporter: Any = None  # the library does not keep a reference
        self._session = open_session(self._profiled)

    def _profiled(self, stream: int) -> PlanContext:
        self._context = self._plan.context(stream)
        self._reporter = reporter(self._plan.trt, self._times)
        self._context.profile(self._reporter)
        return self._context

    def __enter__(self) -> Self:
        self._session.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._session.__exit__(*exc)
        self._context = self._reporter = None

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        return self._session.stage(feeds)

    def begin(self) -> None:
        self._times.clear()

    def collect(self) -> None:
        if self._context is None:
            raise RunError("The engine was not opened for profiling.")
        self._context.report()
        self._times.next_call()

    def end(self) -> LayerTimings:
        layers = [self._layer(name) for name in self._times.names]
        return LayerTimings(tuple(layers), {each.name: self._origin(each.name) for each in layers}, BASIS)

    def _layer(self, name: str) -> LayerTime:
        facts = self._layers.get(name, Layer(name))
        op = facts.type or name.partition("_")[0]
        return LayerTime(
            name=name,
            op=op,
            # the kind of a generic layer is part of the name of its kernel or of the fused nodes
            kind=kind_of(f"{op} {facts.tactic}") if facts.type else kind_of(name),
            precision=facts.precision,
            times_ns=self._times.of(name),
            inputs=", ".join(_type_text(each.dtype, each.shape) for each in facts.inputs),
            outputs=", ".join(_type_text(each.dtype, each.shape) for each in facts.outputs),
        )

    def _origin(self, name: str) -> tuple[str, ...]:
        return self._layers.get(name, Layer(name, origin=tuple(name.split(" + ")))).origin


def _type_text(dtype: str, shape: tuple[int, ...] | None) -> str:
    return f"{dtype} {'×'.join(map(str, shape or ()))}".strip()
