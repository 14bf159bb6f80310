"""How long opening a model of 25 million parameters takes, and how much memory, in every format.

ResNet50 with random weights, written by Keras, TensorFlow and tf2onnx. Opening means what ``workbench inspect`` does before
the conversion: refusals before a library sees the file, loading, and running the model at three batch sizes. The worker is
fresh; its import of the library is reported separately. Memory is the peak of the process above what it held after the import. The
conversion to ONNX and its comparison with the source, once per model and kept in the store, stand beside it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from record import Section, parser, tell, verdict

from workbench.models import formats
from workbench.protocols import ONNX_WORKER, TF_WORKER
from workbench.workers.worker import Worker, thread_env

LIMIT_S, LIMIT_TIMES = 20.0, 6.0
REPEATS = 3
THREADS = 2
MODULES = {TF_WORKER: ["tensorflow", "keras"], ONNX_WORKER: ["onnx", "onnxruntime", "numpy"]}


def files(folder: Path) -> dict[str, Path]:
    """The same network in every format."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(weights=None)
    made = {name: folder / f"resnet50{ending}" for name, ending in ENDINGS.items()}
    model.save(made["keras"])
    model.save(made["keras (HDF5)"])
    model.export(made["saved_model"], verbose=False)
    made["tflite"].write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(made["saved_model"])).convert())
    loaded = tf.saved_model.load(str(made["saved_model"]))  # its variables live as long as it does
    function = loaded.signatures["serving_default"]
    frozen = convert_variables_to_constants_v2(function)
    made["frozen_graph"].write_bytes(frozen.graph.as_graph_def().SerializeToString())
    model.export(made["onnx"], format="onnx", verbose=False)
    return made


ENDINGS = {
    "keras": ".keras",
    "keras (HDF5)": ".h5",
    "saved_model": "",
    "frozen_graph": ".pb",
    "tflite": ".tflite",
    "onnx": ".onnx",
}


def opened(path: Path, log: Path) -> tuple[float, float, int]:
    """Seconds of the import and of the opening, and peak bytes above the import."""
    kind = "saved_model" if path.is_dir() else formats.ENDINGS[path.suffix]
    modules = MODULES[formats.reads_in(kind)]
    with Worker(log, env={"CUDA_VISIBLE_DEVICES": "-1", **thread_env(THREADS)}) as worker:
        began = time.perf_counter()
        base = worker.call("hello", modules=modules)["rss_bytes"]
        imported = time.perf_counter()
        worker.call("inspect", path=str(path))
        ended = time.perf_counter()
        return imported - began, ended - imported, worker.call("peak")["peak_rss_bytes"] - base


def converted(path: Path, folder: Path) -> tuple[float, int]:
    """Seconds of the conversion to ONNX and its comparison after the opening, and peak bytes above the import."""
    kind = "saved_model" if path.is_dir() else formats.ENDINGS[path.suffix]
    worker_modules = MODULES[ONNX_WORKER if kind == "onnx" else TF_WORKER]
    with Worker(folder / "log", env={"CUDA_VISIBLE_DEVICES": "-1", **thread_env(THREADS)}) as worker:
        base = worker.call("hello", modules=worker_modules)["rss_bytes"]
        model = worker.call("inspect", path=str(path))
        began = time.perf_counter()
        saved_model = None
        if formats.reads_in(kind) == TF_WORKER:
            saved_model = str(path)
            if kind != "saved_model":
                saved_model = str(folder / "as_saved_model")
                worker.call("export_saved_model", model=model, into=saved_model)
        into = str(folder / "model.onnx")
        worker.call("export_onnx", model=model, saved_model=saved_model, samples=None, into=into)
        return time.perf_counter() - began, worker.call("peak")["peak_rss_bytes"] - base


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def main() -> None:
    options = parser(__doc__).parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files(Path(folder)).items():
            size = formats.size_of(path)
            runs = [opened(path, Path(folder) / "log") for _ in range(REPEATS)]
            columns: list[Callable[[tuple[float, float, int]], float]] = [
                lambda r: r[0],
                lambda r: r[1],
                lambda r: r[2],
            ]
            imported, seconds, memory = (median([float(column(run)) for run in runs]) for column in columns)
            times = memory / size
            with tempfile.TemporaryDirectory() as scratch:
                to_onnx_s, to_onnx_bytes = converted(path, Path(scratch))
            rows.append(
                (
                    name,
                    f"{size / 1e6:.0f} MB",
                    f"{imported:.1f} s",
                    f"{seconds:.1f} s",
                    f"{memory / 1e6:.0f} MB",
                    f"{times:.1f}",
                    f"{to_onnx_s:.1f} s",
                    f"{to_onnx_bytes / 1e6:.0f} MB",
                    f"{verdict(imported + seconds, 0, LIMIT_S)}, {verdict(times, 0, LIMIT_TIMES).removeprefix('within target: ')}",
                )
            )
    tell(
        Section(
            title="Opening a model of 25 million parameters",
            script=Path(__file__).name,
            method=f"ResNet50 in a fresh worker with {THREADS} threads, median of {REPEATS}. Targets: import and opening under "
            f"{LIMIT_S:.0f} s, memory under {LIMIT_TIMES:.0f} times the file. The conversion to ONNX and its comparison at two "
            "batch sizes come after that, once per model; they ran once, without a target.",
            columns=(
                "format",
                "size",
                "import",
                "opening",
                "memory above import",
                "times the size",
                "to ONNX, compared",
                "its memory",
                "opening's time, memory",
            ),
            rows=rows,
            libraries=("tensorflow-cpu", "keras", "ai-edge-litert", "onnx", "onnxruntime"),
        ),
        record=options.record,
    )


if __name__ == "__main__":
    main()
