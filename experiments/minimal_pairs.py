r"""Score a masked LM by minimal pairs, such as BLiMP: does it find the right sentence likelier?

    python -m experiments.minimal_pairs --checkpoint=runs/pretrain --pairs=blimp
    python -m experiments.minimal_pairs --checkpoint=MODEL --pairs=one.jsonl,two.jsonl.gz

A line of a file is an object with "sentence_good" and "sentence_bad"; where it has them, its "UID"
is the paradigm and its "linguistics_term" the phenomenon, else the file is a paradigm of its own.
`--pairs` are files, folders of `.jsonl` and `.jsonl.gz`, or globs. The score of a sentence is its
pseudo-log-likelihood (experiments.score_sentences). A pair is right where the good sentence has the
higher score; a tie is wrong, and counted. Accuracies are over pairs, each counting alike: of BLiMP,
whose paradigms have 1,000 pairs each, also the mean over paradigms. In the workdir:

    config.json    what was asked for
    result.json    accuracy, by_paradigm, by_phenomenon, their 95 % intervals, pairs, ties, seconds
    pairs.jsonl    every pair with both scores

docs/sentence_scores.md has what comes out, and how long it takes.
"""

import glob
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from rich.table import Table

from bert_jax.arguments import is_url, path_like
from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.cli.text_flags import define_splitting
from bert_jax.console import plain_console
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.inference.minimal_pairs import Accuracy, JudgedPairs, judge_pairs, read_pairs
from bert_jax.inference.sentence_scores import ORIGINAL, SCORE_FORMS, SentenceScorer
from bert_jax.memory import peak_rss_bytes
from bert_jax.mirror import at_hand
from bert_jax.progress import ProgressBar
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.training.workdir import own_results, prepared_workdir
from bert_jax.whole_file import write_json, write_json_lines

FLAGS = flags.FLAGS
flags.DEFINE_string("checkpoint", None, "The model: a path, or a name on the Hugging Face hub.")
define_splitting()
flags.DEFINE_list("pairs", [], "Files of minimal pairs, folders of them, or globs.")
flags.DEFINE_string("workdir", "runs/minimal_pairs", "Folder for the results.")
flags.DEFINE_enum(
    "form", ORIGINAL.name, list(SCORE_FORMS),
    "What is masked to score a token: that token alone, or also the later tokens of its word.",
)  # fmt: skip
flags.DEFINE_integer("batch_size", 64, "Batch size, in masked copies of sentences.", lower_bound=1)
flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "bfloat16"],
    "What the model computes in; bfloat16 is faster on accelerators, less exact.",
)
define_compilation_cache()

_SETTINGS = ("checkpoint", "splitting", "pairs", "form", "batch_size", "dtype")
# Warstadt et al. 2020, over all 67 paradigms.
_PUBLISHED = {"5-gram": 61.2, "LSTM": 69.8, "GPT-2": 83.0, "people": 88.6}


def main() -> None:
    """Read the pairs and the checkpoint, score, and say what came out."""
    began = time.perf_counter()
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    if not (FLAGS.checkpoint and FLAGS.pairs):
        raise UserError(
            "got no --checkpoint or no --pairs; expected both, as in --checkpoint=runs/pretrain"
            " --pairs=blimp"
        )
    with own_results(FLAGS.workdir) as folder:
        judged = _judged(folder)
        result = _result(judged, time.perf_counter() - began)
        write_json_lines(folder / "pairs.jsonl", judged.rows())
        write_json(folder / "config.json", _settings())  # those of the newest result
        write_json(folder / "result.json", result)
    _print("paradigm", judged.by_paradigm())
    if result["by_phenomenon"].keys() != result["by_paradigm"].keys():
        _print("phenomenon", judged.by_phenomenon())
    command.print_table(f"Minimal pairs of {FLAGS.checkpoint}", _shown(judged.accuracy, result))


def _settings() -> dict[str, Any]:
    return {name: FLAGS[name].value for name in _SETTINGS}


