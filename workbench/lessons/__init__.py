"""Functions that the lessons use besides the public names of the package: ``from workbench.lessons import check``.

Some belong to other packages and are seldom needed by users of the workbench, and some are helpers for lessons only. A lesson
imports nothing else from the workbench.
"""

from workbench.accuracy.guard import judgement
from workbench.compare.advice import advice
from workbench.compare.comparison import not_possible
from workbench.compare.layer_view import transitions
from workbench.data.dataset import digits
from workbench.deploy.folder import deploy
from workbench.display.plots.layers import layer_figure, pair_figure
from workbench.display.plots.numbers import noise_figure, ranges_figure, sizes_data, sizes_figure, steps_figure
from workbench.display.served_table import served_tables
from workbench.display.why import Explanations
from workbench.export.divergence import onnx_values
from workbench.lessons.helpers import check, profile, readiness, verdict
from workbench.lessons.recorded import converted, recorded_run, row_of
from workbench.lessons.scales import scales
from workbench.lessons.sensitivity import sensitivity_figure
from workbench.lessons.serving import drift_table, traffic
from workbench.precision.calibration import ranges_of
from workbench.records import LoadPlan
from workbench.runs.layer_pass import can_profile
from workbench.search.mixed_precision.answers import table as damage_table
from workbench.serving.canary import Policy, canary
from workbench.serving.drift import compared
from workbench.serving.drift import reference as drift_reference
from workbench.serving.loadtest import LoadRequest, loadtest
from workbench.serving.server import served
from workbench.serving.watch import Watch, disagreements, window

__all__ = [
    "Explanations",
    "LoadPlan",
    "LoadRequest",
    "Policy",
    "Watch",
    "advice",
    "can_profile",
    "canary",
    "check",
    "compared",
    "converted",
    "damage_table",
    "deploy",
    "digits",
    "disagreements",
    "drift_reference",
    "drift_table",
    "judgement",
    "layer_figure",
    "loadtest",
    "noise_figure",
    "not_possible",
    "onnx_values",
    "pair_figure",
    "profile",
    "ranges_figure",
    "ranges_of",
    "readiness",
    "recorded_run",
    "row_of",
    "scales",
    "sensitivity_figure",
    "served",
    "served_tables",
    "sizes_data",
    "sizes_figure",
    "steps_figure",
    "traffic",
    "transitions",
    "verdict",
    "window",
]
