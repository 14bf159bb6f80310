"""Execute the lessons with their parameters as they are, and record outputs and times for the site: ``python scripts/record_lessons.py``.

Names of lessons (``04_tensorrt``) choose some of them; ``--folder`` keeps store and notebooks, and a second call goes on with that store. Each
lesson writes ``docs/recorded/NAME.json`` and its pictures, and the table of times in ``docs/teaching.md`` follows. The demo model is trained
before; the measuring lock of the machine is waited for, and waiting counts.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import resource
import tempfile
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lesson_outputs
import nh3
import papermill
import psutil
from PIL import Image

from workbench.runs.sources import demo_model
from workbench.store import Store
from workbench.system.machine import this_machine
from workbench.workers.pool import Pool

PACKAGES = ("tensorflow-cpu", "tensorflow", "keras", "onnxruntime", "openvino", "ai-edge-litert")
MOST_LINES, COLORS, WIDEST = 60, 64, 900
TAGS = {"table", "thead", "tbody", "tr", "th", "td", "p", "div", "ul", "ol", "li", "b", "strong", "em", "code", "h3", "h4", "br", "details", "summary"}  # fmt: skip
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def main() -> None:
    """Record the lessons that the command line names, by default all."""
    every = [
        path for path in sorted(lesson_outputs.LESSONS.glob("[0-9]*.ipynb")) if lesson_outputs.english(path) == path
    ]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lessons", nargs="*", help="names such as 04_tensorrt")
    parser.add_argument("--folder", type=Path, help="where store and executed notebooks are kept")
    options = parser.parse_args()
    chosen = [path for path in every if not options.lessons or path.stem in options.lessons]
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        for path in chosen:
            seconds = record(path, folder)
            print(f"{path.stem}: {seconds:.0f} s", flush=True)
    page = lesson_outputs.TEACHING
    page.write_text(lesson_outputs.teaching(page.read_text(encoding="utf-8")), encoding="utf-8")


def prepare(folder: Path) -> None:
    """Train the demo into the store of ``folder``, and keep the executed notebooks away from the user's settings."""
    os.environ.pop("WORKBENCH_HEADLESS", None)
    os.environ["WORKBENCH_STORE"] = str(folder / "store")
    os.environ["IPYTHONDIR"] = str(folder / "ipython")
    store = Store(folder / "store").prepare()
    with Pool(store.log_path, threading.Event()) as pool:
        demo_model(store, pool, print)


def record(path: Path, folder: Path) -> float:
    """Execute one lesson and write its record. Returns the seconds from the start of its kernel to the end of it."""
    before, started = _busy_s(), time.perf_counter()
    executed = papermill.execute_notebook(
        path, folder / path.name, cwd=folder, kernel_name="python3", progress_bar=False
    )
    seconds = time.perf_counter() - started
    others = max(0.0, _busy_s() - before) / seconds
    machine = this_machine()
    lesson_outputs.RECORDS.mkdir(exist_ok=True)
    for old in lesson_outputs.RECORDS.glob(f"{path.stem}-*.png"):
        old.unlink()
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    outputs = {cell.id: parts for cell in code if (parts := kept(cell, path.stem, folder))}
    written = {
        "lesson": path.stem,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine.label,
        "cores": machine.cores,
        "python": machine.python,
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "seconds": round(seconds, 1),
        "others": round(others, 2),
        "code": lesson_outputs.digest(path),
        "outputs": outputs,
    }
    text = json.dumps(written, indent=1, ensure_ascii=False)
    lesson_outputs.record_file(path).write_text(f"{text}\n", encoding="utf-8")
    return seconds


def _busy_s() -> float:
    """Seconds of processor time that programs which are not children of this one have used since the start of the machine."""
    times = psutil.cpu_times()
    own = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    return times.user + times.system + times.nice - sum(each.ru_utime + each.ru_stime for each in own)


def _version(name: str) -> str:
    try:
        return version(name)
    except ImportError:
        return ""


def kept(cell: Any, lesson: str, folder: Path) -> list[dict[str, str]]:
    """What is recorded of the outputs of a cell: text, tables and pictures in order; messages of libraries on standard error are left out."""
    found: list[dict[str, str]] = []
    for output in cell.outputs:
        data = output.get("data", {})
        if output.output_type == "stream":
            _add_text(found, output.text if output.name == "stdout" else "")
        elif "image/png" in data:
            name = f"{lesson}-{cell.id}-{len(found) + 1}.png"
            _picture(base64.b64decode(data["image/png"]), lesson_outputs.RECORDS / name)
            found.append({"picture": name, "alt": "Figure of this cell, as it was recorded"})
        elif "<table" in data.get("text/html", ""):
            found.append({"html": _html(data["text/html"], folder)})
        elif text := data.get("text/plain", ""):
            _add_text(found, text.rstrip("\n") + "\n")
    return [each | {"text": _text(each["text"], folder)} if "text" in each else each for each in found]


def _add_text(found: list[dict[str, str]], text: str) -> None:
    """Add text to the text before it, which a library may have written in parts."""
    if found and "text" in found[-1]:
        found[-1]["text"] += text
    elif text.strip():
        found.append({"text": text})


def _text(text: str, folder: Path) -> str:
    """Text as a terminal shows it at the end, without colors and without paths of this machine."""
    text = _ESCAPE.sub("", text).replace("\r\n", "\n").replace(str(folder), "…")
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.strip("\n").split("\n")]
    further = len(lines) - MOST_LINES
    return "\n".join([*lines[:MOST_LINES], *([f"… {further} more lines"] if further > 0 else [])]).strip("\n")


def _html(text: str, folder: Path) -> str:
    """A table without styles, on lines that end no block of Markdown."""
    clean = nh3.clean(text.replace(str(folder), "…"), tags=TAGS, clean_content_tags={"style", "script"}, attributes={})
    return "\n".join(line.strip() for line in clean.splitlines() if line.strip())


def _picture(png: bytes, target: Path) -> None:
    """Write a picture with few colors, so that it is small."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.thumbnail((WIDEST, WIDEST))
    picture.quantize(COLORS).save(target, optimize=True)


if __name__ == "__main__":
    main()
