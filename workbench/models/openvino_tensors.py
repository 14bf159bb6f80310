"""Inputs and outputs of OpenVINO's models by position.

OpenVINO gives a tensor that is both input and output only the name of the output, and a compiled model may lose names of inputs
without effect. Positions are as in the ONNX file, so names are stored with the engine in that order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from workbench.data import bfloat16
from workbench.errors import BuildError, RunError

if TYPE_CHECKING:
    import numpy as np

FILE = "names.json"


@dataclass(frozen=True)
class Names:
    """Names of a model's inputs and outputs, in OpenVINO's order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of_onnx(cls, path: Path, model: Any) -> Self:
        """The names in the ONNX file from which ``model``, compiled or not, was read.

        Raises:
            BuildError: OpenVINO has another number of inputs or outputs.
        """
        import onnx

        graph = onnx.load(path, load_external_data=False).graph
        weights = {tensor.name for tensor in graph.initializer}
        found = cls(
            tuple(value.name for value in graph.input if value.name not in weights),
            tuple(value.name for value in graph.output),
        )
        for role, names, there in (("inputs", found.inputs, model.inputs), ("outputs", found.outputs, model.outputs)):
            if len(names) != len(there):
                raise BuildError(
                    f"The model has the {role} {', '.join(names)}, but OpenVINO has {len(there)} of them. Choose another backend."
                )
        return found

    @classmethod
    def read(cls, folder: Path, compiled: Any) -> Self:
        """The names stored in an engine's folder; OpenVINO's own names for engines of earlier versions, which stored none."""
        try:
            kept = json.loads((folder / FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls(*(tuple(port.get_any_name() for port in ports) for ports in (compiled.inputs, compiled.outputs)))
        return cls(tuple(kept["inputs"]), tuple(kept["outputs"]))

    def write(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    def place(self, name: str) -> int:
        """Position of an input.

        Raises:
            RunError: the engine does not have the input.
        """
        try:
            return self.inputs.index(name)
        except ValueError:
            raise RunError(f"The engine has no input '{name}'. It has: {', '.join(self.inputs)}.") from None


def tensor_of(array: np.ndarray, port: Any) -> Any:
    """A ``Tensor`` for an input; it shares the memory of ``array``, unless the array is converted to bfloat16 first."""
    import openvino

    if not is_bfloat16(port):
        return openvino.Tensor(array, shared_memory=True)
    bits = bfloat16.to_bits(array)
    return openvino.Tensor(bits, list(bits.shape), openvino.Type.bf16)


def writer(tensor: Any) -> Callable[[np.ndarray], None]:
    """A function that copies an array of the same shape into an input's memory; floats become bfloat16 if the input is bfloat16."""
    if not is_bfloat16(tensor):
        view: np.ndarray = tensor.data

        def write(array: np.ndarray) -> None:
            view[...] = array

        return write
    import numpy as np

    bits = tensor.data.view(np.uint16)  # OpenVINO presents them to NumPy as float16

    def write_bits(array: np.ndarray) -> None:
        bits[...] = bfloat16.to_bits(array)

    return write_bits


def reader(names: Names, compiled: Any) -> Callable[[Mapping[Any, np.ndarray]], dict[str, np.ndarray]]:
    """A function that converts the result of ``infer`` to outputs by name, and bfloat16 to float32."""
    odd = [is_bfloat16(port) for port in compiled.outputs]
    outputs = names.outputs
    if not any(odd):
        return lambda found: dict(zip(outputs, found.values(), strict=True))
    return lambda found: {
        name: bfloat16.from_bits(array) if brain else array
        for name, array, brain in zip(outputs, found.values(), odd, strict=True)
    }


def is_bfloat16(port: Any) -> bool:
    """Whether an input, an output or a tensor holds bfloat16."""
    import openvino

    return bool(port.element_type == openvino.Type.bf16)


def by_place(names: Names, compiled: Any, feeds: Mapping[str, np.ndarray]) -> dict[int, Any]:
    """Inputs by position for ``infer``; bfloat16 inputs as tensors."""
    ports = compiled.inputs
    places = {names.place(name): array for name, array in feeds.items()}
    return {
        place: tensor_of(array, ports[place]) if is_bfloat16(ports[place]) else array for place, array in places.items()
    }
