"""The scale, zero point and range of values of each tensor in an INT8 file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("tensor", "what", "type", "scale", "zero point", "low", "high", "channels")


def scales(path: Path) -> pd.DataFrame:
    """One row for each tensor that is quantized or dequantized in an ONNX file, in the order of the graph.

    Columns: "tensor", "what" ("activation" or "weights"), "type" of the integers, "scale" and "zero point", "low" and "high"
    (the smallest and largest real value that they represent), "channels" (the number of scales). With several scales, the
    largest is shown. A real value is scale × (integer − zero point): Jacob et al. 2018, Quantization and Training of Neural
    Networks for Efficient Integer-Arithmetic-Only Inference, equation 1. Biases, whose scale is the product of two others, are
    left out.
    """
    import numpy as np
    import onnx
    import pandas as pd

    graph = onnx.load(path).graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    rows = []
    for node in graph.node:
        stored = held.get(node.input[0]) if node.input else None
        activation = node.op_type == "QuantizeLinear"
        weights = node.op_type == "DequantizeLinear" and stored is not None
        if not (activation or weights) or any(name not in held for name in node.input[1:]):
            continue
        scale = onnx.numpy_helper.to_array(held[node.input[1]]).ravel()
        zero = onnx.numpy_helper.to_array(held[node.input[2]]).ravel() if len(node.input) > 2 else np.zeros(1, np.uint8)
        kind = zero.dtype if stored is None else onnx.numpy_helper.to_array(stored).dtype
        if kind not in (np.int8, np.uint8):
            continue
        ends, place = np.iinfo(kind), int(scale.argmax())
        widest, middle = float(scale[place]), int(zero[min(place, zero.size - 1)])
        low, high = (widest * (int(end) - middle) for end in (ends.min, ends.max))
        what = "activation" if activation else "weights"
        rows.append((node.input[0], what, str(kind), widest, middle, low, high, scale.size))
    return pd.DataFrame(rows, columns=list(COLUMNS))
