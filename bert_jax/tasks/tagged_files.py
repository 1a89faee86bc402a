"""Sentences with a tag for each word, from files of columns, CoNLL-U, TFDS, or memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from bert_jax.errors import UserError
from bert_jax.json_reading import shortened
from bert_jax.tasks.examples import Columns
from bert_jax.tasks.lines import LineError, each_line
from bert_jax.tasks.tables import table_of_rows
from bert_jax.tasks.tfds import as_plain, as_text, open_split

# White space parts words, but no-break spaces are a part of them.
_WORD = re.compile(r"[\S\u00a0\u2007\u202f]+")
_CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


@dataclass(frozen=True)
class TaggedSentence:
    """Words and their tags, one each; word i was read from line `lines[i]`.

    Without tags (in prediction) `tags` is empty.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    lines: tuple[int, ...]


def read_columns(path: str | Path, tag_column: int = -1) -> list[TaggedSentence]:
    r"""Read a file with a word a line, its columns between tabs or spaces, the word first.

        EU      NNP  B-NP  B-ORG
        rejects VBZ  B-VP  O        an empty line ends a sentence; lines that begin with
                                    -DOCSTART- belong to none
        # id 7c domain=en           before a sentence, a comment (see `column_sentences`)

    A no-break space is a part of its word. White space at the end of a line means nothing.

    Args:
        path: the file. Where a tab stands anywhere in a line, tabs part its columns.
        tag_column: which column holds the tag, from 0; -1 is the last.

    Raises:
        UserError: a line without a word or a tag, with its number.
    """
    return _all(column_sentences(path, tag_column), path)


def column_sentences(
    path: str | Path, tag_column: int | None = None
) -> Iterator[TaggedSentence | LineError]:
    """The same one by one; instead of a sentence with a wrong line, the error that names it.

    Args:
        path: see above.
        tag_column: see above; None reads the words alone.

    A line that begins with # before the first word of a sentence is a comment, unless it has the
    columns of a word; one of # alone, the word, must also have a tag that other lines have. So the
    file is read twice.
    """
    needed = 1 if tag_column is None else max(tag_column + 1, 2)
    tagged = -1 if tag_column is None else tag_column
    width, tags = _shape(path, tagged)

    def row(number: int, line: str, begun: bool) -> tuple[str, str, int] | None:
        if line.startswith("-DOCSTART-"):
            return None
        columns = _columns(line, width)
        fits = len(columns) == width >= needed and columns[0]
        odd = not fits or (columns[0] == "#" and width > 1 and columns[tagged] not in tags)
        if line.startswith("#") and not begun and odd:
            return None
        if not fits or not (tag_column is None or columns[tag_column]):
            where = "" if tag_column is None else f" and its tag in column {tag_column}"
            given = len(_columns(line))
            raise LineError(
                path,
                number,
                f"got {shortened(repr(line))}, {given} columns; expected {max(width, needed)}, a"
                f" word first{where}",
            )
        return columns[0], "" if tag_column is None else columns[tag_column], number

    return _sentences(path, row, tagged=tag_column is not None)


def read_conllu(path: str | Path, tag_column: str = "upos") -> list[TaggedSentence]:
    """Read a file of Universal Dependencies (https://universaldependencies.org/format.html).

    The words are the syntactic words, ids 1, 2, 3 …: lines of surface tokens that hold several
    words ("2-3") and of empty nodes ("8.1") are left out, as in every tagger's evaluation.

    Args:
        path: the file.
        tag_column: upos, xpos, or another of the ten columns.

    Raises:
        UserError: no such column, or a line without ten columns, with its number.
    """
    if tag_column not in _CONLLU_COLUMNS[2:]:
        raise UserError(
            f"got label_column={tag_column} for {path}; expected one of"
            f" {', '.join(_CONLLU_COLUMNS[2:])}"
        )
    return _all(conllu_sentences(path, tag_column), path)


def conllu_sentences(
    path: str | Path, tag_column: str | None = None
) -> Iterator[TaggedSentence | LineError]:
    """The same one by one, as `column_sentences`."""
    tag = None if tag_column is None else _CONLLU_COLUMNS.index(tag_column)

    def row(number: int, line: str, begun: bool) -> tuple[str, str, int] | None:
        if line.startswith("#"):
            return None
        columns = line.split("\t")
        while len(columns) > len(_CONLLU_COLUMNS) and not columns[-1].strip():
            columns.pop()
        if len(columns) != len(_CONLLU_COLUMNS) or not columns[1].strip():
            raise LineError(
                path,
                number,
                f"got {len(columns)} columns between tabs; expected the {len(_CONLLU_COLUMNS)} of"
                " CoNLL-U",
            )
        if not columns[0].isdecimal():
            return None
        return columns[1], "" if tag is None else columns[tag], number

    return _sentences(path, row, tagged=tag is not None)


