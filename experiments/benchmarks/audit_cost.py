"""What an audit adds to a training step: the step of `experiments.pretrain` without and with it.

    python -m experiments.benchmarks.audit_cost [--model=base --vocab_size=30522 --batch_size=8]

Both take turns on the same random batch and change who begins, round by round, so that whatever
else the machine does falls on both. Prints medians and the ratio of the rounds, by the clock and by
processor time (which other jobs disturb less), and what one line of `audit.jsonl` with its arrays
costs, which `--audit_every` steps share. Writes `--workdir/result.json`.

Measured on 2 quiet cores: a ratio of 0.999 by the clock (quartiles 0.98 to 1.02), 1.007 by
processor time (0.99 to 1.02), 6 ms a line.
"""

import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from absl import flags

from bert_jax.cli import command
from bert_jax.cli.outputs import check_new, define_overwrite
from bert_jax.config import PRESETS, BertConfig
from bert_jax.data.masking import default_max_predictions
from bert_jax.parameters import token_table
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.audit_log import AuditLog
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.training.optimizers import create_optimizer
from bert_jax.training.sharding import create_mesh, put_batch
from bert_jax.training.workdir import own_workdir
from bert_jax.whole_file import write_json

_MODEL = flags.DEFINE_enum("model", "tiny", PRESETS, "Model size.")
_VOCAB = flags.DEFINE_integer("vocab_size", 8192, "V, rows of the token table.", lower_bound=8)
_BATCH = flags.DEFINE_integer("batch_size", 64, "B, rows of the batch.", lower_bound=1)
_LENGTH = flags.DEFINE_integer("length", 128, "L, tokens per row.", lower_bound=8)
_AUDIT_EVERY = flags.DEFINE_integer("audit_every", 50, "steps between two lines", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 20, "turns each side takes", lower_bound=1)
_WORKDIR = flags.DEFINE_string("workdir", "runs/audit_cost", "where result.json goes")
define_overwrite()
_MASK_ID = 4


def random_batch(config: BertConfig, rows: int, length: int) -> dict[str, np.ndarray]:
    """A batch of ids as frequent as words are (Zipf), two segments a row, nothing padded."""
    draw, slots = np.random.default_rng(0), default_max_predictions(length)
    share = 1 / np.arange(1, config.vocab_size + 1)
    ids = draw.choice(config.vocab_size, (rows, length), p=share / share.sum()).astype(np.int32)
    places = np.broadcast_to(np.arange(1, slots + 1, dtype=np.int32), (rows, slots))
    labels = np.take_along_axis(ids, places, axis=1)
    np.put_along_axis(ids, places, np.int32(_MASK_ID), axis=1)
    each = np.arange(length, dtype=np.int32)
    return {
        "input_ids": ids,
        "token_type_ids": np.broadcast_to((each >= length // 2).astype(np.int32), ids.shape),
        "position_ids": np.broadcast_to(each, ids.shape),
        "instance_ids": np.ones_like(ids),
        "masked_positions": places,
        "masked_labels": labels,
        "masked_weights": np.ones(places.shape, np.float32),
        "cls_positions": np.zeros((rows, 1), np.int32),
        "next_labels": draw.integers(0, 2, (rows, 1), dtype=np.int32),
        "next_weights": np.ones((rows, 1), np.float32),
    }


def main() -> None:
    """Time both steps, and the writing."""
    with own_workdir(_WORKDIR.value or "") as place:
        check_new("workdir", place.folder / "result.json")
        measure(place.folder)


def measure(workdir: Path) -> None:
    """Do so in a folder on this machine."""
    if jax.default_backend() == "cpu":
        keep_freed_memory()  # as experiments.pretrain does
    config = getattr(BertConfig, _MODEL.value)(vocab_size=_VOCAB.value)
    mesh, rate = create_mesh({"data": 1}, jax.devices()[:1]), optax.constant_schedule(1e-4)
    runs = {
        name: assemble_pretrainer(
            config,
            mesh,
            create_optimizer("adamw", rate),
            rate,
            seed=0,
            batch_size=_BATCH.value,
            audit_mask_id=mask_id,
        )
        for name, mask_id in (("plain", None), ("audited", _MASK_ID))
    }
    states = {name: run.initial_state() for name, run in runs.items()}
    initial = np.array(token_table(states["audited"].params))
    batch = put_batch(random_batch(config, _BATCH.value, _LENGTH.value), mesh)
    clock: dict[str, list[float]] = {name: [] for name in runs}
    processor: dict[str, list[float]] = {name: [] for name in runs}
    orders = itertools.cycle((tuple(runs), tuple(reversed(runs))))
    for turn in range(_ROUNDS.value + 2):
        for name in next(orders):
            began, used = time.perf_counter(), time.process_time()
            states[name], _ = jax.block_until_ready(runs[name].train_step(states[name], batch))
            if turn >= 2:  # the first two compile and touch the memory
                clock[name].append(1e3 * (time.perf_counter() - began))
                processor[name].append(1e3 * (time.process_time() - used))
    writes, state = [], states["audited"]
    with tempfile.TemporaryDirectory() as folder:
        log = AuditLog(folder, initial)
        for turn in range(5):
            began = time.perf_counter()
            log.write(turn + 1, state.opt_state.audit, token_table(state.params))
            writes.append(1e3 * (time.perf_counter() - began))
    by_clock, by_processor = (
        np.array(each["audited"]) / np.array(each["plain"]) for each in (clock, processor)
    )
    plain, write = statistics.median(clock["plain"]), statistics.median(writes)
    ratio = float(np.median(by_clock))
    result: dict[str, Any] = {
        "model": _MODEL.value,
        "vocab_size": _VOCAB.value,
        "tokens": _BATCH.value * _LENGTH.value,
        "plain_step_ms": plain,
        "audited_step_ms": statistics.median(clock["audited"]),
        "step_ratio": ratio,
        "step_ratio_quartiles": [float(q) for q in np.percentile(by_clock, [25, 75])],
        "processor_ratio": float(np.median(by_processor)),
        "processor_ratio_quartiles": [float(q) for q in np.percentile(by_processor, [25, 75])],
        "write_ms": write,
        "audit_every": _AUDIT_EVERY.value,
        "whole_cost": ratio - 1 + write / _AUDIT_EVERY.value / plain,
        "jax": jax.__version__,
        "backend": jax.default_backend(),
    }
    write_json(workdir / "result.json", result)
    command.print_table("What an audit adds to a step", result)


if __name__ == "__main__":
    command.run(main)
