"""Sentences of tagged words: files of columns (CoNLL) and CoNLL-U."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bert_jax.errors import UserError
from bert_jax.tasks.lines import numbered_lines

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

    Args:
        path: the file. Where a tab stands anywhere in a line, tabs part its columns.
        tag_column: which column holds the tag, from 0; -1 is the last.

    Raises:
        UserError: a line without a word or a tag, with its number.
    """
    words: list[str] = []
    tags: list[str] = []
    lines: list[int] = []
    sentences: list[TaggedSentence] = []
    width = 0
    for number, line in [*numbered_lines(path), (0, "")]:
        if not line.strip():
            if words:
                sentences.append(TaggedSentence(tuple(words), tuple(tags), tuple(lines)))
            words, tags, lines = [], [], []
            continue
        if line.startswith("-DOCSTART-"):
            continue
        columns = [c.strip() for c in line.split("\t")] if "\t" in line else line.split()
        width = width or len(columns)
        needed = max(tag_column + 1, 2)
        if len(columns) != width or width < needed or not columns[0] or not columns[tag_column]:
            raise UserError(
                f"{path}, line {number}: got {line!r}, {len(columns)} columns; expected"
                f" {max(width, needed)}, a word first and its tag in column {tag_column}"
            )
        words.append(columns[0])
        tags.append(columns[tag_column])
        lines.append(number)
    return _not_empty(sentences, path)


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
            f"got --label_column={tag_column} for {path}; expected one of"
            f" {', '.join(_CONLLU_COLUMNS[2:])}"
        )
    return _not_empty(list(_conllu_sentences(path, _CONLLU_COLUMNS.index(tag_column))), path)


def _conllu_sentences(path: str | Path, tag: int) -> Iterator[TaggedSentence]:
    rows: list[tuple[str, str, int]] = []
    for number, line in [*numbered_lines(path), (0, "")]:
        if not line.strip():
            if rows:
                words, tags, lines = zip(*rows, strict=True)
                yield TaggedSentence(words, tags, lines)
            rows = []
            continue
        if line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != len(_CONLLU_COLUMNS) or not columns[1].strip():
            raise UserError(
                f"{path}, line {number}: got {len(columns)} columns between tabs; expected the"
                f" {len(_CONLLU_COLUMNS)} of CoNLL-U"
            )
        if columns[0].isdecimal():
            rows.append((columns[1], columns[tag], number))


def _not_empty(sentences: list[TaggedSentence], path: str | Path) -> list[TaggedSentence]:
    if not sentences:
        raise UserError(f"got {path}, which has no sentences; expected at least one")
    return sentences
