"""Showing the panel in a browser: the first page at once, the others when it has arrived, and whatever has not arrived again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

from workbench.panel import widgets
from workbench.panel.work import running_loop

PATIENCE_S = 15.0
"""The first wait for a sign of the browser; each further one is twice as long."""
TRIES = 3
PAUSE_S = 0.2
"""Between two pages, so that a click is answered in between."""
# widgets come one by one: the field is looked for until it is there
SIGN = (
    "const look=()=>{const sign=this.closest('.wb-arrived'),field=sign&&sign.querySelector('input');"
    "if(field){field.value=String(Date.now());field.dispatchEvent(new Event('change',{bubbles:true}))}"
    "else setTimeout(look,100)};look()"
)


class Sign(widgets.Box):  # type: ignore[misc]
    """Field that the browser fills when it has drawn what this stands in.

    A browser takes in the announcements of widgets one after another, and draws nothing of a box where one of those inside was lost.
    """

    def __init__(self) -> None:
        self.field = widgets.Text()
        mark = f'<style onload="{escape(SIGN)}">.wb .wb-arrived {{ display: none; }}</style>'
        super().__init__([self.field, widgets.HTML(mark)], css="wb-arrived")
        self.loop = running_loop()  # None: there is no browser

    @property
    def seen(self) -> bool:
        """Whether the browser has drawn it at least once."""
        return bool(self.field.value)

    def expect(self, again: Callable[[], None], tried: int = 1) -> None:
        """Call ``again`` after a while without a sign, at most ``TRIES`` times."""
        self.later(PATIENCE_S * 2 ** (tried - 1), self._look, again, tried)

    def later(self, seconds: float, call: Callable[..., None], *given: Any) -> None:
        """Make a call in the kernel's thread; a front end may have another thread for the messages of widgets."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.loop.call_later, seconds, call, *given)

    def _look(self, again: Callable[[], None], tried: int) -> None:
        if not self.seen and tried <= TRIES:
            again()
            self.expect(again, tried + 1)


class Late(widgets.VBox):  # type: ignore[misc]
    """A box whose contents are announced by :meth:`fill`, and again under other names where they do not arrive."""

    def __init__(self, contents: Iterable[Any], css: str = "wb-late") -> None:
        super().__init__(css=css)
        self._contents, self._sign = tuple(contents), Sign()

    def fill(self) -> None:
        """Put the contents into the box, once."""
        if not self.children:
            self._put()
            self._sign.expect(self._again)

    def _put(self) -> None:
        self.children = (*self._contents, self._sign)

    def _again(self) -> None:
        inside, self.children = self.children, ()
        for each in inside:
            widgets.renew(each)
        self._put()


class Arrival(Sign):
    """The marker of the whole panel, of which only a part is announced at first. ``rest`` are calls that announce more, made when it has
    arrived; without an event loop they are made at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rest: list[Callable[[], None]] = []
        self._going = False
        self.field.observe(lambda _: self.later(0, self._begin), "value")

    def follow(self, rest: list[Callable[[], None]]) -> None:
        """Make these calls when the panel has arrived."""
        self._rest = rest
        while self._rest and self.loop is None:
            self._rest.pop(0)()

    def display(self, panel: Any) -> None:
        """Display ``panel``, and again while there is no sign of it. A page of Voilà cannot be shown again: it asks for all widgets."""
        from IPython.display import display

        shown = display(panel, display_id=True)  # type: ignore[no-untyped-call]
        if shown is not None and not os.environ.get("SERVER_SOFTWARE", "").startswith("voila"):
            self.expect(lambda: _display_again(panel, shown))

    def _begin(self) -> None:
        if not self._going:
            self._going = True
            self._next()

    def _next(self) -> None:
        if self._rest:
            self._rest.pop(0)()
            self.later(PAUSE_S, self._next)


def _display_again(panel: Any, shown: Any) -> None:
    widgets.renew(panel)
    shown.update(panel)
