"""A table whose heads are buttons: pressed once it is sorted by that column, again in reverse, a third time as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from workbench.panel import widgets

UP, DOWN = "▲", "▼"


class Column(NamedTuple):
    """A head: its name, what it means, and whether large values come first at the first press."""

    name: str
    tip: str = ""
    numeric: bool = False
    largest_first: bool = False


class Line(NamedTuple):
    """A line as HTML (a row of the table, and perhaps one more with a note), and by column what it is sorted by; none comes last."""

    html: str
    keys: Mapping[str, Any]


class SortedTable(widgets.GridBox):  # type: ignore[misc]
    """Heads and lines share the columns of one grid, so that the heads can be widgets, which the keyboard reaches and which keep
    the focus, while the lines stay a table in HTML. That table has heads of its own for those who hear it, with ``aria-sort``.
    """

    def __init__(self, columns: Sequence[Column], empty: str) -> None:
        self._empty = empty
        self._lines: Sequence[Line] = ()
        self.body = widgets.HTML(css="wb-body")
        self.heads: dict[str, Any] = {}
        super().__init__()
        self.add_class("wb-sorted")
        self.columns(columns)

    @property
    def value(self) -> str:
        """The table as HTML."""
        return str(self.body.value)

    def columns(self, columns: Sequence[Column]) -> None:
        """Show these heads from now on, sorted by none of them."""
        self._columns = tuple(columns)
        self.by, self.reverse = "", False
        old = self.heads.values()
        self.heads = {each.name: widgets.Button(description=each.name, css="wb-head") for each in columns}
        for each in columns:
            self.heads[each.name].on_click(self._pressed(each))
            if each.numeric:
                self.heads[each.name].add_class("wb-n")
        self.layout = widgets.layout(grid_template_columns=f"repeat({max(1, len(self._columns))}, auto)")
        self.children = [*self.heads.values(), self.body]
        for head in old:  # not before they have left the page, which would look for them
            head.close()
        self.show(())

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines, in the order that was chosen; ``lines`` come in the order that they have without one."""
        self._lines = tuple(lines)
        for each in self._columns:
            chosen = each.name == self.by
            sign = f" {DOWN if self.reverse else UP}" if chosen else ""
            head = self.heads[each.name]
            head.description = each.name + sign
            head.tooltip = ". ".join(filter(None, [each.tip[:1].upper() + each.tip[1:], self._next(each)]))
            widgets.show(head, self._lines)
        if not self._lines:
            self.body.value = f'<div class="wb-empty">{escape(self._empty)}</div>' if self._empty else ""
            return
        heads = "".join(f'<th scope="col"{self._told(each)}>{escape(each.name)}</th>' for each in self._columns)
        rows = "".join(line.html for line in self._sorted())
        self.body.value = f'<table class="wb-table"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'

    def _pressed(self, column: Column) -> Callable[[Any], None]:
        def sort(_: Any) -> None:
            if self.by != column.name:
                self.by, self.reverse = column.name, column.largest_first
            elif self.reverse == column.largest_first:
                self.reverse = not column.largest_first
            else:
                self.by, self.reverse = "", False
            self.show(self._lines)

        return sort

    def _next(self, column: Column) -> str:
        """What pressing the head would do now."""
        if self.by != column.name:
            return "Press to sort by this"
        return "Press to reverse" if self.reverse == column.largest_first else "Press for the order as it was"

    def _told(self, column: Column) -> str:
        if column.name != self.by:
            return ""
        return f' aria-sort="{"descending" if self.reverse else "ascending"}"'

    def _sorted(self) -> list[Line]:
        """Lines without a value come last in either direction; equal ones stay in the order in which they came."""
        if not self.by:
            return [*self._lines]
        known = [line for line in self._lines if line.keys.get(self.by) is not None]
        unknown = [line for line in self._lines if line.keys.get(self.by) is None]
        return sorted(known, key=lambda line: line.keys[self.by], reverse=self.reverse) + unknown
