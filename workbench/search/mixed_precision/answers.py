"""Answers about precision as tables and as files that an experiment takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import writing
from workbench.search.mixed_precision.records import Repair
from workbench.search.mixed_precision.sensitivity import ALONE, Sensitivity

if TYPE_CHECKING:
    import pandas as pd


def save_keep(repair: Repair, path: Path) -> None:
    """Write a repair as JSON that people can read, and that ``Experiment.keep`` takes by its name: nodes that stay in FP32."""
    text = {
        "keep": list(repair.keep),
        "found": repair.best.summary if repair.best else repair.why,
        "metric": repair.metric,
        "fp32": repair.fp32_quality,
        "budget": repair.budget,
        "backend": repair.backend,
        "tried": [each.summary for each in repair.tried],
    }
    path = Path(path).expanduser()
    with writing(path):
        path.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def table(sensitivity: Sensitivity, way: str = ALONE) -> pd.DataFrame:
    """Layers by damage, the worst first: SQNR of the outputs in dB (empty where nothing changed), quality and what it lost."""
    import pandas as pd

    rows = [
        {
            "layer": each.what,
            "type": each.op,
            "depth": each.depth,
            "SQNR dB": each.sqnr_db,
            sensitivity.metric: each.quality,
            "lost": each.lost,
            "weights": each.weight_elements,
        }
        for each in sensitivity.ranked(way)
    ]
    return pd.DataFrame(rows)
