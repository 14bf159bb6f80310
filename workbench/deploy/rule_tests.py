"""Tests of the alert rules for ``promtool``: ordinary traffic raises no alert, and each fault raises its own."""

from __future__ import annotations

from typing import Any

from workbench.deploy.rules import Windows, changed_limit, le, rules, slowest
from workbench.records import Deployment

STEPS = 15
"""Intervals after which the alerts are looked at."""
PER_STEP = 1000
"""Requests with one sample each between two points."""
ROUNDED = 1.01
"""Ends of buckets have three digits."""


def tests(deployment: Deployment, known: dict[str, Any], windows: Windows, file: str) -> dict[str, Any]:
    """The content of the file of tests for ``promtool test rules``; ``file`` is that of the rules."""
    kinds = (("ordinary", False), ("faulty", True))
    return {
        "rule_files": [file],
        "evaluation_interval": f"{windows.interval_s}s",
        "tests": [
            {
                "name": name,
                "interval": f"{windows.interval_s}s",
                "input_series": _series(deployment, known, faulty=faulty),
                "alert_rule_test": _looks(deployment, known, windows, faulty=faulty),
            }
            for name, faulty in kinds
        ],
    }


def _looks(deployment: Deployment, known: dict[str, Any], windows: Windows, *, faulty: bool) -> list[dict[str, Any]]:
    base = {"severity": "page", "model": deployment.name}
    drifted = [{**base, "input": name, "statistic": kind} for name, each in known["inputs"].items() for kind in each]
    labels = {
        "WorkbenchDown": [{"severity": "page", "job": "triton"}],
        "WorkbenchSlow": [base],
        "WorkbenchErrors": [base],
        "WorkbenchDisagreements": [base],
        "WorkbenchInputDrift": drifted,
        "WorkbenchDrift": [{**base, "signal": "domain", "feature": "x"}],
    }
    texts = {rule["alert"]: rule["annotations"] for rule in rules(deployment, known, windows) if "alert" in rule}
    return [
        {
            "eval_time": f"{STEPS * windows.interval_s}s",
            "alertname": name,
            "exp_alerts": [{"exp_labels": each, "exp_annotations": texts[name]} for each in found] if faulty else [],
        }
        for name, found in labels.items()
    ]


def _series(deployment: Deployment, known: dict[str, Any], *, faulty: bool) -> list[dict[str, str]]:
    model = f'model="{deployment.name}"'
    counters = {
        f'nv_inference_request_failure{{{model}, reason="BACKEND"}}': 0,
        f'wb_errors{{{model}, kind="model"}}': PER_STEP * 3 // 100 if faulty else 0,
        f"nv_inference_request_success{{{model}}}": PER_STEP,
        f"wb_shadow_compared{{{model}}}": PER_STEP,
        f"wb_shadow_disagreements{{{model}}}": PER_STEP if faulty else int(changed_limit(deployment) * PER_STEP / 2),
        f"wb_model_seconds_count{{{model}}}": PER_STEP,
        f'wb_model_seconds_bucket{{{model}, le="+Inf"}}': PER_STEP,
    }
    for end in known["seconds"]:
        quick = end * ROUNDED >= slowest(deployment) and not faulty
        counters[f'wb_model_seconds_bucket{{{model}, le="{le(end)}"}}'] = PER_STEP if quick else 0
    for name, statistics in known["inputs"].items():
        for kind, each in statistics.items():
            labels = f'{model}, input="{name}"'
            counters[f"wb_input_{kind}_count{{{labels}}}"] = PER_STEP
            for end, share in zip(each["ends"], each["shares"], strict=True):
                below = 0 if faulty else round(share * PER_STEP)
                counters[f'wb_input_{kind}_bucket{{{labels}, le="{le(end)}"}}'] = below
    labels = f'{model}, signal="domain", feature="x"'
    gauges = {
        'up{job="triton"}': 0.0 if faulty else 1.0,
        f"wb_drift{{{labels}}}": 0.9 if faulty else 0.6,
        f"wb_drift_p{{{labels}}}": 1e-6,
        f"wb_drift_limit{{{labels}}}": 0.7,
    }
    found = [{"series": series, "values": f"0+{step}x{STEPS + 5}"} for series, step in counters.items()]
    return found + [{"series": series, "values": f"{value}x{STEPS + 5}"} for series, value in gauges.items()]
