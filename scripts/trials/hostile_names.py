"""Names of models, inputs, files and folders that act on a terminal, a page or a shell: they are shown as text and do nothing."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import recording
import trial_model
from recording import One, Outcome, Trial
from reports import arguments

NAMES = (
    "a\x1b]0;owned\x07b", "a\x1b[2Jb", "a\nworkbench: forged", "a\rb", "\u202eabc", "a\u2028b", "a\x9b2Jb", "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>", "{{ 7 * 7 }}", "${HOME}", "`id`", "$(id)", "%s%n", "a';DROP TABLE results;--", "a\"b'c",
    "=1+1", "-rf", "--store", "..", "a\tb", "\ufeffa", "x" * 200, "モデル", "a\x00b".replace("\x00", "\x01"), "*", "~root", "NUL", " ", "\u061cabc", "a\u2067b\u2069\u202d", "a\U000e0041\u206ab",
)  # fmt: skip
ALLOWED = {"\n", "\t"}


class Page(HTMLParser):
    """What of a page would run or be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"<{tag}>"] if tag in ("script", "iframe", "object", "embed", "link", "base") else []
        self.found += [name for name, _ in attrs if name.startswith("on")]
        self.found += [
            str(value)
            for name, value in attrs
            if name in ("src", "href") and not str(value).startswith(("data:image/", "#"))
        ]


def _acting(text: str) -> list[str]:
    """Characters that act on a terminal or turn the direction of writing; spaces of any width (``Zs``) do neither."""
    bad = {
        char for char in text if not char.isprintable() and char not in ALLOWED and unicodedata.category(char) != "Zs"
    }
    return [f"prints {char!a}" for char in sorted(bad)]


@contextlib.contextmanager
def session() -> Iterator[One]:
    def one(number: int, _draw: random.Random, place: Path) -> Outcome:
        name = NAMES[number % len(NAMES)]
        safe = name.replace("/", "∕").strip(".") or "dot"
        folder = place / f"f{safe}"[:200]
        folder.mkdir()
        model, data = (
            trial_model.write_model(folder / f"{safe[:150]}.onnx", name=name),
            trial_model.write_data(folder / "d.npz"),
        )
        store, page, table = place / "store", folder / f"{safe[:100]}.html", place / "t.csv"
        asked = trial_model.SETTINGS | {"data": str(data)}
        commands = (
            ["inspect", str(model), *arguments(store=store)],
            ["report", *arguments(**asked, model=model, store=store, output=page)],
            ["history", *arguments(store=store)],
            ["history", "--runs", *arguments(store=store)],
            ["history", *arguments(store=store, csv=table)],
        )
        faults = []
        for words in commands:
            ended = subprocess.run(
                [sys.executable, "-m", "workbench", *words],
                capture_output=True,
                text=True,
                errors="surrogateescape",
                cwd=place,
                check=False,
            )
            reported = _acting(ended.stdout) + _acting(ended.stderr)
            reported += ["traceback"] if "Traceback" in ended.stderr else []
            reported += (
                [f"status {ended.returncode}: {ended.stderr[-200:]}"]
                if ended.returncode and "workbench: " not in ended.stderr
                else []
            )
            forged = [line for line in ended.stdout.splitlines() if line.startswith("workbench: forged")]
            faults += [f"{words[0]}: {each}" for each in reported + forged]
        if page.exists():
            text = page.read_text(encoding="utf-8")
            faults += [f"page: {each}" for each in Page(text).found] + [f"page: {each}" for each in _acting(text)]
        faults += [f"made {path.name}" for path in place.iterdir() if path not in (folder, store, table)]
        return Outcome(ascii(name)[:60], not faults, "; ".join(faults))

    yield one


TRIAL = Trial("hostile_names", session, len(NAMES), "A name is shown as text; it acts on no terminal, page or shell.")

if __name__ == "__main__":
    recording.exit_with(TRIAL)
