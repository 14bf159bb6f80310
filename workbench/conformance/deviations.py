"""Deviations of operators: how a node uses its operator, and which uses a library computes incorrectly.

A *use* is an operator and a list of properties: values of attributes, which optional inputs and outputs are given,
whether the result is smaller or larger than the first input, types and numbers of axes of the inputs, and the version.

A *deviation* is a smallest set of properties that wrong cases of one operator and none of its right cases have. Deviations are found one after
another: of all sets of up to three properties that are in no right case, the one that most wrong cases have is a deviation; of several
such sets the smallest, and one about options before one about types (:class:`Rank`). The search is repeated for the remaining
wrong cases. If only numbers of axes, the version or constant inputs distinguish them, the deviation also has all other properties that
its wrong cases share, because those alone are seldom the cause. A wrong case whose properties are all shared by right cases depends
on values: it gives the deviation of all its properties except those, marked ``sometimes``. Operators often get new versions only to
support more types, so a deviation holds for all versions unless the version itself distinguishes wrong cases from right ones.

This rule is sound in one direction: no deviation contradicts a right case. A deviation can be too wide if few cases of an operator were
run, so a warning names the case that it is based on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from workbench.graph.shapes import Shapes, title
from workbench.models.onnx_file import branches

LARGEST = 3
"""The most properties of a deviation that is not marked ``sometimes``."""
SHOWN = 2
"""The number of properties shown of a deviation marked ``sometimes``, which has all properties of a use."""
VERSION = "version "
CONSTANT = "is not a constant"


@dataclass(frozen=True)
class Use:
    """How one node uses its operator."""

    node: str
    op: str  # with its domain, unless that is ONNX's own
    version: int  # the opset that introduced this version of the operator
    properties: tuple[str, ...]  # the most specific first


@dataclass(frozen=True)
class Deviation:
    """A use that a library computes differently from ONNX's definition."""

    op: str
    version: int  # of the operator in the first case
    properties: tuple[str, ...]  # empty: every use
    cases: tuple[str, ...]  # ONNX's cases that show it, the one of median difference first
    difference: float | None = None  # the absolute difference of that case; None: not numeric
    detail: str = ""
    sometimes: bool = False  # a right case has the same properties: it depends on the values

    @property
    def shown(self) -> str:
        """The properties as text; only the first ones of a deviation marked ``sometimes``."""
        shown = self.properties
        if self.sometimes and len(shown) > SHOWN:
            shown = (*shown[:SHOWN], "…")
        return ", ".join(shown)

    @property
    def description(self) -> str:
        """The deviation as text: ``MaxPool (ceil_mode = 1)``."""
        return f"{self.op} ({self.shown})" if self.properties else self.op

    def within(self, other: Deviation) -> bool:
        """Whether every use of this deviation is also of the ``other`` deviation."""
        return self.op == other.op and set(other.properties) <= set(self.properties)

    def matches(self, use: Use) -> bool:
        """Whether ``use`` has all properties of this deviation, which may include the version of the operator."""
        return use.op == self.op and set(self.properties) <= set(use.properties)


@dataclass(frozen=True)
class OperatorCase:
    """One case of an operator: its use, and whether and by how much the result was wrong."""

    case: str
    use: Use
    wrong: bool
    difference: float | None = None
    detail: str = ""


def deviations_of(seen: Iterable[OperatorCase]) -> tuple[Deviation, ...]:
    """The deviations that these cases show, sorted by operator; the module's docstring has the rule."""
    groups: dict[str, list[OperatorCase]] = {}
    for each in seen:
        groups.setdefault(each.use.op, []).append(each)
    return tuple(deviation for op in sorted(groups) for deviation in _deviations(op, groups[op]))


def _has(seen: OperatorCase, properties: Iterable[str]) -> bool:
    return set(properties) <= set(seen.use.properties)


