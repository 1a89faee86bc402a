r"""Take layer 1's attention apart: which part of the input looks at which, head by head.

    python -m experiments.first_attention --checkpoint=runs/pretrain
    python -m experiments.first_attention --checkpoint=sentence-transformers/all-MiniLM-L6-v2 \
        --corpus=python_docs
    python -m experiments.first_attention --checkpoint=MODEL --input=texts.txt --length=256

The logits of layer 1 are exact sums of terms: the token, segment, position and constant part of the
query with each of the key, through the embedding LayerNorm with its mean and deviation held. For
each head there is the share of each term in the variance over keys, and the attention to the
previous, the same and the next place with all terms, with positions alone, and without position to
position. `--input` is a text a line, or two with a tab between; `--corpus` is cut into pairs, as in
pretraining; a run of ours brings its own corpus, and each of its checkpoints is looked at. In the
workdir:

    config.json    what was asked for
    result.json    by head shares and attention with 95 % intervals; the same of each checkpoint

docs/first_attention.md has what comes out.
"""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags
from rich.table import Table

from bert_jax.analysis.first_attention import FirstAttention
from bert_jax.analysis.inspection.attention import attention_numbers, rows_of_corpus
from bert_jax.analysis.inspection.inspected import open_text, own_corpus, run_of
from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.cli.text_flags import define_splitting
from bert_jax.console import plain_console
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.data.row_layout import Encoded
from bert_jax.errors import UserError
from bert_jax.memory import check_fits
from bert_jax.progress import ProgressBar
from bert_jax.tasks.lines import numbered_lines
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.training.workdir import own_results, prepared_workdir
from bert_jax.whole_file import write_json

FLAGS = flags.FLAGS
flags.DEFINE_string("checkpoint", None, "The model: a path, or a name on the Hugging Face hub.")
define_splitting()
flags.DEFINE_string(
    "input", None, "A file of texts, one per line, or two with a tab between; may be gzipped."
)
flags.DEFINE_multi_string(
    "corpus",
    [],
    "Text to cut rows from: python_docs, files, folders, globs, tfds:NAME, or a folder made by"
    " build_corpus. May be repeated.",
)
flags.DEFINE_integer("length", 128, "Tokens per row of the corpus; longest text.", 5)
flags.DEFINE_integer("rows", 200, "Most texts, or rows of the corpus, to read.", 1)
flags.DEFINE_string("workdir", "runs/first_attention", "Folder for the results.")
define_compilation_cache()

_SETTINGS = ("checkpoint", "splitting", "input", "corpus", "length", "rows")
# The columns of `AttentionFigures.grouped_shares`, for a table that is 80 wide.
_SHORT = ("tok → tok", "tok → pos", "pos → tok", "pos → pos", "con → tok", "con → pos", "segment")


def main() -> None:
    """Read the checkpoint and the text, look at layer 1, and say what is there."""
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    if not FLAGS.checkpoint:
        raise UserError("got no --checkpoint; expected one, such as --checkpoint=runs/pretrain")
    if FLAGS.input and FLAGS.corpus:
        raise UserError("got --input and --corpus; expected one of them")
    with own_results(FLAGS.workdir) as folder:
        _look(folder)


def _look(folder: Path) -> None:
    began = time.perf_counter()
    settings = {name: FLAGS[name].value for name in _SETTINGS}
    with prepared_workdir(folder, settings, may_change=_SETTINGS):
        model = load_pretrained(FLAGS.checkpoint, splitting=FLAGS.splitting)
        run, steps = run_of(FLAGS.checkpoint)
        rows, over = _rows(model, FLAGS.corpus or own_corpus(run))
        _check_memory(model, rows)
        found = _measured(model, rows)
    result: dict[str, Any] = {"checkpoint": FLAGS.checkpoint, "over": over, **found}
    if len(steps) > 1:
        with ProgressBar("checkpoints", len(steps)) as bar:
            result["checkpoints"] = []
            for number, (step, path) in enumerate(steps):
                bar.update(number, f"step {step}")
                figures = _measured(load_pretrained(path), rows)
                result["checkpoints"].append({"step": step, "heads": figures["heads"]})
    result["seconds"] = time.perf_counter() - began
    write_json(folder / "config.json", settings)  # those of the newest result
    write_json(folder / "result.json", result)
    _print(result)


