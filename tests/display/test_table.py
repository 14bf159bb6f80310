"""Every format of every table, with content that would break a careless one."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pandas as pd
import peaked
import pytest
import recorded
import recorded_load
from recorded import failed, measured, spec

from workbench.compare.layer_view import aligned
from workbench.display.html import bullets, facts, folded, tag
from workbench.display.table import DATA, FLAG, MAIN, NUMBER, PAGE, TIME, WHOLE, WIDTH, Column, Span, Table, _width
from workbench.display.tables import cold_starts, disturbances, worst_losses
from workbench.panel import tables as panel_tables
from workbench.records import LayerProfile, LayerTime, PartLoss

HOSTILE = "<img src=x onerror=alert(1)>|`*&_%$#{}~^\\\n\x1b[2J"
LONG = "a-very-long-name:" * 12
WIDE = "模型 é е́ µ"


class Page(HTMLParser):
    """Elements of a piece of HTML, each of which has to be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        self.open += [] if tag in ("br", "img", "input") else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def hostile():
    """Whatever can be named has a name that acts in HTML, Markdown, LaTeX or a terminal; some values are missing or not numbers."""
    under_load = recorded_load.loaded(
        "onnxruntime fp32", 1, [(1, 100), (2, 110)], open=(recorded_load.opened(50, 10),), loadgen=recorded_load.run()
    )
    reported = {"timing_in_effect": peaked.reported(threads=HOSTILE), "timing_clocks": peaked.CLOCKS}
    parts = (
        PartLoss("class", HOSTILE, 3, math.nan, 1.0, 0.1, None, None, 2),
        PartLoss("class", "", 0, 1, 1, 0, 0, 0, 2),
    )
    rows = []
    for backend in (HOSTILE, LONG, WIDE):
        of = replace(spec("onnxruntime fp32"), backend=backend)
        row = measured("onnxruntime fp32", spec=of, **reported)
        rows.append(replace(row, load=under_load.load, accuracy=replace(row.accuracy, by=parts)))
    rows += [failed("openvino fp32", message=HOSTILE), measured("tensorflow fp32", right=None)]
    layer = LayerTime(HOSTILE, LONG, "weights", WIDE, (1000,) * 3, origin=(HOSTILE,), scope=HOSTILE)
    profile = LayerProfile("key", HOSTILE, 4, (layer,), (1000,) * 3, (1000,) * 3, HOSTILE, "samples", "now")
    return replace(peaked.results(*rows), baseline="tensorflow fp32", layer_profiles=(profile,))


MADE = hostile()
(PROFILE,) = MADE.layer_profiles
TABLES = {
    "results": MADE.table(),
    "costs": MADE.costs(),
    "settings": MADE.settings(),
    "clocks": MADE.clocks(),
    "losses": MADE.losses(),
    "worst losses": worst_losses(MADE),
    "layers": MADE.layers(),
    "two engines": Table.of(aligned(PROFILE, replace(PROFILE, label=WIDE))),
    "cold": cold_starts(MADE),
    "noise": disturbances(MADE),
    "panel": panel_tables.table([panel_tables.Shown(row, remarks=(HOSTILE,), out=HOSTILE) for row in MADE.rows], MADE),
    **{f"load {table.title}": table for table in MADE.load()},
}
NARROW = [name for name in TABLES if name != "panel"]


@pytest.mark.parametrize("name", TABLES)
def test_html_is_escaped_and_closed(name):
    table = TABLES[name]
    for html in (table.html(), table.html(lines=True), table._repr_html_()):
        assert "<img" not in html
        assert {"table", "thead", "tbody", "td"} <= {*Page(html).tags}
    assert "&lt;img" in TABLES[name].html() or name in ("two engines", "noise", "cold")


@pytest.mark.parametrize("name", TABLES)
def test_text_fits_the_terminal_and_holds_no_control_character(name):
    text = TABLES[name].text()
    assert all(char.isprintable() or char == "\n" for char in text)
    assert max(map(_width, text.splitlines())) <= WIDTH
    assert len(text.splitlines()) >= len(TABLES[name]) + 2


