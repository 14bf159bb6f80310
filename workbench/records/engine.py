"""Records of variants and of the engines that were built from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workbench.records.model import TensorSpec
from workbench.records.terms import CPU, Calibration, Precision


@dataclass(frozen=True)
class EngineSpec:
    """One variant: backend, precision and settings of an engine."""

    backend: str
    precision: Precision
    mode: str = ""  # one of the backend's modes, such as "xla"; "": its plain mode
    batch: int | None = None  # None: one engine for all batches; a number: shapes fixed to it
    batches: tuple[int, ...] = (1,)  # the batches it must serve, ascending
    threads: int = 1
    optimization_level: int | None = None  # None: the library's default
    workspace_bytes: int | None = None  # None: the library's default
    calibration: Calibration | None = None  # of methods with calibrated ranges
    calibration_samples: int = 0  # of those methods
    tf32: bool = True  # NVIDIA GPUs: FP32 matrix products may round their inputs to TF32
    cuda_graph: bool = False  # NVIDIA GPUs: replay the launches of one captured run
    streams: int = 1  # calls in flight at once that it is opened for; on an NVIDIA GPU each has a separate stream
    build_options: tuple[str, ...] = ()  # options of one backend by name, such as "refit"
    # the method of the precision, where it is not the default one: a suffix in workbench.records.methods
    method: str = ""
    quantize: tuple[str, ...] = ()  # operation types or node names to rewrite; empty: all that the method takes
    keep: tuple[str, ...] = ()  # operation types or node names to leave in FP32
    environment: str = ""  # name of the Python that builds and runs it; "": this one
    build: int = 0  # which of several independent builds, counted from 1, without a timing cache; 0: there is one
    side: str = ""  # "old" or "new", where one variant is measured of two models or environments; "": there is one

    @property
    def asked(self) -> str:
        """Precision and method by the name that a user writes: ``int8``, ``int8-dynamic``, ``int4-weights``."""
        return f"{self.precision}-{self.method}" if self.method else str(self.precision)

    @property
    def address(self) -> str:
        """``BACKEND[:MODE][@ENVIRONMENT]``, as a user writes it."""
        mode = f":{self.mode}" if self.mode else ""
        return f"{self.backend}{mode}" + (f"@{self.environment}" if self.environment else "")

    @property
    def label(self) -> str:
        """Short name of the variant in tables, plots and on the command line: ``onnxruntime int8``.

        Settings of which one run may hold several values are part of it where they are not the library's default:
        ``onnxruntime int8 level 1``, ``tensorrt fp16 workspace 64 MiB``, and ``b8`` where shapes are fixed to a batch. ``build 2`` is the second of several builds.
        """
        level = f" level {self.optimization_level}" if self.optimization_level is not None else ""
        workspace = f" workspace {self.workspace_bytes / 2**20:g} MiB" if self.workspace_bytes is not None else ""
        fixed = f" b{self.batch}" if self.batch is not None else ""
        build = f" build {self.build}" if self.build else ""
        side = f" {self.side}" if self.side else ""
        return f"{self.address} {self.asked}{level}{workspace}{build}{fixed}{side}"

    @property
    def variant(self) -> str:
        """The label without the batch of fixed shapes and the number of the build: what all engines of one variant share."""
        return replace(self, batch=None, build=0).label


def split_address(address: str) -> tuple[str, str, str]:
    """The three parts of ``BACKEND[:MODE][@ENVIRONMENT]``, ``""`` for missing parts."""
    where, _, environment = address.partition("@")
    backend, _, mode = where.partition(":")
    return backend, mode, environment


@dataclass(frozen=True)
class RealizedPrecision:
    """The precision of the built engine, read back from the engine.

    ``layers`` counts the layers that carry weights (convolutions and matrix products) by the format they
    compute in; ``int8-weights`` and similar names are layers that store their weights in the format and compute in floats.
    ``basis`` says where that was read.
    """

    layers: dict[str, int]
    basis: str

    @property
    def label(self) -> str:
        """``int8``, or ``int8 5/6`` where one layer with weights kept another format, or ``fp32 2/4 + int8 2/4``."""
        if not self.layers:
            return "unknown"
        total = sum(self.layers.values())
        most = max(self.layers.values())
        if most == total:
            return next(name for name, count in self.layers.items() if count)
        return " + ".join(f"{name} {most}/{total}" for name, count in sorted(self.layers.items()) if count == most)


@dataclass(frozen=True)
class EngineRecord:
    """An engine in the store: its variant, realized precision, source and cost."""

    spec: EngineSpec
    key: str
    library: str
    library_version: str
    realized: RealizedPrecision
    size_bytes: int
    build_s: float
    runnable: bool = True
    note: str = ""  # shown in the row, for example why an engine cannot run here
    built_at: str = ""  # UTC, ISO 8601
    device: str = CPU  # the device that it runs on: "cpu" or "cuda:0"
    origin: str = ""  # the prepared model that it was built from: a path within the store, or one outside it
    inputs: tuple[TensorSpec, ...] = ()  # the model's inputs, with the ranges of generated values
    model_layers: tuple[str, ...] = ()  # names of the model's own layers, where its file has them
    source_sha256: str = ""  # of the rewritten file that it was built from, or that its library made
