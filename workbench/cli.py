"""The command line: ``workbench report | inspect | history | repair | doctor``. Bad input ends in one sentence and status 2."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from workbench import __version__, cli_conformance, cli_precision
from workbench.choices.limits import limits_of
from workbench.errors import Cancelled, InputError, StoreError, WorkbenchError, writing
from workbench.experiment import Experiment
from workbench.models.describe import batches_text, counted, export_notes, output_notes, size
from workbench.models.formats import TITLES
from workbench.outputs import check_output
from workbench.printable import one_line
from workbench.printable import tell as print  # noqa: A004 - names in models and files may hold escape sequences
from workbench.records import Model
from workbench.settings_table.kinds import home
from workbench.settings_table.options import PROGRAM, Parser, add_run_settings, add_settings, given
from workbench.settings_table.table import SETTINGS
from workbench.store.store import SHARED, TRUST

OF_INPUTS = ("signature", "input_shapes", "input_values")
"""Settings that decide how a model is opened."""
OF_LIMITS = ("step_memory_mib", "step_s")
OF_PEAKS = ("threads", "cores")

NOTHING_MEASURED = "measured 0 (reused 0)"
"""As :class:`workbench.records.Tally` writes it."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status: 0 well, 1 it failed or measured nothing, 2 bad input, 130 interrupted."""
    options = _parser().read(argv)
    # variables, because the kernel and the jobs of this run have to know it too
    os.environ.update({TRUST: "1"} if options.trust_store else {})
    os.environ.update({SHARED: options.shared_store} if options.shared_store else {})
    try:
        status: int = options.command(options)
        sys.stdout.flush()
    except InputError as error:
        return _refuse(error, 2)
    except Cancelled as error:
        return _refuse(error, 130)
    except WorkbenchError as error:
        return _refuse(error, 2 if isinstance(error, StoreError) else 1)
    except BrokenPipeError:  # whoever read, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain at its end
        return 0
    except KeyboardInterrupt:
        print("\nInterrupted. What was finished is kept; the same command goes on from there.", file=sys.stderr)
        return 130
    return status


def _refuse(error: WorkbenchError, status: int) -> int:
    print(f"workbench: {error.message}", file=sys.stderr)
    return status


