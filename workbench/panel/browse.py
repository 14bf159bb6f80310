"""Files and folders of the machine where the kernel runs, to choose from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from workbench.panel import view, widgets

MOST_SHOWN = 2000
UP = "../"
HERE = "Use this folder"


class Browse(widgets.VBox):  # type: ignore[misc]
    """A list of one folder; ``chosen`` is called with the path of a file, or of a folder that ``is_file`` takes for one. With
    ``folders`` any folder that was opened can be chosen, such as one of images.
    """

    def __init__(
        self,
        suffixes: tuple[str, ...],
        chosen: Callable[[str], None],
        is_file: Callable[[Path], bool] = lambda _: False,
        *,
        folders: bool = False,
    ) -> None:
        self._suffixes, self._chosen, self._is_file = suffixes, chosen, is_file
        self._first = (HERE, UP) if folders else (UP,)
        self.folder = Path.cwd()
        self.where = widgets.HTML()
        self.list = widgets.Select(
            description="Files", options=[], rows=10, tooltip="Files and folders on the server", css="wb-browse"
        )
        self._quiet = False
        super().__init__([self.where, self.list])
        self.list.observe(lambda _: self._choose(), "value")
        widgets.show(self, False)

    def begin(self, typed: str) -> None:
        """Show the folder of a path, or the folder of before; a second call hides it."""
        if self.layout.display != "none":
            widgets.show(self, False)
            return
        start = Path(typed).expanduser() if typed else self.folder
        self._show(start if start.is_dir() else start.parent if start.parent.is_dir() else self.folder)
        widgets.show(self)

    def _show(self, folder: Path) -> None:
        folder = folder.resolve()
        try:
            found = sorted(folder.iterdir(), key=lambda each: each.name.lower())
        except OSError as error:
            self.where.value = view.message(f"The folder {folder} cannot be read: {error.strerror or error}.")
            return
        self.folder = folder
        seen = [each for each in found if not each.name.startswith(".")]
        folders = [f"{each.name}/" for each in seen if each.is_dir()]
        files = [each.name for each in seen if each.name.endswith(self._suffixes) and not each.is_dir()]
        self._quiet = True
        self.list.options = [*self._first, *folders, *files][:MOST_SHOWN]
        self.list.value = None
        self._quiet = False
        self.where.value = view.hint(
            f"{folder}: {len(folders)} folders, {len(files)} files that end in {' or '.join(self._suffixes)}"
        )

    def _choose(self) -> None:
        name = self.list.value
        if self._quiet or name is None:
            return
        path = {HERE: self.folder, UP: self.folder.parent}.get(name, self.folder / name)
        if name != HERE and path.is_dir() and not self._is_file(path):
            self._show(path)
        else:
            widgets.show(self, False)
            self._chosen(str(path))