def _rows(model: Pretrained, corpus: Sequence[str]) -> tuple[list[Encoded], str]:
    """What is looked at, and what that is in words."""
    if model.tokenizer is None:
        raise UserError(
            f"got --checkpoint={FLAGS.checkpoint}, which has no vocabulary that can be read;"
            " expected one with a vocab.txt or tokenizer.json"
        )
    length = min(FLAGS.length, model.config.max_position_embeddings)
    if FLAGS.input:
        texts = list(itertools.islice(_lines(), FLAGS.rows))
        if not texts:
            raise UserError(
                f"got --input={FLAGS.input}, which holds no text; expected one per line"
            )
        return [
            model.tokenizer.encode(text, pair, length) for text, pair in texts
        ], f"{len(texts)} texts of {FLAGS.input}, of at most {length} pieces"
    if not corpus:
        raise UserError(
            "got neither --input nor --corpus, and a checkpoint that brings no corpus; expected one"
            " of them, as in --corpus=python_docs"
        )
    text = open_text(corpus, model.tokenizer, model.config.vocab_size)
    rows = rows_of_corpus(text.documents, model.tokenizer, model.config, length, FLAGS.rows)
    if not rows:
        raise UserError(
            f"got --length={FLAGS.length} and no document of {text.name} as long; expected a"
            " smaller --length, or --input with one text per line"
        )
    return rows, f"{len(rows)} rows of {length} pieces from {text.name}"


def _lines() -> Iterator[tuple[str, str | None]]:
    """The text of each line that has one, and the second."""
    for number, line in numbered_lines(FLAGS.input):
        text, *more = line.split("\t")
        if len(more) > 1:
            raise UserError(
                f"got {len(more) + 1} columns in line {number} of --input={FLAGS.input}; expected a"
                " text, or two with a tab between"
            )
        if line.strip():
            yield text, more[0] if more else None


def _check_memory(model: Pretrained, rows: Sequence[Encoded]) -> None:
    """Refuse rows whose sixteen maps a head would not fit."""
    longest = max(len(row.ids) for row in rows)
    heads = model.config.num_attention_heads
    check_fits(4 * 3 * 16 * heads * longest**2, f"length={FLAGS.length}")


def _measured(model: Pretrained, rows: Sequence[Encoded]) -> dict[str, Any]:
    return attention_numbers(FirstAttention(model.config, model.params["bert"]).measure(rows))


def _print(result: Mapping[str, Any]) -> None:
    heads = result["heads"]
    table = Table(
        title="Share of each term, query part to key part, in a head's variance over keys"
    )
    for column in ("head", *_SHORT):
        table.add_column(column, justify="right")
    for number, head in enumerate(heads):
        table.add_row(str(number), *(_percent(share) for share in head["shares"].values()))
    plain_console().print(table)
    for place, uniform in result["uniform"].items():
        table = Table(title=f"Attention to the {place} place, in %; uniform: {_percent(uniform)}")
        for column in ("head", "all terms", "positions alone", "without pos → pos", "because"):
            table.add_column(column, justify="right")
        for number, head in enumerate(heads):
            *masses, because = head["attention"][place].values()
            cells = (_with_interval(mass) for mass in masses)
            table.add_row(str(number), *cells, "yes" if because else "")
        plain_console().print(table)
    if "checkpoints" in result:
        plain_console().print(_over_checkpoints(result["checkpoints"]))
    command.print_table(
        f"The first attention layer of {FLAGS.checkpoint}",
        {
            "over": result["over"],
            "largest error of the sum": f"{result['largest_error']:.1e}, at logits of up to"
            f" {result['largest_logit']:.3g}",
            "seconds": f"{result['seconds']:.0f}",
        },
    )


def _over_checkpoints(checkpoints: Sequence[Mapping[str, Any]]) -> Table:
    """The mean share of each term over heads, and heads that look beside because of positions."""
    table = Table(title="Mean share over heads; how many look there because of positions")
    for column in ("step", *_SHORT, "prev.", "same", "next"):
        table.add_column(column, justify="right")
    for each in checkpoints:
        heads = each["heads"]
        shares, places = heads[0]["shares"], heads[0]["attention"]
        mean = {name: sum(h["shares"][name] or 0 for h in heads) / len(heads) for name in shares}
        led = [sum(h["attention"][p]["because of positions"] for h in heads) for p in places]
        whole = (f"{share:.0%}" for share in mean.values())  # narrow, for eleven columns
        table.add_row(f"{each['step']:,}", *whole, *map(str, led))
    return table


def _with_interval(mass: Mapping[str, float | None]) -> str:
    value, low, high = (_percent(mass[name]).rstrip("%") for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


if __name__ == "__main__":
    command.run(main)
