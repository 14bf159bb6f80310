"""What does the user of each tool get? The same Keras model by ``model.predict``, ``tf.function``, XLA, LiteRT, ONNX Runtime and
OpenVINO.

Method. The workbench's own pipeline, ``workbench.run``: FP32, one thread, host to host, variants in turn in every round; the
demo, and MobileNetV2 and ResNet50 of Keras' applications with random weights (speed does not depend on them) on 224 × 224
images. One section for each model and batch size, so that each can be recorded for itself. Models and engines are kept in
``.workbench/benchmarks``; what is measured is measured again every time.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from models import KEPT, MODELS, benchmark_store, model_file
from record import Section, parser, tell

from workbench import Experiment, run
from workbench.compare.formats import digits, speedup_text
from workbench.compare.pairs import comparison
from workbench.measure.verdict import ALLOWANCE
from workbench.records import Results, Row
from workbench.stats.estimates import LAUNCHES

TOOLS = {
    "tensorflow": "TensorFlow, tf.function",
    "tensorflow:predict": "Keras, model.predict",
    "tensorflow:xla": "TensorFlow, XLA",
    "litert": "LiteRT",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
BATCHES = (1, 8, 32)
IMAGES = 32


class Length(NamedTuple):
    """How long a size is measured: rounds and seconds of the first launch, and seconds of all launches at most."""

    rounds: int = 12
    measure_s: float = 1.0
    max_measure_s: float = 4.0


LENGTHS = {
    ("mobilenetv2", 32): Length(measure_s=3.0, max_measure_s=8.0),
    ("resnet50", 8): Length(measure_s=7.0, max_measure_s=18.0),
    ("resnet50", 32): Length(rounds=10, measure_s=22.0, max_measure_s=22.0),
}
"""Of those whose calls are longer than a usual block: a block is a call of them, and four launches are possible, or one where a
call takes seconds."""


def data_file(model: str) -> str:
    """As many random images as the largest batch holds: the answers of each engine are compared on those."""
    if model == "demo":
        return "auto"
    path: Path = KEPT / "images.npz"
    if not path.exists():
        np.savez(path, x=np.random.default_rng(0).uniform(-1, 1, (IMAGES, 224, 224, 3)).astype(np.float32))
    return str(path)


def line(row: Row) -> tuple[str, ...]:
    timing, score = row.result.timing, row.result.accuracy
    assert timing
    ratio = speedup_text(str(row.verdict), row.speedup, row.low, row.high)
    agrees = "" if score is None else f"{score.agreement:.1%}"
    times = f"{digits(timing.median_s * 1e3)} ms", digits(timing.samples_per_s)
    launches = f"{len(timing.launches)}, {timing.ended}"
    calls = str(len(timing.samples_s))
    return (TOOLS[row.result.spec.address], *times, ratio, launches, calls, agrees, row.why or row.note)


def section(model: str, batch: int, results: Results) -> Section:
    compared = comparison(results)
    failed = [f"{row.row}: {row.failure.message}" for row in results.rows if row.failure]
    return Section(
        title=f"What each tool gives: {model}, batch {batch}",
        script=f"tools.py --model {model} --batch {batch}",
        method=f"FP32, one thread, NumPy in and NumPy out; {results.plan.rounds} rounds in which all take turns in the first launch, "
        f"{results.plan.relaunch_rounds} in every further one, {results.plan.max_measure_s:g} s for each tool at most. Speed-up: the "
        "time of tf.function divided by this one's with its 95 % interval: a trimmed mean over launches where there are "
        f"{LAUNCHES} or more, else the median over rounds, and its interval {ALLOWANCE:.0%} wider on both sides. Launches: how many, "
        "and what ended the measuring. Agrees: the share of inputs with the same class as TensorFlow's.",
        columns=("tool", "median of a call", "samples/s", "speed-up", "launches", "calls", "agrees", "note"),
        rows=[line(row) for row in compared.rows],
        libraries=("tensorflow-cpu", "tensorflow", "keras", "ai-edge-litert", "onnxruntime", "openvino"),
        notes=[f"Without a number: {text}" for text in failed],
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--model", choices=MODELS, action="append", help="this one only; may be given again")
    options.add_argument(
        "--batch", type=int, choices=BATCHES, action="append", help="this one only; may be given again"
    )
    options.add_argument(
        "--rounds", type=int, help="of the first launch, instead of those that suit the size; at least 6"
    )
    options.add_argument("--only-build", action="store_true", help="make models and engines, and measure nothing")
    asked = options.parse_args()
    store = benchmark_store()
    for model in asked.model or MODELS:
        for batch in asked.batch or BATCHES:
            length = LENGTHS.get((model, batch), Length())
            experiment = Experiment(
                model=model_file(model),
                data=data_file(model),
                backends=tuple(TOOLS),
                precisions=("fp32",),
                batches=(batch,),
                rounds=asked.rounds or length.rounds,
                measure_s=length.measure_s,
                max_measure_s=length.max_measure_s,
                baseline="tensorflow fp32",
            )
            only = "build" if asked.only_build else "all"
            results = run(experiment, store=store, only=only, remeasure=True, on_event=lambda event: print(event.text))
            if not asked.only_build:
                tell(section(model, batch, results), record=asked.record)


if __name__ == "__main__":
    main()
