"""The examples in docstrings are run, and give what they show."""

import doctest
import importlib
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WITH_EXAMPLES = sorted(path for path in (ROOT / "workbench").rglob("*.py") if ">>> " in path.read_text())


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=module_name)
def test_examples_give_what_they_show(path):
    module = importlib.import_module(module_name(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0
