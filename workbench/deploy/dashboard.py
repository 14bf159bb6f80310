"""The panels of monitoring: one table for Grafana's dashboard and for the figures in JupyterLab."""

from __future__ import annotations

from typing import Any, NamedTuple

SCHEMA = 39
"""Version of the JSON of dashboards, that of Grafana 10.3 and later."""
WIDTH, HEIGHT = 12, 8
SOURCE = {"type": "prometheus", "uid": "${source}"}


class Series(NamedTuple):
    """One expression, and the name of its lines with labels in braces."""

    expr: str
    legend: str


class DashboardPanel(NamedTuple):
    """One graph."""

    title: str
    unit: str  # as Grafana names it
    series: tuple[Series, ...]


def panels(name: str, rate_s: int) -> tuple[DashboardPanel, ...]:
    """The graphs of a deployment; ``name`` is that of its model on the server."""
    model, window = f'model="{name}"', f"[{rate_s}s]"
    bucket = f"sum by (le) (rate(wb_model_seconds_bucket{{{model}}}{window}))"
    quantiles = [(f"histogram_quantile({share}, {bucket})", f"p{share * 100:g}") for share in (0.5, 0.9, 0.99)]
    answered = f"sum(rate(nv_inference_request_success{{{model}}}{window}))"
    raised = f'sum(rate(wb_errors{{{model}, kind="model"}}{window}))'  # Triton counts them as successes
    classes = f"wb_predictions{{{model}}}{window}"
    made: dict[tuple[str, str], list[tuple[str, str]]] = {
        ("Seconds of a request in the model", "s"): quantiles,
        ("Requests", "reqps"): [
            (f"{answered} - {raised}", "answered"),
            (raised, "error in the model"),
            (f"sum by (reason) (rate(nv_inference_request_failure{{{model}}}{window}))", "{{reason}}"),
        ],
        ("Share of errors", "percentunit"): [(f"wb:errors:share{{{model}}}", "errors")],
        ("Queue", "s"): [
            (f"sum(rate(nv_inference_queue_duration_us{{{model}}}{window})) / 1e6 / {answered}", "mean wait")
        ],
        ("Other answers than the source's", "percentunit"): [(f"wb:disagreements:share{{{model}}}", "other answers")],
        ("Comparisons with the source", "reqps"): [
            (f"sum(rate(wb_shadow_{kind}{{{model}}}{window}))", kind) for kind in ("compared", "dropped", "failed")
        ],
        ("Distance of the inputs' statistics", "none"): [
            (f"max by (input, statistic) (wb:input:gap{{{model}}})", "{{input}} {{statistic}}")
        ],
        ("Drift of recent samples", "none"): [(f"wb_drift{{{model}}}", "{{signal}} {{feature}}")],
        ("Predicted classes", "percentunit"): [
            (f"topk(10, sum by (class) (rate({classes})) / scalar(sum(rate({classes}))))", "{{class}}")
        ],
        ("Alerts", "none"): [('count by (alertname) (ALERTS{alertstate="firing"})', "{{alertname}}")],
    }
    return tuple(
        DashboardPanel(title, unit, tuple(Series(*each) for each in series)) for (title, unit), series in made.items()
    )


def dashboard(name: str, rate_s: int) -> dict[str, Any]:
    """The dashboard as Grafana imports it; it asks for the source of data."""
    graphs = []
    for place, panel in enumerate(panels(name, rate_s)):
        where = {"h": HEIGHT, "w": WIDTH, "x": WIDTH * (place % 2), "y": HEIGHT * (place // 2)}
        targets = [
            {"refId": chr(ord("A") + number), "expr": each.expr, "legendFormat": each.legend, "datasource": SOURCE}
            for number, each in enumerate(panel.series)
        ]
        graphs.append({
            "id": place + 1, "type": "timeseries", "title": panel.title, "gridPos": where, "datasource": SOURCE,
            "targets": targets, "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        })  # fmt: skip
    source = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "title": f"Inference: {name}",
        "schemaVersion": SCHEMA,
        "tags": ["inference-workbench"],
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [source]},
        "panels": graphs,
    }
