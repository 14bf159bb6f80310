"""The tables of ``gpu_tensorrt.py``, made from the rows that it wrote."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from record import Section, verdict

from workbench.display.plots.builds import BuildData, BuildLine, BuildPoint, draw_build_time, draw_latency
from workbench.display.plots.canvas import Look

SECTION = partial(Section, script="gpu_tensorrt.py", libraries=())
LAUNCHES = 200
"""Runs in one graph of the independent replay."""
SINGLE = ("device", "host", "launch", "memory", "cache")


def sections(found: list[dict[str, Any]]) -> list[Section]:
    """The tables, from rows that this script wrote; each says when its own rows were measured."""
    machine = found[0]["machine"]
    libraries = ", ".join(dict.fromkeys(row["library"] for row in found if row.get("library")))
    return [
        section._replace(measured=(_days(row["date"] for row in found if row["part"] in parts), machine, libraries))
        for section, parts in _tables(found)
    ]


def _days(dates: Iterable[str]) -> str:
    days = sorted(set(dates))
    return " to ".join(dict.fromkeys((days[0], days[-1])))


def _tables(found: list[dict[str, Any]]) -> list[tuple[Section, Collection[str]]]:
    """Each table with the parts of the script that its rows come from."""
    of = {part: [row for row in found if row["part"] == part] for part in {row["part"] for row in found}}
    made = []
    timed = [row for row in of.get("rows", []) if "ms" in row]
    if timed:
        made.append((SECTION(
            title="TensorRT 8.6 and ONNX Runtime CUDA",
            method="Median milliseconds of the region device with a CUDA graph; speed-up over ONNX "
            "Runtime CUDA in FP32 of the same interleaved run, with its 95 % interval. Built: the precision that was read back. "
            "MobileNetV2 and ResNet-50 have random weights: their agreement says nothing and is left out.",
            columns=("model", "variant", "TF32", "batch", "ms", "samples/s", "speed-up", "verdict", "built", "top-1 %", "agree %", "build s", "plan MB"),
            rows=[(
                row["model"], row["variant"], "yes" if row["tf32"] else "no", str(row["batch"]), f"{row['ms']:.4f}",
                f"{row['samples_per_s']:,.0f}", _interval(row), row["verdict"], row["built"], _share(row["top1"]),
                _share(row["agree"] if row["model"] in ("demo", "lite0") else None), f"{row['build_s']:.1f}", f"{row['engine_mb']:.1f}",
            ) for row in timed],
        ), ("rows",)))  # fmt: skip
    if "ways" in of:
        made.append((SECTION(
            title="TensorRT 8.6: regions, CUDA graph and streams",
            method="Median milliseconds of a call; with four streams the mean time between two answers. Interleaved with ONNX Runtime CUDA.",
            columns=("model", "variant", "region", "CUDA graph", "streams", "batch", "ms", "samples/s", "speed-up"),
            rows=[(
                row["model"], row["variant"], row["region"], "yes" if row["graph"] else "no", str(row["streams"]),
                str(row["batch"]), f"{row['ms']:.4f}", f"{row['samples_per_s']:,.0f}", _interval(row),
            ) for row in of["ways"] if "ms" in row],
        ), ("ways",)))  # fmt: skip
    if "energy" in of:
        made.append((SECTION(
            title="TensorRT 8.6: energy",
            method="Joules of the GPU board for one call and for 1,000 samples, by NVML's counter over blocks of two seconds, idle power included.",
            columns=("model", "variant", "batch", "ms", "J per call", "J per 1,000 samples"),
            rows=[(
                row["model"], row["variant"], str(row["batch"]), f"{row['ms']:.4f}", f"{spent:.4f}", f"{spent / row['batch'] * 1000:.2f}",
            ) for row in of["energy"] if "ms" in row for spent in (row["joules"] or {}).values()],
        ), ("energy",)))  # fmt: skip
    if "levels" in of:
        made.append((SECTION(
            title="TensorRT 8.6: optimization levels",
            method="Each level built without a timing cache.",
            columns=("model", "variant", "batch", "build s", "ms", "plan MB"),
            rows=[(row["model"], row["variant"], str(row["batch"]), f"{row['build_s']:.1f}", f"{row['ms']:.4f}", f"{row['engine_mb']:.1f}")
                  for row in of["levels"] if "ms" in row],
        ), ("levels",)))  # fmt: skip
    if "builds" in of:
        made.append((SECTION(
            title="TensorRT 8.6: several builds of one model",
            method="Independent builds in FP16 without a timing cache, measured in the same interleaved rounds over the region device with a CUDA "
            "graph: the median of each build.",
            columns=("model", "batch", "builds", "medians ms", "slowest / fastest", "build s"),
            rows=[_spread(model, batch, [row for row in of["builds"] if (row["model"], row["batch"]) == (model, batch) and "ms" in row])
                  for model, batch in dict.fromkeys((row["model"], row["batch"]) for row in of["builds"] if "ms" in row)],
        ), ("builds",)))  # fmt: skip
    checked = [line for part in SINGLE for row in of.get(part, []) for line in [_check(row)]]
    if checked:
        made.append((SECTION(
            title="TensorRT 8.6: are the figures right?",
            method=f"Device: against one graph of {LAUNCHES} runs, replayed by a process without the workbench. Host: over six pairs of processes against Polygraphy's "
            "TrtRunner on the same plan. Launch: the workbench's block and a bare loop in turns within one process. Intervals of 95 %.",
            columns=("check", "model", "precision", "batch or graph", "workbench", "other", "difference", "target"),
            rows=checked,
        ), SINGLE))  # fmt: skip
    return made


def levels_figure(found: list[dict[str, Any]], file: Path) -> None:
    """Latency and build time by optimization level, of the part ``levels``, as a picture."""
    from matplotlib.figure import Figure

    rows = [row for row in found if row["part"] == "levels" and "ms" in row]
    points = tuple(BuildPoint(row["variant"].split()[-1], row["ms"], None, None, row["build_s"]) for row in rows)
    look = Look("#0072b2", "o", "full", "-")
    first = rows[0]
    data = BuildData(
        "Optimization level", first["batch"], tuple(point.value for point in points), (BuildLine("", look, points),)
    )
    figure = Figure(figsize=(8.5, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_latency(data, left)
    draw_build_time(data, right)
    figure.suptitle(
        f"{first['model']} in FP32 at batch {first['batch']}, {first['library'].split(' (')[0]}", fontsize=11
    )
    figure.savefig(file, dpi=110)


def _spread(model: str, batch: int, rows: list[dict[str, Any]]) -> tuple[str, ...]:
    times = [row["ms"] for row in rows]
    medians, seconds = (", ".join(f"{each:{form}}" for each in values) for values, form in (
        (times, ".4f"), ([row["build_s"] for row in rows], ".0f"),
    ))  # fmt: skip
    return model, str(batch), str(len(rows)), medians, f"{max(times) / min(times):.3f}", seconds


def _check(row: dict[str, Any]) -> tuple[str, ...]:
    about = (row["part"], row["model"], row.get("precision", "fp16"))
    if row["part"] == "device":
        apart = row["device_ms"] / row["replay_ms"]
        return (*about, str(row["batch"]), f"{row['device_ms']:.4f} ms", f"{row['replay_ms']:.4f} ms", f"{apart - 1:+.2%}",
                f"within 2 %, {verdict(apart, 0.98, 1.02)}")  # fmt: skip
    if row["part"] == "host":
        ratio = row["ratio"] or (float("nan"),) * 3
        return (*about, str(row["batch"]), f"{row['host_ms']:.4f} ms", f"{row['polygraphy_ms']:.4f} ms",
                f"ratio {ratio[0]:.3f} ({ratio[1]:.3f} to {ratio[2]:.3f})", f"at most 1, {verdict(ratio[0], 0, 1)}")  # fmt: skip
    if row["part"] == "launch":
        more = row["more_us"]
        return (*about, "graph" if row["graph"] else "no graph", "", f"{row['bare_us']:.1f} µs",
                f"{more[0]:+.1f} µs ({more[1]:+.1f} to {more[2]:+.1f})", f"at most 10 µs, {verdict(more[2], -99, 10)}")  # fmt: skip
    if row["part"] == "memory":
        return (*about, "", f"{row['left_mib']:.0f} MiB left", "", "", f"0, {verdict(row['left_mib'], 0, 0)}")
    return (*about, f"{row['cache']} timing cache", f"{row['build_s']:.1f} s", "", "", "")


def _interval(row: dict[str, Any]) -> str:
    if row["speedup"] is None:
        return ""
    return f"{row['speedup']:.2f}" + (f" ({row['low']:.2f} to {row['high']:.2f})" if row["low"] is not None else "")


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
