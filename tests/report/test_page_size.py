"""The page of a report stays below its size, however many rows and layers the run has."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import recorded
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from workbench.display.plots.canvas import as_bytes, as_small_png
from workbench.panel import sections
from workbench.records.layers import LayerProfile, LayerTime
from workbench.report import fit, layers, page
from workbench.settings.experiment import Experiment

FAMILIES = list(recorded.PEERS)


def of_many(count: int, layers: int):
    """Results of ``count`` rows at four batches, each with the times of ``layers`` layers."""
    rows, profiles = [], []
    for number in range(count):
        label, batch = FAMILIES[number // 4 % len(FAMILIES)], (1, 8, 32, 64)[number % 4]
        spec = recorded.spec(label, **({"workspace_bytes": number // 48 * 2**20} if number >= 48 else {}))
        rows.append(recorded.measured(label, batch, spec=spec, timing_calls=6))
        kinds = [
            LayerTime(
                f"node_{place}_{number}", "Conv", "weights", "fp32", (1000 * place + 1,) * 3, scope=f"conv_{place}"
            )
            for place in range(layers)
        ]
        profiles.append(
            LayerProfile(
                f"key-{spec.label}", spec.label, batch, tuple(kinds), (10**6,) * 3, (10**6,) * 3, "p", "s", "now"
            )
        )
    return replace(recorded.results(rows), layer_profiles=tuple(profiles))


def write_page(found, folder, log="") -> bytes:
    """The page of a notebook whose cells display what those of the report do."""
    ran = SimpleNamespace(ran=Experiment(), place=folder)
    cells = [new_code_cell("run()", metadata={"tags": ["log"]}, outputs=[new_output("stream", text=log)])]
    for name in sections.names():
        outputs = [new_output("display_data", data=_data(item)) for item in sections.show_group(name, found, ran)]
        cells.append(new_code_cell(f"view.display({name!r})", outputs=outputs))
    executed = folder / "executed.ipynb"
    nbformat.write(new_notebook(cells=cells), executed)
    page.html_from_notebook(executed, folder / "page.html")
    return (folder / "page.html").read_bytes()


def _data(item) -> dict[str, str]:
    if png := getattr(item, "data", None) if getattr(item, "format", "") == "png" else None:
        return {"image/png": base64.b64encode(png).decode()}
    return {"text/html": item._repr_html_() if hasattr(item, "_repr_html_") else str(item)}


@pytest.mark.long
def test_sixteen_rows_with_layers_fit_with_room(tmp_path):
    written = write_page(of_many(16, 20), tmp_path)
    assert len(written) < 1_400_000
    assert b"is left out, so that" not in written


@pytest.mark.long
def test_whatever_the_rows_need_the_page_stays_below_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "MOST_BYTES", 600_000)
    written = write_page(of_many(24, 60), tmp_path, log="one row is done\n" * 40_000)
    assert len(written) < fit.MOST_BYTES
    assert b"digits-cnn on AMD EPYC" in written  # the first screen is there
    assert b'id="all-values"' in written
    assert b"executed.ipynb holds it" in written


def test_layers_that_do_not_fit_are_named(monkeypatch):
    monkeypatch.setattr(layers, "MOST_BYTES", 120_000)
    shown = layers.parts(of_many(8, 5))
    assert 1 < len(shown) < 8
    assert sum(map(len, shown[1:-1])) <= 120_000
    assert "tensorflow fp32, batch 1:" in shown[1]
    assert "more engines and pairs" in shown[-1]
    assert "tensorflow:xla fp32, batch 64" in shown[-1]


def test_the_largest_part_of_a_page_is_left_out_first(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "MOST_BYTES", fit.SURROUNDINGS + 5_000)
    texts = [f"<p>{letter * size}</p>" for letter, size in (("a", 1_000), ("b", 6_000), ("c", 2_000))]
    cells = [
        new_code_cell("x", metadata={"tags": ["log"]}, outputs=[new_output("display_data", data={"text/html": text})])
        for text in texts
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "run.ipynb")
    page.html_from_notebook(tmp_path / "run.ipynb", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert [bool(re.search(letter * 1_000, text)) for letter in "abc"] == [True, False, True]
    assert "run.ipynb holds it" in text


def test_a_picture_with_a_palette_looks_as_the_one_in_full_color():
    figure = recorded.results([recorded.measured(label) for label in FAMILIES]).figures()["latency"]
    as_bytes(figure, 150)  # drawing settles the layout
    full, small = as_bytes(figure, 150, facecolor="white"), as_small_png(figure, 150)
    assert len(small) < 0.4 * len(full)
    pixels = [np.asarray(Image.open(io.BytesIO(each)).convert("RGB")).astype(int) for each in (small, full)]
    assert np.abs(pixels[0] - pixels[1]).max() <= 16  # of 255
