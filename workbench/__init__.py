"""Build inference engines from a trained model, measure them side by side, and say which is really faster."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from workbench.accuracy.metrics import Metric as Metric
    from workbench.compare.across import compare_runs as compare_runs
    from workbench.compare.comparison import table as table
    from workbench.compare.cost_table import costs as costs
    from workbench.compare.fairness import settings as settings
    from workbench.compare.layer_table import layers as layers
    from workbench.compare.loss_table import losses as losses
    from workbench.compare.pairs import comparison as comparison
    from workbench.compare.three_clocks import clocks as clocks
    from workbench.compare.why import why_not_faster as why_not_faster
    from workbench.errors import WorkbenchError as WorkbenchError
    from workbench.experiment import Experiment as Experiment
    from workbench.panel.panel import Panel as Panel
    from workbench.panel.show import show as show
    from workbench.pipeline import run as run
    from workbench.plots.figures import figures as figures
    from workbench.runs.archive import history as history
    from workbench.runs.sources import open_model as open_model
    from workbench.study import layer_sensitivity as layer_sensitivity
    from workbench.study import mixed_precision as mixed_precision
    from workbench.study import rewritten as rewritten
    from workbench.study import value_ranges as value_ranges

_HOMES = {
    "Experiment": "experiment",
    "Metric": "accuracy.metrics",
    "Panel": "panel.panel",
    "WorkbenchError": "errors",
    "clocks": "compare.three_clocks",
    "compare_runs": "compare.across",
    "comparison": "compare.pairs",
    "costs": "compare.cost_table",
    "figures": "plots.figures",
    "history": "runs.archive",
    "layer_sensitivity": "study",
    "layers": "compare.layer_table",
    "losses": "compare.loss_table",
    "mixed_precision": "study",
    "open_model": "runs.sources",
    "rewritten": "study",
    "run": "pipeline",
    "settings": "compare.fairness",
    "show": "panel.show",
    "table": "compare.comparison",
    "value_ranges": "study",
    "why_not_faster": "compare.why",
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
