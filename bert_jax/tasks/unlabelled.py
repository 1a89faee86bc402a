"""What is to be labelled: a file as training reads it, or an example a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from bert_jax.errors import UserError
from bert_jax.mirror import at_hand
from bert_jax.tasks.examples import Columns
from bert_jax.tasks.lines import Line, LineError, decoded, each_example, each_line
from bert_jax.tasks.task import Task


def read_unlabelled(
    task: Task,
    source: str,
    columns: Columns | None,
    form: str | None = None,
    standard_input: Iterable[bytes] = (),
) -> Iterator[Line | LineError]:
    """Read what `Predictor.stream` labels; instead of a wrong line, the error that names it.

    Args:
        task: what the model was fine-tuned for.
        source: the path of a file; - is standard input.
        columns: those of training; None where nobody knows.
        form: "training" reads the file as training does, its labels left out; "lines" an example a
            line. None tells them apart by the end of its name: see `Task.endings`.
        standard_input: for a source of -.

    Raises:
        UserError: the file cannot be read, or is of the other form than it seems.
    """
    if source == "-":
        if form == "training":
            raise UserError("got format=training for standard input; expected a file, or lines")
        return _lines(task, source, each_example("standard input", decoded(source, standard_input)))
    here = at_hand(source)
    if not here.is_file():
        reason = "it is a folder" if here.exists() else "No such file or directory"
        raise UserError(f"got input={source}, which cannot be read ({reason}); expected a file")
    ending = Path(source.removesuffix(".gz")).suffix.lower()
    if form == "training" or (form is None and ending in task.endings):
        return task.lines(source, columns)
    objects = form is None and ending == ".jsonl"
    lines = each_example(source, each_line(source), objects)
    return lines if form == "lines" else _lines(task, source, lines)


def _lines(
    task: Task, source: str, lines: Iterator[Line | LineError]
) -> Iterator[Line | LineError]:
    """The same lines, unless the first of them is a word with its tags."""
    for number, line in enumerate(lines):
        if number == 0 and isinstance(line, Line) and line.content is None:
            *others, last = " ".join(line.texts).split()
            if others and last in task.labels and task.head.per_token and last[0].isalpha():
                raise line.wrong(
                    f"got {line.texts[0]!r}, which ends in the label {last!r}; expected `format`,"
                    " training (one word per line) or lines (one sentence per line)"
                )
        yield line
