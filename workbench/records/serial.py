"""Records as JSON and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from workbench.stats.durations import Durations

FORMAT = 3
"""Version of the stored JSON. Raise it when the meaning of a record changes; older files are then made again."""
STORED_AS = "stored as"
"""Metadata of a field: its name in stored JSON, if the field was renamed since; files of earlier versions stay readable."""

R = TypeVar("R")


@cache
def _converter() -> Any:
    from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
    from cattrs.preconf.json import make_converter

    converter = make_converter()

    def stored_names(kind: Any) -> dict[str, Any]:
        return {one.name: override(rename=one.metadata[STORED_AS]) for one in fields(kind) if STORED_AS in one.metadata}

    def has_stored_names(kind: Any) -> bool:
        return isinstance(kind, type) and is_dataclass(kind) and bool(stored_names(kind))

    converter.register_structure_hook_factory(
        has_stored_names, lambda kind: make_dict_structure_fn(kind, converter, **stored_names(kind))
    )
    converter.register_unstructure_hook_factory(
        has_stored_names, lambda kind: make_dict_unstructure_fn(kind, converter, **stored_names(kind))
    )
    # the only long sequences in a record are durations of calls
    converter.register_structure_hook_func(lambda kind: kind == Sequence[int], lambda found, _: Durations(found))
    converter.register_unstructure_hook_func(lambda kind: kind == Sequence[int], list)
    return converter


def to_json(record: object) -> Any:
    """A record as plain dicts, lists, strings and numbers."""
    return _converter().unstructure(record)


def from_json(kind: type[R], data: Any) -> R:
    """The inverse of :func:`to_json`; raises cattrs' errors where a field is missing or has a wrong type."""
    record: R = _converter().structure(data, kind)
    return record
