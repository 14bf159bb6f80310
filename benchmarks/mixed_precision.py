"""Real models whose INT8 form loses its accuracy or its speed, repaired: found by search, then timed against FP32 in turns.

Two steps, because a search takes minutes and only the last figures need a quiet machine::

    python benchmarks/mixed_precision.py --search [NAME ...]   # writes one JSON file per model and backend into --folder
    python benchmarks/mixed_precision.py --record              # times what was found, and writes the table

The models are those of ``tests/zoo`` (``python tests/zoo/fetch.py``); samples are made as their tests make them, with the
labels that follow from how they were made.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from record import ROOT, Section, parser, tell

sys.path.insert(0, str(ROOT / "tests" / "zoo"))

import samples as made

import workbench
from workbench.accuracy.budget import ABSOLUTE, Budget
from workbench.accuracy.guard import judge
from workbench.accuracy.metrics import Metric
from workbench.compare.pairs import comparison
from workbench.data.dataset import dataset, digits
from workbench.data.samples import Samples
from workbench.errors import InputError
from workbench.records import Calibration, Precision, Result, Results, Status, Verdict, from_json, to_json
from workbench.runs.engines import Means
from workbench.runs.executor import Executor
from workbench.runs.reading import demo_model, read_model
from workbench.search.mixed_precision.records import Repair
from workbench.search.mixed_precision.repair import MIN_SIZE, RepairSearch
from workbench.search.mixed_precision.sensitivity import Study, StudySamples, sensitivity, study_of
from workbench.search.mixed_precision.trial import TrialSetup, judge_by, named, quality, race
from workbench.settings.experiment import Experiment
from workbench.store import Store
from workbench.workers.pool import Pool

if TYPE_CHECKING:
    from workbench.records import Model

ZOO = ROOT / ".zoo"
OCR = "ocr/rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"
BACKENDS = ("onnxruntime", "openvino")
COLUMNS = ("model", "backend", "quality", "FP32", "all INT8", "its speed", "left in FP32", "repaired", "its speed",
           "outcome")  # fmt: skip
WAYS = ("fp32", "fp16-weights", "bf16", "int8-weights", "int8-dynamic", "int8", "int8-nncf")
WAY_COLUMNS = ("model", "backend", "method", "quality", "on unseen samples", "times smaller", "its speed", "outcome")
BUDGET = 0.005  # 0.5 points of the metric
RELATIVE = 0.01  # or 1 % of FP32's, whichever is more


@dataclass(frozen=True)
class Case:
    """A model, its samples, and what its quality is."""

    path: str  # below .zoo; "": the demo
    samples: Callable[[int], Samples]
    calibration: int
    count: int  # samples of the search
    unseen: int  # others, for the guard's word
    metric: Metric | None = None
    batch: int = 1
    shapes: str = ""
    values: str = ""
    limit_s: float = 60.0


def photos(count: int) -> Samples:
    arrays = made.photo_crops(count, 224, low=-127 / 128)
    return Samples("photos", {"image": arrays["x"]})  # without labels: two photographs do not test accuracy


def kinds(count: int) -> Samples:
    config = ZOO / "magika/magika/models/standard_v3_3/config.min.json"
    arrays = made.file_bytes(count, config)
    return Samples("files", {"bytes": arrays["bytes"]}, arrays["y"])


def digit_images(count: int) -> Samples:
    _, calibration, test = digits()
    images = np.concatenate([calibration.inputs["image"], test.inputs["image"]])
    labels = np.concatenate([calibration.labels, test.labels])  # type: ignore[list-item]
    return Samples("digits", {"image": images[:count]}, labels[:count])


def text_lines(count: int) -> Samples:
    """Words as :func:`samples.text_lines` draws them, with the text itself as codes of its characters in place of a class."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(3)
    rows = np.zeros((count, 3, 48, 320), np.float32)
    codes = np.zeros((count, 64), np.int64)
    for number in range(count):
        text = " ".join(rng.choice(made.WORDS, rng.integers(2, 4)))
        line = made._line(text, rng)  # noqa: SLF001
        wide = min(320, round(48 * line.width / line.height))
        pixels = np.asarray(line.resize((wide, 48), Image.Resampling.BILINEAR), np.float32)
        rows[number, :, :, :wide] = (pixels / 127.5 - 1).transpose(2, 0, 1)
        codes[number, : min(64, len(text))] = [ord(sign) for sign in text[:64]]
    return Samples("lines", {"x": rows}, codes)


