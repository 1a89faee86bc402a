r"""Score sentences with a masked LM: how likely it finds each, and each of its pieces, in nats.

    python -m experiments.score_sentences --checkpoint=runs/pretrain --input=texts.txt \
        --output=scores.jsonl
    echo 'the function returns an array' | python -m experiments.score_sentences \
        --checkpoint=runs/pretrain

The score is the pseudo-log-likelihood of Salazar et al. 2020: the sum, over the pieces, of the
logarithm of the probability that each has where it stands hidden. With --form=within_word_l2r the
later pieces of its word are hidden as well (Kauf & Ivanova 2023). A line is a sentence, or an
object with a "text"; in a `.jsonl` every line is an object. Empty lines are left out. Written are
JSON lines that begin with the number of the line:

    {"line": 1, "text": "Cats.", "score": -9.5, "tokens": ["cats", "."], "token_scores": [-8, -1.5]}

and at the end the pseudo-perplexity of the whole, exp(-scores / pieces). docs/sentence_scores.md
has the formulae.
"""

import itertools
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
from absl import flags

from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.cli.outputs import check_new, define_overwrite, output_to
from bert_jax.cli.text_flags import define_splitting
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.inference.sentence_scores import (
    ORIGINAL,
    SCORE_FORMS,
    SentenceScore,
    SentenceScorer,
    pseudo_perplexity,
)
from bert_jax.progress import ProgressBar
from bert_jax.tasks.lines import Line, LineError, decoded, each_example, opened
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.whole_file import json_line

FLAGS = flags.FLAGS
flags.DEFINE_string("checkpoint", None, "The model: a path, or a name on the Hugging Face hub.")
define_splitting()
flags.DEFINE_string("input", "-", "A file, which may be gzipped; - for standard input.")
flags.DEFINE_string("text_column", "text", "JSON key of the sentence, when lines are JSON objects.")
flags.DEFINE_string("output", "-", "File of JSON lines to write, or - for standard output.")
define_overwrite()
flags.DEFINE_enum(
    "form", ORIGINAL.name, list(SCORE_FORMS),
    "What is masked to score a token: that token alone, or also the later tokens of its word.",
)  # fmt: skip
flags.DEFINE_enum(
    "on_error", "stop", ["stop", "mark"],
    "On a bad line: stop, or write {line, error} for it and go on.",
)  # fmt: skip
flags.DEFINE_integer("batch_size", 64, "Batch size, in masked copies of sentences.", lower_bound=1)
flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "bfloat16"],
    "What the model computes in; bfloat16 is faster on accelerators, less exact.",
)
define_compilation_cache()


def main() -> None:
    """Read the checkpoint, then score as the lines come."""
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    if not FLAGS.checkpoint:
        raise UserError("got no --checkpoint; expected the path of one, or a name on the hub")
    if FLAGS.text_column == "":
        raise UserError("got --text_column= without a value; expected one, or no --text_column")
    if FLAGS.output != "-":
        check_new("output", FLAGS.output, reads=FLAGS.input)
    counts = {"sentences": 0, "wrong lines": 0, "pieces": 0}
    with ExitStack() as stack:
        file = sys.stdin.buffer if FLAGS.input == "-" else stack.enter_context(opened(FLAGS.input))
        scorer = SentenceScorer(
            load_pretrained(FLAGS.checkpoint, splitting=FLAGS.splitting),
            SCORE_FORMS[FLAGS.form],
            batch_size=FLAGS.batch_size,
            dtype=jnp.dtype(FLAGS.dtype),
        )
        began = time.perf_counter()
        target = stack.enter_context(output_to(FLAGS.output))
        bar = stack.enter_context(ProgressBar("scoring", _size(file)))

        def written() -> Iterator[SentenceScore]:
            for number, found in _scored(scorer, _lines(file, bar)):
                target.write(json_line({"line": number, **_content(found)}))
                target.flush()
                counts["wrong lines" if found.error else "sentences"] += 1
                counts["pieces"] += len(found.tokens)
                yield found

        perplexity = pseudo_perplexity(written())
    _say(counts, perplexity, time.perf_counter() - began)


def _size(file: BinaryIO) -> int | None:
    """Its bytes, where they are known."""
    try:
        return os.fstat(file.fileno()).st_size or None
    except OSError:  # it is packed
        return None


def _lines(file: BinaryIO, bar: ProgressBar) -> Iterator[Line | LineError]:
    """The sentences, and what is wrong in place of one that cannot be read."""

    def counted() -> Iterator[bytes]:
        for line in file:
            bar.advance(len(line))
            yield line

    source = "standard input" if FLAGS.input == "-" else FLAGS.input
    objects = source.removesuffix(".gz").endswith(".jsonl")
    return each_example(source, decoded(source, counted()), objects)


def _scored(
    scorer: SentenceScorer, lines: Iterator[Line | LineError]
) -> Iterator[tuple[int, SentenceScore]]:
    """Each line's number and score, or what is wrong with it.

    Raises:
        UserError: something is, and that is to stop here.
    """
    read, asked = itertools.tee(map(_read, lines))  # as far apart as a window of batches
    answers = scorer.score((text for _, text in asked if isinstance(text, str)), "mark")
    for line, text in read:
        found = next(answers) if isinstance(text, str) else SentenceScore("", error=str(text))
        if found.error and FLAGS.on_error == "stop":
            raise text if isinstance(text, LineError) else line.wrong(found.error)
        yield line.number, found


def _read(line: Line | LineError) -> tuple[Any, str | LineError]:
    """A line, and its sentence or what is wrong with it."""
    if isinstance(line, LineError):
        return line, line
    if line.content is None:
        return line, "\t".join(line.texts).strip()
    try:
        return line, line.text(FLAGS.text_column)
    except LineError as error:
        return line, error


def _content(found: SentenceScore) -> dict[str, object]:
    if found.error:
        return {"text": found.text, "error": found.error} if found.text else {"error": found.error}
    return {
        "text": found.text,
        "score": round(found.score, 6),
        "tokens": found.tokens,
        "token_scores": [round(score, 6) for score in found.token_scores],
    }


def _say(counts: Mapping[str, int], perplexity: float, seconds: float) -> None:
    """A table, unless the scores themselves are printed: then a line beside them."""
    rows = {
        **{name: f"{count:,}" for name, count in counts.items() if count},
        "pseudo-perplexity": f"{perplexity:,.4g}" if counts["sentences"] else "-",
        "seconds": f"{seconds:.1f}",
        "pieces a second": f"{counts['pieces'] / max(seconds, 1e-9):,.0f}",
    }
    if FLAGS.output == "-":
        print("; ".join(f"{name} {value}" for name, value in rows.items()), file=sys.stderr)
    else:
        command.print_table(f"Scores in {FLAGS.output}", rows)


if __name__ == "__main__":
    command.run(main)
