"""Remarks about the numbers of a row: the output that agreement is of, and its limits."""

from __future__ import annotations

from dataclasses import replace

import recorded
from matplotlib.figure import Figure

from workbench.compare.remarks import agreement_text
from workbench.display.plots import accuracy
from workbench.panel import parts, tables, view

TWO = {
    "agreement_output": "main",
    "agreements": {"copy": 1.0, "main": 0.97},
    "left_out": {"noise": "two runs on the same input differ"},
    "not_compared": 5,
}


def two_outputs(**changes):
    row = recorded.sweep(labels=False).rows[0]
    return replace(row, accuracy=replace(recorded.accuracy(None, agree=970), **(TWO | changes)))


def test_the_worst_output_is_named_with_the_others():
    reported = agreement_text(two_outputs().accuracy)
    assert reported == (
        "agreement is that of 'main', the worst of 2 outputs (others: 'copy' 100.0%); 5 of 1000 samples are left out of the agreement, for which "
        "the source model's values are not finite; 'noise' is not compared: two runs on the same input differ"
    )
    plain = recorded.accuracy(None)
    assert agreement_text(plain) == ""
    assert agreement_text(replace(plain, agreement_output="o", agreements={"o": 0.99})) == ""


def test_table_panel_and_figure_name_it():
    whole = recorded.sweep(labels=False)
    results = replace(whole, rows=(two_outputs(), *whole.rows[1:]))
    frame = results.table().frame()
    assert list(frame["agree in"])[:2] == ["main", ""]
    assert "97.0 % in 'main'" in results.table().text()
    shown = "".join(span.html() for span in tables.accuracy(results.rows[0]))
    assert "97.0% agree in &#39;main&#39;" in shown
    assert "share of 995 samples" in shown
    data = accuracy.accuracy_data(results)
    assert {point.output for point in data.points} == {"main", ""}
    ax = Figure().subplots()
    accuracy.draw_accuracy(data, ax)
    assert any(", in 'main'" in text.get_text() for text in ax.get_legend().get_texts())


def test_warnings_stand_before_the_numbers():
    warning = "The output 'o' of the source model is not finite: NaN for <300> of 300 samples."
    results = replace(recorded.sweep(), warnings=(warning,))
    (shown,) = parts._table(results)
    assert repr(shown).startswith(f"Warning: {warning}\n")
    assert shown._repr_html_().startswith('<p role="alert"><strong>Warning:</strong> The output &#39;o&#39;')
    assert "<300>" not in shown._repr_html_()
    assert parts._model(results).startswith('<p role="alert">')
    assert 'role="alert"' in view.warnings(results)
    assert view.warnings(recorded.sweep()) == ""
