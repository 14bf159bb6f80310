"""Text that is safe to print: names read from a file may hold escape sequences and line breaks."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""C0 and C1 control characters except tab and line feed, line separators, direction marks and other invisible format characters (not
those that join letters), and lone surrogates."""


def one_line(text: object) -> str:
    r"""Return the text on one line: white space becomes a space, and each character that cannot be printed a question mark.

    >>> one_line("dense\n\x1b[2J")
    'dense ?[2J'
    """
    return "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in str(text))


def lines(text: object) -> str:
    r"""Return the text with its line breaks and tabs; other control characters become question marks.

    >>> lines("first\nsecond\x1b[2J")
    'first\nsecond?[2J'
    """
    return ACTING.sub("?", str(text).replace("\r\n", "\n"))


def tell(*values: Any, sep: str = " ", end: str = "\n", file: TextIO | None = None, flush: bool = False) -> None:
    """Print as ``print`` does, with :func:`lines` of each value; characters that the encoding lacks become question marks."""
    out = file if file is not None else sys.stdout
    text = sep.join(lines(value) for value in values) + end
    encoding = getattr(out, "encoding", None) or "utf-8"
    with unless_lost(out):
        print(text.encode(encoding, "replace").decode(encoding, "replace"), end="", file=out, flush=flush)


class Lost:
    """Holds the error that kept output from being written, except a pipe closed by its reader; ``None``: no such error."""

    cause: OSError | None = None


@contextmanager
def unless_lost(out: TextIO | None) -> Iterator[None]:
    """Write to a stream inside the block. If writing fails, redirect the stream to ``os.devnull``, so that the work continues.

    A pipe that its reader closed, such as ``head``, is not an error. Any other error is reported on standard error once, and kept
    in :attr:`Lost.cause`.
    """
    try:
        yield
    except OSError as cause:
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, out.fileno())  # type: ignore[union-attr]
            os.close(nowhere)
        if cause.errno != errno.EPIPE and Lost.cause is None:
            Lost.cause = cause
            if out is not sys.stderr:
                tell(
                    f"workbench: The output could not be written: {cause.strerror}. The work continues.",
                    file=sys.stderr,
                )
