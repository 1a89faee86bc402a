"""Run the Python blocks of README and docs as a reader would, and hold them to what they claim.

The blocks of a file run in order, in one namespace, in a folder where README's pretraining has been
run. A comment behind `print(…)` or behind a bare expression is what comes out; `…` in it stands for
anything:

    print(parts.token.shape)  # (1, 13, 128)
    tables.token.shape  # (8192, 128)

A block is run by whoever reads it, so nothing in it is replaced.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Block:
    """Python code of a page, and the line of the page it begins at."""

    page: Path
    line: int
    code: str


def python_blocks(page: Path) -> list[Block]:
    """The ```python blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text[: found.start(1)].count("\n") + 1, found[1])
        for found in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]


def run_block(block: Block, namespace: dict[str, Any]) -> None:
    """Run a block statement by statement.

    Raises:
        AssertionError: something else comes out than a comment says.
    """
    comments = dict(_comments(block.code))
    # Errors then name the page and its line.
    tree = ast.increment_lineno(ast.parse(block.code), block.line - 1)
    for statement in tree.body:
        printed = _run(statement, str(block.page), namespace)
        line = (statement.end_lineno or 0) - block.line + 1
        if isinstance(statement, ast.Expr) and line in comments and printed:
            claimed = comments[line]
            pattern = ".*".join(re.escape(part) for part in claimed.split("…"))
            assert re.fullmatch(pattern, printed.strip(), re.DOTALL), (
                f"{block.page.name}:{line + block.line - 1} claims {claimed!r}, "
                f"and {printed.strip()!r} comes out"
            )


def _run(statement: ast.stmt, name: str, namespace: dict[str, Any]) -> str:
    """Run one statement; what it prints, or the value of a bare expression, as an interpreter."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if isinstance(statement, ast.Expr):
            value = eval(compile(ast.Expression(statement.value), name, "eval"), namespace)
            if value is not None:
                print(value)
        else:
            exec(compile(ast.Module([statement], []), name, "exec"), namespace)
    return printed.getvalue()


def _comments(code: str) -> Iterator[tuple[int, str]]:
    """Line number and text of every comment."""
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.removeprefix("#").strip()
