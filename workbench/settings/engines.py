"""Settings of engines and of their precision."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from workbench.errors import InputError
from workbench.records import Calibration
from workbench.records.methods import METHODS
from workbench.settings.declared import declared
from workbench.settings.kinds import Choice, Integer, Integers, Texts, YesNo

USUAL = "default"
"""Stands for the backends of :func:`usual` in the setting "backends"."""
ON_CPU = ("tensorflow", "tensorflow:xla", "tensorflow:predict", "litert", "onnxruntime", "openvino")
ON_GPU = ("tensorrt:rtx",)
"""Without a GPU these can build, which takes long, and not run: they are built there only where they are named."""
_OPTION = re.compile(r"[A-Za-z0-9_.=-]+")


def usual(gpu: str) -> tuple[str, ...]:
    """The backends of an experiment that names none; ``gpu``: the GPU of the machine as :class:`workbench.records.Machine` has it.

    >>> set(usual("NVIDIA H200")) - set(usual(""))
    {'tensorrt:rtx'}
    """
    return (*ON_CPU, *ON_GPU) if gpu else ON_CPU


def expanded(backends: Iterable[str], gpu: str) -> tuple[str, ...]:
    """The same backends with those of :func:`usual` in the place of :data:`USUAL`, each once.

    >>> expanded(["default", "openvino", "tensorrt:rtx"], gpu="")[-2:]
    ('openvino', 'tensorrt:rtx')
    """
    return tuple(dict.fromkeys(name for each in backends for name in (usual(gpu) if each == USUAL else (each,))))


def _check_options(options: tuple[str, ...]) -> None:
    for option in options:
        if not _OPTION.fullmatch(option):
            raise InputError(
                f"'build_options' are names of letters, digits and _ . = -; found {json.dumps(option)}. "
                "Separate several by commas."
            )


@dataclass(frozen=True)
class EngineSettings:
    """Settings of the engines that are built."""

    GROUP: ClassVar[str] = "Engines"

    backends: tuple[str, ...] = declared(Texts(
        default=(USUAL,),
        help="libraries that build and run the engines, each as backend, backend:mode or backend:mode@environment",
        empty=f"{', '.join(ON_CPU)}, and with an NVIDIA GPU {', '.join(ON_GPU)}",
        condition=False,
    ))  # fmt: skip
    precisions: tuple[str, ...] = declared(Texts(
        default=("fp32", "fp16", "bf16", "int8"),
        help="number formats of the layers that carry weights, and methods to reach them",
        choices=tuple(METHODS),
        condition=False,
    ))  # fmt: skip
    batches: tuple[int, ...] = declared(Integers(
        default=(1, 8, 32),
        label="Batch sizes",
        help="samples in one call",
        example="1,8,32",
        low=1,
        high=65536,
        usual=(1, 8, 32, 128),
        basic=True,
        condition=False,
    ))  # fmt: skip
    shapes: str = declared(Choice(
        default="dynamic",
        help="dynamic: one engine serves all batch sizes, fixed: one engine for each batch size",
        choices=("dynamic", "fixed"),
    ))  # fmt: skip
    threads: int = declared(Integer(
        default=1,
        help="CPU threads that one engine may use",
        example="2",
        low=1,
        high=1024,
        backend_setting="threads",
    ))  # fmt: skip
    optimization_level: tuple[int, ...] = declared(Integers(
        default=(-1,),
        help="how much a library may optimize an engine while it is built, each value is a variant of its own",
        example="-1,0,3",
        empty="the library's default level",
        low=-1,
        high=9,
        usual=(-1, 0, 1, 2, 3),
        words={"default": -1},
        backend_setting="optimization_level",
        condition=False,  # it is part of the variant's name
    ))  # fmt: skip
    workspace_mib: tuple[int, ...] = declared(Integers(
        default=(0,),
        label="Workspace (MiB)",
        help="limit of the scratch memory that a build may use, each value is a variant of its own",
        example="0,64,1024",
        unit="MiB",
        empty="the library's default limit",
        low=0,
        high=2**20,
        usual=(0, 16, 256, 1024, 4096),
        words={"default": 0, "automatic": 0},
        backend_setting="workspace",
        condition=False,
    ))  # fmt: skip
    builds: int = declared(Integer(
        default=1,
        help="independent builds of each variant, without a timing cache; the verdict is over builds and needs at least 3",
        example="5",
        low=1,
        high=50,
        condition=False,  # it is part of the variant's name
    ))  # fmt: skip
    tf32: bool = declared(YesNo(
        default=True,
        label="TF32",
        help="NVIDIA GPUs: FP32 matrix products may round their inputs to TF32",
        backend_setting="tf32",
        gpu=True,
    ))  # fmt: skip
    cuda_graph: bool = declared(YesNo(
        label="CUDA graph",
        help="NVIDIA GPUs: record the launches of one run and replay them",
        backend_setting="cuda_graph",
        gpu=True,
    ))  # fmt: skip
    streams: int = declared(Integer(
        default=1,
        help="NVIDIA GPUs: calls in flight at once; with several, throughput is measured and latency is not",
        example="4",
        low=1,
        high=64,
        backend_setting="streams",
        gpu=True,
    ))  # fmt: skip
    build_options: tuple[str, ...] = declared(Texts(
        help="options of a backend by name",
        empty="none",
        check=_check_options,
        backend_setting="build_options",
        gpu=True,
    ))  # fmt: skip


@dataclass(frozen=True)
class PrecisionSettings:
    """Settings of precision and calibration."""

    GROUP: ClassVar[str] = "Precision"

    calibration: str = declared(Choice(
        default="minmax",
        label="INT8 calibration",
        help="how the ranges of activations are chosen from the calibration samples",
        choices=tuple(map(str, Calibration)),
    ))  # fmt: skip
    calibration_samples: int = declared(Integer(
        default=200,
        help="samples used for calibration, never those used for accuracy",
        low=1,
        high=10**6,
    ))  # fmt: skip
    quantize: tuple[str, ...] = declared(Texts(
        label="Rewrite only",
        help="operation types or node names to rewrite",
        empty="everything that the method can rewrite",
    ))  # fmt: skip
    keep: tuple[str, ...] = declared(Texts(
        label="Keep in FP32",
        help="operation types or node names to leave in FP32, or a file that lists them, such as keep.json",
        empty="none",
    ))  # fmt: skip
