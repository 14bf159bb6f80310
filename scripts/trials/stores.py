"""What a store holds, looked at without the package's own code: whether its artefacts are whole, and which were made when."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

NOT_ARTEFACTS = ("cache", "jobs", "locks", "logs", "runs", "scratch")


def artefacts(store: Path) -> list[Path]:
    """The folders of all artefacts that are in use: without drafts and without what was set aside."""
    kinds = (
        [kind for kind in store.iterdir() if kind.is_dir() and kind.name not in NOT_ARTEFACTS] if store.exists() else []
    )
    folders = [folder for kind in kinds for folder in kind.iterdir()]
    return sorted(
        folder for folder in folders if folder.is_dir() and folder.name[0] != "." and ".damaged-" not in folder.name
    )


def corrupt(store: Path) -> list[str]:
    """Artefacts that are not as their manifest says: files by SHA-256, and the digest over files and facts."""
    return [
        f"{folder.parent.name}/{folder.name[:8]}: {reported}"
        for folder in artefacts(store)
        if (reported := _wrong(folder))
    ]


def _wrong(folder: Path) -> str:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        files, facts = manifest["files"], manifest["facts"]
        there = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "manifest.json"
        }
    except (OSError, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    whole = json.dumps([folder.parent.name, folder.name, files, facts], sort_keys=True, separators=(",", ":"))
    if files != there:
        return "files differ from the manifest"
    return "" if hashlib.sha256(whole.encode()).hexdigest() == manifest["digest"] else "facts differ from their digest"


def made(store: Path) -> dict[str, int]:
    """When each artefact was made, by kind and key: the time of its manifest in nanoseconds. Checkpoints, which go, are not counted."""
    manifests = [folder / "manifest.json" for folder in artefacts(store) if folder.parent.name != "checkpoint"]
    return {f"{path.parts[-3]}/{path.parts[-2]}": path.stat().st_mtime_ns for path in manifests if path.exists()}


def alone(store: Path) -> set[str]:
    """The timings of variants that took turns with no other, such as one whose baseline failed: they must be made again with it."""
    found = set()
    for path in (store / "cohort").glob("[!.]*/manifest.json"):
        keys = [*json.loads(path.read_text(encoding="utf-8"))["facts"]["members"].values()]
        found |= {f"timing/{key}" for key in keys if len(keys) == 1}
    return found


def unfinished(store: Path) -> list[str]:
    """What a run leaves half-written in a store: drafts, probes and parts."""
    found = [
        path for path in store.rglob(".*") if path.name.count(".") > 1 or path.name.startswith((".probe", ".part"))
    ]
    return sorted(path.relative_to(store).as_posix() for path in found)