def _parser() -> Parser:
    parser = Parser(prog=PROGRAM, description=sys.modules["workbench"].__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")

    page = commands.add_parser("report", help="run an experiment without a panel and write one HTML file")
    page.add_argument("--output", type=path, default=Path("reports/workbench.html"), help="the HTML file to write")
    add_run_settings(page, "store", "remeasure")
    add_settings(page)
    page.set_defaults(command=_report)

    inspect = commands.add_parser(
        "inspect", help="say what a model is, how it becomes ONNX, and which backends take it"
    )
    inspect.add_argument("model", type=home, help=SETTINGS["model"].help)
    add_run_settings(inspect, "store")
    add_settings(inspect, (*OF_INPUTS, *OF_LIMITS))
    inspect.set_defaults(command=_inspect)

    past = commands.add_parser("history", help="results of all runs in the store, the newest first")
    for name in ("model", "variant", "backend", "precision", "machine", "status"):
        past.add_argument(f"--{name}", default="", metavar="PATTERN", help='only those that match, such as "resnet*"')
    past.add_argument("--batch", type=int, metavar="N", help="only this batch size")
    past.add_argument("--since", metavar="TIME", help="only from then on, such as 2026-11-01; UTC")
    past.add_argument("--until", metavar="TIME", help="only before then")
    past.add_argument("--limit", type=int, default=40, metavar="N", help="at most so many (default: 40)")
    past.add_argument("--csv", type=path, metavar="FILE", help="write them, all columns, into this file instead")
    past.add_argument("--runs", action="store_true", help="the names of the runs instead")
    past.add_argument(
        "--compare",
        nargs="+",
        metavar="RUN",
        help="these runs side by side, by their names or the last letters of them",
    )
    add_run_settings(past, "store")
    past.set_defaults(command=_history)
    cli_precision.add_to(commands)
    cli_conformance.add_to(commands)

    doctor = commands.add_parser("doctor", help="what is installed, which backends are ready, and how to fix the rest")
    doctor.add_argument("--peaks", action="store_true", help="measure again what this machine can do at most")
    add_run_settings(doctor, "store")
    add_settings(doctor, OF_PEAKS, prefix="for --peaks: ")
    doctor.set_defaults(command=_doctor)
    for command in commands.choices.values():
        command.add_argument(
            "--trust-store", action="store_true", help="use entries of the store that another user or machine signed"
        )
        command.add_argument(
            "--shared-store", default="", metavar="GROUP", help="share the store with this Unix group, or join in; once"
        )
    return parser


def path(text: str) -> Path:
    """A path on the command line."""
    return Path(home(text))


def _report(options: argparse.Namespace) -> int:
    experiment = Experiment(**given(options)).resolved()
    html: Path = options.output
    _check_early(experiment, options.store, html)
    from workbench.report import page
    from workbench.system.resources import notebook

    executed = _notebook_of(html)
    began = time.monotonic()
    parameters: dict[str, Any] = experiment.parameters() | {"store": options.store, "remeasure": options.remeasure}
    page.execute(notebook("workbench.ipynb"), executed, parameters, progress=print)
    page.html_from_notebook(executed, html)
    summary = page.tagged_text(executed, "summary")
    for text in summary:
        print(text)
    print(f"\nreport: {one_line(html)}\nnotebook: {one_line(executed)}\ntime: {time.monotonic() - began:.1f} s")
    if NOTHING_MEASURED in "".join(summary):
        print("workbench: No row was measured; the report says of each why not.", file=sys.stderr)
        return 1
    return 0


def _notebook_of(html: Path) -> Path:
    """The notebook that is written beside a report."""
    return html.with_suffix(".ipynb")


def _check_early(experiment: Experiment, store: str, html: Path) -> None:
    """Find bad input before a kernel is started for it."""
    from workbench.models.inspection import recognize
    from workbench.pipeline import check
    from workbench.report import page
    from workbench.runs.sources import DEMO
    from workbench.store import Store

    check(experiment)
    if experiment.model != DEMO:
        recognize(experiment.model)
    if experiment.data not in ("auto", "digits", "random") and not Path(experiment.data).exists():
        raise InputError(
            f"There is no data file {experiment.data}. Give an .npz file, or auto, digits or random; or a .csv file, or a folder "
            "of images."
        )
    page.check_page(html, [experiment.model, experiment.data, *experiment.keep])
    page.spare(_notebook_of(html))
    Store(store or None).prepare()
    with writing(html, "option --output"):
        html.parent.mkdir(parents=True, exist_ok=True)
        probe = html.with_name(f".{html.name}.{os.getpid()}.probe")
        probe.write_bytes(b"x")
        probe.unlink()


def _inspect(options: argparse.Namespace) -> int:
    from workbench.examine import Examination, described
    from workbench.records import from_json
    from workbench.runs.sources import examine_model
    from workbench.store import Store

    read = Experiment(model=options.model, **given(options, (*OF_INPUTS, *OF_LIMITS)))
    asked = (read.model, read.signature, read.input_shapes, read.input_values)
    opened = examine_model(
        *asked,
        store=Store(options.store or None),
        say=lambda text: print(f"… {text}", file=sys.stderr),
        limits=limits_of(read.step_memory_mib, read.step_s),
    )
    found = described(from_json(Examination, opened.examination)) if opened.examination is not None else []
    known = {heading.lower() for heading, _ in found}  # told better where the graph was looked at
    lines = [line for line in _model_lines(opened.model) if line[0] not in known]
    for heading, told in found:
        lines += [(heading.lower() if number == 0 else "", text) for number, text in enumerate(told)]
    if opened.check:
        lines += [("to onnx" if number == 0 else "", note) for number, note in enumerate(export_notes(opened.check))]
    if opened.problem:
        lines.append(("to onnx", opened.problem))
    for name, value in lines:
        print(f"{name:18}{one_line(value)}")
    return 0


def _model_lines(model: Model) -> list[tuple[str, str]]:
    lines = [("model", model.path), ("format", TITLES[model.format])]
    if model.signatures:
        lines.append(("signature", f"{model.signature} (of: {', '.join(model.signatures)})"))
    elif model.signature and model.format == "frozen_graph":
        lines.append(("tensors", model.signature))
    lines += [("input", str(spec)) for spec in model.inputs]
    lines += [("output", str(spec)) for spec in model.outputs]
    lines += [
        (
            "dynamic axes",
            "; ".join(f"{s.name} {list(s.dynamic_axes)}" for s in model.inputs if s.dynamic_axes) or "none",
        ),
        ("batches", batches_text(model)),
        ("parameters", f"{model.parameters:,}"),
        ("size", size(model.size_bytes)),
        ("sha256", model.digest),
    ]
    if model.quantized_how:
        lines.append(("precision", f"{model.quantized or 'fp32'}: {model.quantized_how}"))
    return lines + [("note", note) for note in (*model.notes, *output_notes(model))]


SHOWN = ("time", "model", "variant", "batch", "status", "p50_ms", "samples_per_s", "accuracy", "agreement")


def _history(options: argparse.Namespace) -> int:
    from workbench.runs.archive import NAMES, history, not_own
    from workbench.store import Store

    if options.compare or options.runs:
        return _runs(options)
    names = ("model", "variant", "backend", "precision", "machine", "status", "batch", "since", "until", "limit")
    found = history(options.store or None, **{name: getattr(options, name) for name in names})
    if options.csv:
        first = ",".join(NAMES).encode()
        check_output(options.csv, option="--csv", endings=(".csv",), written_here=lambda start: start.startswith(first))
        with writing(options.csv, "option --csv"):
            found.to_csv(options.csv, index=False)
        print(f"{len(found)} results written to {options.csv}")
        return 0
    if found.empty:
        print("No results.")
        return 0
    shown = found[list(SHOWN)].copy()
    shown["time"] = shown["time"].dt.strftime("%Y-%m-%d %H:%M")
    print(shown.to_string(index=False, na_rep="–", float_format=lambda value: f"{value:,.3f}"))
    if len(found) == options.limit:
        print(f"The newest {options.limit}; for more choose --limit.")
    others = not_own(Store(options.store or None))
    if others:
        print(f"Runs of these that were not signed with your key (made elsewhere or by an earlier version): {others}.")
    return 0


def _runs(options: argparse.Namespace) -> int:
    """The runs themselves: their names, or some of them side by side."""
    from workbench.compare.across import compare_runs
    from workbench.runs.archive import runs
    from workbench.store import Store

    if options.compare:
        found = compare_runs(*options.compare, store=options.store or None)
        print(found)
        if found.experiment:
            changed = found.experiment.changes() | ({"store": options.store} if options.store else {})
            words = [word for name, value in changed.items() for word in (f"--{name.replace('_', '-')}", str(value))]
            print(f"All of them in one run: {shlex.join([PROGRAM, 'report', *words])}")
        return 0
    for run in runs(Store(options.store or None), options.limit):
        print(one_line(f"{run.name}  {run.told}, {counted(run.rows, 'result')}"))
    return 0


PACKAGES = (
    ("tensorflow-cpu", "tensorflow"), ("keras",), ("tf2onnx",), ("onnx",), ("onnxruntime", "onnxruntime-gpu"),
    ("openvino",), ("mlcommons-loadgen",), ("tensorrt-rtx-cu13",), ("tensorrt",), ("pycuda",),
    ("cuda-bindings",), ("nvidia-ml-py",), ("jupyterlab",), ("ipywidgets",),
    ("matplotlib",), ("pandas",), ("papermill",),
)  # fmt: skip


def _doctor(options: argparse.Namespace) -> int:
    from workbench import backends
    from workbench.engines.ort_session import GPU_PACKAGE, REPAIR, overwritten
    from workbench.store import Store
    from workbench.system.machine import this_machine, version_of

    machine = this_machine()
    print(
        f"machine       {machine.label}\n              {' '.join(machine.instructions) or 'no vector extension known'}"
    )
    print(f"python        {machine.python}\nworkbench     {__version__}")
    healthy = True
    try:
        store = Store(options.store or None).prepare()
        print(f"store         {store.root} (writable)")
        if remark := store.remark:
            print(f"              {remark}")
    except StoreError as error:
        healthy = False
        print(f"store         {error.message}")
    print("\npackages")
    for names in PACKAGES:
        print(f"  {names[0]:20}{version_of(*names) or '–'}")
    if overwritten():
        print(f"  'onnxruntime' was installed over '{GPU_PACKAGE}' and replaced its files: ONNX Runtime has no GPU now")
        print(f"  fix: {REPAIR}")
    print("\nbackends")
    for address in backends.addresses():
        name, _, mode = address.partition(":")
        backend = backends.get(name)
        if mode and mode not in backend.devices:
            continue  # it needs no more than the plain one
        state = backend.status(mode)
        title = f"{backend.title} {mode}".strip()
        print(f"  {title:20}{'ready' if state else 'not ready: ' + state.reason}")
        if not state and state.fix:
            print(f"  {'':20}fix: {state.fix}")
    _tell_readings()
    if options.peaks:
        _tell_peaks(options)
    if not any(backends.get(name).status(mode) for name in backends.names() for mode in backends.get(name).modes):
        healthy = False
    return 0 if healthy else 1


def _tell_readings() -> None:
    from workbench.doctor import readings

    print("\nmeasuring here")
    for reading in readings():
        print(f"  {reading.what:20}{reading.found}")
        if reading.advice:
            print(f"  {'':20}advice: {reading.advice}")


def _tell_peaks(options: argparse.Namespace) -> None:
    from workbench.runs.peaks import machine_peaks
    from workbench.store import Store
    from workbench.system.machine import check_cores, check_threads

    asked = Experiment(**given(options, OF_PEAKS))
    check_threads(asked.threads)
    check_cores(asked.plan.cores)
    store = Store(options.store or None).prepare()
    found = machine_peaks(store, asked.threads, cores=asked.plan.cores, anew=True)
    held = f", held to cores {asked.cores}" if asked.cores else ""
    print(f"\npeaks with {asked.threads} thread{'s' * (asked.threads > 1)}{held}, kept in the store")
    for peak in (*found.compute, *found.transfer):
        unit = "GB/s" if peak in found.transfer else "10⁹ operations/s"
        print(f"  {peak.what:20}{peak.per_s / 1e9:8.1f} {unit}: {peak.basis}")
    if found.disturbed:
        print(f"  {'':20}advice: other programs kept cores busy meanwhile; end them and measure again")
    for what, why in found.absent.items():
        print(f"  {what:20}not measured: {why}")
