"""Cost, clocks and settings as people read them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import peaked
from markupsafe import escape
from recorded import measured, results, spec

from workbench.display import tables
from workbench.panel import parts
from workbench.panel.notebook_view import Report
from workbench.records import Failure, Result, Status
from workbench.settings.experiment import Experiment

ROW = measured(
    "onnxruntime fp32", 64, median_ms=1.28, timing_clocks=peaked.CLOCKS, timing_in_effect=peaked.reported(threads="1")
)


def test_cost_is_a_table_with_its_notes_below():
    table = peaked.results(ROW).costs()
    html, text = table.html(), table.text()
    assert re.search(r'<th scope="col" class="wb-n" title="[^"]+">% of limit</th>', html)
    assert '<th scope="col">limited by</th>' in html
    assert "<li>No energy: no counter was read.</li>" in html
    lines = text.splitlines()
    assert lines[0].split()[:3] == ["variant", "batch", "peak"]
    assert lines[2].startswith("onnxruntime fp32     64")
    assert lines[2].endswith("fp32 compute")
    assert "GPU MiB" not in text  # no row has any
    assert all(len(line) <= 140 for line in lines)


def test_what_came_from_outside_is_escaped():
    row = measured("onnxruntime fp32", timing_in_effect=peaked.reported(LD_PRELOAD="<script>x</script>"))
    assert "<script>" not in parts.settings_html(results([row]))


def test_clocks_that_were_not_asked_for_say_how_to_ask():
    assert results([measured("onnxruntime fp32")]).clocks().text() == tables.CLOCKS_OFF
    table = results([ROW]).clocks()
    assert "<td>host-to-host</td>" in table.html()
    assert "<li>library of onnxruntime: its own call.</li>" in table.html()
    assert "<li>host-to-host: NumPy in, NumPy out.</li>" in table.html()
    assert "encloses" not in table.text()
    assert all(len(line) <= 140 for line in table.text().splitlines())


def test_differences_stand_beside_the_table_and_so_does_that_there_are_none():
    other = measured("openvino fp32", 64, timing_in_effect=peaked.reported(threads="2"))
    (shown,) = parts.PARTS["table"](results([ROW, other], baseline="onnxruntime fp32"), None)
    reported = "Threads differ between engines: 1 (onnxruntime), 2 (openvino)."
    assert reported in repr(shown)
    assert f"<li>{reported}</li>" in shown._repr_html_()
    (alone,) = parts.PARTS["table"](results([ROW], baseline="onnxruntime fp32"), None)
    assert "All settings that are compared are the same" in repr(alone)
    assert parts.settings_html(results([measured("onnxruntime fp32")])) == ""


def test_each_part_of_the_notebook_shows_itself_where_nothing_was_measured():
    why = "the device region is a GPU's own clock"
    row = Result(spec("onnxruntime fp32"), 1, status=Status.UNSUPPORTED, failure=Failure("", why))
    for rows in ([row], []):
        for bare in (results(rows, baseline=""), replace(results(rows), peaks=peaked.PEAKS)):
            shown = {name: part(bare, Report(Experiment(), bare, Path("store"))) for name, part in parts.PARTS.items()}
            assert repr(shown["cost"][0]) == tables.NOTHING
            assert (f"Not possible here: onnxruntime fp32: {why}" in repr(shown["table"][0])) == bool(rows)
            assert (escape(why) in shown["not possible"][0].data) == bool(rows)


def test_each_part_of_the_notebook_shows_itself():
    bare = results([measured("onnxruntime fp32")])
    assert [repr(item) for item in parts.PARTS["roofline"](bare, None)] == [tables.ROOFLINE_OFF]
    assert [repr(item) for item in parts.PARTS["clocks"](bare, None)] == [tables.CLOCKS_OFF]
    full = peaked.results(ROW)
    assert len(parts.PARTS["roofline"](full, None)) == 1
    assert len(parts.PARTS["clocks"](full, None)) == 2
    assert "Costs" in parts.folded_cost(full)
    assert parts.folded_cost(results([])) == ""
