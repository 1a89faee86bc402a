r"""Label texts with a fine-tuned checkpoint: a file or standard input to JSON lines with scores.

    python -m experiments.predict --checkpoint=runs/mine --input=texts.txt --output=labels.jsonl
    echo 'a moving film' | python -m experiments.predict --checkpoint=runs/mine --input=- --output=-

A line is an example: a text, or two with a tab between them; words between spaces for tagging; or
an object with the columns of training, such as {"text": …, "pair": …}, {"words": [ … ]},
{"question": …, "context": …}, {"question": …, "choices": [ … ]}. Reads and labels as it goes, in
memory that does not grow with the input. Any fine-tuned checkpoint of Hugging Face will do as well.
"""

import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import jax
from absl import flags

from bert_jax.cli import command
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.progress import ProgressBar
from bert_jax.tasks.examples import Columns, Line
from bert_jax.tasks.predictor import Predictor
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.whole_file import whole_file

FLAGS = flags.FLAGS
flags.DEFINE_string("checkpoint", None, "A workdir of finetune, or any fine-tuned checkpoint.")
flags.DEFINE_string("input", "-", "A file with an example a line; - is standard input.")
flags.DEFINE_string("output", "-", "JSON lines; - is standard output.")
flags.DEFINE_string("text_column", "text", "Of the lines that are objects.")
flags.DEFINE_string("text_pair_column", "pair", "Likewise, a second text; may be absent.")
flags.DEFINE_integer("chunk", 1024, "Examples read before their labels are written.", 1)
flags.DEFINE_integer("batch_rows", 16, "Rows of a batch; a row holds several examples.", 1)
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "What the model computes in.")


def main() -> None:
    """Read the checkpoint, then label chunk by chunk."""
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    if not FLAGS.checkpoint:
        raise UserError("got no --checkpoint; expected one that was fine-tuned")
    predictor = Predictor.from_pretrained(
        FLAGS.checkpoint,
        columns=Columns(text_column=FLAGS.text_column, text_pair_column=FLAGS.text_pair_column),
        chunk=FLAGS.chunk,
        batch_rows=FLAGS.batch_rows,
        compute=Compute(dtype=FLAGS.dtype),
    )
    done = 0
    with (
        _source(FLAGS.input) as source,
        _target(FLAGS.output) as target,
        ProgressBar("labelling", None) as bar,
    ):
        rows = predictor.stream(_lines(source))
        while chunk := list(itertools.islice(rows, FLAGS.chunk)):
            for row in chunk:
                target.write(json.dumps(row, ensure_ascii=False) + "\n")
            target.flush()
            done += len(chunk)
            bar.update(done, f"{done:,} examples")


def _source(path: str) -> IO[bytes]:
    if path == "-":
        return sys.stdin.buffer
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise UserError(
            f"got --input={path}, which cannot be read ({error.strerror}); expected a file, or -"
        ) from error


@contextmanager
def _target(path: str) -> Iterator[IO[str]]:
    """Standard output as it comes, or a file that is there once it is whole."""
    if path == "-":
        yield sys.stdout
        return
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        yield file


def _lines(file: IO[bytes]) -> Iterator[Line]:
    """The lines that are not empty."""
    for number, content in enumerate(file, 1):
        try:
            text = content.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{FLAGS.input}, line {number}: got bytes that are no UTF-8 (at byte {error.start}"
                " of the line); expected UTF-8 text"
            ) from error
        if text.strip():
            yield Line.parsed(FLAGS.input, number, text.rstrip("\r\n"))


if __name__ == "__main__":
    command.run(main)