@lru_cache
def signs() -> list[str]:
    """What each class of the recognizer stands for; class 0 is none."""
    import onnx

    meta = onnx.load(ZOO / OCR, load_external_data=False).metadata_props
    return ["", *next(p.value for p in meta if p.key == "character").split("\n"), " "]


def misread(outputs: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Edits from the best path, blanks and repeats out, to the text, and the text's length; (n, 2)."""
    from rapidfuzz.distance import Levenshtein

    parts = []
    for row, code in zip(outputs.argmax(-1), codes, strict=True):
        text = "".join(map(chr, code[code > 0]))
        pairs = zip([0, *row[:-1]], row, strict=True)
        read = "".join(signs()[min(b, len(signs()) - 1)] for a, b in pairs if b and a != b)
        parts.append((Levenshtein.distance(read, text), len(text)))
    return np.array(parts, np.float64)


def read_right(parts: np.ndarray) -> float:
    """Share of characters: 1 - edits / length, over all lines."""
    edits, lengths = parts.sum(axis=0)
    return float(1 - edits / lengths)


def chords(count: int) -> Samples:
    """Chords as :func:`samples.chords` makes them, with their notes as 88 zeros and ones in place of a class."""
    rng = np.random.default_rng(1)
    t = np.arange(made.AUDIO_LENGTH) / made.AUDIO_RATE
    rows = np.zeros((count, made.AUDIO_LENGTH), np.float32)
    notes = np.zeros((count, 88), np.int64)
    for row, played in zip(rows, notes, strict=True):
        sound = np.zeros_like(t)
        for note in rng.choice(np.arange(40, 84), rng.integers(1, 4), replace=False):
            frequency = 440 * 2 ** ((note - 69) / 12)
            begin = rng.uniform(0, 0.8)
            loud = np.where(t >= begin, np.exp(-2 * (t - begin)), 0)
            sound += sum(loud * np.sin(2 * np.pi * frequency * k * t) / k**1.5 for k in (1, 2, 3, 4))
            played[note - 21] = 1  # a piano's lowest key is MIDI note 21
        row[:] = 0.7 * sound / np.abs(sound).max()
    rows += rng.normal(0, 1e-3, rows.shape).astype(np.float32)
    return Samples("chords", {"x": rows[:, :, None]}, notes)


def heard(outputs: np.ndarray, notes: np.ndarray) -> np.ndarray:
    """Notes played and notes heard, which is above 0.5 for ten frames (0.1 s); (n, 2, 88). Two outputs have 88 keys, onsets and
    notes: that which FP32 is better in is scored.
    """
    if outputs.shape[-1] != notes.shape[-1]:
        raise InputError("not an output of keys")
    return np.stack([notes > 0, (outputs > 0.5).sum(axis=1) >= 10], axis=1)


def note_f1(parts: np.ndarray) -> float:
    """Over all clips together."""
    played, found = parts.swapaxes(0, 1)
    return float(2 * (played & found).sum() / max(1, played.sum() + found.sum()))


CASES = {
    "mnist (demo)": Case("", digit_images, 200, 400, 1100, batch=8),
    "magika": Case("magika/magika/models/standard_v3_3/model.onnx", kinds, 48, 200, 600, values="bytes=0..256"),
    "EfficientNet-Lite0": Case("efficientnet/efficientnet_lite0.keras", photos, 32, 100, 400, limit_s=120),
    "PP-OCRv4 rec": Case(
        OCR, text_lines, 24, 48, 192, Metric("characters", misread, read_right), shapes="x:?x3x48x32..320..640"
    ),
    "basic-pitch": Case(
        "basic_pitch/basic_pitch/saved_models/icassp_2022/nmp",
        chords,
        16,
        40,
        160,
        Metric("note F1", heard, note_f1),
        limit_s=120,
    ),
}


def opened(case: Case, store: Store) -> tuple[Model, Path]:
    """The model, and its FP32 form as ONNX."""
    with Pool(store.log_path, threading.Event()) as pool:
        path = ZOO / case.path if case.path else demo_model(store, pool, print)
        model = read_model(store, pool, str(path), "", case.shapes, case.values)
        data = dataset("random", model, 0, 0, demo=False)
        executor = Executor.of(Means(store, pool, lambda _: None), model, data)
        return model, executor.prepared("onnx:fp32").source.path


def study(case: Case, backend: str, folder: Path, store: Store, *, quick: bool = False) -> Study:
    """The model with its samples: a part to calibrate, a part to search with, and a part that the search does not see."""
    model, onnx = opened(case, store)
    count, unseen = (8, 8) if quick else (case.count, case.unseen)
    every = case.samples(case.calibration + count + unseen)
    (spec,) = model.inputs
    named = Samples(every.name, {spec.name: next(iter(every.inputs.values()))}, every.labels)
    first, middle, last = case.calibration, case.calibration + count, case.calibration + count + unseen
    parts = (slice(first), slice(first, middle), slice(middle, last))
    calibration, seen, unseen = (named.take(part) for part in parts)
    setup = TrialSetup(backend, model.inputs, model.outputs, folder, batch=case.batch, say=say)
    return study_of(setup, onnx, StudySamples(calibration, seen, unseen), Calibration.MINMAX, judge_by(case.metric))


def say(text: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def search(case: Case, name: str, backend: str, into: Path, store: Store) -> None:
    with tempfile.TemporaryDirectory() as folder:
        about = study(case, backend, Path(folder), store)
        found = sensitivity(about, limit_s=case.limit_s, say=say)
        budget = Budget(max(BUDGET, RELATIVE * found.fp32_quality), ABSOLUTE)
        repaired = RepairSearch(about, budget=budget, limit_s=case.limit_s, say=say).run(found)
    content = {"sensitivity": to_json(found), "repair": to_json(repaired)}
    into.write_text(json.dumps(content), encoding="utf-8")
    for each in repaired.tried:
        print(f"  {each.summary}")
    print(f"{name}, {backend}: {repaired.best.summary if repaired.best else repaired.why}", flush=True)


def lines(case: Case, name: str, backend: str, path: Path, store: Store) -> list[str]:
    """One row of the table: everything in INT8 and what was found, timed against FP32 just now."""
    content = json.loads(path.read_text(encoding="utf-8"))
    repaired = from_json(Repair, content["repair"])
    whole = repaired.tried[0]
    chosen = repaired.best
    with tempfile.TemporaryDirectory() as folder:
        about = study(case, backend, Path(folder), store, quick=True)
        models = [whole] + ([chosen] if chosen else [])
        records = [about.fp32]
        for number, each in enumerate(models):
            left = [unit for unit in about.quantizer.units if unit.name not in each.excluded]
            file = about.quantizer.write(Path(folder) / f"{number}.onnx", left)
            records.append(about.setup.built(file, Precision.INT8, str(number)))
        feeds = about.seen.samples.feeds(0, about.setup.batch)
        speeds = race(about.setup, records, feeds, launches=6, rounds=5, block_s=0.06)
    ratio = [str(each) for each in speeds]
    cells = [
        name,
        backend,
        f"{repaired.metric}, {repaired.samples}",
        f"{repaired.fp32_quality:.4f}",
        f"{whole.quality:.4f} ({whole.quality - repaired.fp32_quality:+.4f})",
        ratio[1],
    ]
    if chosen is None or chosen.confirmed is None:
        return [*cells, "none", "–", "–", f"none found: {repaired.why}"]
    holds = chosen.holds and chosen.size_ratio >= MIN_SIZE and speeds[2].word != Verdict.SLOWER
    return [
        *cells,
        f"{len(repaired.keep)} nodes",
        f"{chosen.confirmed:.4f} of {repaired.fp32_confirmed:.4f}, {repaired.unseen}",
        ratio[2],
        f"{chosen.size_ratio:.2f} times smaller; {chosen.judged}; within target: {'yes' if holds else 'no'}",
    ]


def other_ways(case: Case, name: str, store: Store, *, measure_s: float) -> list[list[str]]:
    """Every other method on every backend that has it, judged on the unseen samples and measured in turns with FP32."""
    every = case.samples(case.calibration + case.count + case.unseen)
    kept, later = every.take(slice(case.calibration)), every.take(slice(case.calibration + case.count, None))
    with tempfile.TemporaryDirectory() as folder:
        arrays = {"x": next(iter(later.inputs.values())), "x_calibration": next(iter(kept.inputs.values()))}
        arrays |= {} if later.labels is None else {"y": later.labels}
        np.savez(Path(folder) / "data.npz", **arrays)
        asked = Experiment(
            model=ZOO / case.path, data=Path(folder) / "data.npz", backends=("litert", *BACKENDS), precisions=WAYS, batches=case.batch,
            calibration="minmax", calibration_samples=case.calibration, measure_s=measure_s, max_measure_s=8 * measure_s,
        )  # fmt: skip
        results = workbench.run(asked, store=store, on_event=lambda event: say(event.text), **({"metric": case.metric} if case.metric else {}))  # fmt: skip
    return [line for backend in asked.backends for line in ways_of(results, name, backend, store)]


def size_of(row: Result, store: Store) -> int:
    """Bytes of the file that is built from where that is ONNX, of the engine elsewhere: OpenVINO's holds what it compiled as well."""
    origin = store.root / row.engine.origin
    return origin.stat().st_size if origin.suffix == ".onnx" else row.engine.size_bytes


def ways_of(results: Results, name: str, backend: str, store: Store) -> list[list[str]]:
    """One line for each method that was built on a backend, against FP32 there."""
    rows = {row.spec.asked: row for row in results.rows if row.spec.backend == backend and row.status == Status.DONE}
    if Precision.FP32 not in rows:
        return []
    base = rows.pop(Precision.FP32)
    compared = {row.result.row: row for row in comparison(results, base.spec.label).rows}
    allowed = Budget(max(BUDGET, RELATIVE * quality(base.accuracy)), ABSOLUTE)
    found = []
    for way, row in rows.items():
        judged, smaller, speed = (
            judge(row.accuracy, allowed),
            size_of(base, store) / size_of(row, store),
            compared[row.row],
        )
        ratio = "–" if speed.speedup is None else f"×{speed.speedup:.2f} [{speed.low:.2f}, {speed.high:.2f}]"
        holds = (
            judged.loss <= judged.allowed
            and smaller >= MIN_SIZE
            and speed.verdict in (Verdict.FASTER, Verdict.CANNOT_TELL)
        )
        outcome = f"within target: {'yes' if holds else 'no'}"
        found.append([name, backend, way, named(row.accuracy), str(judged), f"{smaller:.2f}", ratio, outcome])
    return found


def case_of(name: str, asked: argparse.Namespace) -> Case:
    """The case, with as many samples and as much time as was asked for."""
    case = CASES[name]
    return replace(case, count=asked.samples or case.count, limit_s=asked.limit_s or case.limit_s)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help=f"which of: {', '.join(CASES)} (default: all)")
    options.add_argument("--search", action="store_true", help="search, and keep what is found in --folder")
    options.add_argument("--samples", type=int, default=0, help="samples of the search")
    options.add_argument("--limit-s", type=float, default=0.0, help="seconds for each half of a search, about")
    options.add_argument("--ways", action="store_true", help="try every other method, and measure it")
    options.add_argument("--measure-s", type=float, default=1.0, help="seconds of each of them in one launch")
    options.add_argument("--backend", default=",".join(BACKENDS))
    options.add_argument("--folder", type=Path, default=ROOT / ".workbench" / "mixed")
    asked = options.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    store = Store(ROOT / ".workbench").prepare()
    if asked.ways:
        ways = [
            line for name in asked.names for line in other_ways(CASES[name], name, store, measure_s=asked.measure_s)
        ]
        tell(
            Section(
                title="Methods for models that mixed INT8 does not repair",
                script="mixed_precision.py --ways",
                method=(
                    "The same models, unseen samples and target as above, by every method that a backend has, against FP32 on the same "
                    "backend: run as any experiment, one thread, with launches until the verdict is known. What was lost has its 95 % "
                    "interval over the samples. Sizes are those of the ONNX files that are built from, which for NNCF and OpenVINO's BF16 is FP32's, or of LiteRT's."
                ),
                columns=WAY_COLUMNS,
                rows=ways,
                libraries=("ai-edge-litert", "onnxruntime", "openvino", "tensorflow-cpu"),
            ),
            record=asked.record,
        )
        return
    rows = []
    for name in asked.names or CASES:
        for backend in asked.backend.split(","):
            path = asked.folder / f"{name.replace(' ', '-')}-{backend}.json"
            if asked.search:
                search(case_of(name, asked), name, backend, path, store)
            elif path.is_file():
                rows.append(lines(case_of(name, asked), name, backend, path, store))
    if rows:
        tell(
            Section(
                title="Mixed precision that holds its accuracy",
                script="mixed_precision.py",
                method=(
                    "For each model the units that stay in FP32 were searched for on one part of the samples; qualities of the "
                    "repaired model are those on another part, beside FP32's there, with how many samples and the guard's word: what was "
                    "lost, with its 95 % interval. Speed is FP32's "
                    "time on the same backend divided by this one's, one thread: engines are opened again six times, five "
                    "interleaved rounds each, with a 95 % interval over the openings. Target: within 0.5 points or 1 % of FP32, at least 1.3 times smaller, and not slower."
                ),
                columns=COLUMNS,
                rows=rows,
                libraries=("onnxruntime", "openvino", "onnx"),
            ),
            record=asked.record,
        )


if __name__ == "__main__":
    main()
