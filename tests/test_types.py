"""No parameter or return value in the source is annotated with a bare `Any`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(file for package in ("jobs", "pipeline") for file in (ROOT / package).rglob("*.py"))


def bare_any(source: str) -> Iterator[str]:
    """Parameters (`function.parameter`) and return values (`function`) annotated with exactly `Any`."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        named = node.args
        every = [*named.posonlyargs, *named.args, named.vararg, *named.kwonlyargs, named.kwarg]
        for parameter in every:
            if parameter is not None and is_any(parameter.annotation):
                yield f"{node.name}.{parameter.arg}"
        if is_any(node.returns):
            yield node.name


def is_any(annotation: ast.expr | None) -> bool:
    return annotation is not None and ast.unparse(annotation).strip("'\"") in ("Any", "typing.Any")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(a: Any, *b: Any, c: 'Any', **d: Any) -> Any: ...", ["f.a", "f.b", "f.c", "f.d", "f"]),
        ("class C:\n    async def f(self, a: typing.Any, /) -> None: ...", ["f.a"]),
        ("def f(a: dict[str, Any], b: object) -> list[Any]: ...", []),
    ],
)
def test_bare_any_is_found(source: str, found: list[str]) -> None:
    assert list(bare_any(source)) == found


def test_no_parameter_or_return_is_any() -> None:
    assert FILES
    places = [
        f"{file.relative_to(ROOT)}:{place}" for file in FILES for place in bare_any(file.read_text("utf-8"))
    ]
    assert places == []
