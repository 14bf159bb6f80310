"""The nodes of a graph to rewrite: lists of operation types and node names, given by the user or by a search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from workbench.errors import InputError
from workbench.protocols import AVAILABLE, Availability, unavailable
from workbench.records import EngineSpec

RULES = 2
"""Version of the effect of a selection on a file; raise it when earlier files would differ."""
FUSED = "/"
"""The separator that ONNX Runtime writes between a node's name and the name of a fusion: ``dense/MatMulAddFusion``."""


@dataclass(frozen=True)
class Selection:
    """The nodes to rewrite and to keep; an entry is the type of an operation (``Conv``) or the name of a node.

    ``origins`` are the types by name of the nodes in the graph that users see, before it is prepared: a MatMul and the Add after
    it become a Gemm, to which the entry ``MatMul`` still applies.
    """

    quantize: tuple[str, ...] = ()  # empty: all nodes that the method supports
    keep: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __bool__(self) -> bool:
        return bool(self.quantize or self.keep)

    @property
    def key(self) -> list[Any]:
        """The part of an artefact's key that identifies the selection."""
        return [sorted(self.quantize), sorted(self.keep), *([RULES] if self else [])]

    def seen(self, nodes: Iterable[Any]) -> Selection:
        """The selection with the nodes of the graph that users see as origins; all nodes have names."""
        return replace(self, origins={node.name: node.op_type for node in nodes})

    def takes(self, node: Any) -> bool:
        """Whether a node, which must have a name, may be rewritten."""
        meant = self._meant(node)
        return (not self.quantize or bool(meant & set(self.quantize))) and not meant & set(self.keep)

    def check(self, nodes: Iterable[Any]) -> None:
        """Refuse entries that match no node.

        Raises:
            InputError: an entry is neither the type nor the name of a node; the text lists similar names.
        """
        nodes = list(nodes)
        known = set().union(*(self._meant(node) for node in nodes), self.origins, self.origins.values())
        for name, entries in (("quantize", self.quantize), ("keep", self.keep)):
            for entry in entries:
                if entry not in known:
                    names = sorted(known)
                    near = get_close_matches(entry, names, n=3, cutoff=0.4) or sorted({node.op_type for node in nodes})
                    raise InputError(
                        f"'{name}' names '{entry}', but the model's ONNX form has no operation or node of that name. "
                        f"Similar names: {', '.join(near)}."
                    )

    def origin(self, name: str) -> str:
        """The node of the graph that users see from which a prepared node was made; "": none."""
        found = (origin for origin in self.origins if name == origin or name.startswith(origin + FUSED))
        return max(found, key=len, default="")

    def _meant(self, node: Any) -> set[str]:
        """All entries that match this node: its type and name, and those of its origin."""
        origin = self.origin(node.name)
        return {node.op_type, node.name, origin, self.origins.get(origin, "")} - {""}


def selectable(asked: EngineSpec, spec: EngineSpec) -> Availability:
    """Whether the lists of ``asked`` apply to the variant ``spec``; a backend's own methods remove them from it."""
    if (asked.quantize or asked.keep) and not (spec.quantize or spec.keep):
        return unavailable(
            f"'quantize' and 'keep' choose nodes of a rewritten ONNX file, and {spec.backend} makes {spec.asked} by itself",
            "measure it in another run, without them",
        )
    return AVAILABLE
