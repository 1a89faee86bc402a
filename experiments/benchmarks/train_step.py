"""How long one BERT pretraining step takes here, beside Hugging Face's on torch.

    python -m experiments.benchmarks.train_step --dtype=bfloat16 --peer_python=PEERS/bin/python

One step: masked LM + next sentence, dropout 0.1, gradients, AdamW with decay on matrices only.
PEERS is an environment with torch and transformers; without the flag only ours runs. The two take
turns, round by round, so that whatever else the machine does falls on both. Prints a table with
medians and the ratio of the rounds (least to most), and writes `--workdir/result.json`.
"""

import json
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
from flax import nnx

from bert_jax.config import BertConfig
from bert_jax.errors import UserError
from bert_jax.model.bert import BertForPretraining
from bert_jax.model.parameters import merge_model, split_model
from experiments import command

_PRESETS = ("tiny", "mini", "small", "medium", "base", "large")
_MODEL = flags.DEFINE_enum("model", "base", _PRESETS, "size of the model")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "rows a step", lower_bound=1)
_LENGTH = flags.DEFINE_integer("length", 128, "tokens a row", lower_bound=8)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ("float32", "bfloat16"), "compute dtype")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "turns each side takes", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 2, "steps a turn", lower_bound=1)
_PEER = flags.DEFINE_string("peer_python", None, "a Python with torch and transformers")
_SCAN = flags.DEFINE_boolean("scan_layers", False, "scan over layers instead of unrolling them")
_WORKDIR = flags.DEFINE_string("workdir", "runs/train_step", "where result.json goes")


def make_batch(config: BertConfig, rows: int, length: int, predictions: int) -> dict[str, Any]:
    """Make one batch of random tokens, two equal segments a row, nothing padded."""
    random = np.random.default_rng(0)
    ids = random.integers(0, config.vocab_size, (rows, length), dtype=np.int32)
    places = np.broadcast_to(np.arange(1, predictions + 1, dtype=np.int32), (rows, predictions))
    return {
        "input_ids": ids,
        "token_type_ids": np.broadcast_to(
            (np.arange(length) >= length // 2).astype(np.int32), (rows, length)
        ),
        "instance_ids": np.ones((rows, length), np.int32),
        "masked_positions": places,
        "masked_labels": np.take_along_axis(ids, places, axis=1),
        "next_labels": random.integers(0, 2, (rows,), dtype=np.int32),
    }


def make_step(config: BertConfig, dtype: str, scan_layers: bool) -> Callable[[], float]:
    """Build our model and return a function that takes one step and returns its milliseconds."""
    definition, params = split_model(
        BertForPretraining(config, nnx.Rngs(0), dtype=dtype, scan_layers=scan_layers)
    )
    optimizer = optax.adamw(
        1e-4, weight_decay=0.01, mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree)
    )

    def mean_loss(params: Any, batch: dict[str, jax.Array], key: jax.Array) -> jax.Array:
        output = merge_model(definition, params)(
            batch["input_ids"],
            batch["token_type_ids"],
            batch["instance_ids"] > 0,
            masked_positions=batch["masked_positions"],
            rngs=nnx.Rngs(dropout=key),
        )
        entropy = optax.softmax_cross_entropy_with_integer_labels
        return (
            entropy(output.mlm_logits, batch["masked_labels"]).mean()
            + entropy(output.nsp_logits, batch["next_labels"]).mean()
        )

    def update(params: Any, state: Any, batch: Any, key: jax.Array) -> Any:
        key, used = jax.random.split(key)
        loss, gradients = jax.value_and_grad(mean_loss)(params, batch, used)
        changes, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, changes), state, key, loss

    step = jax.jit(update, donate_argnums=(0, 1, 3))
    now = (params, optimizer.init(params), jax.random.key(0))
    batch = jax.device_put(
        make_batch(config, _BATCH_SIZE.value, _LENGTH.value, _predictions(_LENGTH.value))
    )

    def timed() -> float:
        nonlocal now
        begin = time.perf_counter()
        params, state, key, loss = step(now[0], now[1], batch, now[2])
        jax.block_until_ready(loss)
        now = (params, state, key)
        jax.block_until_ready(params)
        return 1e3 * (time.perf_counter() - begin)

    timed()
    return timed


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

    def steps(self, count: int) -> list[float]:
        """Take steps and return the milliseconds of each."""
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
        self._process.terminate()
        self._process.wait()


def main() -> None:
    """Run both sides in turns and report."""
    config = getattr(BertConfig, _MODEL.value)()
    ours = make_step(config, _DTYPE.value, _SCAN.value)
    peer = None
    if _PEER.value:
        job = {
            "config": {k: v for k, v in config.to_dict().items() if k != "model_type"},
            "batch_size": _BATCH_SIZE.value,
            "length": _LENGTH.value,
            "predictions": _predictions(_LENGTH.value),
            "dtype": _DTYPE.value,
        }
        peer = Peer(_PEER.value, job)
    our_rounds, peer_rounds = [], []
    for _ in range(_ROUNDS.value):
        our_rounds.append([ours() for _ in range(_STEPS.value)])
        if peer:
            peer_rounds.append(peer.steps(_STEPS.value))
    tokens = _BATCH_SIZE.value * _LENGTH.value
    result: dict[str, Any] = {
        "model": _MODEL.value,
        "dtype": _DTYPE.value,
        "batch_size": _BATCH_SIZE.value,
        "length": _LENGTH.value,
        "jax": jax.__version__,
        "backend": jax.default_backend(),
        **_summary("ours", our_rounds, tokens),
    }
    if peer:
        peer.close()
        result.update(peer.versions)
        result.update(_summary("peer", peer_rounds, tokens))
        ratios = [
            statistics.median(theirs) / statistics.median(mine)
            for mine, theirs in zip(our_rounds, peer_rounds, strict=True)
        ]
        result["times_faster"] = result["peer_ms"] / result["ours_ms"]
        result["times_faster_least"] = min(ratios)
        result["times_faster_most"] = max(ratios)
    workdir = Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    command.write_json(workdir / "result.json", result)
    command.print_table("One training step", result)


def _summary(name: str, rounds: list[list[float]], tokens: int) -> dict[str, float]:
    middle = statistics.median(ms for turn in rounds for ms in turn)
    return {f"{name}_ms": middle, f"{name}_tokens_per_second": tokens / middle * 1e3}


def _predictions(length: int) -> int:
    """Masked slots of a row: 15 % of its tokens, rounded up to a multiple of 4."""
    return -(-15 * length // 400) * 4


if __name__ == "__main__":
    command.run(main)
