"""The main job: a model comes in, is exported, rewritten, built, timed, scored; what was done before is not done again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from workbench import backends
from workbench.accuracy.agreement import not_finite_told
from workbench.accuracy.score import doubts
from workbench.choices.limits import limits_of
from workbench.choices.methods import method_of
from workbench.data.dataset import Dataset
from workbench.data.observed import doubts as doubts_of_values
from workbench.engines.provenance import layer_names
from workbench.errors import Cancelled, InputError, PrecisionError, WorkbenchError
from workbench.experiment import Experiment
from workbench.models.describe import copy_notes, counted, export_notes, row_notes, sizes_used, varying_notes
from workbench.models.live import identity, kept_data, kept_model
from workbench.precision.rewrite import judge
from workbench.precision.selection import Selection, selectable
from workbench.printable import one_line
from workbench.protocols import YES, Availability, Built, no
from workbench.records import (
    CPU,
    EngineRecord,
    EngineSpec,
    Failure,
    LayerProfile,
    Model,
    Peaks,
    Precision,
    Result,
    Results,
    Status,
    from_json,
    to_json,
)
from workbench.runs import carried
from workbench.runs.archive import remember
from workbench.runs.board import Board, OnEvent
from workbench.runs.cohorts import cohorts_told, default_baseline
from workbench.runs.guard_files import score_files
from workbench.runs.layer_pass import profile_all
from workbench.runs.measure import measure_and_score, peaks_of
from workbench.runs.reading import demo_model, read_model
from workbench.runs.scoring import Way
from workbench.runs.sources import DEMO, Form, Sources, data_of, open_model
from workbench.runs.unused import unlabelled, unused
from workbench.runs.variants import variants_of
from workbench.settings_table.kinds import choose
from workbench.store import Draft, Store, key_of
from workbench.system.machine import check_cores, check_threads, this_machine, version_of
from workbench.system.stop import Stop
from workbench.workers.worker import GPU_BUILDER, Pool

__all__ = ["open_model", "plan", "run"]

STAGES = ("all", "build")
BUILDERS = ("tensorflow-cpu", "tensorflow")
"""Packages that take part in building some engines besides the backend's own."""


def plan(experiment: Experiment, model: Model, *, has_calibration: bool = True) -> tuple[Result, ...]:
    """One row per variant and batch: planned, or not possible with the reason.

    Raises:
        InputError: a backend that does not exist.
    """
    for address in experiment.backends:
        backends.check(address)
    rows = []
    for asked in variants_of(experiment):
        spec = _effective(asked, model)
        able = _possible(spec, model, has_calibration) and selectable(asked, spec)
        works = {batch: _batch_works(model, batch) for batch in spec.batches}
        served = replace(spec, batches=tuple(batch for batch in spec.batches if works[batch]) or spec.batches)
        for batch in spec.batches:
            here = able and works[batch]
            failure = None if here else Failure("plan", here.reason + (f"; {here.fix}" if here.fix else ""))
            status = Status.PLANNED if here else Status.UNSUPPORTED
            rows.append(Result(spec=served, batch=batch, status=status, failure=failure))
    return tuple(rows)


def _batch_works(model: Model, batch: int) -> Availability:
    """Whether the model takes this batch, as far as opening it has shown."""
    fixed, probe = model.fixed_batch, model.probe
    if fixed is not None:
        return YES if batch == fixed else no(f"the model's batch is fixed to {fixed}", f"choose the batch {fixed}")
    if probe is None or not probe.failed or not probe.worked or batch in probe.worked:
        return YES
    failed = dict(probe.failed)
    works = ", ".join(map(str, probe.worked))
    if batch in failed:
        return no(
            f"the model declares a free batch but did not run with {batch} ({failed[batch]})", f"these worked: {works}"
        )
    if batch > max(failed) and max(failed) > max(probe.worked):
        return no(f"the model declares a free batch but ran only with {works}", "choose one of those")
    return YES


