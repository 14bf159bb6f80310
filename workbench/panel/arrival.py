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
LOST = "lost"
"""What the browser writes where it shows an error in the place of a widget: then an announcement did not arrive."""
# Widgets come one by one: the field is looked for until it is there, and then errors for ten seconds; where this is taken away
# and put back it begins again. An error belongs to the sign of the smallest box around it that has one.
SIGN = (
    "const say=(field,said)=>{field.value=said;field.dispatchEvent(new Event('change',{bubbles:true}))};"
    "const box=error=>{while(error&&!error.querySelector(':scope>.wb-arrived'))error=error.parentElement;return error};"
    "const look=left=>{if(!this.isConnected)return;"
    "const sign=this.closest('.wb-arrived'),field=sign&&sign.querySelector('input'),all=sign&&sign.parentElement;"
    "if(!field||!all)return setTimeout(look,100,left);"
    "if(left===20)say(field,String(Date.now()));"
    "else if([...all.querySelectorAll('.jupyter-widgets-error-widget')].some(error=>box(error)===all))"
    f"return say(field,'{LOST}');"
    "if(left)setTimeout(look,500,left-1)};look(20)"
)


class Sign(widgets.Box):  # type: ignore[misc]
    """Field that the browser fills when it has drawn what this stands in.

    A browser takes in the announcements of widgets one after another. Where one is lost it draws an error in the place of the box that
    has it inside, or nothing of the boxes around it.
    """

    def __init__(self) -> None:
        self.field = widgets.Text()
        mark = f'<style onload="{escape(SIGN)}">.wb .wb-arrived {{ display: none; }}</style>'
        super().__init__([self.field, widgets.HTML(mark)], css="wb-arrived")
        self.loop = running_loop()  # None: there is no browser
        self._inside: Any = None
        self._again: Callable[[], None] | None = None
        self._tried = TRIES  # until it is expected
        self.field.observe(lambda change: self.later(0, self._look) if change["new"] == LOST else None, "value")

    @property
    def seen(self) -> bool:
        """Whether the browser has drawn it and everything beside it."""
        return self.field.value not in ("", LOST)

    def expect(self, inside: Any, again: Callable[[], None] | None = None) -> None:
        """Announce what is in the box ``inside`` again where something of it was lost, at most ``TRIES`` times for each call.

        After a while without a sign ``again`` is called in place of that.
        """
        self._inside, self._again, self._tried = inside, again, 0
        self.later(PATIENCE_S, self._look, 0)

    def _look(self, waited_for: int | None = None) -> None:
        """Repair what is missing; ``waited_for`` is the number of repairs before the wait, and none where the browser reported a loss."""
        if self.seen or self._tried >= TRIES or waited_for not in (None, self._tried):
            return
        self._tried += 1
        again = self._again if self.field.value != LOST else None
        self.field.value = ""
        if again:
            again()
        else:
            _announce_again(self._inside)
        self.later(PATIENCE_S * 2**self._tried, self._look, self._tried)

    def later(self, seconds: float, call: Callable[..., None], *given: Any) -> None:
        """Make a call in the kernel's thread; a front end may have another thread for the messages of widgets."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.loop.call_later, seconds, call, *given)


class Late(widgets.VBox):  # type: ignore[misc]
    """A box whose contents are announced by :meth:`fill`, and again under other names where something of them does not arrive."""

    children: tuple[Any, ...]  # a trait, for which ipywidgets has no type

    def __init__(self, contents: Iterable[Any], css: str = "wb-late") -> None:
        super().__init__(css=css)
        self._contents, self._sign, self._filled = tuple(contents), Sign(), False

    def fill(self) -> None:
        """Put the contents into the box, once."""
        if not self._filled:
            self._filled = True  # the box is empty for a moment where its contents are announced again
            self.children = (*self._contents, self._sign)
            self._sign.expect(self)


class Arrival(Sign):
    """The marker of the whole panel, of which only a part is announced at first. ``rest`` are calls that announce more, made when it has
    arrived; without an event loop they are made at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rest: list[Callable[[], None]] = []
        self._shown: list[Any] = []  # the panel in each cell that displays it
        self._going = False
        self.field.observe(lambda _: self.later(0, self._begin) if self.seen else None, "value")

    def follow(self, rest: list[Callable[[], None]]) -> None:
        """Make these calls when the panel has arrived."""
        self._rest = rest
        while self._rest and self.loop is None:
            self._rest.pop(0)()

    def display(self, panel: Any) -> None:
        """Display ``panel``, and again while there is no sign of it. A page of Voilà cannot be shown again: it asks for all widgets."""
        from IPython.display import display

        def again() -> None:
            if not os.environ.get("SERVER_SOFTWARE", "").startswith("voila"):
                widgets.renew(panel)
                for each in self._shown:
                    each.update(panel)

        shown = display(panel, display_id=True)  # type: ignore[no-untyped-call]
        if shown is not None:
            self._shown.append(shown)
            self.expect(panel, again)

    def _begin(self) -> None:
        if not self._going:
            self._going = True
            self._next()

    def _next(self) -> None:
        if self._rest:
            self._rest.pop(0)()
            self.later(PAUSE_S, self._next)


def _announce_again(box: Any) -> None:
    """Announce what is inside, but not the box, which the browser has drawn: with the view of a closed widget it hides its whole place."""
    inside, box.children = box.children, ()
    widgets.renew(*inside)
    box.children = inside
