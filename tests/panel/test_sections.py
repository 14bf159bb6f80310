"""What the report and the notebook's cells show of results, without running anything."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import recorded

from workbench.panel import sections
from workbench.panel.notebook_view import Report
from workbench.panel.summary import first_screen, narrow, summary_text, title
from workbench.records import Results, Status
from workbench.settings.experiment import Experiment


@pytest.fixture(scope="module")
def results() -> Results:
    rows = [recorded.measured("onnxruntime fp32", median_ms=4.0), recorded.measured("openvino fp32", median_ms=1.0)]
    built = replace(recorded.measured("openvino int8"), status=Status.BUILT, timing=None)
    return replace(recorded.results([*rows, built], baseline="onnxruntime fp32"), run="20260102T030405-abc")


def group(name: str, results: Results) -> str:
    items = sections.show_group(name, results, Report(Experiment(), results, Path("store")))
    return "".join(item._repr_html_() for item in items if hasattr(item, "_repr_html_") and item._repr_html_())


def test_the_first_screen_has_title_winner_figure_table_and_contents(results: Results) -> None:
    page = str(first_screen(results, [("The tail", "the-tail")]))
    parts = ["<h1>", "<b>openvino fp32</b> is ", "<img", "<table", "1 variant built and not measured here", "#the-tail"]
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    assert title(results).endswith(", 2026-01-02")
    assert str(results.model.name) in title(results)


def test_its_table_has_few_columns_and_only_rows_with_numbers(results: Results) -> None:
    table = narrow(results)
    assert len(table.shown()) <= 8
    assert [row["variant"] for row in table.rows] == ["onnxruntime fp32", "openvino fp32"]


def test_what_disturbed_is_said_once_and_not_in_the_notes() -> None:
    rows = [
        recorded.measured(name, median_ms=1.0 + place)
        for place, name in enumerate(("onnxruntime fp32", "openvino fp32"))
    ]
    spoiled = [
        replace(
            row, timing=replace(row.timing, blocks=tuple(replace(block, quiet=False) for block in row.timing.blocks))
        )
        for row in rows
    ]
    found = recorded.results(spoiled, baseline="onnxruntime fp32")
    page = str(first_screen(found, []))
    assert page.count("The machine was busy with other work in most rounds of all rows") == 1
    assert "blocks were disturbed" not in page
    assert "blocks were disturbed" in found.table().text()
    assert "The machine was busy with other work in most rounds of all rows" in " ".join(summary_text(found).split())


@pytest.mark.long
def test_sections_without_a_measurement_take_one_line(results: Results) -> None:
    text = "".join(group(name, results) for name in sections.GROUPS)
    for name in ("Roofline", "Clocks", "Layers", "Under load", "What failed"):
        assert f">{name}</h2>" not in text
    (line,) = re.findall(r"<p>Not measured: (.*?)</p>", text)
    for name in ("load", "roofline", "clocks", "layers"):
        assert f"{name}: set " in line
    for anchor in re.findall(r'href="#([\w-]+)"', group("summary", results)):
        assert f'<h2 id="{anchor}">' in text


def test_without_results_nothing_but_a_sentence_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    view = Report(Experiment(), None, Path("store"))  # type: ignore[arg-type]
    for name in sections.names():
        view.display(name)
    assert capsys.readouterr().out.count("This cell shows the last run of the panel") == 1
