"""Worker tasks that open an engine, time it, and run it over samples. A process opens one engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.data.samples import load_samples
from workbench.errors import RunError, during
from workbench.protocols import GpuSession, Progress, Session
from workbench.records import EngineRecord, Region, TensorSpec, Wait, from_json, to_json
from workbench.system import energy
from workbench.system.memory import memory
from workbench.timing import benchmark, load_tasks, observe


class OpenedEngine:
    """The engine that this process has open, and the staged call that is timed."""

    session: Session | None = None
    call: Callable[[], object] | None = None
    own_clock = False  # the call may return nanoseconds that it counted itself
    meter = energy.Meter(())


def open_engine(progress: Progress, engine: str, record: dict[str, Any]) -> Any:
    """Open the engine; ``hello`` has imported its library."""
    from workbench.backends import get

    what = from_json(EngineRecord, record)
    backend = get(what.spec.backend)
    backend.check_files(Path(engine))  # not part of the timed opening
    progress("open engine")
    began = time.perf_counter()
    with during("open", what.spec.label, RunError):
        OpenedEngine.session = backend.open(Path(engine), what).__enter__()
    OpenedEngine.call = None
    return {"load_s": time.perf_counter() - began}


def rehearse(progress: Progress, samples: str, batch: int) -> None:
    """Run the engine once at this batch size, so that it allocates the memory that it needs."""
    progress(f"try batch {batch}")
    with during("run", f"batch {batch}", RunError):
        _session().run(load_samples(Path(samples)).feeds(0, batch))


def prepare_timing(
    progress: Progress,
    samples: str,
    batch: int,
    region: str,
    warm_up_s: float,
    wait: str = Wait.SPIN,
    copies: bool = False,
    together: bool = True,
) -> Any:
    """Stage inputs of this batch size and warm up until stable; the last three arguments are for GPU sessions."""
    session = _session()
    feeds = load_samples(Path(samples)).feeds(0, batch)
    progress(f"warm up at batch {batch}")
    with during("run", f"batch {batch}", RunError):
        OpenedEngine.call = _timed(session, feeds, Region(region), wait=Wait(wait), copies=copies, together=together)
        OpenedEngine.own_clock = isinstance(session, GpuSession)
        OpenedEngine.meter = observe.meter(session)
        warm_up_ns = benchmark.warm_up(OpenedEngine.call, warm_up_s)
        _gpu_state()
        return {"warm_up_ns": warm_up_ns, "quiet": benchmark.settle()}


def _timed(session: Session, feeds: dict[str, Any], region: Region, **on_a_gpu: Any) -> Callable[[], object]:
    if isinstance(session, GpuSession):
        return session.timed(feeds, region, **on_a_gpu)
    if region == Region.DEVICE:
        raise RunError("The region 'device' is timed by a GPU, and this engine runs on the CPU. Use another region.")
    return session.stage(feeds) if region == Region.COMPUTE else lambda: session.run(feeds)


def _gpu_state() -> Any:
    """The state of the GPU as JSON, after which it is drained; ``None``: not a GPU session, or no state."""
    if not isinstance(OpenedEngine.session, GpuSession):
        return None
    state = OpenedEngine.session.state()
    OpenedEngine.session.drain()
    return to_json(state) if state else None


def block(progress: Progress, seconds: float, min_calls: int = 1) -> Any:  # noqa: ARG001 - every task takes progress; a block must not spend time on it
    if OpenedEngine.call is None:
        raise RunError("A timed block was requested before inputs were staged.")
    with during("run", "a timed block", RunError):
        OpenedEngine.meter.start()
        times = benchmark.timed_block(
            OpenedEngine.call, seconds, min_calls=min_calls, own_clock=OpenedEngine.own_clock, after=_after
        )
    answer = times._asdict()
    return {**answer.pop("after"), **answer, "around": to_json(times.around)}


def _after() -> dict[str, Any]:
    """Readings taken right after the last timed call of a block."""
    found = {"energy": to_json(OpenedEngine.meter.stop()), "gpu": _gpu_state()}
    return found | {"runs": getattr(OpenedEngine.session, "runs", 0)}  # chosen when the inputs were staged


def device(progress: Progress) -> Any:  # noqa: ARG001
    """Facts of a GPU session for the inputs that were staged last; ``None`` for an engine on the CPU."""
    session = _session()
    if not isinstance(session, GpuSession) or OpenedEngine.call is None:
        return None
    with during("run", "the parts of a call", RunError):
        return to_json(session.facts())


def peak(progress: Progress) -> Any:  # noqa: ARG001
    return {"peak_rss_bytes": memory()[1]}


def in_effect(progress: Progress) -> Any:  # noqa: ARG001
    """The settings in effect. Reading them may allocate memory, so call ``peak`` first."""
    with during("ask", "settings in effect", RunError):
        return to_json(observe.settings(_session()))


def clocks(progress: Progress, samples: str, batch: int, **how: Any) -> Any:
    """Time the open engine by every clock, interleaved; staged inputs are discarded."""
    progress(f"clocks at batch {batch}")
    session, OpenedEngine.call = _session(), None
    with during("run", "its clocks", RunError):
        return to_json(observe.clocks(session, load_samples(Path(samples)).feeds(0, batch), **how))


def evaluate(
    progress: Progress,
    samples: str,
    batch: int,
    into: str,
    outputs: list[dict[str, Any]] | None = None,
    together: bool = False,
) -> Any:
    """Run every sample once, ``batch`` at a time, and write the outputs as :mod:`workbench.accuracy.by_sample` specifies.

    ``outputs`` are the specs of the model's outputs, with their batch axes. The answer names the outputs that have an entry for
    each call instead of each sample, with the number of samples in a call.
    """
    from workbench.accuracy.by_sample import by_call, of_all_samples, save_outputs

    session, data = _session(), load_samples(Path(samples))
    layout = tuple(from_json(TensorSpec, one) for one in outputs or ())
    progress(f"score {data.count} samples")
    found = of_all_samples(session.run, data.feeds, data.count, batch, layout, together=together)
    save_outputs(found, Path(into))
    return {"samples": data.count, "calls": dict.fromkeys(by_call(found, data.count), batch)}


def evaluate_onnx(progress: Progress, path: str, **asked: Any) -> Any:
    from workbench.export.onnx_runner import OnnxFile

    with OnnxFile(Path(path)) as OpenedEngine.session:  # a build worker, which has no engine open
        return evaluate(progress, **asked) | {"basis": OpenedEngine.session.basis}


def _session() -> Session:
    if OpenedEngine.session is None:
        raise RunError("No engine is open in this worker.")
    return OpenedEngine.session


TASKS: dict[str, Callable[..., Any]] = {
    task.__name__: task
    for task in (
        open_engine, rehearse, prepare_timing, block, device, peak, in_effect, clocks, evaluate, evaluate_onnx,
    )
}  # fmt: skip
for _name, _task in load_tasks.TASKS.items():
    TASKS[_name] = lambda progress, *, _task=_task, **arguments: _task(_session(), progress, **arguments)
