"""Run experiments from their command lines: arguments in; status and what was printed out."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

# One process for all runs of an experiment, since importing jax takes seconds; and a process of
# its own, since absl's flags are one table a process and experiments share names.
_RUN_EACH = """
import contextlib, importlib, io, json, sys
from absl.testing import flagsaver
from bert_jax.cli import command
name, takes, cases = json.loads(sys.stdin.readline())
experiment, outcomes = importlib.import_module(f"experiments.{name}"), []
for arguments, text in cases:
    sys.argv = [f"{name}.py", *arguments]
    given = io.BytesIO(text.encode(errors="surrogateescape"))
    sys.stdin = io.TextIOWrapper(given, encoding="utf-8")
    out, errors, status = io.StringIO(), io.StringIO(), 0
    with flagsaver.flagsaver(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            command.run(experiment.main, takes)
        except SystemExit as stopped:
            status = stopped.code
    outcomes.append([status, out.getvalue(), errors.getvalue()])
print(json.dumps(outcomes))
"""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Exit status, standard output, standard error."""

    status: int
    printed: str
    errors: str


def run_each(experiment, cases, cwd, takes="", texts=None):
    """Run `experiments.<experiment>` with each list of arguments, in order, in folder `cwd`.

    `texts` are their standard inputs, a byte that is not valid UTF-8 as Python escapes it
    ("\\udcff"), and `takes` is what the experiment takes beside flags.
    """
    texts = texts or [""] * len(cases)
    lines = [[list(case), text] for case, text in zip(cases, texts, strict=True)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _RUN_EACH],
        input=json.dumps([experiment, takes, lines]) + "\n",
        cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [Outcome(*outcome) for outcome in json.loads(done.stdout.splitlines()[-1])]


def run(experiment, *arguments, cwd, takes="", text=""):
    """Run `experiments.<experiment>` once."""
    return run_each(experiment, [arguments], cwd, takes, [text])[0]
