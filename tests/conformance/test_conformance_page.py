"""The page in the docs, and the summary in the terminal."""

from __future__ import annotations

from pathlib import Path

from test_outcomes import FOUND

from workbench.conformance.outcomes import known
from workbench.conformance.page import page, summary

DOCS = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"


def test_the_page_in_the_docs_is_made_from_the_results_that_come_with_the_package():
    assert DOCS.read_text(encoding="utf-8") == page(known())


def test_the_page_names_versions_dates_counts_and_forms():
    text = page([FOUND])
    assert "| OpenVINO 2026.4.1 | FP32 | ONNX's own | 7 | 2 | 3 | 1 | 1 | 0 | 0 |" in text
    assert "| OpenVINO 2026.4.1 | FP32 | with constants | 1 | 0 | 1 | 0 | 0 | 0 | 0 |" in text
    assert "Recorded on 2026-11-30 with onnx 1.23.2 on a machine." in text
    assert "| Resize (antialias = 1) | 1.5 | 1 | `resize` |" in text
    assert "Beyond ONNX's tolerance, but within rounding: `dft`." in text
    assert (
        "Wrong in models of several operators, so that the operator is not known: `gru` (shape [1] instead of [2])"
        in text
    )


def test_the_summary_counts_and_lists_the_largest_differences():
    assert summary(FOUND).splitlines() == [
        "OpenVINO 2026.4.1, FP32, 8 cases of onnx 1.23.2",
        "  right: 2",
        "  wrong: 3, and 1 with constants",
        "  error: 1",
        "  refused: 1",
        "  of the wrong ones 1 differ by no more than rounding",
        "    gru: shape [1] instead of [2]",
        "    resize: by 1.5",
        "    resize/constants: by 1.5",
    ]
