"""Every command that README and docs show has flags that its job has, with values they take."""

import json
import os
import re
import shlex
import subprocess
import sys

from tests.readme_blocks import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
JOBS = {path.stem for path in (ROOT / "experiments").glob("*.py")} - {"__init__"}

# Reads {module: [[place, words], …]}, and parses each as the module would, all in one process.
_PARSE = """
import importlib, json, sys
from absl import flags
from bert_jax.cli.command import define_common_flags

absls = set(flags.FLAGS)
for module, commands in json.load(sys.stdin).items():
    for name in set(flags.FLAGS) - absls:
        delattr(flags.FLAGS, name)
    for shared in [name for name in sys.modules if name.startswith(("experiments", "launch"))]:
        del sys.modules[shared]
    importlib.import_module(module)
    define_common_flags()
    for name in set(flags.FLAGS) - absls:
        flags.FLAGS[name].validators.clear()  # a page need not give what is required
    for place, words in commands:
        try:
            flags.FLAGS([module, *words])
        except flags.Error as error:
            if "Missing value" not in str(error):  # in a sentence: what `convert --to` writes
                print(f"{place}: {module}: {error}")
        flags.FLAGS.unparse_flags()
"""


_START = re.compile(
    r"(?:(?:python3?(?:\.\d+)?|\S*/python) -m ((?:experiments|launch)\.[.\w]+)"
    rf"|bert-jax ((?:benchmarks\.)?\w+)|(?:-- |slurm\.sh .*?|^)({'|'.join(JOBS)}) (?=--))"
)


def commands(page):
    """(place, module, words) of each command of a page, in blocks and in sentences."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    fences = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
    lines = [line for block in fences.findall(text) for line in block.splitlines()]
    text = fences.sub("", text)
    lines += re.findall(r"^    (.*)", text, re.MULTILINE)
    lines += re.findall(r"`([^`]+)`", re.sub(r"^    .*", "", text, flags=re.MULTILINE))
    for line in lines:
        for found in _START.finditer(line):
            module = found[1] or f"experiments.{found[2] or found[3]}"
            if (ROOT / module.replace(".", "/")).with_suffix(".py").exists():  # test_readme: it is
                yield f"{page.name}: {line}", module, list(_words(line[found.end() :]))


def _words(rest):
    """What a shell would hand over, up to the end of the command."""
    lexer = shlex.shlex(rest, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for word in lexer:
        if set(word) <= set("();<>|&"):
            return
        yield word


def test_every_command_has_the_flags_of_its_job():
    asked = {}
    for page in PAGES:
        for place, module, words in commands(page):
            flags = [word for word in words if word.startswith("--") and word != "--help"]
            asked.setdefault(module, []).append((place, flags))
    assert len(asked) > 20 and sum(map(len, asked.values())) > 80
    asked["experiments.predict"].append(("wrong on purpose", ["--no_such_flag=1"]))
    done = subprocess.run(
        [sys.executable, "-c", _PARSE], cwd=ROOT, input=json.dumps(asked),
        capture_output=True, text=True, check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    *wrong, on_purpose = done.stdout.splitlines() or [""]
    assert (done.returncode, wrong) == (0, []), done.stdout + done.stderr
    assert on_purpose.startswith("wrong on purpose: experiments.predict: Unknown command line flag")
