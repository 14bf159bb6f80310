"""The panel's controls for where a model or its samples come from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.errors import InputError, writing
from workbench.models.describe import size
from workbench.panel import view, widgets
from workbench.panel.fields import field

MAX_UPLOAD_BYTES = 9 * 2**20  # Jupyter drops the connection at a message of 10 MiB (Tornado's default)
MOST_ENTRIES, MOST_OFFERED = 5000, 40
DEMO, PATH, UPLOAD = "demo", "path", "upload"
MODEL_FILES = (".keras", ".h5", ".hdf5", ".pb", ".tflite", ".onnx")
DATA_FILES = (".npz", ".csv")


class Source:
    """Where a model or its samples come from: something built in, a path, or an upload."""

    def __init__(
        self,
        noun: str,
        suffixes: tuple[str, ...],
        value: str,
        built_in: Mapping[str, str],
        explained: Mapping[str, str],
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
            + (", or a SavedModel folder" if suffixes == MODEL_FILES else ""),
            css="wb-wide",
        )
        self.upload = widgets.FileUpload(
            description=f"Choose a file ({' or '.join(suffixes)}, at most {MAX_UPLOAD_BYTES // 2**20} MiB)",
            accept=",".join(suffixes),
            tooltip="For a larger file, drop it into the file browser at the left and give its path",
            css="wb-upload",
        )
        self._kept: tuple[object, str] = (None, "")  # the last upload and where it lies
        self.controls = (self.kind, self.path, self.upload)
        self._explained = explained
        self.hint = widgets.HTML()
        self.kind.observe(lambda _: self._show(), "value")
        self.path.observe(lambda _: self._complete(), "value")
        self._show()

    def write(self, value: str) -> None:
        """Show this value of an experiment."""
        built_in = [key for _, key in self.kind.options[:-2]]
        self.kind.value = value if value in built_in else PATH
        self.path.value = "" if value in built_in else value

    def read(self, uploads: Path) -> str:
        """The value for the experiment.

        Raises:
            InputError: no path was given, or there is no usable upload.
        """
        if self.kind.value == UPLOAD:
            if self._kept[0] is not self.upload.value:
                self._kept = (self.upload.value, save_upload(self.upload.value, uploads, self._suffixes))
            return self._kept[1]
        if self.kind.value == PATH:
            if not self.path.value.strip():
                raise InputError(f"{self._noun}: no path was given. Type one, or choose another source.")
            return str(self.path.value.strip())
        return str(self.kind.value)

    def _show(self) -> None:
        widgets.show(self.path, self.kind.value == PATH)
        widgets.show(self.upload, self.kind.value == UPLOAD)
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


def save_upload(files: Iterable[Mapping[str, Any]], folder: Path, suffixes: tuple[str, ...]) -> str:
    """Keep an uploaded file below ``folder``, under its digest, and return its path.

    Raises:
        InputError: there is none, it is of another kind, or it is too large.
    """
    for file in files:
        name = "".join(char if char.isalnum() or char in "-_." else "-" for char in Path(file["name"]).name)
        if not name.endswith(suffixes):
            raise InputError(f"The uploaded file is '{name}'. Choose a file that ends in {' or '.join(suffixes)}.")
        content = bytes(file["content"])
        if len(content) > MAX_UPLOAD_BYTES:
            raise InputError(
                f"The uploaded file has {size(len(content))}, above the limit of "
                f"{size(MAX_UPLOAD_BYTES)}. Drop it into the file browser and give its path."
            )
        path = folder / hashlib.sha256(content).hexdigest()[:16] / name
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return str(path)
    raise InputError(
        f"No file was uploaded yet. Choose one of at most {MAX_UPLOAD_BYTES // 2**20} MiB; a larger one does not arrive: drop it into "
        "the file browser and give its path."
    )
