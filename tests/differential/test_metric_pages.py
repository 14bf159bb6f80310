"""The pages on metrics say what the code does, and their examples run."""

from __future__ import annotations

import doctest
import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_table_of_metrics_is_that_of_the_code():
    spec = importlib.util.spec_from_file_location("document_metrics", ROOT / "scripts" / "document_metrics.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run scripts/document_metrics.py"


def test_the_examples_of_what_can_go_wrong_run():
    failed, tried = doctest.testfile(str(ROOT / "docs" / "accuracy_pitfalls.md"), module_relative=False)
    assert (failed, tried > 50) == (0, True)
