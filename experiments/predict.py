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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import jax
from absl import flags

from bert_jax.checkpoints import has_item, load_json
from bert_jax.cli import command
from bert_jax.convert.ours import find_ours
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.progress import ProgressBar
from bert_jax.tasks.batches import packed_rows
from bert_jax.tasks.choice_files import ChoiceQuestion
from bert_jax.tasks.finetuner import Finetuner, assemble_finetuner
from bert_jax.tasks.saved_task import task_of
from bert_jax.tasks.squad_files import Question
from bert_jax.tasks.tagged_files import TaggedSentence
from bert_jax.tasks.task import Task
from bert_jax.tasks.text_tasks import TextExample
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.training.sharding import create_mesh
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
    pretrained = load_pretrained(FLAGS.checkpoint)
    if pretrained.tokenizer is None:
        raise UserError(
            f"got --checkpoint={FLAGS.checkpoint} without a vocabulary; expected a vocab.txt or a"
            " tokenizer.json in it"
        )
    task = task_of(pretrained, _settings(FLAGS.checkpoint))
    run = assemble_finetuner(
        pretrained, task.head, create_mesh({"data": 1}, jax.devices()[:1]), batch_rows=1,
        labels=task.labels, compute=Compute(dtype=FLAGS.dtype),
    )  # fmt: skip
    params = run.initial_params()
    done = 0
    with (
        _source(FLAGS.input) as source,
        _target(FLAGS.output) as target,
        ProgressBar("labelling", None) as bar,
    ):
        for chunk in _chunks(_examples(_lines(source), task), FLAGS.chunk):
            for row in label(
                run,
                params,
                task,
                chunk,
                pretrained.tokenizer,
                pretrained.config.max_position_embeddings,
            ):
                target.write(json.dumps(row, ensure_ascii=False) + "\n")
            target.flush()
            done += len(chunk)
            bar.update(done, f"{done:,} examples")


def label(
    run: Finetuner,
    params: Any,
    task: Task,
    examples: Iterable[Any],
    tokenizer: Tokenizer,
    positions: int,
) -> Iterator[dict[str, Any]]:
    """What the model says of each example, in order."""
    examples = list(examples)
    prepared = task.prepare(examples, tokenizer)
    rows = packed_rows(prepared.features, FLAGS.batch_rows, positions)
    logits = run.predict(params, prepared.features, rows)
    yield from task.predictions(examples, prepared, logits)


def _chunks(examples: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while chunk := list(itertools.islice(examples, size)):
        yield chunk


def _settings(checkpoint: str) -> dict[str, Any] | None:
    ours = find_ours(Path(checkpoint))
    if ours is None or not has_item(ours, "head"):
        return None
    return load_json(ours, "head").get("settings")


def _examples(lines: Iterable[str], task: Task) -> Iterator[Any]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _example(line.rstrip("\r\n"), number, task.settings["task"])


def _example(line: str, number: int, kind: str) -> Any:
    content = _object(line, number) if line.lstrip().startswith("{") else None
    if kind in ("classification", "regression"):
        if content is None:
            text, _, pair = line.partition("\t")
            return TextExample(text.strip(), pair.strip() or None, None, FLAGS.input, number)
        text = _member(content, FLAGS.text_column, str, number)
        second = content.get(FLAGS.text_pair_column)
        return TextExample(text, second, None, FLAGS.input, number)
    if kind == "tagging":
        words = line.split() if content is None else _member(content, "words", list, number)
        return TaggedSentence(tuple(map(str, words)), (), (number,) * len(words))
    if content is None:
        wanted = '"context"' if kind == "qa" else '"choices"'
        raise UserError(
            f'{FLAGS.input}, line {number}: got a text; expected an object with "question" and'
            f" {wanted}"
        )
    question = _member(content, "question", str, number)
    if kind == "qa":
        context = _member(content, "context", str, number)
        return Question(str(content.get("id", number)), "", question, context, ())
    choices = _member(content, "choices", list, number)
    return ChoiceQuestion(question, tuple(map(str, choices)), None, number)


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{FLAGS.input}, line {number}: got no JSON ({error.msg} at character {error.pos});"
            " expected an object, or a text that does not begin with {"
        ) from error


def _member(content: dict[str, Any], name: str, kind: type, number: int) -> Any:
    if not isinstance(content.get(name), kind) or not content[name]:
        raise UserError(
            f"{FLAGS.input}, line {number}: got {name} = {content.get(name)!r}; expected a"
            f" {'text' if kind is str else 'list'} that is not empty"
        )
    return content[name]


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


def _lines(file: IO[bytes]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{FLAGS.input}, line {number}: got bytes that are no UTF-8 (at byte {error.start}"
                " of the line); expected UTF-8 text"
            ) from error


if __name__ == "__main__":
    command.run(main)