def check(experiment: Experiment) -> None:
    """Find what names nothing before any work is done for it.

    Raises:
        InputError: a backend or build option that does not exist, a baseline that is not among the variants, or more threads or
            other cores than this machine has.
    """
    for address in experiment.backends:
        backends.check(address)
    backends.check_options(experiment.build_options)
    variants = variants_of(experiment)
    names = dict.fromkeys(label for spec in variants for label in (replace(spec, batch=None).label, spec.label))
    check_threads(experiment.threads)
    check_cores(experiment.plan.cores)
    if experiment.baseline:
        choose("baseline", [experiment.baseline], names)


def run(
    experiment: Experiment | None = None,
    *,
    store: Store | str | Path | None = None,
    on_event: OnEvent = lambda _: None,
    cancel: threading.Event | None = None,
    only: str = "all",
    remeasure: bool = False,
    model: Any = None,
    data: Any = None,
    metric: Any = None,
) -> Results:
    """Run an experiment to its results. Blocks; heavy work happens in child processes.

    Args:
        experiment: what to do; the defaults where nothing is said.
        model: a live ``keras.Model`` instead of the experiment's ``model``; kept in the store.
        data: arrays by input name, ``(x, y)``, or a generator of such batches, instead of the experiment's ``data``.
        store: where artefacts and results are kept, as a :class:`Store` or the path of a folder; what is there already is
            used again.
        on_event: called for every step and every change of a row, from the calling thread.
        cancel: set it to stop; rows that had not come to an end are then marked as cancelled. A
            :class:`workbench.system.stop.Stop` can stop single rows as well.
        only: "all", or "build" to stop after building.
        remeasure: time again what the store already has timings for.
        metric: instead of the experiment's ``metric`` a function of (outputs by name, labels) that gives a number per sample,
            of which more is better, or a ``workbench.Metric``.

    Raises:
        InputError: the model, the data or a setting cannot be used at all.
        StoreError: the store cannot be written.
    A variant that fails costs its own rows only, and says why there.
    """
    choose("only", [only], STAGES)
    began = time.monotonic()
    store = Store.of(store).prepare()
    experiment = with_live(experiment or Experiment(), store, model, data).resolved()
    if isinstance(metric, str):
        experiment, metric = replace(experiment, metric=metric), None
    asked = experiment
    cancel, way = Stop.of(cancel), Way.of(experiment, metric)
    with Pool(store.log_path, cancel, limits=limits_of(experiment.step_memory_mib, experiment.step_s)) as pool:
        pool.waiting = partial(on_event_only, on_event)
        try:
            model, data, board = _begin(experiment, store, pool, on_event, cancel, way)
        except Cancelled:
            raise Cancelled("Stopped while the model was being read; nothing has been built yet.") from None
        pool.using = board.logs_to
        sources, looked = Sources(store, pool, model, data, board.whisper, experiment.batches), None
        peaks: Peaks | None = None
        profiles: tuple[LayerProfile, ...] = ()
        usable = tuple(batch for batch in experiment.batches if _batch_works(model, batch))
        experiment = replace(experiment, batches=usable or experiment.batches)
        try:
            _build_all(board, sources, store, pool)
            if only == "all":
                reference = _reference(experiment, board, sources, store, pool)
                looked = _examination(sources)
                score_files(board, sources, store, pool, data, way, prepared)
                pool.close()  # builders must not share the cores with what is being timed
                measure_and_score(
                    board, experiment, sources, data, store, cancel, reference=reference, remeasure=remeasure, way=way
                )
                peaks = peaks_of(experiment, board, store, cancel)
                if experiment.layers:
                    samples = sources.samples_file(data.test)
                    profiles = profile_all(board.rows, store, samples=samples, say=board.whisper, cancel=cancel)
        except (Cancelled, KeyboardInterrupt):
            _cancel(board, only)
        board.count(wall_s=time.monotonic() - began)
        board.say(f"done: {board.tally}")
        results = _results(experiment, model, data, board, sources)
        results = replace(results, examination=looked, peaks=peaks, layer_profiles=profiles, run=board.run)
        remember(store, board.run, results, asked, scored_by=identity(metric))
        return results


