"""How long the nearest rows of a table take, asked once and asked often, beside numpy and faiss.

    python -m experiments.benchmarks.nearest_rows
    python -m experiments.benchmarks.nearest_rows --checkpoint=MODEL --queries=1000

Every side finds the ten rows of the largest cosine about the table's mean, exactly. Prepared: the
rows are centred and brought to length 1 once (ours `RowIndex`, faiss `IndexFlatIP`); unprepared:
at every question, as `nearest_rows` does. faiss takes part where it is installed (`pip install
faiss-cpu`). The sides take turns; medians in milliseconds, and whether all found the same rows.
Without --checkpoint: a random table of BERT's vocabulary, 30,522 x 384.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags

from bert_jax.analysis.nearest import RowIndex, directions, mean_row, nearest_rows
from bert_jax.cli import command
from bert_jax.cli.outputs import check_new, define_overwrite
from bert_jax.errors import UserError
from bert_jax.tables.storage import load_tables
from bert_jax.training.workdir import own_workdir
from bert_jax.whole_file import write_json

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Model whose token table is searched; by default a random table."
)
_QUERIES = flags.DEFINE_integer("queries", 100, "Rows to search for at once.", lower_bound=2)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Turns per side.", lower_bound=1)
_WORKDIR = flags.DEFINE_string("workdir", "runs/nearest_rows", "Folder for result.json.")
define_overwrite()

K = 10
Find = Callable[[np.ndarray], np.ndarray]  # from [Q] row numbers to their nearest rows [Q, K]


def main() -> None:
    """Prepare each side, let them take turns, print."""
    with own_workdir(_WORKDIR.value or "") as place:
        check_new("workdir", place.folder / "result.json")
        table = np.random.default_rng(0).standard_normal((30_522, 384), np.float32)
        if _CHECKPOINT.value:
            table = np.asarray(load_tables(_CHECKPOINT.value).token, np.float32)
        result = measure(table)
        write_json(place.folder / "result.json", result)
    command.print_table("Nearest rows, milliseconds", result)


def measure(table: np.ndarray) -> dict[str, Any]:
    """What each side takes for one row and for many."""
    if len(table) <= max(K, _QUERIES.value):
        raise UserError(
            f"got a table of {len(table)} rows; expected more than --queries={_QUERIES.value}"
        )
    began = time.perf_counter()
    index = RowIndex(table)
    prepared = 1e3 * (time.perf_counter() - began)
    sides: dict[str, Find] = {
        "ours_prepared": lambda rows: index.nearest_rows(rows, K).ids,
        "ours_unprepared": lambda rows: nearest_rows(table, rows, K).ids,
        "numpy_prepared": numpy_side(table),
    }
    if (faiss := faiss_side(table)) is not None:
        sides["faiss_prepared"] = faiss
    draw = np.random.default_rng(1)
    asked = {
        "one": [draw.choice(len(table), 1) for _ in range(_ROUNDS.value)],
        "many": [draw.choice(len(table), _QUERIES.value, False) for _ in range(_ROUNDS.value)],
    }
    times: dict[str, list[float]] = {}
    same = True
    for name, questions in asked.items():
        for find in sides.values():
            find(questions[0])  # compiles, or starts threads
        for rows in questions:
            found = []
            for side, find in sides.items():
                began = time.perf_counter()
                found.append(find(rows))
                times.setdefault(f"{side}_{name}", []).append(time.perf_counter() - began)
            same &= all((np.sort(ids) == np.sort(found[0])).all() for ids in found)
    return {
        "rows": len(table),
        "size": table.shape[1],
        "queries": _QUERIES.value,
        "jax": jax.__version__,
        "load": os.getloadavg()[0],
        "ours_preparing": prepared,
        **{name: 1e3 * statistics.median(seconds) for name, seconds in times.items()},
        "all_found_the_same": same,
    }


def numpy_side(table: np.ndarray) -> Find:
    """Products of prepared rows, and a partial sort."""
    units = directions(table, mean_row(table))

    def find(rows: np.ndarray) -> np.ndarray:
        cosines = units[rows] @ units.T
        cosines[np.arange(len(rows)), rows] = -np.inf
        return np.argpartition(-cosines, K, axis=1)[:, :K]

    return find


def faiss_side(table: np.ndarray) -> Find | None:
    """faiss's exact index of inner products; None where faiss is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    units = directions(table, mean_row(table))
    index = faiss.IndexFlatIP(units.shape[1])
    index.add(units)

    def find(rows: np.ndarray) -> np.ndarray:
        ids = index.search(units[rows], K + 1)[1]
        return np.stack([each[each != row][:K] for each, row in zip(ids, rows, strict=True)])

    return find


if __name__ == "__main__":
    command.run(main)
