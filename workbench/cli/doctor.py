"""The command ``doctor``: what is installed, which backends are ready, and whether the machine is fit for measuring."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from typing import Any

from workbench import __version__
from workbench.cli.answer import Answer, Exit
from workbench.errors import StoreError
from workbench.records import Progress
from workbench.report import document
from workbench.settings.experiment import Experiment
from workbench.settings.options import add_run_settings, add_settings, given
from workbench.store import Store
from workbench.system.progress import ProgressBar

LOG = logging.getLogger(__name__)
OF_PEAKS = ("threads", "cores")
PACKAGES = (
    "keras", "tf2onnx", "onnx", "mlcommons-loadgen", "pycuda", "cuda-bindings", "nvidia-ml-py", "jupyterlab", "ipywidgets",
    "matplotlib", "pandas", "papermill",
)  # fmt: skip
"""Shown besides those of the backends."""
HELP = "what is installed, which backends are ready, and how to fix the rest"


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--peaks", action="store_true", help="measure again what this machine can do at most")
    add_run_settings(parser, "store")
    add_settings(parser, OF_PEAKS, prefix="for --peaks: ")


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """What was found; status 1 where the store cannot be written or no backend is ready."""
    from workbench.backends.states import libraries, problems, states
    from workbench.system.doctor import readings
    from workbench.system.machine import this_machine, version_of

    found: dict[str, Any] = {
        "workbench": __version__,
        "machine": document.machine(this_machine()),
        "store": _store(options.store),
        "packages": {name: version_of(name) for name in (*libraries(), *PACKAGES)},
        "problems": [{"reason": each.reason, "fix": each.fix} for each in problems()],
        "backends": [
            {
                "backend": name,
                "title": title,
                "ready": bool(able),
                "not_run": not_run,
                "reason": able.reason,
                "fix": able.fix,
            }
            for name, title, able, not_run in states()
        ],
        "readings": [{"what": each.what, "found": each.state, "advice": each.advice} for each in readings()],
        "peaks": None,
    }
    if options.peaks:
        bar.update(Progress("measure the peaks of this machine"))
        found["peaks"] = _peaks(options)
    healthy = found["store"]["writable"] and any(backend["ready"] for backend in found["backends"])
    return Answer("\n".join(_text(found)), found, Exit.OK if healthy else Exit.FAILED)


def _store(place: str) -> dict[str, Any]:
    try:
        store = Store(place or None).prepare()
    except StoreError as error:
        return {"path": None, "writable": False, "remark": error.message}
    return {"path": str(store.root), "writable": True, "remark": store.remark}


def _peaks(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.runs.peaks import machine_peaks
    from workbench.system.machine import check_cores, check_threads

    asked = Experiment(**given(options, OF_PEAKS))
    check_threads(asked.threads)
    check_cores(asked.plan.cores)
    store = Store(options.store or None).prepare()
    found = machine_peaks(store, asked.threads, cores=asked.plan.cores, again=True, say=LOG.info)
    kinds = (("operations", found.compute), ("bytes", found.transfer))
    return {
        "threads": asked.threads,
        "cores": asked.cores,
        "peaks": [
            {"what": peak.what, "unit": unit, "per_s": peak.per_s, "basis": peak.basis}
            for unit, peaks in kinds
            for peak in peaks
        ],
        "disturbed": found.disturbed,
        "not_measured": dict(found.absent),
    }


def _text(facts: dict[str, Any]) -> Iterator[str]:
    from workbench.system.machine import this_machine

    machine, store = this_machine(), facts["store"]
    yield f"machine       {machine.label}"
    yield f"              {' '.join(machine.instructions) or 'no vector extension known'}"
    yield f"python        {machine.python}\nworkbench     {facts['workbench']}"
    yield f"store         {store['path']} (writable)" if store["writable"] else f"store         {store['remark']}"
    if store["writable"] and store["remark"]:
        yield f"              {store['remark']}"
    yield "\npackages"
    yield from (f"  {name:20}{version or '–'}" for name, version in facts["packages"].items())
    for problem in facts["problems"]:
        yield f"  {problem['reason']}"
        yield f"  fix: {problem['fix']}"
    yield "\nbackends"
    for backend in facts["backends"]:
        ready = f"builds only: {backend['not_run']}" if backend["not_run"] else "ready"
        yield f"  {backend['title']:19} {ready if backend['ready'] else 'not ready: ' + backend['reason']}"
        if not backend["ready"] and backend["fix"]:
            yield f"  {'':20}fix: {backend['fix']}"
    yield "\nmeasuring here"
    for reading in facts["readings"]:
        yield f"  {reading['what']:20}{reading['found']}"
        if reading["advice"]:
            yield f"  {'':20}advice: {reading['advice']}"
    if facts["peaks"]:
        yield from _peaks_text(facts["peaks"])


def _peaks_text(facts: dict[str, Any]) -> Iterator[str]:
    held = f", held to cores {facts['cores']}" if facts["cores"] else ""
    yield f"\npeaks with {facts['threads']} thread{'s' * (facts['threads'] > 1)}{held}, kept in the store"
    for peak in facts["peaks"]:
        unit = "GB/s" if peak["unit"] == "bytes" else "10⁹ operations/s"
        yield f"  {peak['what']:20}{peak['per_s'] / 1e9:8.1f} {unit}: {peak['basis']}"
    if facts["disturbed"]:
        yield f"  {'':20}advice: other programs kept cores busy; end them and measure again"
    for what, why in facts["not_measured"].items():
        yield f"  {what:20}not measured: {why}"
