"""`bert-jax`: lists the jobs, one line each, and runs them.

    bert-jax
    bert-jax pretrain --steps=100
    bert-jax benchmarks.loader --help

Each job is also a module: `python -m experiments.pretrain` in a checkout, `python -m
bert_jax.experiments.pretrain` where the package is installed.
"""

from __future__ import annotations

import ast
import difflib
import runpy
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bert_jax.cli.pipes import until_reader_goes

_FOLDERS = ("experiments", "launch")


@dataclass(frozen=True)
class Job:
    """One that can be run: its module, and the first line of its docstring."""

    module: str
    summary: str


def main() -> None:
    """List the jobs, or run the one that the first argument names with the others as its flags.

    Exit status: the job's own; 2 for an unknown job.
    """
    jobs = find_jobs()
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        with until_reader_goes():
            print(_listed(jobs))
        return
    if name not in jobs:
        near = difflib.get_close_matches(name, jobs, n=1, cutoff=0.0)
        print(
            f"bert-jax: got job {name!r}; expected one that `bert-jax` lists, such as {near[0]}",
            file=sys.stderr,
        )
        sys.exit(2)
    del sys.argv[1]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # without a traceback while it is imported
    runpy.run_module(jobs[name].module, run_name="__main__", alter_sys=True)


def find_jobs() -> dict[str, Job]:
    """The jobs by name, read from their files: nothing of them is imported."""
    package = Path(__file__).resolve().parents[1]
    installed = (package / "experiments").is_dir()
    root = package if installed else package.parent
    if not installed and str(root) not in sys.path:
        sys.path.insert(0, str(root))  # a checkout: `experiments` lies beside `bert_jax`
    jobs = {}
    for folder in _FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if "\n    command.run(main" not in text:
                continue
            parts = path.relative_to(root).with_suffix("").parts
            docstring = ast.get_docstring(ast.parse(text)) or ""
            module = ".".join(("bert_jax", *parts) if installed else parts)
            jobs[".".join(parts[1:])] = Job(module, docstring.partition("\n")[0])
    return jobs


def _listed(jobs: Mapping[str, Job]) -> str:
    width = max(map(len, jobs))
    lines = [f"  {name:{width}}  {job.summary}" for name, job in jobs.items()]
    return "\n".join(["bert-jax JOB --FLAG=VALUE …; bert-jax JOB --help", "", *lines])
