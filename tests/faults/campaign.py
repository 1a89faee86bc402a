"""Kill and signal real runs of every stage at random moments, over and over; count what is lost.

    python -m tests.faults.campaign --kills=100 --signals=30 --seed=0

A stage is a command with a folder. It is started, ended at a moment drawn anew each time, and
started again, until it finishes; then all it made is compared with what an undisturbed run made,
bit for bit, and it starts over. The last line is the counts, as JSON.

What a job imports is imported once, here, and every run is forked from that: it then takes two
seconds where it would take ten, and is killed at work. Nothing here may wake jax, whose threads no
fork survives.
"""

import argparse
import atexit
import hashlib
import importlib
import json
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import jax
import numpy as np

from bert_jax.checkpoint_files import load_params
from tests.experiments.finetuning import write_checkpoint, write_texts
from tests.faults.runs import command as pretraining
from tests.faults.runs import curve, write_model, write_text

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
PATIENCE = 30.0  # seconds in which a signal must have ended a run, on a machine that is busy


@dataclass(frozen=True)
class Stage:
    """A command, where it writes, and what must be the same in two such folders."""

    name: str
    line: Callable[[Path], list[str]]
    found: Callable[[Path], object]


def stages(folder: Path) -> list[Stage]:
    """Vocabulary, corpus by two workers, pretraining from text, fine-tuning with two seeds."""
    for name in ("text", "much"):
        (folder / name).mkdir()
    text, model = write_text(folder / "text"), write_model(folder)
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(2, 9))) for _ in range(20_000)]
    for number in range(12):
        much = (" ".join(draw.choices(words, k=9)).capitalize() + "." for _ in range(1500))
        (folder / "much" / f"{number}.txt").write_text(" ".join(much))
    _forked(lambda: write_checkpoint(folder)).wait()
    write_texts(folder)
    options = [f"--input={folder}/much/*.txt", "--vocab_size=2000"]

    def vocabulary(out: Path) -> list[str]:
        # A kill may come when the file is there and the process is not done.
        return job("learn_vocab", f"--output={out}/vocab.txt", "--overwrite", *options)

    def corpus(out: Path) -> list[str]:
        return job("build_corpus", f"--data_dir={out}/corpus", "--workers=2", *options)

    def pretrain(out: Path) -> list[str]:
        return pretraining(out, text, model, checkpoint_every=20, eval_every=30)

    def finetune(out: Path) -> list[str]:
        options = {
            "workdir": out, "task": "classification", "checkpoint": folder / "model",
            "train": folder / "train.tsv", "dev": folder / "dev.tsv", "epochs": 12, "seeds": "0,1",
            "batch_size": 8, "max_length": 32, "mesh": "data:1", "log_every": 1,
        }  # fmt: skip
        return job("finetune", *(f"--{name}={value}" for name, value in options.items()))

    return [
        Stage("vocabulary", vocabulary, lambda out: (out / "vocab.txt").read_bytes()),
        Stage("corpus", corpus, _corpus),
        Stage("pretraining", pretrain, _pretraining),
        Stage("fine-tuning", finetune, _finetuning),
    ]


def job(name: str, *flags: str) -> list[str]:
    return [sys.executable, "-m", f"experiments.{name}", *flags]


def _corpus(out: Path) -> object:
    files = sorted(path for path in (out / "corpus").rglob("*") if path.is_file())
    timed = ("result.json", "corpus.json", "vocab.txt.json")  # these hold how long it took
    report = json.loads((out / "corpus" / "corpus.json").read_text())["fingerprint"]
    return report, {p.name: p.read_bytes() for p in files if p.name not in timed}


def _pretraining(out: Path) -> object:
    newest = max(int(path.name) for path in (out / "checkpoints").iterdir())
    return (
        curve(out),
        (out / "heldout.jsonl").read_text(),
        load_params(out / "checkpoints" / str(newest)),
    )


def _finetuning(out: Path) -> object:
    return [
        (curve(seed), (seed / "heldout.jsonl").read_text(), load_params(seed / "best"))
        for seed in (out / "seed0", out / "seed1")
    ]


