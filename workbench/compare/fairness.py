"""Whether the engines ran under the same settings: what each had in effect, and where two differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.records import CPU

if TYPE_CHECKING:
    from workbench.records import Results

COMPARED = ("threads", "cores", "denormals", "threads bound to cores", "idle threads")
"""Settings that mean the same for every engine, and change what is measured where they differ."""
MORE_CORES = 0.1


def setting_rows(results: Results) -> list[dict[str, str]]:
    """One row per engine and setting, as it was found in the engine's process after it had run; equal rows stand once."""
    names = ("engine", "setting", "value", "read from")
    rows = [
        (row.spec.address, each.name, each.value, each.basis)
        for row in results.measured
        if row.timing
        for each in row.timing.in_effect
    ]
    return [dict(zip(names, row, strict=True)) for row in dict.fromkeys(rows)]


def differences(results: Results) -> list[str]:
    """A sentence for every setting that two engines on the CPU had differently; empty where all were the same.

    An engine that does not report a setting does not count as different, and is named.
    """
    values_by_setting: dict[str, dict[str, dict[str, None]]] = {}
    names = dict.fromkeys(
        row.spec.address for row in results.measured if row.timing and row.timing.in_effect and row.device == CPU
    )
    for row in results.measured:
        if row.timing and row.device == CPU:
            for each in row.timing.in_effect:
                values_by_setting.setdefault(each.name, {}).setdefault(each.value, {})[row.spec.address] = None
    found = []
    for setting in COMPARED:
        values = values_by_setting.get(setting, {})
        if setting == "threads bound to cores":
            values = _bound(values)
        if len(values) < 2:
            continue
        parts = [f"{value} ({', '.join(engines)})" for value, engines in values.items()]
        silent = [name for name in names if not any(name in engines for engines in values.values())]
        quiet = f"; not reported by {', '.join(silent)}" if silent else ""
        found.append(f"{setting[0].upper()}{setting[1:]} differ between engines: {', '.join(parts)}{quiet}.")
    return found + _busier(results)


def _bound(values: dict[str, dict[str, None]]) -> dict[str, dict[str, None]]:
    """How many threads there are differs by library and says nothing; whether any is bound does."""
    merged: dict[str, dict[str, None]] = {}
    for value, engines in values.items():
        merged.setdefault("none" if value == "none" else "some", {}).update(engines)
    return merged


def _busier(results: Results) -> list[str]:
    used: dict[str, float] = {}
    for row in results.measured:
        if row.timing and row.device == CPU and row.timing.cores_used > row.spec.threads + MORE_CORES:
            name = row.spec.address
            used[name] = max(used.get(name, 0.0), row.timing.cores_used)
    return [
        f"{name} kept up to {cores:.1f} cores busy, more than the requested threads." for name, cores in used.items()
    ]
