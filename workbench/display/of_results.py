"""What the methods of :class:`workbench.records.Results` call: the one door from the records to what shows them."""

from __future__ import annotations

from workbench.compare.headline import Headline, headlines
from workbench.compare.pairs import comparison as compare
from workbench.display.layer_tables import layers
from workbench.display.load_tables import load_tables as load
from workbench.display.plots.figures import figures
from workbench.display.results_table import results_table as table
from workbench.display.table import Table
from workbench.display.tables import builds, clocks, costs, losses, settings
from workbench.display.why import Explanations, why_not_faster

__all__ = [
    "Explanations", "Headline", "Table", "builds", "clocks", "compare", "costs", "figures", "headlines", "layers", "load", "losses",
    "settings", "table", "why_not_faster",
]  # fmt: skip
