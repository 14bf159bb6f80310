"""A table whose heads are buttons: pressed once it is sorted by that column, again in reverse, a third time as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.display.html import tag
from workbench.display.table import Column, Row, Table
from workbench.panel import widgets

UP, DOWN = "▲", "▼"


class SortedTable(widgets.GridBox):  # type: ignore[misc]
    """Heads and lines share the columns of one grid, so that the heads can be widgets, which the keyboard reaches and which keep
    the focus, while the lines stay a table in HTML. That table has heads of its own for those who hear it, with ``aria-sort``.
    """

    def __init__(self, empty: str, reordered: Callable[[], None] = lambda: None) -> None:
        """``empty`` is said of a table without rows; ``reordered`` is called when a person has sorted it."""
        self.empty, self._reordered = empty, reordered
        self._table = Table((), ())
        self._columns: tuple[Column, ...] = ()
        self.by, self.reverse = "", False
        self.body = widgets.HTML(css="wb-body")
        self.heads: dict[str, Any] = {}
        super().__init__()
        self.add_class("wb-sorted")
        self.show(self._table)

    @property
    def value(self) -> str:
        """The table as HTML."""
        return str(self.body.value)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows in the order in which they are shown."""
        return self._ordered().rows

    def _ordered(self) -> Table:
        return self._table.sorted(self.by, reverse=self.reverse) if self.by else self._table

    def _renew(self, columns: tuple[Column, ...]) -> None:
        """Heads for these columns, sorted by none of them."""
        self._columns = columns
        self.by, self.reverse = "", False
        old = self.heads.values()
        self.heads = {each.name: widgets.Button(description=each.name, css="wb-head") for each in columns}
        for each in columns:
            self.heads[each.name].on_click(self._pressed(each))
            if each.numeric:
                self.heads[each.name].add_class("wb-n")
        self.layout = widgets.layout(grid_template_columns=f"repeat({max(1, len(columns))}, auto)")
        self.children = [*self.heads.values(), self.body]
        for head in old:  # not before they have left the page, which would look for them
            head.close()

    def show(self, table: Table) -> None:
        """Show this table, sorted as before if its heads are the same; its rows come in the order that they have without one."""
        self._table = table
        columns = tuple(table.shown())
        if [(each.name, each.help) for each in columns] != [(each.name, each.help) for each in self._columns]:
            self._renew(columns)
        for each in columns:
            chosen = each.name == self.by
            sign = f" {DOWN if self.reverse else UP}" if chosen else ""
            head = self.heads[each.name]
            head.description = each.name + sign
            head.tooltip = ". ".join(filter(None, [each.help[:1].upper() + each.help[1:], self._next(each)]))
            widgets.show(head, table.rows)
        if not table.rows:
            self.body.value = tag("div", self.empty, class_="wb-empty") if self.empty else ""
            return
        self.body.value = self._ordered().grid(
            lines=True, order=(self.by, "descending" if self.reverse else "ascending")
        )

    def _pressed(self, column: Column) -> Callable[[Any], None]:
        def sort(_: Any) -> None:
            if self.by != column.name:
                self.by, self.reverse = column.name, column.largest_first
            elif self.reverse == column.largest_first:
                self.reverse = not column.largest_first
            else:
                self.by, self.reverse = "", False
            self.show(self._table)
            self._reordered()

        return sort

    def _next(self, column: Column) -> str:
        """What pressing the head would do now."""
        if self.by != column.name:
            return "Press to sort by this"
        return "Press to reverse" if self.reverse == column.largest_first else "Press for the order as it was"
