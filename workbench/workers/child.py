"""What runs inside a worker process: ``python -m workbench.workers.child READ_FD WRITE_FD``.

One command at a time arrives as a JSON line and names one of ``TASKS``; answers and phases go back the same way. When
the parent's end of the pipe closes, however the parent ended, a watchdog ends this process at once: no orphan keeps
burning the cores that somebody is measuring on.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from workbench.engines.checked import check_files
from workbench.errors import BuildError, MemoryLimitError, RunError, WorkbenchError, brief, during, out_of_memory
from workbench.protocols import GpuSession, Progress, Session, Source
from workbench.records import (
    EngineRecord,
    EngineSpec,
    Model,
    Region,
    TensorSpec,
    Wait,
    from_json,
    to_json,
)
from workbench.system import confine, energy
from workbench.system.memory import at_most, memory
from workbench.timing import benchmark, load_tasks, observe
from workbench.workers import child_conformance, child_layers

REMOVALS = 5


class Engine:
    """The one engine that this process holds open, and the call that is being timed."""

    session: Session | None = None
    call: Callable[[], object] | None = None
    device_clock = False  # the call returns what the GPU counted
    meter = energy.Meter(())


def hello(progress: Progress, modules: list[str]) -> dict[str, Any]:
    """Import what the engine needs, so that opening it later is timed without the import."""
    began = time.perf_counter()
    for name in modules:
        progress(f"import {name}")
        importlib.import_module(name)
    return {"rss_bytes": memory()[0], "import_s": time.perf_counter() - began}


def inspect(progress: Progress, path: str, signature: str = "", input_shapes: str = "", input_values: str = "") -> Any:
    from workbench.models.inspection import inspect_model

    progress("read model")
    return to_json(inspect_model(path, signature, input_shapes, input_values))


def train_demo(progress: Progress, into: str) -> Any:
    from workbench.models.demo import train

    return train(Path(into), progress)


def export_saved_model(progress: Progress, model: dict[str, Any], into: str) -> None:
    from workbench.export.convert import saved_model_of

    progress("export SavedModel")
    saved_model_of(from_json(Model, model), Path(into))


def export_onnx(
    progress: Progress,
    model: dict[str, Any],
    saved_model: str | None,
    samples: str | None,
    into: str,
    batches: Sequence[int] = (),
) -> Any:
    from workbench.data.samples import load_samples
    from workbench.export.convert import export

    record = from_json(Model, model)
    real = load_samples(Path(samples)) if samples else None
    return to_json(export(record, Path(saved_model) if saved_model else None, real, Path(into), progress, batches))


def examine(progress: Progress, path: str, model: dict[str, Any], results: str) -> Any:
    from workbench.examine import examine as look

    return to_json(look(Path(path), from_json(Model, model), progress, Path(results)))


def rewrite(progress: Progress, **asked: Any) -> Any:
    from workbench.precision.rewrite import rewrite_from_json

    return rewrite_from_json(progress, **asked)


def fix_batch(progress: Progress, source: str, batch: int, sizes: dict[str, list[int]], into: str) -> None:
    from workbench.precision.rewrite import fix_batch as fix

    progress(f"fix batch to {batch}")
    fix(Path(source), batch, Path(into), sizes)


def build(
    progress: Progress,
    source: str,
    inputs: list[Any],
    outputs: list[Any],
    signature: str,
    spec: dict[str, Any],
    into: str,
    samples: str | None = None,
) -> Any:
    """Build one engine and judge whether the precision that was asked for is the one that was built."""
    from workbench.backends import get

    what = from_json(EngineSpec, spec)
    backend = get(what.backend)
    for name in backend_modules(what.backend):
        importlib.import_module(name)
    specs = [tuple(from_json(TensorSpec, one) for one in many) for many in (inputs, outputs)]
    origin = Source(Path(source), specs[0], specs[1], signature, Path(samples) if samples else None)
    check_files(Path(source), what.backend)
    progress("build")
    began = time.perf_counter()
    with during("build", what.label, BuildError):
        built = backend.build(origin, what, Path(into), progress)
    return {**to_json(built), "build_s": time.perf_counter() - began}


def open_engine(progress: Progress, engine: str, record: dict[str, Any]) -> Any:
    """Open the engine; the library has been imported before by ``hello``."""
    from workbench.backends import get

    what = from_json(EngineRecord, record)
    check_files(Path(engine), what.spec.backend)  # before the clock: it is no part of opening an engine
    progress("open engine")
    began = time.perf_counter()
    with during("open", what.spec.label, RunError):
        Engine.session = get(what.spec.backend).open(Path(engine), what).__enter__()
    Engine.call = None
    return {"load_s": time.perf_counter() - began}


def rehearse(progress: Progress, samples: str, batch: int) -> None:
    """Run the engine once at this batch size, so that it takes the memory it will need."""
    from workbench.data.samples import load_samples

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
    """Stage inputs of this batch size and warm up until stable; the last three are for GPU sessions."""
    from workbench.data.samples import load_samples

    session = _session()
    feeds = load_samples(Path(samples)).feeds(0, batch)
    progress(f"warm up at batch {batch}")
    with during("run", f"batch {batch}", RunError):
        Engine.call = _timed(session, feeds, Region(region), wait=Wait(wait), copies=copies, together=together)
        Engine.device_clock = region == Region.DEVICE
        Engine.meter = observe.meter(session)
        warm_up_ns = benchmark.warm_up(Engine.call, warm_up_s)
        _gpu_state()
        return {"warm_up_ns": warm_up_ns, "quiet": benchmark.settle()}


def _timed(session: Session, feeds: dict[str, Any], region: Region, **on_a_gpu: Any) -> Callable[[], object]:
    if isinstance(session, GpuSession):
        return session.timed(feeds, region, **on_a_gpu)
    if region == Region.DEVICE:
        raise RunError("The device region is a GPU's own clock, and this engine runs on the CPU. Use another region.")
    return session.stage(feeds) if region == Region.COMPUTE else lambda: session.run(feeds)


def _gpu_state() -> Any:
    """The GPU as it is now; then nothing is left in flight on it."""
    if not isinstance(Engine.session, GpuSession):
        return None
    state = Engine.session.state()
    Engine.session.drain()
    return to_json(state) if state else None


def block(progress: Progress, seconds: float, min_calls: int = 1) -> Any:  # noqa: ARG001 - every task takes progress; a block must not spend time on it
    if Engine.call is None:
        raise RunError("A block was asked for before any input was staged.")
    with during("run", "a timed block", RunError):
        Engine.meter.start()
        times = benchmark.timed_block(
            Engine.call, seconds, min_calls=min_calls, device=Engine.device_clock, after=_after
        )
    answer = times._asdict()
    return {**answer.pop("after"), **answer, "around": to_json(times.around)}


def _after() -> dict[str, Any]:
    """What is read as soon as the last call of a block was timed."""
    return {"energy": to_json(Engine.meter.stop()), "gpu": _gpu_state()}


def device(progress: Progress) -> Any:  # noqa: ARG001
    """What a GPU session tells of the inputs that were staged last; ``None`` for an engine on the CPU."""
    session = _session()
    if not isinstance(session, GpuSession) or Engine.call is None:
        return None
    with during("run", "the parts of a call", RunError):
        return to_json(session.facts())


def peak(progress: Progress) -> Any:  # noqa: ARG001
    return {"peak_rss_bytes": memory()[1]}


def in_effect(progress: Progress) -> Any:  # noqa: ARG001
    """The settings of the engine as they are; asking may take memory, so the peak is to be asked for first."""
    with during("ask", "settings in effect", RunError):
        return to_json(observe.settings(_session()))


def clocks(progress: Progress, samples: str, batch: int, **how: Any) -> Any:
    """Every clock of the open engine, taking turns; what was staged before is gone then."""
    from workbench.data.samples import load_samples

    progress(f"clocks at batch {batch}")
    session, Engine.call = _session(), None
    with during("run", "its clocks", RunError):
        return to_json(observe.clocks(session, load_samples(Path(samples)).feeds(0, batch), **how))


def peaks(progress: Progress, threads: int) -> Any:
    """What the CPU can do at most; the environment of this process decides the threads of the libraries."""
    from workbench.timing.peak_loops import measured

    return to_json(measured(threads, progress))


def evaluate(
    progress: Progress, samples: str, batch: int, into: str, outputs: list[dict[str, Any]] | None = None
) -> Any:
    """Run every sample once, ``batch`` at a time, and write the outputs as :mod:`workbench.accuracy.by_sample` says.

    ``outputs`` are the model's, which say where each has its batch.
    """
    from workbench.accuracy.by_sample import of_all_samples, save_outputs
    from workbench.data.samples import load_samples

    session, data = _session(), load_samples(Path(samples))
    layout = tuple(from_json(TensorSpec, one) for one in outputs or ())
    progress(f"score {data.count} samples")
    save_outputs(of_all_samples(session.run, data.feeds, data.count, batch, layout), Path(into))
    return {"samples": data.count}


def evaluate_onnx(progress: Progress, path: str, **asked: Any) -> Any:
    from workbench.export.onnx_runner import OnnxFile

    with OnnxFile(Path(path)) as Engine.session:  # a builder's process, which holds no engine
        return evaluate(progress, **asked) | {"basis": Engine.session.basis}


TASKS: dict[str, Callable[..., Any]] = {
    task.__name__: task
    for task in (
        hello, inspect, train_demo, export_saved_model, export_onnx, examine, rewrite, fix_batch, build,
        open_engine, rehearse, prepare_timing, block, device, peak, in_effect, clocks, peaks, evaluate, evaluate_onnx,
        *child_conformance.TASKS, *child_layers.TASKS,
    )
}  # fmt: skip
for _name, _task in load_tasks.TASKS.items():
    TASKS[_name] = lambda progress, *, _task=_task, **arguments: _task(_session(), progress, **arguments)


def backend_modules(name: str) -> list[str]:
    """The libraries that a backend's engines need in memory."""
    from workbench.backends import get

    return list(get(name).imports)