@pytest.mark.parametrize("name", TABLES)
def test_markdown_has_as_many_cells_in_every_row(name):
    lines = TABLES[name].markdown().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == len(TABLES[name]) + 2
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert "<img" not in "".join(lines)


@pytest.mark.parametrize("name", TABLES)
def test_latex_is_escaped_and_has_few_columns(name):
    table = TABLES[name]
    text = table.latex()
    grid = text[text.index("\\toprule") : text.index("\\end{tabular}")]
    rows = [line for line in grid.splitlines() if line.endswith(r"\\")]
    assert len(rows) == len(table) + 1
    counts = {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows}
    assert counts == {len(re.search(r"\{tabular\}\{([lr]+)\}", text)[1])}
    assert max(counts) <= 9  # eight, and the numbers of notes
    bare = re.sub(r"\\textbackslash\{\}|\\text\w+\{\}|\$\\?\w*-?\$|\\[&%$#_{}]", "", "".join(rows))
    assert not re.search(r"[%$#_{}~^]", bare)
    assert len(re.search(r"\{([lr]+)\}", table.latex(columns=2))[1]) <= 3


@pytest.mark.parametrize("name", NARROW)
def test_frame_and_records_hold_every_row_and_column(name):
    table = TABLES[name]
    frame, records = table.frame(), table.records()
    assert list(frame.columns) == [each.name for each in table.columns]
    assert len(frame) == len(records) == len(table.every or table.rows)
    again = json.loads(json.dumps(records, allow_nan=False))
    assert again == records
    for column in table.columns:
        kind = {NUMBER: "f", WHOLE: "i", FLAG: "b"}.get(column.kind)
        assert kind is None or frame[column.name].dtype.kind == kind, column
        missing = [record[column.name] is None for record in records]
        assert kind != "f" or list(frame[column.name].isna()) == missing


def test_what_is_shown_of_the_results():
    text = TABLES["results"].text()
    assert "failed: <img src=x onerror=alert(1)>" in text
    assert TABLES["results"].latex().count("&") >= len(MADE.rows)
    assert "variant" in TABLES["results"].latex()


def test_a_table_without_rows_is_a_sentence():
    table = Table((Column("a"),), (), title="A", empty="There is <nothing>.")
    assert table.text() == "There is <nothing>."
    assert table.html() == "<h4>A</h4><p>There is &lt;nothing&gt;.</p>"
    assert list(table.frame().columns) == ["a"]
    assert table.markdown() == "| a |\n| --- |\n"
    assert "\\begin{tabular}{l}" in table.latex()


TIMES = (
    Column("name"),
    Column("p50", NUMBER, "ms", "Median", rank=MAIN),
    Column("count", WHOLE, rank=2),
    Column("yes", FLAG),
    Column("when", TIME),
    Column("device", silent=("cpu",)),
    Column("low", NUMBER, rank=DATA),
    Column("detail", rank=PAGE),
    Column("note", note=True),
)
SMALL = Table(
    TIMES,
    (
        {"name": "a", "p50 ms": 1234.5, "count": 12345, "yes": True, "when": datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
         "device": "cpu", "low": 1.0, "detail": "d", "note": "first"},
        {"name": "b", "p50 ms": math.nan, "count": None, "yes": False, "when": pd.NaT, "note": "first"},
        {"name": "c", "p50 ms": math.inf, "note": "second"},
    ),
    notes=("for all",),
)  # fmt: skip


def test_numbers_times_notes_and_missing_values_as_text():
    assert SMALL.text().splitlines() == [
        "name  p50 ms   count  yes  when              note",
        "─────────────────────────────────────────────────",
        "a      1,234  12,345  yes  2026-01-02 03:04  1",
        "b          –       –  –    –                 1",
        "c        inf       –  –    –                 2",
        "[1] first",
        "[2] second",
        "for all",
    ]


def test_notes_are_numbered_once_on_pages_or_stand_below_their_rows():
    assert (
        '<ol class="wb-notes"><li>first</li><li>second</li></ol><ul class="wb-notes"><li>for all</li></ul>'
        in SMALL.html()
    )
    lines = SMALL.html(lines=True)
    assert lines.count('<tr class="wb-note"><td colspan="6">first</td></tr>') == 2
    assert "<ol" not in lines


