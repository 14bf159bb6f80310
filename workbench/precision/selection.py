"""Which nodes of a graph are rewritten: lists of operation types and node names, given by people or found by a search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from workbench.errors import InputError
from workbench.protocols import YES, Availability, no
from workbench.records import EngineSpec

RULES = 2
"""Of what a selection does to a file: raise it when files of before would differ."""
FUSED = "/"
"""What ONNX Runtime puts between a node's name and what it made of it: ``dense/MatMulAddFusion``."""


@dataclass(frozen=True)
class Selection:
    """What to rewrite and what to leave alone; an entry is the type of an operation (``Conv``) or the name of a node.

    ``origins`` are the types by name that nodes had in the graph that people see, before it was prepared: a MatMul and the
    Add after it become a Gemm there, which still is what the entry ``MatMul`` means.
    """

    quantize: tuple[str, ...] = ()  # empty: everything that the method takes
    keep: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __bool__(self) -> bool:
        return bool(self.quantize or self.keep)

    def seen(self, nodes: Iterable[Any]) -> Selection:
        """The selection with the nodes of the graph that people see; all of them have names."""
        return replace(self, origins={node.name: node.op_type for node in nodes})

    def takes(self, node: Any) -> bool:
        """Whether a node, which has a name, may be rewritten."""
        meant = self._meant(node)
        return (not self.quantize or bool(meant & set(self.quantize))) and not meant & set(self.keep)

    def check(self, nodes: Iterable[Any]) -> None:
        """Refuse entries that name nothing.

        Raises:
            InputError: an entry is neither the type nor the name of one of the nodes; near names are told.
        """
        nodes = list(nodes)
        known = set().union(*(self._meant(node) for node in nodes), self.origins, self.origins.values())
        for name, entries in (("quantize", self.quantize), ("keep", self.keep)):
            for entry in entries:
                if entry not in known:
                    names = sorted(known)
                    near = get_close_matches(entry, names, n=3, cutoff=0.4) or sorted({node.op_type for node in nodes})
                    raise InputError(
                        f"'{name}' names '{entry}', and the model's ONNX form has no operation or node of that name. "
                        f"Near ones: {', '.join(near)}."
                    )

    def origin(self, name: str) -> str:
        """The node of the graph that people see which a prepared node was made of; "" where there is none."""
        found = (origin for origin in self.origins if name == origin or name.startswith(origin + FUSED))
        return max(found, key=len, default="")

    def _meant(self, node: Any) -> set[str]:
        """Every entry that means this node: its type and name, and those of the node that it was made of."""
        origin = self.origin(node.name)
        return {node.op_type, node.name, origin, self.origins.get(origin, "")} - {""}


def selectable(asked: EngineSpec, spec: EngineSpec) -> Availability:
    """Whether the lists that were ``asked`` for reach the variant ``spec``, from which a backend's own ways take them."""
    if (asked.quantize or asked.keep) and not (spec.quantize or spec.keep):
        return no(
            f"'quantize' and 'keep' choose nodes of a rewritten ONNX file, and {spec.backend} makes {spec.asked} by itself",
            "leave the lists empty for it",
        )
    return YES
