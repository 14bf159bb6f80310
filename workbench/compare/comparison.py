"""The results as rows of values, each compared with one baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.accuracy.guard import guarded, same_files
from workbench.accuracy.guard import remarks as guard_remarks
from workbench.compare.advice import budget_held
from workbench.compare.formats import ms
from workbench.compare.pairs import comparison, variant_name
from workbench.compare.remarks import Remark, essential, remarks
from workbench.records import Result, Row, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from workbench.records import Results


def rows(results: Results, baseline: str = "") -> list[dict[str, Any]]:
    """One row per result, in the order of the results; absent values are missing or ``None``.

    Milliseconds are milliseconds, MiB are 2**20 and MB 10**6 bytes, percent is 0 to 100. ``p50 ms``, ``samples/s`` and
    ``speed-up`` have one basis: the typical call of the undisturbed rounds, without waiting for a core
    (:attr:`workbench.records.Timing.median_s`); the speed-up divides the baseline's time by this one's, round by round. A
    percentile is missing where it is not known (:meth:`workbench.records.Timing.no_percentile`). ``agree in`` names the
    output that agrees least, of which ``agree %`` is, where several are compared. ``score``
    and ``loss`` are in the metric's own unit, percent and points for shares; ``budget`` is what the guard says.

    Raises:
        InputError: unknown baseline.
    """
    compared = comparison(results, baseline)
    judged = {id(row.result): row for row in compared.rows}
    refused = dict(compared.refused)
    twins, budget = same_files(results.rows), budget_held(results)
    return [
        _cells(result, judged.get(id(result)), refused.get(result.row, ""), budget, twins) for result in results.rows
    ]


def _cells(result: Result, row: Row | None, refused: str, budget: str, twins: dict[str, str]) -> dict[str, Any]:
    guards = guard_remarks(result, budget, twins.get(result.spec.label, ""))
    notes = (*remarks(result, row, refused), *(Remark(text) for text in guards if text))
    cells: dict[str, Any] = {
        "variant": result.spec.label,
        "batch": result.batch,
        "device": result.device,
        "status": str(result.status),
        "asked": result.spec.asked,
        "verdict": str(row.verdict) if row else "",
        "agree in": "",
        "built": "",
        "note": "; ".join(each.text for each in notes),
        "notes": notes,
        "essential": "; ".join([*essential(result, row, refused, counters=False), *guards]),
        **guarded(result, budget),
        "ended": "",
    }
    if timing := result.timing:
        cells |= {f"p{percent} ms": ms(timing.percentile_s(percent)) for percent in (50, 90, 95, 99)}
        cells |= {"queries/s": timing.queries_per_s, "samples/s": timing.samples_per_s}
        cells["peak MiB"] = timing.peak_rss_bytes / 2**20
        cells |= {"launches": len(timing.launches) or 1, "ended": timing.ended.text, "outliers": timing.outliers}
    if result.load and (best := result.load.best):
        cells |= {"load samples/s": best.queries_per_s * result.batch, "callers": best.concurrency}
    if row:
        cells |= {"speed-up": row.speedup, "low": row.low, "high": row.high}
    if engine := result.engine:
        cells |= {"built": engine.realized.label, "engine MB": engine.size_bytes / 1e6, "build s": engine.build_s}
    if score := result.accuracy:
        cells |= {"agree %": score.agreement * 100, "agree in": score.agreement_output * (len(score.agreements) > 1)}
        top_1 = score.metric == "top-1"
        if score.value is not None and score.low is not None and score.high is not None and top_1:
            cells |= {"top-1 %": score.value * 100, "acc low": score.low * 100, "acc high": score.high * 100}
        if score.p_value is not None:
            cells |= {"fixed": score.fixed, "broken": score.broken}
    return cells


def not_possible(rows: Iterable[Result]) -> dict[str, list[str]]:
    """The variants that cannot be built here, by reason."""
    known = list(rows)
    found = _by_reason(row for row in known if row.status == Status.UNSUPPORTED)
    every: dict[str, set[str]] = {}
    for row in known:
        every.setdefault(row.spec.address, set()).add(variant_name(row.spec))
    return {why: _shortened(labels, every) for why, labels in found.items()}


def _shortened(labels: Sequence[str], every: Mapping[str, Collection[str]]) -> list[str]:
    """Variants by name; a backend of which all are named stands for them (``litert`` for ``litert fp32`` and ``litert int8``)."""
    whole = {
        label: address
        for address, names in every.items()
        if len(names) > 1 and set(names) <= set(labels)
        for label in names
    }
    return list(dict.fromkeys(whole.get(label, label) for label in labels))


def not_built(rows: Iterable[Result]) -> dict[str, list[str]]:
    """The variants that were not built because the time was up, by reason."""
    return _by_reason(row for row in rows if row.left_out)


def _by_reason(rows: Iterable[Result]) -> dict[str, list[str]]:
    reasons: dict[str, dict[str, None]] = {}
    for row in rows:
        why = row.failure.message if row.failure else "no reason was given"
        reasons.setdefault(why, {})[variant_name(row.spec)] = None
    return {why: list(labels) for why, labels in sorted(reasons.items())}
