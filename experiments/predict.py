r"""Label texts with a fine-tuned checkpoint: a file or standard input to JSON lines with scores.

    python -m experiments.predict --checkpoint=runs/mine --input=texts.txt --output=labels.jsonl
    python -m experiments.predict --checkpoint=runs/mine --input=test.tsv --output=labels.jsonl
    echo 'a moving film' | python -m experiments.predict --checkpoint=runs/mine --input=- --output=-

`.tsv`, `.csv`, `.conllu`, `.conll` and SQuAD's `.json` are read as for training, by the columns
that the model was fine-tuned on; labels are left out. Elsewhere a line is an example: a text, or
two with a tab between them; words between spaces for tagging; or an object with the columns of
training, such as {"text": …, "pair": …}, {"words": [ … ]}, {"question": …, "context": …},
{"question": …, "choices": [ … ]}. What is said of an example begins with the number of its line;
empty lines are left out. Reads and labels as it goes, in memory that does not grow with the input.
Any fine-tuned checkpoint of Hugging Face will do as well.
"""

import itertools
import sys
from typing import Any

import jax
from absl import flags

from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.cli.outputs import check_new, define_overwrite, output_to
from bert_jax.cli.text_flags import define_splitting
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.progress import ProgressBar
from bert_jax.tasks.predictor import Predictor
from bert_jax.tasks.unlabelled import read_unlabelled
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.whole_file import json_line

FLAGS = flags.FLAGS
flags.DEFINE_string("checkpoint", None, "A finetune workdir, or any fine-tuned checkpoint.")
define_splitting()
flags.DEFINE_string("input", "-", "A file, or - for standard input, with one example per line.")
flags.DEFINE_string("output", "-", "File of JSON lines to write, or - for standard output.")
define_overwrite()
flags.DEFINE_enum(
    "format",
    None,
    ["lines", "training"],
    "One example per line, or as for training; by default told by the file's suffix.",
)
flags.DEFINE_enum(
    "on_error",
    "stop",
    ["stop", "mark"],
    "On a bad line: stop, or write {line, error} for it and go on.",
)
flags.DEFINE_list("columns", None, "Column names, for a TSV or CSV without a header line.")
flags.DEFINE_string("text_column", None, "Column of the text; by default as in training.")
flags.DEFINE_string(
    "text_pair_column",
    None,
    "Column of the second text, empty for none; by default as in training.",
)
flags.DEFINE_string(
    "choices_column", None, "multiple_choice: column of the choices; by default as in training."
)
flags.DEFINE_integer("chunk", 1024, "Examples to read before their predictions are written.", 1)
flags.DEFINE_integer("batch_rows", 16, "Batch size, in rows; a row holds several examples.", 1)
flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "bfloat16"],
    "What the model computes in; bfloat16 is faster on accelerators, less exact.",
)
define_compilation_cache()


def main() -> None:
    """Read the checkpoint, then label chunk by chunk."""
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    if not FLAGS.checkpoint:
        raise UserError("got no --checkpoint; expected one that was fine-tuned")
    if FLAGS.output != "-":
        check_new("output", FLAGS.output, reads=FLAGS.input)
    predictor = Predictor.from_pretrained(
        FLAGS.checkpoint,
        columns=_columns(),
        splitting=FLAGS.splitting,
        chunk=FLAGS.chunk,
        batch_rows=FLAGS.batch_rows,
        compute=Compute(dtype=FLAGS.dtype),
    )
    lines = read_unlabelled(
        predictor.task, FLAGS.input, predictor.columns, FLAGS.format, sys.stdin.buffer
    )
    for note in predictor.notes:
        print(note, file=sys.stderr)
    done = wrong = 0
    with output_to(FLAGS.output) as target, ProgressBar("labelling", None) as bar:
        rows = predictor.stream(lines, FLAGS.on_error)
        while chunk := list(itertools.islice(rows, FLAGS.chunk)):
            for row in chunk:
                target.write(json_line(row))
            target.flush()
            done += len(chunk)
            wrong += sum("error" in row for row in chunk)
            bar.update(done, f"{done:,} examples")
    if wrong:
        print(f"{wrong:,} of {done:,} examples are wrong, see their `error`", file=sys.stderr)


def _columns() -> dict[str, Any]:
    """What is given of them; all else as in training."""
    names = ("columns", "text_column", "text_pair_column", "choices_column")
    given = {name: FLAGS[name].value for name in names if FLAGS[name].value is not None}
    return {k: tuple(v) if isinstance(v, list) else v or None for k, v in given.items()}


if __name__ == "__main__":
    command.run(main)
