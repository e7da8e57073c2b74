"""Functions and files stay small enough to be read at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOMS = ("specs", "raster", "access", "tasks", "flows", "demo", "cli")
MODULES = [file for room in ROOMS for file in sorted((Path(__file__).parents[2] / room).rglob("*.py"))]
FILE_LINES = 350
FUNCTION_LINES = 45


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, its docstring left out."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return node.end_lineno - body[0].lineno + 1 if body and node.end_lineno else 0


@pytest.mark.parametrize("module", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_module_is_small(module: Path) -> None:
    text = module.read_text("utf-8")
    long = {node.name: code_lines(node) for node in functions(ast.parse(text)) if code_lines(node) > FUNCTION_LINES}
    assert not long
    assert len(text.splitlines()) <= FILE_LINES


def test_the_median_function_is_a_few_lines() -> None:
    sizes = sorted(code_lines(node) for module in MODULES for node in functions(ast.parse(module.read_text("utf-8"))))
    assert sizes[len(sizes) // 2] <= 8
    assert sizes[len(sizes) * 9 // 10] <= 30
