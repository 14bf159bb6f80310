"""The panel's controls for where a model or its samples come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from workbench.compare.formats import shortened
from workbench.errors import InputError
from workbench.panel import view, widgets
from workbench.panel.browse import Browse
from workbench.panel.fields import button, field
from workbench.panel.upload import Upload

SAVED = "saved_model.pb"
"""A folder that holds this file is a model."""
MOST_ENTRIES, MOST_OFFERED = 5000, 40
MOST_SHOWN = 80  # characters of a path in a sentence
DEMO, PATH, UPLOAD = "demo", "path", "upload"
MODEL_FILES = (".keras", ".h5", ".hdf5", ".pb", ".tflite", ".onnx")
DATA_FILES = (".npz", ".csv", ".tsv")


class MissingError(InputError):
    """Nothing was chosen yet, which is not wrong."""


class SourceControl:
    """Where a model or its samples come from: something built in, a path, or an upload."""

    def __init__(
        self,
        noun: str,
        suffixes: tuple[str, ...],
        value: str,
        built_in: Mapping[str, str],
        explained: Mapping[str, str],
        uploads: Path,
    ) -> None:
        self._noun, self._suffixes = noun, suffixes
        known = value in built_in.values()
        self.kind = field(
            widgets.ToggleButtons,
            "",
            f"Where the {noun.lower()} comes from",
            value if known else PATH,
            options=[*built_in.items(), ("Path", PATH), ("Upload", UPLOAD)],
        )
        self.path = field(
            widgets.Combobox,
            f"{noun} path",
            "A path on the machine where this notebook runs",
            "" if known else value,
            placeholder=" or ".join(f"file{suffix}" for suffix in suffixes)
            + (", or a SavedModel folder" if suffixes == MODEL_FILES else ", or a folder of images"),
            css="wb-wide",
        )
        self.browse = button("Browse", "folder-open", "Files on the machine where this notebook runs")
        take = partial(setattr, self.path, "value")
        models = suffixes == MODEL_FILES
        self.files = Browse(suffixes, take, lambda path: models and (path / SAVED).exists(), folders=not models)
        self.upload = Upload(uploads, suffixes)
        self.controls = (self.kind, self.path, self.browse, self.upload)
        self._explained = explained
        self.beside: Callable[[], str] = lambda: ""
        """The path beside which *Browse* begins where none was typed."""
        self.hint = widgets.HTML()
        self.kind.observe(lambda _: self._show(), "value")
        self.path.observe(lambda _: self._complete(), "value")
        self.browse.on_click(lambda _: self.files.begin(self.path.value or self.beside()))
        self._show()

    @property
    def values(self) -> tuple[Any, ...]:
        """The controls that hold a value."""
        return self.kind, self.path, self.upload

    def row(self, *more: Any) -> Any:
        """The controls beside each other, and the files on the server below them."""
        return widgets.VBox([widgets.Box([*self.controls, *more], css="wb-line"), self.files])

    def write(self, value: str) -> None:
        """Show this value of an experiment."""
        built_in = [key for _, key in self.kind.options[:-2]]
        self.kind.value = value if value in built_in else PATH
        self.path.value = "" if value in built_in else value

    def read(self) -> str:
        """The value for the experiment.

        Raises:
            MissingError: no path was given, or no file was uploaded.
        """
        if self.kind.value == UPLOAD:
            if not self.upload.value:
                raise MissingError(f"{self._noun}: no file was uploaded yet. Choose one, or drop it on the field.")
            return str(self.upload.value)
        if self.kind.value == PATH:
            if not self.path.value.strip():
                raise MissingError(f"{self._noun}: no path was given. Type one, or choose another source.")
            return str(self.path.value.strip())
        return str(self.kind.value)

    @property
    def absent(self) -> str:
        """A sentence where a path was typed at which there is nothing; else ""."""
        typed = self.path.value.strip() if self.kind.value == PATH else ""
        try:
            there = not typed or Path(typed).expanduser().exists()
        except (OSError, ValueError, RuntimeError):  # too long, a null byte, the home of an unknown user
            there = False
        if there:
            return ""
        return f"There is nothing at '{shortened(typed, MOST_SHOWN)}' on the machine where this notebook runs. Check the path, or choose Browse."

    def _show(self) -> None:
        widgets.show(self.path, self.kind.value == PATH)
        widgets.show(self.upload, self.kind.value == UPLOAD)
        widgets.show(self.browse, self.kind.value == PATH)
        if self.kind.value != PATH:
            widgets.show(self.files, False)
        self.hint.value = view.hint(self._explained.get(self.kind.value, ""))
        self._complete()

    def _complete(self) -> None:
        """Offer what begins as the path that is being typed."""
        if self.kind.value == PATH:
            self.path.options = completions(self.path.value, self._suffixes)


def completions(typed: str, suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """Folders, and files of these kinds, whose path begins as ``typed`` does; folders end in a slash."""
    start = Path(typed).expanduser()
    folder, prefix = (start, "") if typed.endswith("/") else (start.parent, start.name)
    home = typed.startswith("~")
    try:
        found = sorted(folder.iterdir())[:MOST_ENTRIES]
    except OSError:
        return ()
    shown = []
    for path in found:
        hidden = path.name.startswith(".") and not prefix.startswith(".")
        if hidden or not path.name.startswith(prefix):
            continue
        text = str(path) if home or start.is_absolute() else str(path.relative_to("."))
        if path.is_dir():
            shown.append(f"{text}/")
        elif path.name.endswith(suffixes):
            shown.append(text)
    return tuple(shown[:MOST_OFFERED])