def _deviations(op: str, seen: Sequence[OperatorCase]) -> Iterator[Deviation]:
    wrong = [each for each in seen if each.wrong]
    right = [set(each.use.properties) for each in seen if not each.wrong]
    while wrong:
        chosen = _distinguishing(wrong, right)
        sometimes = chosen is None
        if chosen is None:
            chosen = tuple(filter(_specific, wrong[0].use.properties))
        shown = [each for each in wrong if _has(each, chosen)]
        if chosen and not any(map(_specific, chosen)):
            shared = [one for one in shown[0].use.properties if all(_has(each, [one]) for each in shown)]
            chosen = tuple(one for one in shared if one in chosen or _specific(one))
        first = _middle(shown)
        names = (first.case, *sorted(each.case for each in shown if each is not first))
        yield Deviation(op, first.use.version, chosen, names, first.difference, first.detail, sometimes)
        wrong = [each for each in wrong if each not in shown]


def _specific(text: str) -> bool:
    return not text.startswith(VERSION) and not text.endswith((CONSTANT, "axis", "axes"))


def _middle(cases: Sequence[OperatorCase]) -> OperatorCase:
    """The case of median difference; the largest may come from uninitialized memory."""
    sizes = sorted(math.inf if each.difference is None else each.difference for each in cases)
    middle = sizes[(len(sizes) - 1) // 2]
    same = [each for each in cases if (math.inf if each.difference is None else each.difference) == middle]
    return min(same, key=lambda each: (len(each.case), each.case))  # ONNX's case before its duplicate with constants


def _distinguishing(wrong: Sequence[OperatorCase], right: Sequence[set[str]]) -> tuple[str, ...] | None:
    """The properties that are in no right case and in most wrong ones; ``None``: no small set exists."""
    if not right:
        return ()
    found: dict[tuple[str, ...], int] = {}
    for size in range(1, LARGEST + 1):
        for each in wrong:
            for chosen in itertools.combinations(each.use.properties, size):
                if chosen in found or not any(set(chosen) <= one for one in right):
                    found[chosen] = found.get(chosen, 0) + 1
    # the first of several equal ones has the fewest and most specific properties
    return max(found, key=lambda chosen: found[chosen]) if found else None


def uses_of(model: Any, shapes: Shapes) -> Iterator[Use]:
    """The use of its operator by every node of a ``ModelProto``, including nodes in branches and loops.

    ``shapes`` has the known types and sizes; unknown ones are not properties.
    """
    opsets = {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in model.opset_import}
    yield from _uses(model.graph, shapes, opsets)


def _uses(graph: Any, shapes: Shapes, opsets: Mapping[str, int]) -> Iterator[Use]:
    for node in graph.node:
        use = _use(node, shapes, opsets)
        if use is not None:
            yield use
        for inner in branches(node):
            yield from _uses(inner, shapes.inside(inner), opsets)


def _use(node: Any, shapes: Shapes, opsets: Mapping[str, int]) -> Use | None:
    """The use of one node; ``None``: the installed package does not know the operator."""
    import onnx

    domain = "" if node.domain == "ai.onnx" else node.domain
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets.get(domain, 1), domain)
    except onnx.defs.SchemaError:
        return None
    ranked = [
        *_attributes(node, schema),
        *_optional("input", node.input, schema.inputs),
        *_optional("output", node.output, schema.outputs),
        *_size(node, shapes),
        *_kinds(node, schema, shapes),
        (Rank.VERSION, f"{VERSION}{schema.since_version}"),
    ]
    ranked.sort(key=lambda each: each[0])
    return Use(node.name, title(node), int(schema.since_version), tuple(text for _, text in ranked))


class Rank(IntEnum):
    """The subject of a property: of sets that distinguish cases equally well, the one with lower ranks becomes a deviation."""

    OPTION = 0  # an attribute that is not its default
    GIVEN = 1  # an optional input or output that is given
    SIZE = 2
    DEFAULT = 3  # an attribute at its default, an optional input or output that is absent
    TYPE = 4
    NUMBER = 5  # the value of an attribute that is a size, an axis or a count
    COMPUTED = 6  # an input that is not a constant
    AXES = 7
    VERSION = 8