def test_what_is_least_important_is_left_out_first():
    heads = [SMALL.text(width).splitlines()[0].split() for width in (80, 45, 12)]
    assert heads[0] == ["name", "p50", "ms", "count", "yes", "when", "note"]
    assert heads[1] == ["name", "p50", "ms", "yes", "when", "note"]
    assert "count" not in heads[2]
    assert "detail" in SMALL.markdown()
    assert "low" not in SMALL.markdown()
    assert SMALL.latex(columns=1).splitlines()[3] == r"p50 ms & note \\"


def test_latex_with_a_caption_is_a_table_of_the_package_booktabs():
    lines = SMALL.latex(caption="50 % of demo_1").splitlines()
    assert lines[:3] == ["% in the preamble: \\usepackage{booktabs}", "\\begin{table}", r"\caption{50 \% of demo\_1}"]
    assert [line for line in lines if "rule" in line] == ["\\toprule", "\\midrule", "\\bottomrule"]
    assert lines[-1] == "\\end{table}"


def test_rows_sort_with_missing_values_last():
    assert [row["name"] for row in SMALL.sorted("p50 ms").rows] == ["a", "c", "b"]
    assert [row["name"] for row in SMALL.sorted("p50 ms", reverse=True).rows] == ["c", "a", "b"]


def test_wide_characters_are_aligned():
    table = Table((Column("n"), Column("v", NUMBER)), ({"n": "模型", "v": 1.0}, {"n": "ab", "v": 2.0}))
    assert table.text().splitlines()[2:] == ["模型  1.00", "ab    2.00"]


def test_a_frame_becomes_a_table_by_its_types():
    frame = pd.DataFrame({"a": ["x", None], "n": [1, 2], "v": [0.5, None], "ok": [True, False]})
    frame["whole"] = pd.array([1, None], dtype="Int64")
    table = Table.of(frame)
    assert [each.kind for each in table.columns] == ["text", WHOLE, NUMBER, FLAG, WHOLE]
    assert table.rows[1] == {"a": None, "n": 2, "v": None, "ok": False, "whole": None}
    assert table.frame()["whole"].isna().tolist() == [False, True]


def test_spans_have_a_look_a_tip_and_lines():
    assert (
        Span("<a>\nb", "out", 'why "so"').html()
        == '<span class="wb-out" title="why &#34;so&#34;">&lt;a&gt;<br>b</span>'
    )
    assert Span("done", "status", sign="✓").html() == '<span class="wb-status"><i aria-hidden="true">✓</i> done</span>'
    assert Span("x", "strong").html() == "<b>x</b>"
    assert str(Span("done", sign="✓")) == "✓ done"


def test_pieces_of_html_are_escaped():
    assert tag("p", "<", tag("b", ">"), class_="a", hidden=True, title="") == '<p class="a" hidden>&lt;<b>&gt;</b></p>'
    assert bullets(["<"], numbered=True) == "<ol><li>&lt;</li></ol>"
    assert bullets([]) == ""
    assert folded("<", "x") == "<details><summary>&lt;</summary>x</details>"
    assert '<th scope="row">&lt;</th><td>a<br>&gt;</td>' in facts([("<", ["a", ">"])])


def test_the_methods_of_results_are_those_of_the_package():
    import workbench

    sweep = recorded.sweep()
    assert isinstance(sweep, workbench.Results)
    assert isinstance(sweep.rows[0], workbench.Result)
    assert isinstance(sweep.table(), workbench.Table)
    assert sweep.compare("onnxruntime fp32").baseline == "onnxruntime fp32"
    assert sweep.table("onnxruntime fp32").frame()["verdict"].eq("baseline").sum() == len(sweep.batches)
    slow = recorded.results([measured("onnxruntime fp32", median_ms=1), measured("onnxruntime int8", median_ms=9)])
    assert "Why isn't it faster? onnxruntime int8" in str(slow.why_not_faster())
    assert workbench.Store.__name__ == "Store"
