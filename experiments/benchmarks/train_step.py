"""How long one BERT pretraining step takes here, beside Hugging Face's on torch.

    python -m experiments.benchmarks.train_step --dtype=bfloat16 --peer_python=PEERS/bin/python

One step: masked LM + next sentence, dropout 0.1, gradients, clipping, AdamW with decay on matrices
only; ours is the very step `experiments.pretrain` compiles. PEERS is an environment with torch and
transformers; without the flag only ours runs. The two take turns, round by round, so that whatever
else the machine does falls on both. Both run on the GPU where there is one. Prints a table with
medians, processor time, a GPU's memory and the ratio of the rounds (least to most), and writes
`--workdir/result.json`.

Like `experiments.pretrain`, our side has malloc keep the memory that a step frees. On Linux,
`GLIBC_TUNABLES=glibc.malloc.hugetlb=1` before the command lets both sides' memory come in huge
pages besides.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from absl import flags

from bert_jax.analysis.flops import RowShape, training_flops
from bert_jax.cli import command
from bert_jax.cli.outputs import check_new, define_overwrite
from bert_jax.config import PRESETS, BertConfig
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute, default_products, scans_layers
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.attention_choice import ATTENTIONS, with_attention
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.training.optimizers import create_optimizer
from bert_jax.training.sharding import create_mesh, put_batch
from bert_jax.whole_file import write_json

_MODEL = flags.DEFINE_enum("model", "base", PRESETS, "size of the model")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "rows a step", lower_bound=1)
_LENGTH = flags.DEFINE_integer("length", 128, "tokens a row", lower_bound=8)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ("float32", "bfloat16"), "compute dtype")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "turns each side takes", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 2, "steps a turn", lower_bound=1)
_PEER = flags.DEFINE_string("peer_python", None, "a Python with torch and transformers")
_SCAN = flags.DEFINE_boolean("scan_layers", None, "loop over layers; by default on TPUs")
_ATTENTION = flags.DEFINE_enum("attention", "auto", ATTENTIONS, "as pretrain's flag of this name")
_DROPOUT = flags.DEFINE_float(
    "attention_dropout", 0.1, "of attention weights, on both sides", 0.0, 0.9
)
_COMPILE = flags.DEFINE_boolean("peer_compile", False, "the other side with torch.compile")
_WORKDIR = flags.DEFINE_string("workdir", "runs/train_step", "where result.json goes")
define_overwrite()


def make_batch(config: BertConfig, rows: int, length: int, predictions: int) -> dict[str, Any]:
    """Make one batch of random tokens, two equal segments a row, nothing padded."""
    random = np.random.default_rng(0)
    ids = random.integers(0, config.vocab_size, (rows, length), dtype=np.int32)
    each = np.arange(length, dtype=np.int32)
    places = np.broadcast_to(np.arange(1, predictions + 1, dtype=np.int32), (rows, predictions))
    return {
        "input_ids": ids,
        "token_type_ids": np.broadcast_to((each >= length // 2).astype(np.int32), ids.shape),
        "position_ids": np.broadcast_to(each, ids.shape),
        "instance_ids": np.ones_like(ids),
        "masked_positions": places,
        "masked_labels": np.take_along_axis(ids, places, axis=1),
        "masked_weights": np.ones(places.shape, np.float32),
        "cls_positions": np.zeros((rows, 1), np.int32),
        "next_labels": random.integers(0, 2, (rows, 1), dtype=np.int32),
        "next_weights": np.ones((rows, 1), np.float32),
    }


def make_step(
    config: BertConfig, rows: int, length: int, dtype: str, scan_layers: bool
) -> Callable[[], tuple[float, float]]:
    """Build our model and return a function that takes one step and returns its milliseconds."""
    mesh = create_mesh({"data": 1}, jax.devices()[:1])
    rate = optax.constant_schedule(1e-4)
    backend = jax.default_backend()
    products = with_attention(default_products(), _ATTENTION.value, config, mesh, backend)
    pretrainer = assemble_pretrainer(
        config,
        mesh,
        create_optimizer("adamw", rate),
        rate,
        seed=0,
        batch_size=rows,
        compute=Compute(dtype=dtype, scan_layers=scan_layers, products=products),
    )
    state = pretrainer.initial_state()
    batch = put_batch(make_batch(config, rows, length, predictions_of(length)), mesh)

    def step() -> tuple[float, float]:
        nonlocal state
        wall, processor = time.perf_counter(), time.process_time()
        state, _ = pretrainer.train_step(state, batch)
        jax.block_until_ready(state)
        return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)

    step()
    return step


class Peer:
    """Hugging Face's model in a process of its own; see `train_step_peer.py`."""

    def __init__(self, python: str, job: dict[str, Any]):
        if not Path(python).exists():
            raise UserError(
                f"got --peer_python={python}, which does not exist; expected the path of a Python "
                "that has torch and transformers"
            )
        script = Path(__file__).with_name("train_step_peer.py")
        self._process = subprocess.Popen(
            [python, str(script), json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.versions = self._read()

    def steps(self, count: int) -> list[tuple[float, float]]:
        """Take steps and return the milliseconds of each, of the clock and of the processor."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise UserError(
                "the process behind --peer_python ended (its own message stands above); expected "
                "a Python with torch and transformers"
            )
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        with self._process:  # closes the pipes and waits
            self._process.terminate()


def main() -> None:
    """Run both sides in turns and report."""
    check_new("workdir", Path(_WORKDIR.value or "") / "result.json")
    if jax.default_backend() == "cpu":
        keep_freed_memory()  # as experiments.pretrain does
    config = getattr(BertConfig, _MODEL.value)(attention_probs_dropout_prob=_DROPOUT.value)
    rows, length = _BATCH_SIZE.value, _LENGTH.value
    scan = scans_layers(jax.default_backend()) if _SCAN.value is None else _SCAN.value
    ours = make_step(config, rows, length, _DTYPE.value, scan)
    peer = None
    if _PEER.value:
        job = {
            "config": {k: v for k, v in config.to_dict().items() if k != "model_type"},
            "batch_size": rows,
            "length": length,
            "predictions": predictions_of(length),
            "dtype": _DTYPE.value,
            "compile": _COMPILE.value,
        }
        peer = Peer(_PEER.value, job)
    our_rounds, peer_rounds = [], []
    for _ in range(_ROUNDS.value):
        our_rounds.append([ours() for _ in range(_STEPS.value)])
        if peer:
            peer_rounds.append(peer.steps(_STEPS.value))
    device = jax.devices()[0]
    flops = training_flops(config, RowShape(length, predictions_of(length))) * rows
    result: dict[str, Any] = {
        "model": _MODEL.value,
        "dtype": _DTYPE.value,
        "batch_size": rows,
        "length": length,
        "attention": _ATTENTION.value,
        "attention_dropout": _DROPOUT.value,
        "scan_layers": scan,
        "jax": jax.__version__,
        "device": device.device_kind,
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
        **_summary("ours", our_rounds, rows * length, flops),
    }
    if memory := device.memory_stats():  # a CPU has none
        result["ours_gib"] = memory["peak_bytes_in_use"] / 2**30
    if peer:
        peer.close()
        result.update(peer.versions)
        result.update(_summary("peer", peer_rounds, rows * length, flops))
        ratios = [
            _median(theirs, 0) / _median(mine, 0)
            for mine, theirs in zip(our_rounds, peer_rounds, strict=True)
        ]
        result["times_faster"] = result["peer_ms"] / result["ours_ms"]
        result["times_faster_least"] = min(ratios)
        result["times_faster_most"] = max(ratios)
        result["times_less_processor"] = result["peer_processor_ms"] / result["ours_processor_ms"]
    workdir = Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / "result.json", result)
    command.print_table("One training step", result)


def predictions_of(length: int) -> int:
    """Masked slots of a row: 15 % of its tokens, rounded up to a multiple of 4."""
    return -(-15 * length // 400) * 4


def _summary(
    name: str, rounds: list[list[tuple[float, float]]], tokens: int, flops: int
) -> dict[str, float]:
    steps = [step for turn in rounds for step in turn]
    return {
        f"{name}_ms": _median(steps, 0),
        f"{name}_tokens_per_second": tokens / _median(steps, 0) * 1e3,
        f"{name}_teraflops": flops / _median(steps, 0) / 1e9,
        f"{name}_processor_ms": _median(steps, 1),
    }


def _median(steps: list[tuple[float, float]], which: int) -> float:
    return statistics.median(step[which] for step in steps)


if __name__ == "__main__":
    command.run(main, alone_in="workdir")
