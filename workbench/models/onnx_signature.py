"""The signature of a converted ONNX file: repairs, the model's own names of inputs and outputs, named axes, and outputs in real
numbers.
"""

from __future__ import annotations

from typing import Any

from workbench.errors import ExportError
from workbench.models.onnx_file import graphs
from workbench.models.onnx_repair import overridden, override_shapes, repair
from workbench.records import Model, TensorSpec

BATCH = "batch"
"""The name of the dynamic batch axis in every ONNX file that the workbench writes."""


def normalize(proto: Any, model: Model, known: dict[str, str]) -> tuple[str, ...]:
    """Bring a converted ``ModelProto`` into the workbench's normal form, and return phrases about the changes.

    ``known`` maps names that the converter generated to the model's names.

    Raises:
        ExportError: inputs or outputs cannot be matched with the model's.
    """
    done = list(repair(proto))
    sizes = overridden(proto.graph, model.inputs) if model.format == "onnx" else {}
    if sizes:
        done.append(override_shapes(proto, sizes))
    graph = proto.graph  # after the repairs, which replace the graph
    _use_names(graph, model, known)
    _name_axes(graph, model.inputs, model.outputs, probed=bool(sizes))
    done += [_in_real_numbers(graph, spec) for spec in model.outputs if spec.scale]
    return tuple(filter(None, done))


def _use_names(graph: Any, model: Model, known: dict[str, str]) -> None:
    """Give the graph's inputs and outputs the model's names; tf2onnx keeps them unless it had to generate one."""
    for role, values, specs in (("input", graph.input, model.inputs), ("output", graph.output, model.outputs)):
        found, wanted = [v.name for v in values], [s.name for s in specs]
        if sorted(found) == sorted(wanted):
            continue
        if len(found) != len(wanted):
            raise ExportError(
                f"The ONNX form of '{model.name}' has the {role}s {', '.join(found)}, but the model has "
                f"{', '.join(wanted)}. Rewrite the layer that '{(set(found) ^ set(wanted)).pop()}' comes from."
            )
        if all(known.get(name) in wanted for name in found):
            for name in found:
                _rename(graph, name, known[name])
        elif len(found) > 1:
            raise ExportError(
                f"The ONNX form of '{model.name}' names its {role}s {', '.join(found)} instead of {', '.join(wanted)}. "
                f"Name the {role}s in the model (a dictionary of outputs keeps its keys)."
            )
        else:
            _rename(graph, found[0], wanted[0])


def _rename(graph: Any, old: str, new: str) -> None:
    for part in graphs(graph):
        for node in part.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
        for value in (*part.input, *part.output, *part.value_info):
            if value.name == old:
                value.name = new


def _in_real_numbers(graph: Any, spec: TensorSpec) -> str:
    """Convert an output whose integers mean ``scale × (stored - zero_point)`` to those numbers, as float32; return a phrase about it.

    Every engine that is made from the file then gives the source model's values, and does not need the scale.
    """
    import numpy as np
    import onnx

    value = next(value for value in graph.output if value.name == spec.name)
    kinds = onnx.TensorProto
    kind = value.type.tensor_type.elem_type
    if kind not in (kinds.INT8, kinds.UINT8, kinds.INT16, kinds.UINT16, kinds.INT32):
        return ""
    stored = f"{spec.name}_stored"
    _rename(graph, spec.name, stored)
    value.name = spec.name
    value.type.tensor_type.elem_type = kinds.FLOAT
    scale, zero = f"{spec.name}_scale", f"{spec.name}_zero_point"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(spec.scale, np.float32), scale))
    if kind in (kinds.INT8, kinds.UINT8):
        integer = onnx.helper.tensor_dtype_to_np_dtype(kind)
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(spec.zero_point, integer), zero))
        graph.node.append(
            onnx.helper.make_node("DequantizeLinear", [stored, scale, zero], [spec.name], f"{spec.name}_real")
        )
    else:  # DequantizeLinear supports 16 bits only from opset 21 on
        wide, shifted = f"{spec.name}_wide", f"{spec.name}_shifted"
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(spec.zero_point, np.float32), zero))
        graph.node.extend(
            [
                onnx.helper.make_node("Cast", [stored], [wide], f"{spec.name}_cast", to=kinds.FLOAT),
                onnx.helper.make_node("Sub", [wide, zero], [shifted], f"{spec.name}_shift"),
                onnx.helper.make_node("Mul", [shifted, scale], [spec.name], f"{spec.name}_real"),
            ]
        )
    return f"the integer output '{spec.name}' is scaled to real numbers in the graph"


def _name_axes(graph: Any, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], *, probed: bool) -> None:
    """Name the batch axis of every input and output ``batch`` where it is dynamic, and give other dynamic axes a name.

    Shapes inside the graph are removed: they contain the old names, and every reader infers them again. With ``probed`` the
    outputs' sizes are removed as well, because the inputs' sizes were changed.
    """
    specs = {spec.name: spec for spec in (*inputs, *outputs)}
    given = {spec.name for spec in inputs}
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        shape = value.type.tensor_type.shape
        spec = specs[value.name]
        if not shape.dim:  # tf2onnx may omit an output's shape
            shape.dim.extend([type(shape).Dimension() for _ in spec.shape])
        for axis, size in enumerate(spec.shape):
            dim = shape.dim[axis]
            if size is not None and not (probed and value.name not in given):
                dim.dim_value = size
            elif axis == spec.batch_axis and spec.rows == 1 and (size is None or probed):
                dim.dim_param = BATCH
            elif not dim.dim_param or dim.dim_param == BATCH or dim.HasField("dim_value"):
                dim.dim_param = f"{value.name}_{axis}"
