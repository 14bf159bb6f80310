"""Build inference engines from a trained model, measure them side by side, and say which is really faster."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from workbench.across import compare_runs as compare_runs
    from workbench.archive import history as history
    from workbench.compare import comparison as comparison
    from workbench.compare import table as table
    from workbench.cost_table import costs as costs
    from workbench.errors import WorkbenchError as WorkbenchError
    from workbench.experiment import Experiment as Experiment
    from workbench.fairness import settings as settings
    from workbench.layer_table import layers as layers
    from workbench.metrics import Metric as Metric
    from workbench.panel import Panel as Panel
    from workbench.panel_show import show as show
    from workbench.pipeline import run as run
    from workbench.plots import figures as figures
    from workbench.sources import open_model as open_model
    from workbench.study import layer_sensitivity as layer_sensitivity
    from workbench.study import mixed_precision as mixed_precision
    from workbench.study import rewritten as rewritten
    from workbench.study import value_ranges as value_ranges
    from workbench.three_clocks import clocks as clocks
    from workbench.why import why_not_faster as why_not_faster

_HOMES = {
    "Experiment": "experiment",
    "Metric": "metrics",
    "Panel": "panel",
    "WorkbenchError": "errors",
    "clocks": "three_clocks",
    "compare_runs": "across",
    "comparison": "compare",
    "costs": "cost_table",
    "figures": "plots",
    "history": "archive",
    "layer_sensitivity": "study",
    "layers": "layer_table",
    "mixed_precision": "study",
    "open_model": "sources",
    "rewritten": "study",
    "run": "pipeline",
    "settings": "fairness",
    "show": "panel_show",
    "table": "compare",
    "value_ranges": "study",
    "why_not_faster": "why",
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