def _session() -> Session:
    if Engine.session is None:
        raise RunError("No engine is open in this worker.")
    return Engine.session


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; Ctrl-C reaches the whole terminal group
    no_core_dump()
    serve(int(sys.argv[1]), int(sys.argv[2]))


def no_core_dump() -> None:
    """A crash on a damaged model must not leave gigabytes where the user works."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def serve(read_fd: int, write_fd: int) -> None:
    """Obey the commands that arrive on one pipe, and answer on the other, until the first is closed."""
    writable = os.environ.get("WORKBENCH_WRITABLE")
    if writable:
        confine.writes_only_below(json.loads(writable), os.environ["WORKBENCH_SCRATCH"])
    cores = os.environ.get("WORKBENCH_CORES")
    if cores:
        os.sched_setaffinity(0, json.loads(cores))  # before any library makes a thread, which takes this over
    commands: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(read_fd, commands), daemon=True).start()
    while True:
        command = json.loads(commands.get())
        answer = _obey(command, write_fd)
        _send(write_fd, answer)


def _listen(read_fd: int, commands: queue.SimpleQueue[bytes]) -> None:
    """Queue commands; at the end of the pipe end the process, whatever the main thread is doing."""
    with os.fdopen(read_fd, "rb") as pipe:
        for line in pipe:
            commands.put(line)
    _leave()


def _leave() -> NoReturn:
    """The parent is gone: remove this process's temporary files, one of which another thread may be writing, and end."""
    scratch = os.environ.get("WORKBENCH_SCRATCH", "")
    for _ in range(REMOVALS):
        if scratch and os.path.lexists(scratch):
            shutil.rmtree(scratch, ignore_errors=True)
    os._exit(0)


