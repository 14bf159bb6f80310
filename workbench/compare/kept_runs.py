"""What the history kept of single runs: rows with the conditions under which they were measured."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from workbench.compare.formats import ABSENT, score_text
from workbench.errors import InputError
from workbench.records import EngineSpec, Machine, Result, from_json
from workbench.runs.archive import Run, runs
from workbench.runs.open_run import facts_of
from workbench.store import Store

PART_OF_LABEL = ("backend", "precision", "mode", "method", "batch")
NO_CONDITION = (*PART_OF_LABEL, "batches", "side")


@dataclass(frozen=True)
class Cell:
    """What one run measured of one variant at one batch size."""

    result: Result  # without its durations
    typical_s: tuple[float, float, float] | None  # Timing.typical_median_s; None where it is not known
    median_s: float | None  # of all calls
    samples_per_s: float
    conditions: dict[str, str]  # what has to be equal for two to stand on one line, in words
    scored_by: str = ""  # name and digest of a function that was given as the metric; "": the metric has a name

    @property
    def library(self) -> str:
        engine = self.result.engine
        return f"{engine.library} {engine.library_version}" if engine else ""

    @property
    def session(self) -> str:
        """Of measuring: two runs that have it in common show one and the same measurement."""
        return self.result.timing.group if self.result.timing else ""

    @property
    def measured_at(self) -> str:
        return self.result.timing.measured_at if self.result.timing else ""

    @property
    def score(self) -> str:
        """``top-1 97.1 %``, or the share of the source model's answers where there are no labels."""
        found = self.result.accuracy
        if found is None:
            return ABSENT
        which = f" of '{found.output}'" if len(found.relative_diffs) > 1 else ""
        if found.value is None:
            return f"{found.agreement:.1%} agree".replace("%", " %") + which
        if found.share:
            return f"{self.metric} {found.value:.1%}".replace("%", " %") + which
        return f"{score_text(self.metric, found.value, found.low, found.high)} {found.unit}".rstrip() + which

    @property
    def metric(self) -> str:
        """Two functions of one name are two metrics."""
        found = self.result.accuracy
        return self.scored_by or (found.metric if found else "")


@dataclass(frozen=True)
class Kept:
    """A run as the history has it."""

    run: Run
    digest: str  # of the model
    machine: Machine
    cells: tuple[Cell, ...]
    scored_by: str = ""  # of each of its cells


def read(name: str, store: Store) -> Kept:
    run = next(run for run in runs(store) if run.name == name)
    facts = facts_of(name, store)
    about = facts.get("about")
    if about is None:
        raise InputError(f"The run {name} did not note its machine and settings. Choose another, or run it again.")
    machine = from_json(Machine, about["machine"])
    shared = {
        # the words are those of a path, under which something else may lie by now
        "samples": f"{about['data']} ({about.get('tested', '')[:8] or f'their content was not noted by {name}'})",
        "cores that engines are held to": ",".join(map(str, about["plan"]["cores"])) or "any",
        "Python": machine.python,
    }
    asked = about["parameters"] or {}
    shared |= {name: str(asked[name] or "as declared") for name in ("input_shapes", "input_values") if name in asked}
    scored_by, calibrated = about.get("scored_by", ""), about.get("calibrated", "")[:8]
    cells = tuple(filter(None, (_cell(row, shared, calibrated, scored_by) for row in facts["rows"])))
    return Kept(run, about["digest"], machine, cells, scored_by)


def _cell(row: dict[str, Any], shared: dict[str, str], calibrated: str, scored_by: str) -> Cell | None:
    try:
        result = from_json(Result, row["result"])
    except Exception as cause:  # cattrs raises groups of whatever the fields raise
        raise InputError(
            "One of these runs was kept by another version, which noted other things. Run it again."
        ) from cause
    timing, engine, columns = result.timing, result.engine, row["columns"]
    if timing is None or engine is None:
        return None
    conditions = {
        "region": str(timing.region),
        "protocol": timing.protocol or "own settings",
        "device": timing.device.device if timing.device else engine.device,
        f"version of {engine.library}": engine.library_version,
        # every setting of a variant that is not part of its name
        **{
            each.name: _word(getattr(result.spec, each.name))
            for each in fields(EngineSpec)
            if each.name not in NO_CONDITION
        },
        **shared,
    }
    if result.spec.calibration is not None:
        conditions["calibration samples"] = calibrated
    milliseconds = columns.get("p50_ms")
    return Cell(
        result=result,
        typical_s=tuple(row["typical"]) if row.get("typical") else None,
        median_s=None if milliseconds is None else milliseconds * 1e-3,
        samples_per_s=columns["samples_per_s"],
        conditions=conditions,
        scored_by=scored_by,
    )


def _word(value: Any) -> str:
    if value is None:
        return "the default"
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def hardware(machine: Machine) -> dict[str, str]:
    return {
        "cpu": machine.cpu,
        "cores": str(machine.cores),
        "instructions": " ".join(machine.instructions) or "none",
        "memory": f"{machine.memory_bytes / 2**30:.0f} GiB",  # the kernel's own share changes from one start to the next
        "system": machine.system,
        "gpu": machine.gpu or "none",
    }
