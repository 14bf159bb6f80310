"""Methods of lowering precision, by the name that users write and rows show.

A name is the number format of the layers with weights, with a suffix where there are several methods for the format: ``int8``,
``int8-dynamic``, ``int4-weights``. The format without a suffix is the default method: casts for 16-bit floats, and ranges
calibrated on samples for INT8 and FP8.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.records.terms import Calibration, Precision

WEIGHTS = "weights"
DYNAMIC = "dynamic"
NNCF = "nncf"
CONTROL = "nncf-control"
MODELOPT = "modelopt"


@dataclass(frozen=True)
class Method:
    """One method for one number format."""

    precision: Precision
    way: str
    help: str
    calibrated: bool = False  # ranges come from calibration samples
    calibration: Calibration | None = None  # choice of ranges, where the name determines it

    @property
    def name(self) -> str:
        return f"{self.precision}-{self.way}" if self.way else str(self.precision)

    @property
    def weights_only(self) -> bool:
        """Whether weights are stored in the format and converted back to floats before layers compute."""
        return self.way == WEIGHTS

    @property
    def realized(self) -> str:
        """The name in ``RealizedPrecision.layers`` of a layer with the requested precision."""
        return self.name if self.weights_only else str(self.precision)


def _int8(way: str, help_: str, calibration: Calibration | None = None) -> Method:
    return Method(Precision.INT8, way, help_, calibrated=True, calibration=calibration)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(Precision.FP32, "", "32-bit floats: the format in which most models are trained"),
        Method(Precision.FP16, "", "16-bit floats: half the size; fast where the hardware computes in it"),
        Method(Precision.BF16, "", "16-bit floats with the range of FP32 and fewer digits"),
        _int8("", "8-bit integers: a quarter of the size; ranges are calibrated on samples"),
        _int8("minmax", "INT8 whose ranges are the smallest and largest values seen", Calibration.MINMAX),
        _int8("entropy", "INT8 whose ranges lose least information (relative entropy)", Calibration.ENTROPY),
        _int8("percentile", "INT8 whose ranges leave out the rarest values", Calibration.PERCENTILE),
        _int8(
            "distribution",
            "INT8 with the ranges of ONNX Runtime's method for 8-bit floats: as far below zero as above",
            Calibration.DISTRIBUTION,
        ),
        _int8(NNCF, "INT8 by NNCF, OpenVINO's own quantizer, which corrects biases and chooses what to quantize"),
        _int8(CONTROL, "the same, with layers that change too many answers converted back to floats"),
        Method(Precision.INT8, DYNAMIC, "INT8 weights; ranges of activations are computed in every call"),
        Method(Precision.INT8, WEIGHTS, "weights stored in 8 bits, computed with in floats: smaller, seldom faster"),
        Method(Precision.INT4, WEIGHTS, "weights stored in 4 bits by blocks, computed with in floats"),
        Method(Precision.FP16, WEIGHTS, "weights stored in 16 bits, computed with in FP32: half the file"),
        Method(
            Precision.FP8, "", "8-bit floats (E4M3) with calibrated ranges; NVIDIA GPUs from Ada on", calibrated=True
        ),
        Method(Precision.FP16, MODELOPT, "FP16 by NVIDIA ModelOpt's AutoCast, for TensorRT"),
        Method(Precision.BF16, MODELOPT, "BF16 by NVIDIA ModelOpt's AutoCast, for TensorRT"),
        Method(Precision.INT8, MODELOPT, "INT8 by NVIDIA ModelOpt, for TensorRT", calibrated=True),
        Method(Precision.FP8, MODELOPT, "FP8 by NVIDIA ModelOpt, for TensorRT", calibrated=True),
    )
}


def method_of(asked: str) -> Method:
    """The method of a variant's ``EngineSpec.asked``.

    >>> method_of("int8-dynamic").weights_only, method_of("int4-weights").weights_only
    (False, True)
    """
    return METHODS[asked]
