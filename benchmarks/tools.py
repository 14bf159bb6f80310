"""What does the user of each tool get? The same Keras model by ``model.predict``, ``tf.function``, XLA, LiteRT, ONNX Runtime and
OpenVINO.

Method. The workbench's own pipeline, ``workbench.run``: FP32, one thread, host to host, variants in turn in every round; the
demo, and MobileNetV2 and ResNet50 of Keras' applications with random weights (speed does not depend on them) on 224 × 224
images. One section for each model and batch size, so that each can be recorded for itself. Models and engines are kept in
``.workbench/benchmarks``; what is measured is measured anew every time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from models import KEPT, MODELS, benchmark_store, model_file
from record import Section, parser, tell

from workbench import Experiment, comparison, run
from workbench.compare.comparison import digits, speedup_text
from workbench.records import Results, Row

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
    return (TOOLS[row.result.spec.backend_and_mode], *times, ratio, str(len(timing.samples_s)), agrees)


def section(model: str, batch: int, results: Results, rounds: int) -> Section:
    compared = comparison(results)
    failed = [f"{row.row}: {row.failure.message}" for row in results.rows if row.failure]
    return Section(
        title=f"What each tool gives: {model}, batch {batch}",
        script=f"tools.py --model {model} --batch {batch}",
        method=f"FP32, one thread, NumPy in and NumPy out, {rounds} rounds in which all take turns. Speed-up: the time of "
        "tf.function divided by this one's, the median over rounds with its 95 % interval. Agrees: the share of inputs with "
        "the same class as TensorFlow's.",
        columns=("tool", "median of a call", "samples/s", "speed-up", "calls", "agrees"),
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
    options.add_argument("--rounds", type=int, default=12, help="at least 6")
    options.add_argument("--only-build", action="store_true", help="make models and engines, and measure nothing")
    asked = options.parse_args()
    store = benchmark_store()
    for model in asked.model or MODELS:
        for batch in asked.batch or BATCHES:
            experiment = Experiment(
                model=model_file(model),
                data=data_file(model),
                backends=tuple(TOOLS),
                precisions=("fp32",),
                batches=(batch,),
                rounds=asked.rounds,
                baseline="tensorflow fp32",
            )
            only = "build" if asked.only_build else "all"
            results = run(experiment, store=store, only=only, remeasure=True, on_event=lambda event: print(event.text))
            if not asked.only_build:
                tell(section(model, batch, results, asked.rounds), record=asked.record)


if __name__ == "__main__":
    main()
