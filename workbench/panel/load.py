"""The panel's controls for measuring under load."""

from __future__ import annotations

from typing import Any

from workbench.experiment import SCENARIOS, Experiment
from workbench.panel import widgets
from workbench.panel.fields import field


def controls(experiment: Experiment) -> dict[str, Any]:
    """One control per field of the experiment, under the field's name."""
    return {
        "concurrency": field(
            widgets.Text,
            "Callers at once",
            "Who call one engine at the same time, each again as soon as answered; whole numbers with commas, such as 1,2,4",
            ",".join(map(str, experiment.concurrency)),
        ),
        "rate": field(
            widgets.Text,
            "Rate (queries/s)",
            "Queries arrive at random times with this mean rate; several with commas, or auto: the highest that holds the limit",
            experiment.rate,
            continuous_update=False,
            placeholder="off; such as 50,100 or auto",
        ),
        "latency_limit_ms": field(
            widgets.FloatText,
            "Latency limit (ms)",
            "From a query's arrival to its answer, waiting included; it has to hold at a rate",
            experiment.latency_limit_ms,
        ),
        "latency_percentile": field(
            widgets.FloatText,
            "Percentile in the limit",
            "Which percentile of latency has to be within the limit: 99 lets one query of a hundred be late",
            experiment.latency_percentile,
        ),
        "loadgen_s": field(
            widgets.FloatText,
            "LoadGen (s)",
            "Seconds that MLPerf LoadGen runs per variant and batch, at least; MLPerf's rules ask for 600",
            experiment.loadgen_s,
        ),
        "loadgen_queries": field(
            widgets.IntText,
            "LoadGen queries",
            "Queries that MLPerf LoadGen sends at least; 0: 100, and 1000 for mlperf-server",
            experiment.loadgen_queries,
        ),
    }


def without_effect(experiment: Experiment) -> dict[str, str]:
    """Why a control has no effect now, by its name; "" where it has one."""
    rated = "" if experiment.rate else "no effect without a rate"
    driven = "" if experiment.protocol in SCENARIOS else "no effect without a protocol of MLPerf"
    return {"latency_limit_ms": rated, "latency_percentile": rated, "loadgen_s": driven, "loadgen_queries": driven}
