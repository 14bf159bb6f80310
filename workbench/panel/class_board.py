"""The class board in a notebook, shown again every few seconds."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from markupsafe import Markup

from workbench.errors import InputError
from workbench.lessons import board, board_page
from workbench.panel import widgets
from workbench.panel.work import keep_showing
from workbench.settings.kinds import choose


class ClassBoard(widgets.VBox):  # type: ignore[misc]
    """What the participants of a class predicted and measured in the lessons, and the measuring queue of this machine.

    Args:
        folder: the shared folder; by default that of the variable ``WORKBENCH_BOARD``.
        language: of the headings, "en" or "zh".
        hide_answers: show who has answered, and not what was predicted and measured.
        every_s: seconds between two looks; 0: it is shown again by :meth:`refresh` only.

    Raises:
        InputError: no folder was named, or it is not safe to share.

    Example::

        ClassBoard("/srv/bench/board")

    """

    def __init__(
        self, folder: str | Path = "", *, language: str = "en", hide_answers: bool = False, every_s: float = 2.0
    ) -> None:
        place = folder or os.environ.get(board.FOLDER, "")
        if not place:
            raise InputError(f"No shared folder was named. Give its path, or set the variable {board.FOLDER}.")
        choose("language", [language], board.LANGUAGES)
        board.prepare(Path(place))
        self._folder, self._language, self._hidden = Path(place), language, hide_answers
        self._stopped = threading.Event()
        self.shown = widgets.HTML()
        super().__init__([self.shown])
        self.refresh()
        if every_s:
            keep_showing(self._seen, self._show, every_s, self._stopped)

    def close(self) -> None:
        """Show no more changes."""
        self._stopped.set()
        super().close()

    def refresh(self) -> None:
        """Read the folder again."""
        self._show(self._seen())

    def _seen(self) -> Markup:
        return board_page.as_html(board_page.board_of(self._folder, hidden=self._hidden), self._language)

    def _show(self, html: Markup) -> None:
        if not self._stopped.is_set():
            self.shown.value = str(html)
