"""What one update of a large token table costs: dense AdamW beside row-lazy AdamW.

    python -m experiments.benchmarks.row_lazy

An untied token table of 120,000 x 768, and a batch of 64 x 128 ids as rare and as frequent as words
are (Zipf). Each side starts from the gradients of the looked-up vectors [B, L, D], which the
backward pass of the encoder gives to both alike, and ends with the new table and moments:

    dense     add up into zeros [V, D] → AdamW over all rows of moments and table
    row-lazy  find the distinct ids → add up into zeros [K, D] → gather, AdamW, put back in place

Also printed without the adding up, from gradients that are there already ([V, D] or [K, D]). The
decoder, an untied model's other table of this size, has a dense gradient and costs the same on both
sides; it is not counted. (The training step differentiates with respect to the rows gathered, so it
makes no dense gradient of the token table either.) All arrays that a step replaces are donated. The
sides take turns and change who begins, round by round; medians. Writes `--workdir/result.json`.

Measured on 2 quiet cores, 10 rounds: 171 against 14 ms, a ratio of 0.08 (0.03 to 0.16); from given
gradients 76 against 8 ms, 0.10 (0.09 to 0.11).
"""

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from bert_jax.cli import command
from bert_jax.cli.outputs import check_new, define_overwrite
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.training.optimizers import adamw
from bert_jax.training.row_lazy import put_rows, row_lazy_adamw, touched_rows
from bert_jax.training.workdir import own_workdir
from bert_jax.whole_file import write_json

_ROWS = flags.DEFINE_integer("rows", 120_000, "V, rows of the table.", lower_bound=2)
_WIDTH = flags.DEFINE_integer("width", 768, "D, width of the table.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_size", 64, "B, rows of the batch.", lower_bound=1)
_LENGTH = flags.DEFINE_integer("length", 128, "L, tokens per row.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 10, "Turns per side.", lower_bound=1)
_WORKDIR = flags.DEFINE_string("workdir", "runs/row_lazy", "Folder for result.json.")
define_overwrite()

Update = Callable[[Any, jax.Array, jax.Array], Any]


def zipf_ids(vocab_size: int, count: int, seed: int = 0) -> np.ndarray:
    """Draw `count` ids, int32; id i has a probability proportional to 1 / (i + 1)."""
    share = 1 / np.arange(1, vocab_size + 1)
    draw = np.random.default_rng(seed)
    return draw.choice(vocab_size, count, p=share / share.sum()).astype(np.int32)


def make_updates(vocab_size: int, add_up: bool) -> dict[str, Update]:
    """The two sides: `update((table, state), ids, gradients) -> (table, state)`.

    Args:
        vocab_size: V.
        add_up: gradients are those of the looked-up vectors [B·L, D]; else of the rows of the table
            ([V, D] for dense; [K, D] of the rows that `ids` names, ascending, for row-lazy).
    """
    rate = optax.constant_schedule(1e-4)
    whole, lazy = adamw(rate, 0.01), row_lazy_adamw(rate, 0.01)

    def dense(kept, ids, gradients):
        table, state = kept
        if add_up:
            gradients = jnp.zeros_like(table).at[ids].add(gradients)
        updates, state = whole.update({"table": gradients}, state, {"table": table})
        return optax.apply_updates(table, updates["table"]), state

    def row_lazy(kept, ids, gradients):
        table, state = kept
        if add_up:
            seen = touched_rows(ids, vocab_size)
            rows = seen.rows
            gradients = jnp.zeros((rows.size, table.shape[1])).at[seen.places].add(gradients)
        else:
            rows = ids
        return lazy.update(gradients, state, table, rows=rows)

    return {"dense": dense, "row_lazy": row_lazy}


def main() -> None:
    """Time both sides, with and without the adding up."""
    with own_workdir(_WORKDIR.value or "") as place:
        check_new("workdir", place.folder / "result.json")
        measure(place.folder)


def measure(workdir: Path) -> None:
    """Do so in a folder on this machine."""
    if jax.default_backend() == "cpu":
        keep_freed_memory()  # as experiments.pretrain does
    vocab_size, width, count = _ROWS.value, _WIDTH.value, _BATCH.value * _LENGTH.value
    rate = optax.constant_schedule(1e-4)
    table = jnp.full((vocab_size, width), 0.02)
    ids = jnp.asarray(zipf_ids(vocab_size, count))
    looked_up = jnp.asarray(
        np.random.default_rng(1).normal(size=(count, width), scale=1e-3), jnp.float32
    )
    kept = {
        "dense": (table, adamw(rate, 0.01).init({"table": table})),
        "row_lazy": (table + 0, row_lazy_adamw(rate, 0.01).init(table)),
    }
    seen = touched_rows(ids, vocab_size)
    rows = jnp.zeros((seen.rows.size, width)).at[seen.places].add(looked_up)
    result: dict[str, Any] = {
        "vocab_size": vocab_size,
        "width": width,
        "tokens": count,
        "distinct_rows": len(np.unique(ids)),
        "rows_gathered": seen.rows.size,
        "jax": jax.__version__,
        "backend": jax.default_backend(),
    }
    for add_up in (True, False):
        updates = make_updates(vocab_size, add_up)
        steps = {name: jax.jit(f, donate_argnums=0) for name, f in updates.items()}
        given = {
            "dense": (
                ids,
                looked_up if add_up else put_rows(jnp.zeros((vocab_size, width)), seen.rows, rows),
            ),
            "row_lazy": (ids, looked_up) if add_up else (seen.rows, rows),
        }
        times: dict[str, list[float]] = {name: [] for name in steps}
        orders = itertools.cycle((tuple(steps), tuple(reversed(steps))))
        for turn in range(_ROUNDS.value + 2):
            for name in next(orders):
                began = time.perf_counter()
                kept[name] = jax.block_until_ready(steps[name](kept[name], *given[name]))
                if turn >= 2:  # the first two compile and touch the memory
                    times[name].append(1e3 * (time.perf_counter() - began))
        what = "update" if add_up else "update_of_given_gradient"
        for name, each in times.items():
            result[f"{name}_{what}_ms"] = statistics.median(each)
        ratios = [b / a for a, b in zip(times["dense"], times["row_lazy"], strict=True)]
        result[f"{what}_ratio"] = statistics.median(ratios)
        result[f"{what}_ratio_least"], result[f"{what}_ratio_most"] = min(ratios), max(ratios)
    write_json(workdir / "result.json", result)
    command.print_table("One update of a token table", result)


if __name__ == "__main__":
    command.run(main)
