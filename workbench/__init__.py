"""Build inference engines from a trained model, measure them side by side, and say which is really faster."""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from workbench.system import telemetry

logging.getLogger(__name__).addHandler(logging.NullHandler())  # messages are shown where the program asks for them
telemetry.turn_off()  # before any other library is imported

__version__ = "0.1.0"

if TYPE_CHECKING:
    from workbench.accuracy.metrics import Metric as Metric
    from workbench.cluster.running import run_on_cluster as run_on_cluster
    from workbench.compare.layer_table import layers as layers
    from workbench.display.across_table import compare_runs as compare_runs
    from workbench.display.table import Table as Table
    from workbench.errors import WorkbenchError as WorkbenchError
    from workbench.gating.gate import gate as gate
    from workbench.panel.panel import Panel as Panel
    from workbench.panel.show import show as show
    from workbench.records import Result as Result
    from workbench.records import Results as Results
    from workbench.report.embedded import read as read
    from workbench.runs.archive import history as history
    from workbench.runs.open_run import open_run as open_run
    from workbench.runs.pipeline import run as run
    from workbench.runs.sources import open_model as open_model
    from workbench.runs.travel import export_run as export_run
    from workbench.runs.travel import import_run as import_run
    from workbench.search.mixed_precision.questions import layer_sensitivity as layer_sensitivity
    from workbench.search.mixed_precision.questions import mixed_precision as mixed_precision
    from workbench.search.mixed_precision.questions import rewritten as rewritten
    from workbench.search.mixed_precision.questions import value_ranges as value_ranges
    from workbench.search.under_limits.find import find_best as find_best
    from workbench.settings.experiment import Experiment as Experiment
    from workbench.store import Store as Store
    from workbench.system.progress import ProgressBar as ProgressBar

_HOMES = {
    "Experiment": "settings.experiment",
    "Metric": "accuracy.metrics",
    "Panel": "panel.panel",
    "Result": "records",
    "Results": "records",
    "Store": "store",
    "Table": "display.table",
    "ProgressBar": "system.progress",
    "WorkbenchError": "errors",
    "compare_runs": "display.across_table",
    "export_run": "runs.travel",
    "find_best": "search.under_limits.find",
    "gate": "gating.gate",
    "history": "runs.archive",
    "import_run": "runs.travel",
    "layer_sensitivity": "search.mixed_precision.questions",
    "layers": "compare.layer_table",
    "mixed_precision": "search.mixed_precision.questions",
    "open_model": "runs.sources",
    "open_run": "runs.open_run",
    "read": "report.embedded",
    "rewritten": "search.mixed_precision.questions",
    "run": "runs.pipeline",
    "run_on_cluster": "cluster.running",
    "show": "panel.show",
    "value_ranges": "search.mixed_precision.questions",
}

__all__ = [*_HOMES]  # noqa: PLE0604 - the names are the table's keys


def __getattr__(name: str) -> Any:
    """Load a public name from its module at first use, so that ``import workbench`` costs nothing (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'workbench' has no attribute '{name}'; it has: {', '.join(sorted(_HOMES))}")
    value = getattr(importlib.import_module(f"workbench.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
