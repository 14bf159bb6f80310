"""Conformance results as text: a summary for the terminal, and the page ``docs/conformance.md``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from workbench.conformance.outcomes import CaseOutcome, CaseVerdict, Conformance

WORST = 12
"""The most wrong cases that a summary lists."""

COLUMNS = {verdict: str(verdict) for verdict in CaseVerdict} | {CaseVerdict.BUILT: "built, not run"}

HEAD = """# Conformance of engines to ONNX's definition

The package `onnx` contains small models of single operators with inputs and the outputs that ONNX defines for them.
`workbench conformance` runs them with each backend like any other model: read, prepare, build, open, run, compare. It also writes this
page (`--page`) from the results that come with the workbench. `inspect` and the report use the same results: they warn if a model uses
an operator that a library, in the installed version, computes differently.

In the cases everything is an input, including axes, sizes and repeats, which models hold as constants. Each case with small further
inputs therefore runs a second time **with constants** in their place.

**right**: within the tolerance of the case (usually 1e-3 relative and 1e-7 absolute; for FP16 and BF16 also eight units in the last
place of the largest value). **wrong**: another shape, type or number. **error**: the library cannot build, open or run it, mostly
because it lacks the operator or the type. **refused**: the workbench cannot read such a model, because inputs are sequences, 8-bit
floats or numbers of fewer bits. **not applicable**: random numbers, or a kind of model that the backend does not support.
**built, not run**: for a GPU, on a machine without one.

TensorFlow, LiteRT and TF-TRT are not built from ONNX files and are not included.

A **deviation** is an operator with the properties that all its wrong cases and none of its right cases have: values of attributes, which optional
inputs are given, types. It is the smallest such set, so it can be too wide if few cases exist; the case that shows it is named.
Differences are absolute, and those of the median case if several show a deviation. A difference within the rounding of the number format
counts as wrong if it exceeds ONNX's tolerance, but does not become a deviation. "Can" marks a deviation that has right cases too: it depends on
the values.
"""


def summary(conformance: Conformance) -> str:
    """The counts, and the wrong cases with the largest differences, as text."""
    of = "" if conformance.complete else f" of {conformance.cases:,}"
    count = f"{len(conformance.outcomes):,}{of} cases of onnx {conformance.onnx}"
    lines = [f"{conformance.library}, {conformance.precision.upper()}, {count}"]
    again = _counts(conformance, constants=True)
    lines += [
        f"  {verdict}: {count:,}" + (f", and {again[verdict]:,} with constants" if again[verdict] else "")
        for verdict, count in _counts(conformance).items()
        if count or again[verdict]
    ]
    rounding = sum(not outcome.differs for outcome in conformance.wrong)
    if rounding:
        lines.append(f"  of the wrong ones {rounding} differ by no more than rounding")
    differing = [outcome for outcome in conformance.wrong if outcome.differs]
    lines += [f"    {outcome.case}: {_by(outcome)}" for outcome in differing[:WORST]]
    if len(differing) > WORST:
        lines.append(f"    and {len(differing) - WORST} more")
    return "\n".join(lines)


def _counts(conformance: Conformance, *, constants: bool = False) -> Mapping[str, int]:
    return {COLUMNS[verdict]: count for verdict, count in conformance.counts(constants=constants).items()}


def _by(outcome: CaseOutcome) -> str:
    return outcome.detail if outcome.difference is None else f"by {outcome.difference:.3g}"


def page(results: Iterable[Conformance]) -> str:
    """The page as Markdown: counts for each result, then its deviations."""
    results = list(results)
    return "\n".join([HEAD, *_table(results), "", *(line for each in results for line in _section(each))])


def _table(results: Iterable[Conformance]) -> Iterator[str]:
    yield "| library | precision | cases | number | " + " | ".join(COLUMNS.values()) + " |"
    yield "|---|---|---|---:|" + "---:|" * len(COLUMNS)
    for each in results:
        for constants, what in ((False, "ONNX's own"), (True, "with constants")):
            counts = _counts(each, constants=constants)
            cells = " | ".join(f"{count:,}" for count in counts.values())
            yield f"| {each.library} | {each.precision.upper()} | {what} | {sum(counts.values()):,} | {cells} |"


def _section(conformance: Conformance) -> Iterator[str]:
    recorded = f"Recorded on {conformance.date[:10]} with onnx {conformance.onnx} on {conformance.machine}."
    yield from (f"## {conformance.library}, {conformance.precision.upper()}", "", recorded, "")
    if conformance.deviations:
        yield "| deviation | difference | cases | shown by |"
        yield "|---|---|---:|---|"
        for deviation in conformance.deviations:
            by = f"{deviation.difference:.3g}" if deviation.difference is not None else deviation.detail
            can = "can: " if deviation.sometimes else ""
            yield f"| {can}{deviation.description} | {by} | {len(deviation.cases)} | `{deviation.cases[0]}` |".replace(
                "…", "..."
            )
        yield ""
    if not any(outcome.verdict in (CaseVerdict.RIGHT, CaseVerdict.WRONG) for outcome in conformance.outcomes):
        yield from ("Nothing was run: the machine lacks the device of this backend.", "")
    rounding = [outcome.case for outcome in conformance.wrong if not outcome.differs]
    known = {case for deviation in conformance.deviations for case in deviation.cases}
    several = [outcome for outcome in conformance.wrong if outcome.differs and outcome.case not in known]
    if several:
        listed = ", ".join(f"`{outcome.case}` ({_by(outcome)})" for outcome in several)
        yield from (f"Wrong in models of several operators, so that the operator is not known: {listed}.", "")
    if rounding:
        listed = ", ".join(f"`{name}`" for name in rounding)
        yield from (f"Beyond ONNX's tolerance, but within rounding: {listed}.", "")
