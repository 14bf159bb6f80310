"""The operator cases of the installed ``onnx`` package: small models with inputs and the outputs that ONNX defines for them.

The package creates the cases of single operators in memory, with fixed seeds (``onnx.backend.test.case.node``), and has those of
"simple" and PyTorch models as files. Cases whose models would be downloaded are left out.

In the cases everything is an input, including axes, sizes and repeats, which models hold as constants, and which libraries treat
differently. Each case with such an input is therefore duplicated, with its small further inputs as constants; the name of the
duplicate ends in "/constants".
"""

from __future__ import annotations

import copy
import fnmatch
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from workbench.conformance.deviations import Use, uses_of
from workbench.conformance.outcomes import CONSTANTS
from workbench.errors import InputError
from workbench.graph.shapes import Shapes, inferred_or_same
from workbench.models.onnx_file import graphs, inputs_of
from workbench.models.onnx_reach import RANDOM
from workbench.models.onnx_repair import OLDEST_IR
from workbench.models.onnx_upgrade import upgraded

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
"""Kinds of ``onnx.backend.test.loader`` that need no download."""

SMALL = 16
"""The most elements of an input that becomes a constant; it has at most one axis."""


@dataclass(frozen=True)
class Case:
    """One case: a model, sets of inputs with their expected outputs, and the tolerance."""

    name: str  # without the "test_" of ONNX's own name
    kind: str
    model: Any  # ModelProto
    data: tuple[tuple[Sequence[Any], Sequence[Any]], ...]  # inputs and outputs in the graph's order
    rtol: float
    atol: float

    @property
    def feeds(self) -> tuple[tuple[dict[str, Any], dict[str, Any]], ...]:
        """The sets as (inputs by name, expected outputs by name)."""
        inputs = [value.name for value in inputs_of(self.model.graph)]
        outputs = [value.name for value in self.model.graph.output]
        return tuple(
            (dict(zip(inputs, given, strict=False)), dict(zip(outputs, wanted, strict=False)))
            for given, wanted in self.data
        )

    @property
    def random(self) -> str:
        """Why results cannot be compared: the operator that draws random numbers; ``""``: they can."""
        for node in (node for graph in graphs(self.model.graph) for node in graph.node):
            if node.op_type in RANDOM or (node.op_type == "Dropout" and "training" in self.name):
                return f"{node.op_type} gives random numbers"
        return ""

    @property
    def use(self) -> Use | None:
        """How the model uses its one operator; ``None``: it has several operators, so that a wrong result cannot be attributed."""
        nodes = [node for node in self.model.graph.node if node.op_type != "Constant"]
        if len(nodes) != 1:
            return None
        model = _modern(self.model)
        shapes = Shapes(inferred_or_same(model).graph)
        for given, wanted in self.feeds[:1]:
            for name, value in (given | wanted).items():
                if hasattr(value, "shape"):
                    shapes.known[name] = (tuple(value.shape), shapes.known.get(name, (None, 0))[1])
        return next((use for use in uses_of(model, shapes) if use.op != "Constant"), None)


def load(pattern: str = "*") -> dict[str, Case]:
    """The cases by name whose name matches ``pattern`` (as in a shell; a leading ``test_`` is ignored), sorted.

    The first call in a process takes about four seconds.
    """
    names = pattern.removeprefix("test_")
    return {name: case for name, case in _all().items() if fnmatch.fnmatchcase(name, names)}


def case_of(name: str) -> Case:
    """The case of this name; raises ``KeyError`` if it does not exist."""
    return _all()[name]


@cache
def _all() -> Mapping[str, Case]:
    from onnx.backend.test import loader

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some cases overflow deliberately
        found = [_case(entry) for kind in KINDS for entry in loader.load_model_tests(kind=kind)]
    found += [again for again in map(_with_constants, found) if again is not None]
    return {case.name: case for case in sorted(found, key=lambda case: case.name)}


def _with_constants(case: Case) -> Case | None:
    """The case with its small inputs other than the first as constants; ``None``: no such inputs, or several operators."""
    from onnx import numpy_helper

    graph = case.model.graph
    if len(graph.node) != 1 or len(case.data) != 1 or len(graph.input) != len(case.data[0][0]):
        return None
    given, wanted = case.data[0]
    fixed = {
        value.name: array
        for value, array in zip(graph.input, given, strict=True)
        if value.name != graph.node[0].input[0] and _small(array)
    }
    if not fixed:
        return None
    model = copy.deepcopy(case.model)
    del model.graph.input[:]
    model.graph.input.extend(value for value in graph.input if value.name not in fixed)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in fixed.items())
    model.ir_version = max(model.ir_version, OLDEST_IR)
    left = tuple(array for value, array in zip(graph.input, given, strict=True) if value.name not in fixed)
    return replace(case, name=case.name + CONSTANTS, model=model, data=((left, wanted),)) if left else None


def _small(array: Any) -> bool:
    return bool(hasattr(array, "dtype") and array.dtype.kind in "biuf" and array.ndim <= 1 and array.size <= SMALL)


def _case(entry: Any) -> Case:
    import onnx

    name = entry.name.removeprefix("test_")
    if entry.model is not None:
        sets = tuple((_plain(given), _plain(wanted)) for given, wanted in entry.data_sets)
        return Case(name, entry.kind, entry.model, sets, entry.rtol, entry.atol)
    folder = Path(entry.model_dir)
    model = onnx.load(folder / "model.onnx")
    parts = sorted(folder.glob("test_data_set_*"), key=lambda part: int(part.name.rpartition("_")[2]))
    sets = tuple(
        (_stored(part, "input", model.graph.input), _stored(part, "output", model.graph.output)) for part in parts
    )
    return Case(name, entry.kind, model, sets, entry.rtol, entry.atol)


def _modern(model: Any) -> Any:
    try:
        return upgraded(model, "the case")
    except InputError:
        return model


def _plain(values: Sequence[Any]) -> tuple[Any, ...]:
    """Tensors as arrays; sequences and absent values are unchanged."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    return tuple(
        numpy_helper.to_array(value)
        if isinstance(value, onnx.TensorProto)
        else np.asarray(value)
        if isinstance(value, np.generic)
        else value
        for value in values
    )


def _stored(folder: Path, role: str, values: Sequence[Any]) -> tuple[Any, ...]:
    """The inputs or outputs of one set of a case on disk, in order."""
    import onnx
    from onnx import numpy_helper

    found: list[Any] = []
    for number, value in enumerate(values):
        file = folder / f"{role}_{number}.pb"
        if not file.is_file():  # an input that repeats an initializer
            continue
        content = file.read_bytes()
        if value.type.WhichOneof("value") == "sequence_type":
            found.append(numpy_helper.to_list(onnx.SequenceProto.FromString(content)))
        else:
            found.append(numpy_helper.to_array(onnx.TensorProto.FromString(content)))
    return tuple(found)