def with_live(experiment: Experiment, store: Store, model: Any, data: Any) -> Experiment:
    """The experiment on a live model and live data, which are kept in the store as files first."""
    if model is not None:
        experiment = replace(experiment, model=str(kept_model(model, store)))
    return experiment if data is None else replace(experiment, data=str(kept_data(data, store)))


def _begin(
    experiment: Experiment, store: Store, pool: Pool, on_event: OnEvent, stop: Stop, way: Way
) -> tuple[Model, Dataset, Board]:
    def say(text: str) -> None:
        on_event_only(on_event, text)

    check(experiment)
    path = str(demo_model(store, pool, say)) if experiment.model == DEMO else experiment.model
    say(f"reading {path}")
    model = read_model(store, pool, path, experiment.signature, experiment.input_shapes, experiment.input_values)
    data = data_of(experiment, model, metric=way.metric)
    fixed = model.fixed_batch
    if fixed is not None and fixed not in experiment.batches:
        raise InputError(
            f"The model's batch is fixed to {fixed}, and the batches {list(experiment.batches)} were asked for. "
            f"Choose the batch {fixed}, free it with 'input_shapes', or export the model with a dynamic batch."
        )
    rows = plan(experiment, model, has_calibration=data.calibration is not None)
    board = Board(rows, store.new_run(), on_event, lambda row: _repro(experiment, row), stop)
    possible = [row for row in rows if row.status == Status.PLANNED]
    variants = {row.spec for row in possible}
    board.say(f"{model.name}: {counted(len(variants), 'variant')}, {counted(len(possible), 'row')}; {data.description}")
    for each in data.values:
        board.say(f"values of {each}")
    if remark := store.remark:
        board.note(remark)
    for row in rows:
        board.update(row)  # shows every row at once, planned or not possible
    return model, data, board


def on_event_only(on_event: OnEvent, text: str) -> None:
    """Tell of a step that happens before there is a board."""
    from workbench.records import Event

    on_event(Event(text))


def _effective(asked: EngineSpec, model: Model) -> EngineSpec:
    """The variant without lists of nodes where nothing is rewritten as ONNX, so that they do not change its key."""
    form = backends.get(asked.backend).source(asked, model)
    listless = form.startswith("onnx:fp32") or not form.startswith("onnx:")
    return replace(asked, quantize=(), keep=()) if listless else asked


def _possible(spec: EngineSpec, model: Model, has_calibration: bool) -> Availability:
    backend = backends.get(spec.backend)
    able = backend.status(spec.mode)
    if able:
        able = backend.supports(spec, model)
    if able and backend.source(spec, model).startswith("onnx:") and model.exportable:
        return no(f"the model cannot become ONNX: {model.exportable}")
    converted = model.format == "tflite" and backend.source(spec, model).startswith("onnx:")
    dynamic = "dynamic range" in model.quantized_how
    if able and model.quantized == "int8" and converted and dynamic and spec.precision == Precision.FP32:
        return able  # such weights become FP32 on the way to ONNX; what was built is read back
    if able and model.quantized == "int8":
        held = f"the model is quantized already ({model.quantized_how})"
        if spec.asked != Precision.INT8:
            return no(held, "choose int8, which runs it as it is, or open the model it was made from")
        return able
    few_bits = (
        spec.precision not in (Precision.FP32, Precision.FP16, Precision.BF16) or method_of(spec.asked).weights_only
    )
    if able and model.quantized.endswith("-weights") and few_bits:
        return no(
            f"the model's weights are quantized already ({model.quantized_how})",
            "choose fp32, which runs it as it is, or open the model it was made from",
        )
    if able and method_of(spec.asked).calibrated and not has_calibration:
        return no(
            f"{spec.precision.upper()} needs real calibration samples, and the data has none",
            "give data as an .npz file",
        )
    return able


