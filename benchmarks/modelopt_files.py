"""NVIDIA ModelOpt's files beside the workbench's own for TensorRT: how the answers change, and what is left in FP32.

ModelOpt needs an environment of its own (docs/environments.md), and EfficientNet-Lite0 the models of the zoo::

    workbench environment add modelopt modelopt/bin/python
    python tests/zoo/fetch.py efficientnet
    python benchmarks/modelopt_files.py --record

Every file is run by ONNX Runtime on the CPU, which does the arithmetic that the file states. Speed needs TensorRT and a GPU, and is not
measured here.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from mixed_precision import CASES, ZOO, Case, opened
from record import ROOT, Section, parser, tell

sys.path.insert(0, str(ROOT / "tests" / "zoo"))

import efficientnet

from workbench.data.samples import Samples
from workbench.environments import registry
from workbench.errors import InputError
from workbench.precision import modelopt
from workbench.precision.rewrite import rewrite
from workbench.records import Calibration
from workbench.store import Store

NAMES = ("mnist (demo)", "EfficientNet-Lite0")
FORMS = {"int8-s8": "workbench", "int8-modelopt": "ModelOpt", "fp16": "workbench", "fp16-modelopt": "ModelOpt"}
COLUMNS = (
    "model",
    "file",
    "by",
    "quantized or cast",
    "MB",
    "written in",
    "answers changed",
    "accuracy",
    "largest difference",
)
METHOD = (
    "INT8 and FP16 files of the same FP32 file, with the same calibration samples: ranges of the workbench are minimum and maximum, those of "
    "ModelOpt its default. Answers are the largest outputs, compared with FP32 on samples that neither saw."
)
CASTS = {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8}


def answers(path: Path, samples: Samples) -> np.ndarray:
    """The first output for all samples, float32 (n, classes)."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (spec,) = session.get_inputs()
    dtype = np.float16 if spec.type == "tensor(float16)" else np.float32
    rows = [session.run(None, {spec.name: row[None].astype(dtype)})[0] for row in next(iter(samples.inputs.values()))]
    return np.concatenate(rows).astype(np.float32)


def rewritten(path: Path) -> str:
    """How many layers with weights have weights in the new format, of all such layers."""
    graph = onnx.load(path).graph
    stored = {each.name: each.data_type for each in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}

    def narrow(name: str) -> bool:
        while name in made and made[name].op_type in ("DequantizeLinear", "QuantizeLinear", "Reshape", "Transpose"):
            if made[name].op_type == "QuantizeLinear":
                return True
            name = made[name].input[0]
        return stored.get(name) in CASTS

    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    return f"{sum(narrow(node.input[1]) for node in layers)} of {len(layers)}"


def lines(name: str, case: Case, store: Store) -> list[list[str]]:
    """One row for each file of a model."""
    _, source = opened(case, store)
    given = case.samples(case.calibration + case.count + case.unseen)
    (spec,) = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).get_inputs()
    every = Samples(given.name, {spec.name: next(iter(given.inputs.values()))}, given.labels)
    calibration, unseen = every.take(slice(case.calibration)), every.take(slice(case.calibration + case.count, None))
    right = answers(source, unseen)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for form, by in FORMS.items():
            into = Path(folder) / f"{form}.onnx"
            began = time.perf_counter()
            rewrite(source, form, into, calibration=calibration, method=Calibration.MINMAX, progress=lambda _: None)
            took = time.perf_counter() - began
            got = answers(into, unseen)
            changed = int((got.argmax(1) != right.argmax(1)).sum())
            score = "–" if unseen.labels is None else f"{(got.argmax(1) == unseen.labels).mean():.4f}"
            found.append(
                [name, form.partition("-")[0], by, rewritten(into), f"{into.stat().st_size / 1e6:.2f}", f"{took:.1f} s",
                 f"{changed} of {len(got)}", score, f"{abs(got - right).max():.4f}"]
            )  # fmt: skip
            print(*found[-1], sep="  ", flush=True)
    if unseen.labels is not None:
        print(f"{name}: FP32 {(right.argmax(1) == unseen.labels).mean():.4f}")
    return found


def main() -> None:
    asked = parser(__doc__).parse_args()
    if not (able := modelopt.available()):
        raise InputError(f"{able.reason}. To install it: {able.fix}")
    lite = ZOO / CASES["EfficientNet-Lite0"].path
    if not lite.is_file():
        efficientnet.save(next(lite.parent.rglob("*.pth")), lite)
    store = Store(ROOT / ".workbench").prepare()
    rows = [row for name in NAMES for row in lines(name, CASES[name], store)]
    has = registry.that_has(modelopt.PACKAGE)
    versions = ", ".join(f"{name} {version}" for name, version in has.packages.items()) if has else ""
    layers = "Layers are those of Conv, Gemm and MatMul. ModelOpt's INT8 files hold the weights in FP32, with quantizers after them."
    notes = [f"ModelOpt's environment: {versions}. {layers}"]
    tell(Section("ModelOpt's files beside the workbench's", Path(__file__).name, METHOD, COLUMNS, rows, ("onnx", "onnxruntime"), notes), record=asked.record)  # fmt: skip


if __name__ == "__main__":
    main()