def campaign(folder: Path, kills: int, signals: int, seed: int) -> Counter[str]:
    """End runs so many times; returns how often what happened. What is lost is an error."""
    draw, counts = random.Random(seed), Counter[str]()
    known = []
    for stage in stages(folder):
        out, began = folder / f"{stage.name} undisturbed", time.monotonic()
        _start(stage, out).finish()
        known.append((stage, time.monotonic() - began))
        print(f"{stage.name}: {known[-1][1]:.0f} s undisturbed", flush=True)
    todo = [signal.SIGKILL] * kills + [list(SIGNALS)[i % 3] for i in range(signals)]
    draw.shuffle(todo)
    while todo:
        for stage, seconds in known:
            out = folder / stage.name
            for _ in range(6):
                if not todo or not _ended(stage, out, todo, draw.uniform(0, seconds), counts):
                    break
            _start(stage, out).finish()
            _same(stage, out, folder / f"{stage.name} undisturbed")
            counts[f"{stage.name}: finished the same"] += 1
            shutil.rmtree(out)
    return counts


def _ended(
    stage: Stage, out: Path, todo: list[signal.Signals], seconds: float, counts: Counter[str]
) -> bool:
    """Start a stage and end it after so long; whether it had not finished before."""
    run = _start(stage, out)
    if run.wait(seconds) is not None:
        run.finish()
        return False
    number = todo.pop()
    os.killpg(run.pid, number)  # workers, too, as a terminal or an empty memory does
    status = run.wait(PATIENCE)
    output = run.output()
    counts[f"{stage.name}: {number.name}"] += 1
    print(f"{stage.name}: {number.name}, {len(todo)} to go", flush=True)
    assert status is not None, f"it goes on after {PATIENCE:.0f} s: {output}"
    if number != signal.SIGKILL and status != -number:  # else it had not begun
        assert status in (SIGNALS[number], 0), (status, output)
        assert "Traceback" not in output, output
        assert status == 0 or output.count("stopped ") == 1, output
    return True


def _same(stage: Stage, out: Path, undisturbed: Path) -> None:
    def compare() -> None:
        assert _hash(stage.found(out)) == _hash(stage.found(undisturbed))

    _forked(compare).finish()
    left = [path for path in out.rglob(".*") if "partial" in path.name or path.name == ".lock"]
    assert left == [], left


def _hash(found: object) -> str:
    """Of all that is in nested tuples, lists, dicts and arrays."""
    if isinstance(found, dict):
        found = sorted(found.items())
    if isinstance(found, list | tuple):
        found = "".join(map(_hash, found))
    if isinstance(found, np.ndarray):
        found = f"{found.dtype} {found.shape}".encode() + found.tobytes()
    return hashlib.sha256(found if isinstance(found, bytes) else repr(found).encode()).hexdigest()


@dataclass(frozen=True)
class Run:
    """A process of its own session, and the file that it prints to."""

    pid: int
    log: Path

    def wait(self, seconds: float = 600.0) -> int | None:
        """Its exit status, that of a signal below 0; None where it goes on after so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                _STATUS[self.pid] = os.waitstatus_to_exitcode(status)
                return _STATUS[self.pid]
            time.sleep(0.01)
        return None

    def finish(self) -> None:
        """Wait for an end without fault."""
        status = _STATUS.get(self.pid)
        status = self.wait() if status is None else status
        assert status == 0 and "Traceback" not in self.output(), (status, self.output())

    def output(self) -> str:
        return self.log.read_text()


_STATUS: dict[int, int] = {}


def _start(stage: Stage, out: Path) -> Run:
    out.mkdir(exist_ok=True)
    _, _, module, *flags = stage.line(out)

    def run() -> None:
        sys.argv = [module, *flags]
        runpy.run_module(module, run_name="__main__", alter_sys=True)

    return _forked(run)


def _forked(do: Callable[[], object]) -> Run:
    log = Path(tempfile.mkstemp(suffix=".log", dir=tempfile.gettempdir())[1])
    atexit.register(log.unlink, missing_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _be_a_run(do, log)
    return Run(pid, log)


def _be_a_run(do: Callable[[], object], log: Path) -> NoReturn:
    os.setsid()
    atexit._clear()
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 1)
    os.dup2(1, 2)
    status = 1
    try:
        do()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(bool(error.code))
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(status)


def main() -> None:
    """Read the flags, do it, print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("kills", 100), ("signals", 30), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    for module in ("grain", "matplotlib.figure", "tensorboardX", "bert_jax.tasks.finetuning",
                   "bert_jax.training.pretraining", "bert_jax.cli.settings",
                   "bert_jax.tasks.report", "bert_jax.analysis.neighbour_table"):  # fmt: skip
        importlib.import_module(module)
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_num_cpu_devices", 1)
        jax.config.update("jax_compilation_cache_dir", f"{folder}/compiled")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        print(json.dumps(campaign(Path(folder), asked.kills, asked.signals, asked.seed)))


if __name__ == "__main__":
    main()
