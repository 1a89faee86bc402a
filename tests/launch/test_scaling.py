"""The plan on paper, from programs that are compiled already: what it prints, and its mistakes."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from launch.scaling import Cell
from tests.experiments.runs import REPOSITORY

# 8 devices; a step of 64 rows computes for 20 ms and sends for 5 ms, or for 40 ms.
SHORT = Cell(
    "v5e:2x4", "tiny", 128, 64, "--mesh=data:8 --optimizer=adamw --remat=none --accumulate=1",
    True, 2 * 2**30, 16 * 2**30, 3e6, 1e9, 0.020, 0.005, 0.001,
)  # fmt: skip
LONG = dataclasses.replace(
    SHORT, length=512, flags="--mesh=data:8 --optimizer=adamw --remat=layers --accumulate=2",
    fits=False, wire=0.040,
)  # fmt: skip


def scaling(folder, *flags):
    return subprocess.run(
        [sys.executable, "-m", "launch.scaling", "--workdir=plan", "--models=tiny",
         "--topologies=v5e:2x4", *flags],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True,
    )  # fmt: skip


def test_the_slowest_resource_bounds_a_step():
    assert SHORT.mfu_bound == 1.0
    assert LONG.mfu_bound == 0.5
    assert SHORT.wire_bound_rows == 16
    assert SHORT.seconds(rows=640, mfu=0.4) == pytest.approx(10 * 0.020 / 0.4)
    assert LONG.seconds(rows=640, mfu=0.8) == pytest.approx(10 * 0.040)


def test_the_table_is_made_of_what_was_compiled(tmp_path):
    (tmp_path / "plan").mkdir()
    for cell in (SHORT, LONG):
        saved = tmp_path / "plan" / f"tiny_v5e_2x4_{cell.length}.json"
        saved.write_text(json.dumps(dataclasses.asdict(cell)))
    done = scaling(tmp_path, "--loader_rate=1e6", "--mfu=0.25")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plan" / "table.md").read_text() in done.stdout
    # 230.4 million rows of 128 at 64 in 20 ms are 20 hours; 25.6 million of 512 in 40 ms, 4.44.
    for line in (
        "| flags | `--mesh=data:8` |",
        "| memory, GiB a device | 2.0 of 16 |",
        "| flags | `--mesh=data:8 --remat=layers --accumulate=2` |",
        "| memory, GiB a device | 2.0 of 16: does not fit |",
        "| of it compute / wire / memory, ms | 20.0 / 40.0 / 1.0 |",
        "| 40 epochs at the bound, hours | 24.44 |",
        "| 40 epochs at 25% of the peak, hours | 88.89 |",
        "| epochs in a day at 25% | 11 |",
        "| loader cores for all hosts, at the bound | 0.8 |",
    ):
        assert line in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--models=huge", "got --models=huge; expected some of tiny, mini"),
        ("--topologies=v9:1", "got --topology=v9:1; expected KIND:SHAPE"),
        ("--topologies=v4:2x2x1", "got --topologies=v4:2x2x1; expected v5e and h100 machines"),
        ("--mfu=2", "flag --mfu=2: 2.0 is not a number in the range [0.01, 1.0]"),
        ("--loader_rate=0", "flag --loader_rate=0: 0.0 is not"),
        ("--workdir=file/plan", "got --workdir=file/plan, which cannot be written"),
    ],
)
def test_mistakes_are_one_line(tmp_path, flag, said):
    (tmp_path / "file").touch()
    done = scaling(tmp_path, flag)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and said in done.stderr
