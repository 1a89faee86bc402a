"""What `--help` prints: every flag once, in groups where there are many, the first used first."""

import re
import subprocess
import sys

import pytest

from tests.experiments.runs import REPOSITORY


def headings(name):
    """The flags of a command by the heading they stand under."""
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", "--help"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found, heading = {}, None
    for line in done.stdout.splitlines():
        if re.fullmatch(r"[A-Z][\w ,]*:", line):
            heading = found.setdefault(line[:-1], [])
        elif heading is not None and (flag := re.match(r"  --(?:\[no\])?(\w+)", line)):
            heading.append(flag[1])
    return {heading: names for heading, names in found.items() if names}


@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_every_flag_stands_under_one_heading(name):
    found = headings(name)
    names = [name for group in found.values() for name in group]
    assert len(set(names)) == len(names)
    assert found.pop("Of every command") == ["config", "quiet", "flagfile"]
    assert next(iter(found)) == "Used first" and len(found["Used first"]) == 5
    assert "Flags" not in found and "Other flags" not in found, found


def test_few_flags_need_no_groups():
    assert list(headings("unpickle")) == ["Flags", "Of every command"]