def _build_all(board: Board, sources: Sources, store: Store, pool: Pool) -> None:
    for spec in dict.fromkeys(row.spec for row in board.open_rows()):
        step = "prepare"
        board.withdraw()
        rows = board.open_rows(spec)
        if not rows:
            continue
        try:
            with board.working_on(rows):
                board.update_all(rows, status=Status.PREPARING)
                began = time.monotonic()
                form = prepared(sources, spec)
                step = "build"
                board.update_all(rows, status=Status.BUILDING)
                record, reused = build(spec, form, store, pool, board.whisper)
                board.count(build_s=time.monotonic() - began)
        except Cancelled:
            if board.stop.everything:
                raise
            continue  # only these rows were to stop
        except WorkbenchError as error:
            board.fail(rows, step, error)
            continue
        board.count(**{"reused_builds" if reused else "built": 1})
        status, note = Status.BUILT, "reused" if reused else f"built in {record.build_s:.2f} s"
        board.update_all(rows, f"{spec.label}: {note}, {record.realized.label}", status=status, engine=record)
    board.withdraw()


def _reference(experiment: Experiment, board: Board, sources: Sources, store: Store, pool: Pool) -> EngineRecord | None:
    """The engine that stands for the source model when others are scored: TensorFlow's own function, or for an ONNX
    file ONNX Runtime in FP32. It is built even where it is no variant of the experiment.
    """
    if not any(row.engine and row.engine.runnable for row in board.rows):
        return None
    model = sources.model
    # ONNX Runtime's CPU provider has few kernels for bfloat16
    brain = model.quantized == Precision.BF16 and bool(backends.get("openvino").status())
    runs_onnx = "openvino" if brain else "onnxruntime"
    name = "tensorflow" if model.is_tensorflow else "litert" if model.format == "tflite" else runs_onnx
    precision = Precision.INT8 if model.quantized == "int8" else Precision.BF16 if brain else Precision.FP32
    spec = EngineSpec(name, precision, batches=experiment.batches, threads=experiment.threads)
    if experiment.shapes == "fixed":
        spec = replace(spec, batch=max(experiment.batches), batches=(max(experiment.batches),))
    try:
        return build(spec, prepared(sources, spec), store, pool, board.whisper)[0]
    except Cancelled:
        raise
    except WorkbenchError as error:
        board.say(f"no accuracy: the source model could not be prepared as a reference ({error.message})")
        return None


def _cancel(board: Board, only: str) -> None:
    """End the rows that the cancelled run still owed something."""
    board.update_all(board.open_rows(), status=Status.CANCELLED)
    if only == "all":
        owed = tuple(r for r in board.rows if r.status == Status.BUILT and r.engine and r.engine.runnable)
        board.update_all(owed, status=Status.CANCELLED)
    board.say("cancelled; what was finished is kept")


def prepared(sources: Sources, spec: EngineSpec) -> Form:
    """The form of the model that this variant is built from."""
    form = backends.get(spec.backend).source(spec, sources.model)
    held = sources.model.quantized == spec.asked
    if form.startswith("onnx:") and held:
        form = "onnx:fp32"  # which is the model as it is: quantizing it twice would only harm it
    made = sources.get(
        form,
        batch=spec.batch,
        method=spec.calibration,
        samples=spec.calibration_samples,
        selection=Selection(spec.quantize, spec.keep),
    )
    source = replace(made.source, layers=layer_names(Path(sources.original.path)))
    return replace(made, source=source, as_it_is=held or form == "tflite")


