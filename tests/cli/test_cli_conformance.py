"""``workbench conformance`` as a person meets it."""

from __future__ import annotations

import pytest

from workbench.cli import main
from workbench.conformance.outcomes import CaseVerdict, loads


@pytest.mark.long
def test_a_few_cases_are_run_reported_and_written(tmp_path, capsys):
    command = ["conformance", "onnxruntime", "--cases", "resize_downsample_scales_linear*", "--limit", "3"]
    command += ["--store", str(tmp_path / "store"), "--output", str(tmp_path / "out")]
    assert main(command) == 0
    reported = capsys.readouterr()
    assert "FP32, 3 of " in reported.out
    assert "  right: 1, and 1 with constants\n  wrong: 1\n" in reported.out
    assert "    resize_downsample_scales_linear_align_corners: by 0.857" in reported.out
    assert "onnxruntime fp32: 3 cases to run, 0 from the store" in reported.err
    (file,) = (tmp_path / "out").iterdir()
    found = loads(file.read_text(encoding="utf-8"))
    assert found.counts()[CaseVerdict.WRONG] == 1
    assert found.deviations[0].op == "Resize"
    assert main(command) == 0
    assert "onnxruntime fp32: 0 cases to run, 3 from the store" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nothing"], "Unknown backend 'nothing'"),
        (["onnxruntime", "--precisions", "int8"], "The precision 'int8' cannot be held against ONNX's definition."),
        (["litert"], "LiteRT cannot run an ONNX model"),
        (["onnxruntime", "--limit", "-1"], "The option --limit is -1. Give 0 for all cases, or a number above 0."),
    ],
)
def test_bad_input_is_one_sentence(words, text, capsys):
    assert main(["conformance", *words]) == 2
    assert text in capsys.readouterr().err


def test_the_page_is_written_without_running_anything(tmp_path, capsys):
    assert main(["conformance", "--page", str(tmp_path / "page.md")]) == 0
    assert capsys.readouterr().out == f"page: {tmp_path / 'page.md'}\n"
    assert (
        (tmp_path / "page.md").read_text(encoding="utf-8").startswith("# Conformance of engines to ONNX's definition")
    )