def _shape(path: str | Path, tag_column: int) -> tuple[int, set[str]]:
    """How many columns the words of a file have, and their tags, lines that begin with # aside."""
    width, most, tags = 0, 0, set()
    for _, line in each_line(path):
        if isinstance(line, LineError) or not line.strip() or line.startswith(("#", "-DOCSTART-")):
            continue
        columns = _columns(line)
        most = most or len(_columns(line, len(line)))
        if len(columns) <= most:
            width = max(width, len(columns))
            tags.update(columns[tag_column:][:1])
    return width, tags


def _columns(line: str, width: int = 0) -> list[str]:
    """The columns of a line; empty ones at its end count as far as a row is `width` wide."""
    bare = line.rstrip(" \t")
    if "\t" not in bare:
        columns = words_of(bare)
    else:
        columns = [column.strip() or column.strip(" ") for column in bare.split("\t")]
    missing = min(width - len(columns), line[len(bare) :].count("\t"))
    return columns + [""] * missing


def words_of(line: str) -> list[str]:
    """The words of a line with spaces between them; a no-break space is a part of its word."""
    return _WORD.findall(line)


def _sentences(
    path: str | Path, row: Callable[[int, str, bool], tuple[str, str, int] | None], tagged: bool
) -> Iterator[TaggedSentence | LineError]:
    """Sentences of what `row` makes of their lines: word, tag and number, or None.

    `row` is also told whether the sentence has begun: has a word before this line.
    """
    rows: list[tuple[str, str, int]] = []
    wrong: LineError | None = None
    for number, line in chain(each_line(path), [(0, "")]):
        if not isinstance(line, LineError) and not line.strip():
            if wrong is not None:
                yield wrong
            elif rows:
                words, tags, lines = zip(*rows, strict=True)
                yield TaggedSentence(words, tags if tagged else (), lines)
            rows, wrong = [], None
            continue
        if wrong is None:
            try:
                if isinstance(line, LineError):
                    raise line
                found = row(number, line, bool(rows))
            except LineError as error:
                wrong = error
            else:
                rows += [] if found is None else [found]


def _all(sentences: Iterator[TaggedSentence | LineError], path: str | Path) -> list[TaggedSentence]:
    found = []
    for sentence in sentences:
        if isinstance(sentence, LineError):
            raise sentence
        found.append(sentence)
    if not found:
        raise UserError(f"got {path}, which has no sentences; expected at least one")
    return found


def read_tfds_tags(
    name: str, split: str, word_column: str, tag_column: str
) -> list[TaggedSentence]:
    """Return a split of a dataset like `conll2003` as tagged sentences."""
    features, records = open_split(name, split)
    for column in (word_column, tag_column):
        if column not in features:
            raise UserError(
                f"got column {column!r} for tfds:{name}; expected one of {', '.join(features)}"
            )
    tags = features[tag_column].feature
    sentences = []
    for number, record in enumerate(records, 1):
        words = tuple(as_text(word) for word in record[word_column])
        if words:
            names = tuple(str(as_plain(tag, tags)) for tag in record[tag_column])
            sentences.append(TaggedSentence(words, names, (number,) * len(words)))
    return sentences


def sentences_of(rows: Sequence[Any], columns: Columns) -> list[TaggedSentence]:
    """Sentences in memory: (words, tags), or dicts with both."""
    if isinstance(rows[0], TaggedSentence):
        return list(rows)
    words, tags = columns.text_column or "words", columns.label_column or "tags"
    table = table_of_rows(rows, (words, tags))
    sentences = []
    for line, own, given in zip(
        table.lines, table.column(words, "text_column"), table.column(tags, "label_column"),
        strict=True,
    ):  # fmt: skip
        lists = all(isinstance(x, Sequence) and not isinstance(x, str) for x in (own, given))
        if not lists or not own or len(own) != len(given) or not all(map(_is_text, own)):
            raise UserError(
                f"{table.source}, item {line}: got {shortened(repr(own))} with tags"
                f" {shortened(repr(given))}; expected a list of words and as many tags"
            )
        sentences.append(TaggedSentence(tuple(own), tuple(map(str, given)), (line,) * len(own)))
    return sentences


def _is_text(word: Any) -> bool:
    return isinstance(word, str)


def column_number(column: str | None) -> int:
    """Which column of a file holds the tags, as a user says it; by default the last."""
    if column is None:
        return -1
    try:
        return int(column)
    except ValueError:
        raise UserError(
            f"got label_column={column} for a file of columns; expected a number from 0, or -1"
            " for the last"
        ) from None