def _judged(folder: Path) -> JudgedPairs:
    with prepared_workdir(folder, _settings(), may_change=_SETTINGS):
        pairs = read_pairs(_files(FLAGS.pairs))
        scorer = SentenceScorer(
            load_pretrained(FLAGS.checkpoint, splitting=FLAGS.splitting),
            SCORE_FORMS[FLAGS.form],
            batch_size=FLAGS.batch_size,
            dtype=jnp.dtype(FLAGS.dtype),
        )
        with ProgressBar("scoring", 1.0) as bar:

            def progress(done: int, total: int) -> None:
                bar.update(done / total, f"{len(pairs):,} pairs")

            return judge_pairs(scorer, pairs, progress)


def _result(judged: JudgedPairs, seconds: float) -> dict[str, Any]:
    """What `result.json` holds."""
    overall = judged.accuracy
    paradigms, phenomena = judged.by_paradigm(), judged.by_phenomenon()
    return {
        "checkpoint": FLAGS.checkpoint,
        "form": FLAGS.form,
        "dtype": FLAGS.dtype,
        **_figures(overall),
        "by_paradigm": {name: found.share for name, found in paradigms.items()},
        "by_phenomenon": {name: found.share for name, found in phenomena.items()},
        "paradigms": {name: _figures(found) for name, found in paradigms.items()},
        "phenomena": {name: _figures(found) for name, found in phenomena.items()},
        "seconds": seconds,
        "pairs_per_minute": 60 * overall.pairs / seconds,
        "peak_rss_bytes": peak_rss_bytes(),
    }


def _files(names: list[str]) -> list[str]:
    """The files that are meant, each once, by whatever names.

    Raises:
        UserError: there is none of a name.
    """
    found: dict[str | Path, str] = {}
    for name in names:
        path_like("pairs", name, "files, folders or globs with commas between")
        files = [name]
        if Path(name).is_dir():
            files = [
                str(path)
                for path in sorted(Path(name).iterdir())
                if path.name.endswith((".jsonl", ".jsonl.gz"))
            ]
        elif not is_url(name) and not at_hand(name).exists():
            files = sorted(glob.glob(name))
        if not files:
            raise UserError(
                f"got --pairs={name}, where there is no file; expected JSON lines, a folder of"
                " .jsonl or .jsonl.gz, or a glob"
            )
        for file in files:
            found.setdefault(file if is_url(file) else Path(file).resolve(), file)
    return list(found.values())


def _figures(found: Accuracy) -> dict[str, Any]:
    return {
        "accuracy": found.share,
        "interval": found.interval,
        "pairs": found.pairs,
        "ties": found.ties,
    }


def _print(what: str, found: Mapping[str, Accuracy]) -> None:
    table = Table(title=f"By {what}", title_justify="left")
    table.add_column(what)
    for column in ("right", "95 % interval", "pairs", "ties"):
        table.add_column(column, justify="right")
    for name, each in found.items():
        table.add_row(name, *_cells(each), f"{each.pairs:,}", f"{each.ties:,}")
    plain_console().print(table)


def _cells(found: Accuracy) -> tuple[str, str]:
    low, high = found.interval
    return f"{found.share:.1%}", f"{low:.1%} to {high:.1%}"


def _shown(overall: Accuracy, result: Mapping[str, Any]) -> dict[str, Any]:
    right, interval = _cells(overall)
    published = ", ".join(f"{name} {share} %" for name, share in _PUBLISHED.items())
    return {
        "right": f"{right} ({interval}), over all pairs",
        "published of all BLiMP": published,
        "form": result["form"],
        "pairs": f"{overall.pairs:,}, of {len(result['by_paradigm'])} paradigms",
        "ties, counted as wrong": f"{overall.ties:,}",
        "seconds": f"{result['seconds']:.0f}",
        "pairs a minute": f"{result['pairs_per_minute']:,.0f}",
    }


if __name__ == "__main__":
    command.run(main)
