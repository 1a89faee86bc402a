"""What a long run holds on to: open files, threads, memory maps and memory, against time.

    python -m experiments.benchmarks.soak --minutes=30      # the figure of docs/promises.md

A model of one layer is pretrained until the time is over: thousands of checkpoints, evaluations and
lines of metrics, which is where long runs leak. The kernel says what the process holds. It is then
told to stop, and has to save. Writes `soak.svg` and `soak.json` to the workdir.
"""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from bert_jax.cli import command
from bert_jax.errors import UserError
from bert_jax.figures import Lines, draw_lines
from bert_jax.lock import alone_in
from bert_jax.whole_file import write_json, write_text

_MINUTES = flags.DEFINE_float("minutes", 30.0, "How long to train, in minutes.", lower_bound=0.1)
_EVERY = flags.DEFINE_float(
    "seconds", 5.0, "Seconds between two looks at the process.", lower_bound=0.1
)
_WORKDIR = flags.DEFINE_string(
    "workdir", "runs/soak", "Folder for everything it writes; must be new."
)

HELD = {
    "open files": "open files",
    "threads": "threads",
    "maps": "memory maps",
    "memory": "resident memory, MiB",
}


def main() -> None:
    """Train, watch, stop, draw."""
    with alone_in(_WORKDIR.value or "", f"workdir={_WORKDIR.value}"):
        soak(Path(_WORKDIR.value or ""))


def soak(workdir: Path) -> None:
    """Do so in a folder."""
    if {path.name for path in workdir.iterdir()} - {".lock"}:
        raise UserError(f"got --workdir={workdir}, which is not empty; expected a new one")
    process = subprocess.Popen(_run_in(workdir))
    looks = _watch(process, workdir / "run")
    process.send_signal(signal.SIGTERM)
    process.wait()
    if not looks:
        raise UserError(f"got --minutes={_MINUTES.value}; expected longer, for a first checkpoint")
    panels = [
        Lines({name: [(look["minutes"], look[name]) for look in looks]}, said, "minutes")
        for name, said in HELD.items()
    ]
    write_text(workdir / "soak.svg", draw_lines(*panels, height=1.9))
    write_json(workdir / "soak.json", {"looks": looks, **_summary(looks)})
    command.print_table(f"{workdir}: {_MINUTES.value:g} minutes", _summary(looks))


def _run_in(workdir: Path) -> list[str]:
    """A run of a tiny model on made-up text that saves every ten steps, and never gets done."""
    (workdir / "text").mkdir(parents=True)
    draw = random.Random(0)  # noqa: S311
    words = ["red", "green", "blue", "fox", "dog", "cat", "runs", "sleeps", "eats", "the", "a"]
    for number in range(8):
        text = " ".join(" ".join(draw.choices(words, k=6)).capitalize() + "." for _ in range(60))
        write_text(workdir / "text" / f"{number}.txt", text)
    sizes = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 32, "vocab_size": 64,
    }  # fmt: skip
    write_json(workdir / "model.json", sizes)
    options = {
        "workdir": workdir / "run", "corpus": workdir / "text" / "*.txt",
        "model": workdir / "model.json", "vocab_size": 64, "heldout_fraction": 0.3,
        "phases": "32:1.0", "batch_size": 8, "steps": 1_000_000, "log_every": 10,
        "checkpoint_every": 10, "eval_every": 50, "mesh": "data:1",
    }  # fmt: skip
    return [sys.executable, "-m", "experiments.pretrain"] + [
        f"--{name}={value}" for name, value in options.items()
    ]


def _watch(process: subprocess.Popen, run: Path) -> list[dict[str, Any]]:
    """Look at the process until the time is over, once its first checkpoint is there."""
    looks, began = [], time.monotonic()
    while process.poll() is None and time.monotonic() < began + 60 * _MINUTES.value:
        time.sleep(_EVERY.value)
        if steps := [int(p.name) for p in run.glob("checkpoints/*") if p.name.isdecimal()]:
            minutes = (time.monotonic() - began) / 60
            looks.append({"minutes": minutes, "step": max(steps), **_held(process.pid)})
    return looks


def _held(pid: int) -> dict[str, int | float]:
    proc = Path("/proc") / str(pid)
    resident = next(
        line for line in (proc / "status").read_text().splitlines() if line.startswith("VmRSS")
    )
    return {
        "open files": len(list((proc / "fd").iterdir())),
        "threads": len(list((proc / "task").iterdir())),
        "maps": (proc / "maps").read_text().count("\n"),
        "memory": int(resident.split()[1]) / 1024,
    }


def _summary(looks: list[dict[str, Any]]) -> dict[str, Any]:
    """Each measure's median over the second quarter of the time, and over the last."""
    quarter = max(1, len(looks) // 4)
    said: dict[str, Any] = {"steps": looks[-1]["step"], "checkpoints": looks[-1]["step"] // 10}
    for name in HELD:
        early, late = (
            float(np.median([look[name] for look in part]))
            for part in (looks[quarter : 2 * quarter] or looks, looks[-quarter:])
        )
        said[name] = f"{early:.0f} in the second quarter, {late:.0f} in the last"
    return json.loads(json.dumps(said))


if __name__ == "__main__":
    command.run(main)