def _obey(command: dict[str, Any], write_fd: int) -> dict[str, Any]:
    def progress(phase: str) -> None:
        _send(write_fd, {"phase": phase})

    try:
        with at_most(command.get("memory_bytes")):
            return {"ok": True, "result": TASKS[command["task"]](progress, **command["arguments"])}
    except WorkbenchError as error:
        _print_traceback()
        return {"ok": False, "kind": type(error).__name__, "message": error.message}
    except MemoryError:
        _print_traceback()
        text = f"Memory ran out in the step '{command['task']}'."
        return {"ok": False, "kind": MemoryLimitError.__name__, "message": text}
    except OSError as error:
        _print_traceback()
        return {"ok": False, "kind": "StoreError", "message": f"Could not read or write a file: {brief(error)}."}
    except (Exception, SystemExit) as error:
        _print_traceback()
        if out_of_memory(error):
            text = f"Memory ran out in the step '{command['task']}' ({brief(error, 200)})."
            return {"ok": False, "kind": MemoryLimitError.__name__, "message": text}
        text = f"The step '{command['task']}' failed: {type(error).__name__}: {brief(error)}"
        return {"ok": False, "kind": RunError.__name__, "message": text}


def _print_traceback() -> None:
    """For the log; a disk that is full must not end the process before it has answered why."""
    with contextlib.suppress(OSError):
        traceback.print_exc()


def _send(write_fd: int, message: dict[str, Any]) -> None:
    line = json.dumps(message).encode() + b"\n"
    try:
        while line:
            line = line[os.write(write_fd, line) :]
    except BrokenPipeError:  # seen here before the watchdog saw it
        _leave()


if __name__ == "__main__":
    # tasks raise errors of the imported module, not of __main__
    from workbench.workers import child  # noqa: PLW0406 - on purpose, see above

    child.main()