def build(
    spec: EngineSpec, form: Form, store: Store, pool: Pool, say: Callable[[str], None]
) -> tuple[EngineRecord, bool]:
    """Build one engine, or find it; its record, and whether it had been there.

    Raises:
        PrecisionError: it was built, but not in the precision that was asked for; nothing is kept.
        BuildError, WorkerError: it could not be built.
    """
    backend = backends.get(spec.backend)
    machine = this_machine()
    device = backends.device(spec)
    # how an engine is launched is no part of it
    served = replace(spec, cuda_graph=False, streams=1, batches=spec.batches if "batches" in backend.settings else ())
    key = key_of(
        source=form.key,
        spec=to_json(served),
        versions=[version_of(name) for name in (*backend.distributions, *BUILDERS)],
        machine=[machine.cpu, *machine.instructions] if device == CPU else [machine.cpu, machine.gpu],
    )

    def fill(draft: Draft) -> None:
        if carried.must_be(spec):  # its precision was judged where it was built
            draft.facts = to_json(carried.adopted(spec, key, form.source.path, store, draft.folder))
            return
        answer = pool.call(
            GPU_BUILDER if device != CPU else "tensorflow" if spec.backend in ("tensorflow", "litert") else "onnx",
            "build",
            progress=lambda phase: say(f"{spec.label}: {phase}"),
            source=str(form.source.path),
            inputs=to_json(form.source.inputs),
            outputs=to_json(form.source.outputs),
            signature=form.source.signature,
            samples=str(form.source.samples) if form.source.samples else None,
            spec=to_json(spec),
            into=str(draft.folder),
        )
        seconds = answer.pop("build_s")
        built = from_json(Built, answer)
        problem = "" if form.as_it_is else judge(spec.asked, built.realized, chosen=bool(spec.quantize or spec.keep))
        if problem:
            raise PrecisionError(problem)
        record = EngineRecord(
            spec=spec,
            key=key,
            library=built.library,
            library_version=built.library_version,
            realized=built.realized,
            size_bytes=sum(path.stat().st_size for path in draft.folder.rglob("*") if path.is_file()),
            build_s=seconds,
            runnable=built.runnable,
            note=built.note,
            built_at=datetime.now(UTC).isoformat(timespec="seconds"),
            device=device,
            source_sha256=(form.made or {}).get("sha256", "") or built.file_sha256,
        )
        draft.facts = to_json(record)

    made = store.make("engine", key, fill, check=partial(from_json, EngineRecord))
    # the same engine serves any set of batches where the backend has no range for them
    record = from_json(EngineRecord, made.facts)
    known = form.source
    record = replace(
        record, spec=spec, origin=store.place_of(known.path), inputs=known.inputs, model_layers=known.layers
    )
    carried.noted(record, known.path, store)
    return record, made.reused


def _results(experiment: Experiment, model: Model, data: Dataset, board: Board, sources: Sources) -> Results:
    notes = [
        *model.notes,
        *copy_notes(model),
        *row_notes(model),
        *(export_notes(sources.check) if sources.check else ()),
    ]
    if not data.real:
        notes.append("Random inputs were used: timings are real, accuracy cannot be judged.")
    notes += doubts_of_values(data.values)
    notes += filter(None, [sizes_used(model, data)])
    notes += [*unused(experiment), *unlabelled(experiment, data)]
    notes += filter(None, [cohorts_told(board.rows)])
    notes += doubts(row.accuracy for row in board.rows if row.accuracy)
    notes += board.notes
    warnings = [*varying_notes(model), *board.warnings]
    for row in board.rows:
        warnings += not_finite_told(row.accuracy.source_not_finite) if row.accuracy else []
    return Results(
        model=model,
        machine=this_machine(),
        rows=board.rows,
        baseline=experiment.baseline or default_baseline(row for row in board.rows if row.timing),
        data=data.description,
        values=data.values,
        tested_digest=data.test.digest,
        calibrated_digest=data.calibration.digest if data.calibration else "",
        plan=experiment.plan,
        tally=board.tally,
        export=sources.check,
        budget=experiment.budget if data.real else "",
        notes=tuple(map(one_line, notes)),
        warnings=tuple(dict.fromkeys(map(one_line, warnings))),
    )


def _examination(sources: Sources) -> Any:
    """What the ONNX form is made of, where there is one; a picture that cannot be had fails nothing."""
    if sources.check is None:
        return None
    try:
        return sources.examination()
    except Cancelled:
        raise
    except WorkbenchError:
        return None


def _repro(experiment: Experiment, row: Result) -> str:
    alone = replace(
        experiment,
        backends=(row.spec.backend_and_mode,),
        precisions=(row.spec.asked,),
        batches=(row.batch,),
        optimization_level=(-1 if row.spec.optimization_level is None else row.spec.optimization_level,),
        workspace_mib=((row.spec.workspace_bytes or 0) // 2**20,),
        baseline="",
    )
    return alone.papermill_command()
