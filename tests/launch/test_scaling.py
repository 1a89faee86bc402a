"""The plan on paper, from programs that are compiled already: what it prints, and its mistakes."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from launch.scaling import Cell
from tests.experiments.runs import REPOSITORY

# 8 devices; a step of 64 rows takes 20 ms and sends for 5 ms, hidden; or 40 ms, half of it waiting.
SHORT = Cell(
    "v5e:2x4", "tiny", 128, 64, "--mesh=data:8 --optimizer=adamw --remat=none --accumulate=1",
    2 * 2**30, 16 * 2**30, 3e6, 0.5, 0.020, 0.030, (0.012, 0.001, 0.006, 0.001, 0.0), 0.005,
)  # fmt: skip
LONG = dataclasses.replace(
    SHORT, length=512, flags="--mesh=data:8 --optimizer=adamw --remat=layers --accumulate=2",
    step=0.040, serial=0.060, parts=(0.012, 0.001, 0.006, 0.001, 0.020), sending=0.040,
)  # fmt: skip


def scaling(folder, *flags):
    return subprocess.run(
        [sys.executable, "-m", "launch.scaling", "--workdir=plan", "--models=tiny",
         "--topologies=v5e:2x4", *flags],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True,
    )  # fmt: skip


def test_below_so_many_rows_sending_takes_longer_than_computing():
    assert SHORT.wire_bound_rows == 16
    assert LONG.wire_bound_rows == pytest.approx(64 * 40 / 20)
    assert SHORT.seconds(rows=640, step=0.02) == pytest.approx(10 * 0.020)


def test_the_table_is_made_of_what_was_compiled(tmp_path):
    (tmp_path / "plan").mkdir()
    for cell in (SHORT, LONG):
        saved = tmp_path / "plan" / f"cell_tiny_v5e_2x4_{cell.length}.json"
        saved.write_text(json.dumps(dataclasses.asdict(cell)))
    done = scaling(tmp_path, "--loader_rate=1e6")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plan" / "table.md").read_text() in done.stdout
    # 230.4 million rows of 128 at 64 in 20 ms are 20 hours; 25.6 million of 512 in 40 ms, 4.44.
    for line in (
        "| flags | `--mesh=data:8` |",
        "| memory, GiB a device | 2.0 of 16 |",
        "| flags | `--mesh=data:8 --remat=layers --accumulate=2` |",
        "| products / other / memory / launches / waiting, ms | 12.0 / 1.0 / 6.0 / 1.0 / 20.0 |",
        "| where kernels overlap nothing, ms | 60.0 |",
        "| sending, ms | 40.0 |",
        "| MFU at most | 50% |",
        "| wire-bound below, rows | 128 |",
        "| 40 epochs at least, hours | 24.44 |",
        "| where kernels overlap nothing, hours | 36.67 |",
        "| epochs in a day at most | 39 |",
        "| loader cores for all hosts, at the bound | 0.8 |",
    ):
        assert line in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--models=huge", "got --models=huge; expected some of tiny, mini"),
        ("--topologies=v9:1", "got --topology=v9:1; expected KIND:SHAPE"),
        (
            "--topologies=v4:2x2x1",
            "got --topologies=v4:2x2x1; expected machines of v5e, tpu7x, h100",
        ),
        ("--loader_rate=0", "flag --loader_rate=0: 0.0 is not"),
        ("--workdir=file/plan", "got --workdir=file/plan, which cannot be written"),
    ],
)
def test_mistakes_are_one_line(tmp_path, flag, said):
    (tmp_path / "file").touch()
    done = scaling(tmp_path, flag)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and said in done.stderr
