"""Alert rules of Prometheus for a served deployment, made from what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.records import Deployment
from workbench.stats.drift import P_LIMIT

SLOWER, ERRORS, GAP, FEWEST = 2.0, 0.01, 0.1, 100
"""Alerts: the 99th percentile is above so many times the measured one; the share of requests with an error; the largest distance between
the distributions of live and of test samples (that of Kolmogorov and Smirnov, at the deciles), over at least so many samples."""
MORE_CHANGED, ALWAYS_CHANGED = 2.0, 0.01
"""More answers that differ from the source's than so many times the share that was measured, and this share on top."""


@dataclass(frozen=True)
class Windows:
    """Times of monitoring in seconds."""

    rate_s: int = 300  # over which rates and distributions are taken
    hold_s: int = 120  # for which the condition of an alert holds before it fires
    scrape_s: int = 5  # between two readings

    @property
    def interval_s(self) -> int:
        """Between two points of the tests of the rules: five within a window."""
        return max(1, self.rate_s // 5)


def slowest(deployment: Deployment) -> float:
    """The highest percentile that was measured of the slowest batch size, in seconds."""
    return max(max([one.median_s, *one.percentiles_s.values()]) for one in deployment.measured)


def slow_limit(deployment: Deployment, known: dict[str, Any]) -> float:
    """The end of the first bucket that is not below :data:`SLOWER` times the slowest percentile, in seconds.

    Prometheus interpolates inside a bucket, so that a limit inside one would be exceeded by requests that are faster.
    """
    limit = SLOWER * slowest(deployment)
    return min((float(end) for end in known["seconds"] if float(end) >= limit), default=limit)


def rules(deployment: Deployment, known: dict[str, Any], windows: Windows) -> list[dict[str, Any]]:
    """Recording rules for the percentile, the shares of errors and of other answers than the source's, and the distance of each input's
    statistics; and the alerts.
    """
    model, window = f'model="{deployment.name}"', f"{windows.rate_s}s"
    bucket = f"sum by (le, model) (rate(wb_model_seconds_bucket{{{model}}}[{window}]))"
    failed, raised, answered = (
        f"sum by (model) (rate({name}{{{model}{more}}}[{window}]))"
        for name, more in (
            ("nv_inference_request_failure", ', reason!="REJECTED"'),
            ("wb_errors", ', kind="model"'),  # Triton counts an error that the model answers as a success
            ("nv_inference_request_success", ""),
        )
    )
    other, compared = (
        f"sum by (model) (increase(wb_shadow_{kind}{{{model}}}[{window}]))" for kind in ("disagreements", "compared")
    )
    return [
        {"record": "wb:model_seconds:p99", "expr": f"histogram_quantile(0.99, {bucket})"},
        {"record": "wb:errors:share", "expr": f"({failed} + {raised}) / ({failed} + {answered})"},
        {"record": "wb:disagreements:share", "expr": f"{other} / ({compared} >= {FEWEST})"},
        *_gaps(model, known, window),
        *_alerts(deployment, known, f"{windows.hold_s}s"),
    ]


def changed_limit(deployment: Deployment) -> float:
    """The share of answers that may differ from the source's."""
    return MORE_CHANGED * (1 - (1.0 if deployment.agreement is None else deployment.agreement)) + ALWAYS_CHANGED


def _alerts(deployment: Deployment, known: dict[str, Any], hold: str) -> list[dict[str, Any]]:
    model, limit, changed = f'model="{deployment.name}"', slow_limit(deployment, known), changed_limit(deployment)
    effect, p = (f"{name}{{{model}}}" for name in ("wb_drift", "wb_drift_p"))
    found = {
        "WorkbenchDown": ('up{job="triton"} == 0', "the server cannot be reached"),
        "WorkbenchSlow": (
            f"wb:model_seconds:p99{{{model}}} > {limit:.6g}",
            f"p99 in the model is above {limit:.3g} s, twice what was measured",
        ),
        "WorkbenchErrors": (f"wb:errors:share{{{model}}} > {ERRORS}", "more than 1 % of the requests end in an error"),
        "WorkbenchDisagreements": (
            f"wb:disagreements:share{{{model}}} > {changed:.6g}",
            f"more than {changed:.1%} of the answers differ from those of the source in FP32",
        ),
        "WorkbenchInputDrift": (
            f"max by (model, input, statistic) (wb:input:gap{{{model}}}) > {GAP}",
            "the inputs are not distributed as the test samples were",
        ),
        "WorkbenchDrift": (
            f"({effect} >= wb_drift_limit{{{model}}}) and {p} < {P_LIMIT}",
            "recent samples or their answers are not distributed as the test samples and theirs were",
        ),
    }
    return [
        {"alert": name, "expr": expr, "for": hold, "labels": {"severity": "page"}, "annotations": {"summary": text}}
        for name, (expr, text) in found.items()
    ]


def _gaps(model: str, known: dict[str, Any], window: str) -> list[dict[str, Any]]:
    """A rule for each decile: how far the live share of samples up to it is from that of the test samples."""
    found = []
    for name, statistics in known["inputs"].items():
        for kind, each in statistics.items():
            labels = f'{model}, input="{name}"'
            total = f"sum by (model, input) (increase(wb_input_{kind}_count{{{labels}}}[{window}]))"
            for end, share in zip(each["ends"], each["shares"], strict=True):
                below = (
                    f'sum by (model, input) (increase(wb_input_{kind}_bucket{{{labels}, le="{le(end)}"}}[{window}]))'
                )
                expr = f"abs({below} / ({total} >= {FEWEST}) - {share:.6g})"
                found.append({"record": "wb:input:gap", "expr": expr, "labels": {"statistic": kind, "decile": le(end)}})
    return found


def le(end: float) -> str:
    """The label of a bucket as Triton writes it: 16 digits."""
    return f"{end:.16g}"
