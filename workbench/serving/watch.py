"""What a server keeps of its requests, and reading it: disagreements with the source, and a window of recent samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.compare.flips import SHOWN, Flip, Flips

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    Arrays = dict[str, np.ndarray]

RING, WINDOW = "disagreements", "window"


@dataclass(frozen=True)
class Watch:
    """How a server watches its requests (``watching.py`` of the deployment)."""

    folder: Path | None = None  # where samples are kept; None: nothing is
    shadow_every: int = 20  # each so many-th request is answered by the source too; 0: none
    kept: int = 32  # disagreements on disk, for each instance of the model; older ones are replaced
    window: int = 750  # recent samples, for each instance
    window_s: float = 60.0  # the time over which they are taken

    @property
    def settings(self) -> dict[str, Any]:
        """As the deployed model reads them."""
        return {
            "folder": str(self.folder.absolute()) if self.folder else "",
            "shadow_every": self.shadow_every,
            "kept": self.kept,
            "window": self.window,
            "window_s": self.window_s,
        }


def watched_folder(deployment: Path) -> Path:
    """Where ``workbench serve`` keeps samples of a deployment by default: ``DIR.watch`` beside it."""
    place = deployment.absolute()
    return place.with_name(f"{place.name}.watch")


def disagreements(folder: Path, scores: str = "") -> Flips:
    """The samples in the ring below ``folder``, the newest first, as the panel's gallery shows them
    (:func:`workbench.panel.tables.gallery`).

    Args:
        folder: as :attr:`Watch.folder`.
        scores: the output with scores of classes; "": the first one. Of other outputs the place of the largest value is given.

    Example::

        gallery(disagreements(watched_folder(Path("digits"))), "served", "source")

    """
    import numpy as np

    found = sorted(_files(folder / RING), key=lambda arrays: -float(arrays["time"]))
    shown = []
    for place, arrays in enumerate(found[:SHOWN]):
        served, source = named(arrays, "served:"), named(arrays, "source:")
        name = scores or next(iter(served))
        first, second = (np.ravel(each[name]) for each in (served, source))
        values = str(first.argmax()), str(second.argmax()), float(first.max()), float(second.max())
        shown.append(Flip(place, None, *values, {key: array[0] for key, array in named(arrays, "input:").items()}))
    output = scores or (next(iter(named(found[0], "served:"))) if found else "")
    return Flips(len(found), output, len(found), None, None, tuple(shown))


def window(folder: Path) -> tuple[Arrays, Arrays]:
    """Recent samples and their answers by name, of all instances, shapes [n, ...]; nothing where there are none."""
    import numpy as np

    found = list(_files(folder / WINDOW))
    both = []
    for mark in ("input:", "output:"):
        parts = [named(arrays, mark) for arrays in found]
        both.append({name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else {})})
    return both[0], both[1]


def named(arrays: Arrays, mark: str) -> Arrays:
    """The arrays whose names begin with ``mark``, without it."""
    return {name.removeprefix(mark): array for name, array in arrays.items() if name.startswith(mark)}


def _files(folder: Path) -> Iterator[Arrays]:
    """The arrays of each file; one that is being replaced or is not such a file is left out."""
    import numpy as np

    for path in sorted(folder.glob("[!.]*.npz")):
        try:
            with np.load(path, allow_pickle=False) as file:
                yield {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, KeyError):
            continue