Ranked = Iterator[tuple[Rank, str]]


def _attributes(node: Any, schema: Any) -> Ranked:
    """Texts and switches by value, with defaults; other numbers and lists by whether they are the default."""
    from onnx import helper

    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    for name, known in sorted(schema.attributes.items()):
        default = helper.get_attribute_value(known.default_value) if known.default_value.type else None
        yield from _attribute(name, given.get(name, default), default, required=known.required)


def _attribute(name: str, value: Any, default: Any, *, required: bool) -> Ranked:
    if value is None or (isinstance(value, float | list | tuple) and _plain(name, value, default)):
        if not required:
            yield Rank.DEFAULT, f"{name} as by default"
    elif isinstance(value, bytes):
        yield Rank.DEFAULT if value == default else Rank.OPTION, f"{name} = {value.decode('utf-8', 'replace')}"
    elif name in TYPES:
        import onnx

        yield Rank.OPTION, f"{name} = {onnx.TensorProto.DataType.Name(value).lower()}"
    elif isinstance(value, int) and default in (0, 1) and value in (0, 1):
        yield Rank.DEFAULT if value == default else Rank.OPTION, f"{name} = {value}"
    elif isinstance(value, int) and value == default:
        yield Rank.DEFAULT, f"{name} as by default"
    elif isinstance(value, int | float | list | tuple):
        if not required:
            yield Rank.OPTION, f"{name} given"
        if isinstance(value, int):
            yield Rank.NUMBER, f"{name} = {value}"


TYPES = {"to", "dtype", "stash_type", "output_dtype"}
"""Attributes that hold the number of an element type."""
PLAIN = {"dilations": 1, "strides": 1, "pads": 0, "output_padding": 0}
"""Lists that contain only this number equal the default."""


def _plain(name: str, value: Any, default: Any) -> bool:
    if isinstance(value, float):
        return default is not None and math.isclose(value, default, rel_tol=1e-6)
    return name in PLAIN and all(each == PLAIN[name] for each in value)


def _optional(role: str, names: Sequence[str], formal: Sequence[Any]) -> Ranked:
    import onnx

    kinds = onnx.defs.OpSchema.FormalParameterOption
    for place, known in enumerate(formal):
        if known.option == kinds.Optional:
            there = place < len(names) and bool(names[place])
            yield Rank.GIVEN if there else Rank.DEFAULT, f"{role} {known.name} {'given' if there else 'not given'}"
        elif known.option == kinds.Variadic:
            yield Rank.NUMBER, f"{len(names) - place} {role}s"


def _size(node: Any, shapes: Shapes) -> Ranked:
    """Whether the first result has fewer or more elements than the first input."""
    if not (node.input and node.output and node.input[0] and node.output[0]):
        return
    before, after = (_elements(shapes, name) for name in (node.input[0], node.output[0]))
    if before is not None and after is not None:
        words = "smaller than" if after < before else "larger than" if after > before else "as large as"
        yield Rank.SIZE, f"result {words} the input"


def _elements(shapes: Shapes, name: str) -> int | None:
    dims = shapes.known.get(name, (None, 0))[0]
    if dims is None or any(size is None for size in dims):
        return None
    return math.prod(size for size in dims if size is not None)


def _kinds(node: Any, schema: Any, shapes: Shapes) -> Ranked:
    """Types of the inputs, which of them are computed, and their numbers of axes."""
    import onnx

    for place, name in enumerate(node.input):
        if not name or not schema.inputs or place >= len(schema.inputs):  # of a variadic input only the first is used
            continue
        formal, (dims, element) = schema.inputs[place].name, shapes.known.get(name, (None, 0))
        if element:
            yield Rank.TYPE, f"{formal} is {onnx.TensorProto.DataType.Name(element).lower()}"
        if place and name not in shapes.constants:
            yield Rank.COMPUTED, f"{formal} {CONSTANT}"
        if dims is not None:
            yield Rank.AXES, f"{formal} has {len(dims)} ax{'i' if len(dims) == 1 else 'e'}s"
