"""Convert every architecture of ``keras.applications`` and a small model for each layer of Keras to ONNX, and compare.

``python scripts/keras_conformance.py`` takes some hours on two cores, nearly all of it for the architectures. Each result is
appended to the record (``docs/keras_conformance.jsonl``) at once; a second call goes on where the first one ended, for the same
versions of the libraries. ``docs/keras_conformance.md`` is written from the record after each group.

Models are built and converted in a child process, so that one that ends the process or needs too much memory costs only itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
RECORD = ROOT / "docs" / "keras_conformance.jsonl"
TABLE = ROOT / "docs" / "keras_conformance.md"
LIBRARIES = ("keras", "tensorflow", "tf2onnx", "onnxruntime")
GROUPS = {"layers": "Layers and functions", "architectures": "Architectures"}
CONVERTED, REFUSED, KERAS, ENDED = "converted", "refused", "Keras fails", "ended"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--group", choices=[*GROUPS, "all"], default="all")
    parser.add_argument("--only", default="", help="names that contain this text")
    parser.add_argument("--again", action="store_true", help="also those that the record has for these versions")
    parser.add_argument("--limit-s", type=float, default=1800, help="for one model")
    parser.add_argument("--memory-gib", type=float, default=12, help="for one model")
    parser.add_argument("--record", type=Path, default=RECORD, help="JSON lines, one a result")
    parser.add_argument("--table", type=Path, default=TABLE, help="Markdown")
    parser.add_argument("--case", nargs=2, metavar=("GROUP", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        _child(*options.case)
        return 0
    for group in GROUPS if options.group == "all" else [options.group]:
        done = set() if options.again else {each["name"] for each in _recorded(options.record, group)}
        names = [name for name in _names(group) if options.only in name and name not in done]
        for result in _results(group, names, options.limit_s, options.memory_gib * 2**30):
            with options.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            print(f"{result['name']}: {result['result']} {result.get('reason', '')[:150]}", flush=True)
        options.table.write_text(_table(options.record), encoding="utf-8")
    return 0


def _names(group: str) -> list[str]:
    import keras_layers

    return list(keras_layers.small_models() if group == "layers" else keras_layers.architectures())


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = {name: name for name in LIBRARIES} | {"tensorflow": "tensorflow-cpu"}
    found = {}
    for name, package in names.items():
        try:
            found[name] = version(package)
        except Exception:
            found[name] = version(name)
    return found


def _recorded(record: Path, group: str) -> list[dict[str, Any]]:
    """The newest result of each model of the group with these versions, in the order of the list."""
    versions, found = _versions(), {}
    for line in record.read_text(encoding="utf-8").splitlines() if record.is_file() else ():
        result = json.loads(line)
        if result["group"] == group and all(result[name] == number for name, number in versions.items()):
            found[result["name"]] = result
    return list(found.values())


def _results(group: str, names: list[str], limit_s: float, memory: float) -> Iterator[dict[str, Any]]:
    """Results as the child gives them; a child that ends or is ended costs the model it was at."""
    waiting = list(names)
    while waiting:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(waiting[:40] if group == "layers" else waiting[:1], file)
            file.flush()
            for result in _watched(["--case", group, file.name], limit_s, memory):
                if result["name"] != waiting.pop(0):
                    raise RuntimeError(f"the child answered out of turn: {result}")
                yield result
                if result["result"] == ENDED:
                    break


def _watched(arguments: list[str], limit_s: float, memory: float) -> Iterator[dict[str, Any]]:
    import psutil

    names = json.loads(Path(arguments[-1]).read_text(encoding="utf-8"))
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    child = subprocess.Popen(
        [sys.executable, __file__, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    state = {"began": time.monotonic(), "why": ""}

    def watch() -> None:
        process = psutil.Process(child.pid)
        while child.poll() is None:
            try:
                if process.memory_info().rss > memory:
                    state["why"] = f"needed more than {memory / 2**30:.0f} GiB"
                elif time.monotonic() - float(state["began"]) > limit_s:
                    state["why"] = f"took more than {limit_s:.0f} s"
            except psutil.NoSuchProcess:
                return
            if state["why"]:
                child.kill()
                return
            time.sleep(0.5)

    threading.Thread(target=watch, daemon=True).start()
    assert child.stdout is not None
    answered = 0
    for line in child.stdout:
        if not line.startswith("{"):
            continue
        yield json.loads(line)
        answered += 1
        state["began"] = time.monotonic()
    child.wait()
    if answered < len(names):
        why = state["why"] or f"ended its process (exit status {child.returncode})"
        yield _versions() | {"group": arguments[1], "name": names[answered], "result": ENDED, "reason": str(why)}


def _child(group: str, file: str) -> None:
    for name in json.loads(Path(file).read_text(encoding="utf-8")):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            result = _convert(group, name, Path(folder))
        versions = _versions() | {"group": group, "name": name, "seconds": round(time.monotonic() - began, 1)}
        print(json.dumps(versions | result), flush=True)


def _convert(group: str, name: str, folder: Path) -> dict[str, Any]:
    import keras
    import keras_layers
    from converting import convert_model

    from workbench.errors import WorkbenchError, brief
    from workbench.models.inspection import inspect_model

    keras.backend.clear_session()  # names and weights do not depend on what was built before
    path = folder / "model.keras"
    try:
        made = keras_layers.build(name) if group == "layers" else keras_layers.architecture(name)
        made.save(path)
        keras.models.load_model(path)
    except Exception as cause:
        return {"result": KERAS, "reason": brief(cause, 200)}
    parameters = int(made.count_params())
    del made
    try:
        model = inspect_model(path)
        check = convert_model(model, folder / "model.onnx")
    except WorkbenchError as error:
        return {"result": REFUSED, "reason": error.message.replace("'model'", "the model"), "parameters": parameters}
    if model.parameters != parameters:
        return {"result": "wrong", "reason": f"{model.parameters} parameters were counted of {parameters}"}
    return {
        "result": CONVERTED,
        "route": check.route,
        "batches": list(check.batches),
        "difference": check.max_rel_diff,
        "parameters": parameters,
    }


def _table(record: Path) -> str:
    from keras_layers import SETTLED

    versions = ", ".join(f"{name} {number}" for name, number in _versions().items())
    lines = [
        "# Keras models that convert to ONNX",
        "",
        f"Made by `scripts/keras_conformance.py` with {versions}. Each model is built with random weights, saved, converted and",
        "compared with Keras on random and structured inputs at two batch sizes. *Difference* is the largest difference of an",
        f"output, divided by the largest absolute value of that output. In {' and '.join(SETTLED)} the",
        "statistics of batch normalization were taken from made-up pictures first, so that values keep their size at that depth.",
    ]
    for group, title in GROUPS.items():
        found = {each["name"]: each for each in _recorded(record, group)}
        names = _names(group)
        converted = sum(found[name]["result"] == CONVERTED for name in names if name in found)
        lines += ["", f"## {title}", "", f"{converted} of {len(names)} convert."]
        missing = [name for name in names if name not in found]
        if missing:
            lines += ["", f"No result is recorded for: {', '.join(missing)}."]
        lines += ["", "| Model | Result | Batches | Difference | Route or reason |", "|---|---|---|---|---|"]
        for name in names:
            if name in found:
                lines.append(_row(found[name]))
    return "\n".join(lines) + "\n"


def _row(result: dict[str, Any]) -> str:
    if result["result"] == CONVERTED:
        batches = " and ".join(map(str, result["batches"]))
        return f"| {result['name']} | converted | {batches} | {result['difference']:.1g} | {result['route']} |"
    reason = result["reason"].replace("|", "\\|")
    return f"| {result['name']} | {result['result']} | | | {reason} |"


if __name__ == "__main__":
    sys.exit(main())
