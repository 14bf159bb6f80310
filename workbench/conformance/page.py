"""Results for people: a summary for the terminal, and the page ``docs/conformance.md``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from workbench.conformance.outcomes import Conformance, Outcome, Verdict

WORST = 12
"""Wrong cases that a summary lists."""

COLUMNS = {
    Verdict.RIGHT: "right",
    Verdict.WRONG: "wrong",
    Verdict.ERROR: "error",
    Verdict.REFUSED: "refused",
    Verdict.NOT_APPLICABLE: "not applicable",
    Verdict.BUILT: "built, not run",
}

HEAD = """# Engines against ONNX's own definition

The package `onnx` carries small models of single operators with inputs and the outputs that ONNX defines for them.
`workbench conformance` runs them through each backend as any other model: read, prepared, built, opened, run, compared.
This page was made by it (`--page`) from the results that come with the workbench. `inspect` and the report use the same results:
they warn where a model uses a form that a library, in the installed version, computes differently.

The cases give everything as an input, axes, sizes and repeats too, which models hold as constants. So each case with small further
inputs runs a second time **with constants** in their place.

**right**: within the tolerance of the case (usually 1e-3 relative and 1e-7 absolute; for FP16 and BF16 also eight units in the last
place of the largest value). **wrong**: another shape, type or number. **error**: the library does not build, open or run it, mostly
for an operator or a type that it does not have. **refused**: the workbench does not read such a model, for inputs that are sequences,
8-bit floats or numbers of fewer bits. **not applicable**: random numbers, or a kind of model that the backend says it does not take.
**built, not run**: for a GPU, on a machine without one.

TensorFlow, LiteRT and TF-TRT are not built from ONNX files and take no part.

A **form** is an operator with the properties that its wrong cases share and no right case of it has: values of attributes, which optional
inputs are there, types. It is the smallest such set, so it can be too wide where few cases exist; the case that shows it is named.
Differences are absolute, and those of the case in the middle where several show a form. A difference within the rounding of the number
format counts as wrong where ONNX's tolerance says so, and makes no form. "Can" marks a form that has right cases too: it depends on the values.
"""


def summary(found: Conformance) -> str:
    """Counts, and the wrong cases with the largest differences."""
    lines = [f"{found.library}, {found.precision.upper()}, {counted(found)}"]
    again = _counts(found, constants=True)
    lines += [
        f"  {verdict}: {count:,}" + (f", and {again[verdict]:,} with constants" if again[verdict] else "")
        for verdict, count in _counts(found).items()
        if count or again[verdict]
    ]
    rounding = sum(not outcome.differs for outcome in found.wrong)
    if rounding:
        lines.append(f"  of the wrong ones {rounding} differ by no more than rounding")
    differing = [outcome for outcome in found.wrong if outcome.differs]
    lines += [f"    {outcome.case}: {_by(outcome)}" for outcome in differing[:WORST]]
    if len(differing) > WORST:
        lines.append(f"    and {len(differing) - WORST} more")
    return "\n".join(lines)


def counted(found: Conformance) -> str:
    """How many of the cases have an outcome."""
    of = "" if found.complete else f" of {found.cases:,}"
    return f"{len(found.outcomes):,}{of} cases of onnx {found.onnx}"


def _counts(found: Conformance, *, constants: bool = False) -> Mapping[str, int]:
    return {COLUMNS[verdict]: count for verdict, count in found.counts(constants=constants).items()}


def _by(outcome: Outcome) -> str:
    return outcome.detail if outcome.difference is None else f"by {outcome.difference:.3g}"


def page(results: Iterable[Conformance]) -> str:
    """The page as Markdown: counts for each result, then its forms."""
    results = list(results)
    return "\n".join([HEAD, *_table(results), "", *(line for each in results for line in _section(each))])


def _table(results: Iterable[Conformance]) -> Iterator[str]:
    yield "| library | precision | cases | number | " + " | ".join(COLUMNS.values()) + " |"
    yield "|---|---|---|---:|" + "---:|" * len(COLUMNS)
    for each in results:
        for constants, what in ((False, "ONNX's own"), (True, "with constants")):
            counts = _counts(each, constants=constants)
            told = " | ".join(f"{count:,}" for count in counts.values())
            yield f"| {each.library} | {each.precision.upper()} | {what} | {sum(counts.values()):,} | {told} |"


def _section(found: Conformance) -> Iterator[str]:
    yield f"## {found.library}, {found.precision.upper()}"
    yield ""
    yield f"Recorded on {found.date[:10]} with onnx {found.onnx} on {found.machine}."
    yield ""
    if found.forms:
        yield "| form | difference | cases | shown by |"
        yield "|---|---|---:|---|"
        for form in found.forms:
            by = f"{form.difference:.3g}" if form.difference is not None else form.detail
            can = "can: " if form.sometimes else ""
            yield f"| {can}{form.told} | {by} | {len(form.cases)} | `{form.cases[0]}` |".replace("…", "...")
        yield ""
    if not any(outcome.verdict in (Verdict.RIGHT, Verdict.WRONG) for outcome in found.outcomes):
        yield "Nothing was run: the device that it builds for is not in this machine."
        yield ""
    rounding = [outcome.case for outcome in found.wrong if not outcome.differs]
    several = [outcome for outcome in found.wrong if outcome.differs and not _in_form(outcome, found)]
    if several:
        told = ", ".join(f"`{outcome.case}` ({_by(outcome)})" for outcome in several)
        yield f"Wrong in models of several operators, which blame none of them: {told}."
        yield ""
    if rounding:
        yield f"Beyond ONNX's tolerance, but within rounding: {', '.join(f'`{name}`' for name in rounding)}."
        yield ""


def _in_form(outcome: Outcome, found: Conformance) -> bool:
    return any(outcome.case in form.cases for form in found.forms)
