"""Many results against one baseline: which pairs may be compared, and the ratio, interval and verdict of each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.errors import InputError
from workbench.measure.verdict import Judged, center, evidence, judged, over_builds
from workbench.records import Comparison, Result, Row, Verdict

if TYPE_CHECKING:
    from workbench.records import EngineSpec, Results, Timing

DRIFTED = (
    "the speed of the machine changed during the measurement, so that the medians over all rounds contradict the speed-up; the speed-up, which "
    "compares the two round by round, is right"
)


def variant_name(spec: EngineSpec) -> str:
    """The variant's label without the batch that fixed shapes add: what two batches of one variant share."""
    return replace(spec, batch=None).label


def plain_name(results: Results, label: str) -> str:
    """The variant's name for a label that may carry the batch of fixed shapes; of several builds the first one's."""
    names = {row.spec.label: variant_name(row.spec) for row in results.rows}
    builds = (variant_name(row.spec) for row in results.rows if row.spec.variant == label)
    return names.get(label) or next(builds, label)


def variant_of(results: Results, label: str) -> str:
    """The variant that a label names, which may carry the batch of fixed shapes and the number of a build."""
    names = {name: row.spec.variant for row in results.rows for name in (row.spec.label, variant_name(row.spec))}
    return names.get(label, label)


def comparison(results: Results, baseline: str = "") -> Comparison:
    """Every measured row against the baseline's row with the same batch, paired by round.

    Where variants were built several times, every row of a variant has the verdict of the variant, over its builds. A row that must not be compared stands in ``refused`` instead of ``rows``. Where the results' own baseline was
    planned but gave no timing, every row says "cannot tell" and why.

    Raises:
        InputError: no row of that name was measured; the message lists those that were.
    """
    name = _baseline_name(results, baseline)
    baselines: dict[int, list[Result]] = {}
    for row in results.measured:
        if row.spec.variant == name:
            baselines.setdefault(row.batch, []).append(row)
    anchors = {batch: rows[0] for batch, rows in baselines.items()}
    words: dict[str, Row] = {}
    for batch, anchor in anchors.items():
        pairs = [_in_turn(row, anchor) for row in results.measured if row.batch == batch and row is not anchor]
        pairs = [pair for pair in pairs if not _mismatch(*pair)]
        words |= _judged_builds(pairs, name) if anchor.spec.build else _judged(pairs)
    rows, refused = [], []
    for result in results.measured:
        base = anchors.get(result.batch)
        if base is None:
            why = _missing_baseline(results, name, result.batch)
            rows.append(Row(result, Verdict.CANNOT_TELL, why=why))
        elif result.spec.variant == name:
            rows.append(Row(result, Verdict.BASELINE, speedup=1.0))
        elif reason := _mismatch(*_in_turn(result, base)):
            refused.append((result.row, reason))
        else:
            across = base.device if base.device != result.device else ""
            rows.append(replace(words[result.row], result=result, across=across))
    return Comparison(baseline=name, rows=tuple(rows), refused=tuple(refused))


def _baseline_name(results: Results, asked: str) -> str:
    wanted = asked or results.baseline
    name = variant_of(results, wanted)
    measured = list(dict.fromkeys(row.spec.variant for row in results.measured))
    planned = any(row.spec.variant == name for row in results.rows)
    # the experiment's own baseline may have failed: the other rows are still worth a table
    if name in measured or not measured or (planned and not asked):
        return name
    found = "it was not measured" if planned else "there is no such variant"
    raise InputError(f"Cannot compare with the baseline '{wanted}': {found}. Choose from: {', '.join(measured)}.")


def _missing_baseline(results: Results, name: str, batch: int) -> str:
    for row in results.rows:
        if row.spec.variant == name and row.batch == batch and row.failure:
            return f"the baseline {name} failed at batch {batch}: {row.failure.message}"
    return f"the baseline {name} was not measured at batch {batch}"


def _in_turn(result: Result, anchor: Result) -> tuple[Result, Result]:
    """Both with those of their timings that took turns with each other, where there are such: the baseline of an experiment
    has one for every cohort.
    """
    ours, theirs = ({timing.group: timing for timing in (_timing(row), *row.also)} for row in (result, anchor))
    shared = [group for group in ours if group in theirs]
    if not shared:
        return result, anchor
    return replace(result, timing=ours[shared[0]]), replace(anchor, timing=theirs[shared[0]])


def _mismatch(result: Result, anchor: Result) -> str:
    """Why these two must not be compared, naming the key and both values; ``""`` where they may."""
    ours, theirs = _timing(result), _timing(anchor)
    for key in ("group", "region", "batch", "protocol"):
        mine, base = getattr(ours, key), getattr(theirs, key)
        if mine != base:
            hint = " (not measured in turn with each other)" if key == "group" else ""
            return f"{key} differs: '{mine}' here, '{base}' for the baseline{hint}"
    if result.worker and anchor.worker and result.worker.fingerprint != anchor.worker.fingerprint:
        return f"the machine differs: {result.worker.label} here, {anchor.worker.label} for the baseline"
    return ""


def _judged(pairs: list[tuple[Result, Result]]) -> dict[str, Row]:
    """By row: the verdicts of all that are compared with one baseline, which are taken together."""
    found = [evidence(_timing(row), _timing(anchor)) for row, anchor in pairs]
    rows = {}
    for (row, anchor), facts, one in zip(pairs, found, judged(found), strict=True):
        settled = facts.kept and one.verdict != Verdict.CANNOT_TELL  # for CANNOT_TELL the reason contains it
        notes = [f"other programs kept the machine busy in {facts.spoiled} of {facts.shared} rounds"] if settled else []
        notes += [DRIFTED] if _medians_disagree(one.verdict, _timing(row), _timing(anchor)) else []
        rows[row.row] = Row(row, one.verdict, one.speedup, one.low, one.high, one.why, note="; ".join(notes))
    return rows


def _judged_builds(pairs: list[tuple[Result, Result]], baseline: str) -> dict[str, Row]:
    """By row: the verdict of its variant, over the builds of both sides. ``pairs`` are all rows but one of the baseline's, each with that one."""
    centers: dict[str, list[float]] = {baseline: [0.0]}
    for row, anchor in pairs:
        if (found := center(evidence(_timing(row), _timing(anchor)))) is not None:
            centers.setdefault(row.spec.variant, []).append(found)
    theirs = centers.pop(baseline)
    verdicts = judged([over_builds(ours, theirs) for ours in centers.values()])
    by_variant = {
        name: (one, f"the verdict is over {min(len(ours), len(theirs))} builds")
        for (name, ours), one in zip(centers.items(), verdicts, strict=True)
    }
    nothing = (Judged(Verdict.CANNOT_TELL, why="no round of it can be used"), "")
    rows = {}
    for row, _ in pairs:
        one, note = by_variant.get(row.spec.variant, nothing)
        rows[row.row] = Row(row, one.verdict, one.speedup, one.low, one.high, one.why, note="" if one.why else note)
    return rows


def _medians_disagree(verdict: Verdict, ours: Timing, theirs: Timing) -> bool:
    """Whether the two medians, taken over all rounds of each, are the other way round than the verdict, taken round by round."""
    return (verdict == Verdict.FASTER and ours.median_s >= theirs.median_s) or (
        verdict == Verdict.SLOWER and ours.median_s <= theirs.median_s
    )


def _timing(result: Result) -> Timing:
    assert result.timing is not None
    return result.timing
