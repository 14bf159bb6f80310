"""Limits of size in the package: lines of files, functions and classes, and parameters of functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "workbench"
FILE_LINES, FUNCTION_LINES, CLASS_LINES = 400, 50, 250
PARAMETERS, SHARE = 7, 0.005
"""At most this share of the functions has so many parameters or more, without ``self`` and ``cls``."""
FILES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def lines(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1


def named(*kinds: type) -> Iterator[tuple[str, ast.AST]]:
    """Definitions of these kinds with their places."""
    for path, tree in FILES.items():
        for node in ast.walk(tree):
            if isinstance(node, kinds):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", node


def parameters(function: ast.AST) -> int:
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"])) + bool(given.vararg) + bool(given.kwarg)


def test_files_are_short():
    assert [path for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > FILE_LINES] == []


@pytest.mark.parametrize(
    ("kinds", "limit"), [((ast.FunctionDef, ast.AsyncFunctionDef), FUNCTION_LINES), ((ast.ClassDef,), CLASS_LINES)]
)
def test_definitions_are_short(kinds, limit):
    assert [place for place, node in named(*kinds) if lines(node) > limit] == []


def test_few_functions_have_many_parameters():
    functions = list(named(ast.FunctionDef, ast.AsyncFunctionDef))
    many = [place for place, node in functions if parameters(node) >= PARAMETERS]
    assert len(many) <= SHARE * len(functions), many
