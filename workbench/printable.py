"""Text for terminals and pages without anything that acts: names out of a file may hold escape sequences and line breaks."""

from __future__ import annotations

import re
import sys
from typing import Any, TextIO

ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters of the C0 and C1 sets but tab and line feed, separators of lines, marks of direction, and lone surrogates."""


def one_line(text: object) -> str:
    r"""The text on one line: space of any kind becomes a space, and what cannot be printed a question mark.

    >>> one_line("dense\n\x1b[2J")
    'dense ?[2J'
    """
    return "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in str(text))


def lines(text: object) -> str:
    """The text with its line breaks and tabs; characters that act on a terminal or a reader become question marks."""
    return ACTING.sub("?", str(text).replace("\r\n", "\n"))


def tell(*values: Any, sep: str = " ", end: str = "\n", file: TextIO | None = None, flush: bool = False) -> None:
    """Print as ``print`` does, with :func:`lines` of each value, and a question mark for what the terminal's encoding lacks."""
    out = file if file is not None else sys.stdout
    text = sep.join(lines(value) for value in values) + end
    encoding = getattr(out, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding, "replace"), end="", file=out, flush=flush)
