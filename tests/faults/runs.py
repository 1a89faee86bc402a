"""Small real pretraining runs, as processes of their own that can be killed."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
STEPS = 240
STOPPED = 143  # the exit status of a run that was told to stop


def write_text(folder: Path) -> str:
    """Eight documents of made-up sentences; returns a glob for them."""
    draw = random.Random(0)
    words = ["red", "green", "blue", "fox", "dog", "cat", "runs", "sleeps", "eats", "the", "a"]
    for number in range(8):
        sentences = [
            " ".join(draw.choices(words, k=draw.randint(4, 9))).capitalize() + "."
            for _ in range(30)
        ]
        (folder / f"{number}.txt").write_text(" ".join(sentences))
    return str(folder / "*.txt")


def write_model(folder: Path) -> str:
    """A model of one layer, which compiles in a moment."""
    path = folder / "model.json"
    sizes = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 32, "vocab_size": 64,
    }  # fmt: skip
    path.write_text(json.dumps(sizes))
    return str(path)


def command(workdir: Path, corpus: str, model: str, **changes: object) -> list[str]:
    """The command line of a run of `STEPS` steps that checkpoints every 80; None says nothing."""
    options = {
        "workdir": workdir, "corpus": corpus, "model": model, "steps": STEPS, "vocab_size": 64,
        "heldout_fraction": 0.3, "phases": "32:1.0", "batch_size": 8, "log_every": 1,
        "eval_every": 80, "checkpoint_every": 80, "mesh": "data:1", "learning_rate": 0.01,
    } | changes  # fmt: skip
    return [sys.executable, "-m", "experiments.pretrain"] + [
        f"--{name}={value}" for name, value in options.items() if value is not None
    ]


def start(line: list[str], devices: int = 1) -> subprocess.Popen:
    """Start a run on one device, or on some simulated ones."""
    return subprocess.Popen(
        line, cwd=REPOSITORY, env=os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def start_together(
    line: list[str], processes: int, devices: int = 1, others: Sequence[str] = ()
) -> list[subprocess.Popen]:
    """Start a run of several processes, with some devices each, that meet on a free port.

    `others` are flags of all but process 0; of a flag that is there twice, the last one counts.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = [f"--coordinator=127.0.0.1:{port}", f"--processes={processes}"]
    flags = [[*common, f"--process_id={i}", *(others if i else ())] for i in range(processes)]
    return [start([*line, *each], devices) for each in flags]


def finish(process: subprocess.Popen, status: int = 0) -> str:
    """Wait for a run that must end with `status`; returns what it printed."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    return output


def wait_for_step(process: subprocess.Popen, workdir: Path, step: int) -> None:
    """Wait until the run has logged `step`."""
    metrics = workdir / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if metrics.exists():
            lines = metrics.read_text().splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            if whole and json.loads(whole[-1])["step"] >= step:
                return
        if process.poll() is not None:
            raise AssertionError(process.communicate()[0])
        time.sleep(0.002)
    raise AssertionError(f"step {step} did not come")


def kill(process: subprocess.Popen) -> None:
    """kill -9, and see that it is gone."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def curve(workdir: Path) -> list[dict[str, float]]:
    """Every logged line but for the speed, which no two runs share."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in lines]


def flip_a_bit(checkpoint: Path) -> None:
    """Damage the arrays of a checkpoint as a disk might."""
    data = max((checkpoint / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    damaged = bytearray(data.read_bytes())
    damaged[len(damaged) // 2] ^= 16
    data.write_bytes(bytes(damaged))
