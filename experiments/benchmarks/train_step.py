"""How long one BERT pretraining step takes here, beside Hugging Face's on torch.

    python -m experiments.benchmarks.train_step --dtype=bfloat16 --peer_python=PEERS/bin/python

One step: masked LM + next sentence, dropout 0.1, gradients, clipping, AdamW with decay on matrices
only; ours is the very step `experiments.pretrain` compiles. PEERS is an environment with torch and
transformers; without the flag only ours runs. The peer comes in three forms: as shipped it computes
the logits of every token, ours those of the masked ones; `masked` computes the masked ones alone,
too, and `compiled` does so by torch.compile. All take turns, round by round, so that whatever else
the machine does falls on each, and all run on the GPU where there is one. Prints a table with
medians, processor time, a GPU's memory, the ratio of the rounds (least to most), and how much of
the rate of one matrix product, measured in the same rounds, our step reaches; writes
`--workdir/result.json`.

On a CPU malloc keeps the memory that a step frees, as in `experiments.pretrain`, on every side. On
Linux, `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` before the command lets all memory come in huge pages
besides.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
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
from bert_jax.training.cpu_memory import FREED_MEMORY_KEPT, keep_freed_memory
from bert_jax.training.optimizers import create_optimizer
from bert_jax.training.sharding import create_mesh, put_batch
from bert_jax.training.workdir import own_workdir
from bert_jax.whole_file import write_json

_MODEL = flags.DEFINE_enum("model", "base", PRESETS, "Model size.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Batch size, in rows.", lower_bound=1)
_LENGTH = flags.DEFINE_integer("length", 128, "Tokens per row.", lower_bound=8)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ("float32", "bfloat16"), "What the model computes in."
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns per side.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 2, "Optimiser steps per turn.", lower_bound=1)
_PEER = flags.DEFINE_string("peer_python", None, "A Python with torch and transformers.")
_SCAN = flags.DEFINE_boolean("scan_layers", None, "Loop over the layers; on by default on TPUs.")
_ATTENTION = flags.DEFINE_enum(
    "attention", "auto", ATTENTIONS, "Attention kernel; see pretrain's flag of this name."
)
_DROPOUT = flags.DEFINE_float(
    "attention_dropout", 0.1, "Dropout rate of the attention weights, on both sides.", 0.0, 0.9
)
_FORMS = flags.DEFINE_multi_enum(
    "peer_form", ["shipped", "masked", "compiled"], ["shipped", "masked", "compiled"],
    "A form of the peer; may be repeated, by default all.",
)  # fmt: skip
_WORKDIR = flags.DEFINE_string("workdir", "runs/train_step", "Folder for result.json.")
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
        kept = os.environ if jax.default_backend() != "cpu" else os.environ | FREED_MEMORY_KEPT
        self._process = subprocess.Popen(
            [python, str(script), json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=kept,
            text=True,
        )
        self.found = self._read()

    def step(self) -> tuple[float, float]:
        """Take a step and return its milliseconds of the clock and of the processor."""
        assert self._process.stdin is not None
        self._process.stdin.write("1\n")
        self._process.stdin.flush()
        return self._read()[0]

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise UserError(
                "the process behind --peer_python ended (see its message above); expected "
                "a Python with torch and transformers"
            )
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        with self._process:  # closes the pipes and waits
            self._process.terminate()


def main() -> None:
    """Run both sides in turns and report."""
    with own_workdir(_WORKDIR.value or "") as place:
        check_new("workdir", place.folder / "result.json")
        measure(place.folder)


def measure(workdir: Path) -> None:
    """Do so in a folder on this machine."""
    if jax.default_backend() == "cpu":
        keep_freed_memory()  # as experiments.pretrain does
    config = getattr(BertConfig, _MODEL.value)(attention_probs_dropout_prob=_DROPOUT.value)
    rows, length = _BATCH_SIZE.value, _LENGTH.value
    scan = scans_layers(jax.default_backend()) if _SCAN.value is None else _SCAN.value
    began = time.perf_counter()
    ours = make_step(config, rows, length, _DTYPE.value, scan)
    warm_up = time.perf_counter() - began
    job = {
        "config": {k: v for k, v in config.to_dict().items() if k != "model_type"},
        "batch_size": rows,
        "length": length,
        "predictions": predictions_of(length),
        "dtype": _DTYPE.value,
    }
    python = _PEER.value or ""
    with ExitStack() as open_peers:
        forms = _FORMS.value if python else []
        peers = {form: Peer(python, job | {"form": form}) for form in forms}
        for peer in peers.values():
            open_peers.callback(peer.close)
        sides = {"ours": ours} | {form: peer.step for form, peer in peers.items()}
        rounds: dict[str, list[list[tuple[float, float]]]] = {side: [] for side in sides}
        product, rates = one_product(config, rows * length, _DTYPE.value), []
        for _ in range(_ROUNDS.value):
            for side, step in sides.items():
                rounds[side].append([step() for _ in range(_STEPS.value)])
            rates.append(product())
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
        "load": os.getloadavg()[0],
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
        "warm_up_s": warm_up,
        **_summary("ours", rounds["ours"], rows * length, flops),
        "product_teraflops": statistics.median(rates),
    }
    result["share_of_product"] = result["ours_teraflops"] / result["product_teraflops"]
    if memory := device.memory_stats():  # a CPU has none
        result["ours_gib"] = memory["peak_bytes_in_use"] / 2**30
    for form, peer in peers.items():
        result.update({name: peer.found.pop(name) for name in ("torch", "transformers")})
        result.update({f"{form}_{name}": value for name, value in peer.found.items()})
        result.update(_summary(form, rounds[form], rows * length, flops))
        result.update(_ratios(form, rounds["ours"], rounds[form]))
    write_json(workdir / "result.json", result)
    command.print_table("One training step", result)


def one_product(config: BertConfig, tokens: int, dtype: str) -> Callable[[], float]:
    """A function that returns the TFLOP/s of a product [tokens, D] x [D, F], the encoder's largest.

    What a step could reach if it were nothing but products.
    """
    wide = jnp.ones((tokens, config.hidden_size), dtype)
    kernel = jnp.ones((config.hidden_size, config.intermediate_size), dtype)
    multiply = jax.jit(jnp.matmul).lower(wide, kernel).compile()
    operations = 2 * tokens * config.hidden_size * config.intermediate_size

    def rate() -> float:
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            jax.block_until_ready(multiply(wide, kernel))
            seconds.append(time.perf_counter() - began)
        return operations / statistics.median(seconds) / 1e12

    return rate


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


def _ratios(
    form: str, ours: list[list[tuple[float, float]]], theirs: list[list[tuple[float, float]]]
) -> dict[str, float]:
    """How many times faster ours is: of all steps, in the least and the most of the rounds."""
    each = [_median(b, 0) / _median(a, 0) for a, b in zip(ours, theirs, strict=True)]
    all_ours, all_theirs = ([step for turn in side for step in turn] for side in (ours, theirs))
    return {
        f"times_faster_than_{form}": _median(all_theirs, 0) / _median(all_ours, 0),
        f"times_faster_than_{form}_least": min(each),
        f"times_faster_than_{form}_most": max(each),
        f"times_less_processor_than_{form}": _median(all_theirs, 1) / _median(all_ours, 1),
    }


def _median(steps: list[tuple[float, float]], which: int) -> float:
    return statistics.median(step[which] for step in steps)


if __name__ == "__main__":
    command.run(main)
