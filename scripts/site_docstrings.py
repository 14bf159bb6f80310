"""An extension of Griffe, which reads docstrings for the site: examples become code, and roles of Sphinx the names in them."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^>>> .*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_SECTION = re.compile(r"^Examples?:\n", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Changes every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is None:
            return
        text = _SECTION.sub("Examples:\n", _ROLE.sub(r"`\1`", obj.docstring.value))
        if not _SECTION.search(text):
            text = _EXAMPLE.sub(lambda found: f"```python\n{found[0]}\n```", text)
        obj.docstring.value = text
