"""Run the Python blocks of README and docs as a reader would, and hold them to what they claim.

The blocks of a file run in order, in one namespace, in a folder where README's pretraining has been
run. A comment behind `print(…)` or behind a bare expression is what comes out; `…` in it stands for
anything:

    print(parts.token.shape)  # (1, 13, 128)
    tables.token.shape  # (8192, 128)

A ```sh block is run by bash, which stops at the first command that fails; a ```text block behind it
is what it prints, with the same `…`. A block is run by whoever reads it, so nothing in it is
replaced.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import os
import re
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Block:
    """Python code or commands of a page, the line they begin at, and what the commands print."""

    page: Path
    line: int
    code: str
    printed: str | None = None


def python_blocks(page: Path) -> list[Block]:
    """The ```python blocks of a page, in order."""
    return [block for language, block in _blocks(page) if language == "python"]


def run_page(page: Path, folder: Path) -> int:
    """Run the ```python and ```sh blocks of a page in a folder, in order; how many there are.

    Raises:
        AssertionError: a command fails, or something else comes out than the page says.
    """
    namespace: dict[str, Any] = {}
    blocks = [(language, block) for language, block in _blocks(page) if language != "text"]
    for language, block in blocks:
        if language == "sh":
            run_commands(block, folder)
        else:
            with contextlib.chdir(folder):
                run_block(block, namespace)
    return len(blocks)


def run_commands(block: Block, folder: Path) -> None:
    """Run a block of commands in a folder that has `python3` and this checkout's modules.

    Raises:
        AssertionError: one fails, or prints something else than the block behind it.
    """
    programs = folder / ".programs"
    programs.mkdir(exist_ok=True)
    if not (programs / "python3").exists():
        (programs / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (programs / "python3").chmod(0o755)
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-euo", "pipefail", "-c", block.code],
        cwd=ROOT if block.code.startswith("launch/") else folder,
        env={
            **os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
            "JAX_NUM_CPU_DEVICES": "1", "COLUMNS": "80",
        },
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    place = f"{block.page.name}:{block.line}"
    assert done.returncode == 0, f"{place}: status {done.returncode}\n{done.stderr}"
    if block.printed is not None:
        printed = "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())
        assert re.fullmatch(_pattern(block.printed), printed, re.DOTALL), f"{place}:\n{printed}"


def _blocks(page: Path) -> list[tuple[str, Block]]:
    """Language and contents of the blocks that name one of these, in order."""
    text = page.read_text(encoding="utf-8")
    found = list(re.finditer(r"^```(python|sh|text)\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    blocks = []
    for each, following in zip(found, [*found[1:], None], strict=True):
        behind = following is not None and not text[each.end() : following.start()].strip()
        printed = following[2] if following and behind and following[1] == "text" else None
        line = text[: each.start(2)].count("\n") + 1
        blocks.append((each[1], Block(page, line, each[2], printed)))
    return blocks


def _pattern(claimed: str) -> str:
    """Words of a page as a regular expression: `…` is anything."""
    return ".*".join(re.escape(part) for part in claimed.split("…"))


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
            assert re.fullmatch(_pattern(claimed), printed.strip(), re.DOTALL), (
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
