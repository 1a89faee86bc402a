"""How often each word occurs: all that a vocabulary is learned from.

A word is what BERT's basic tokenisation makes of a text: cleaned, lower-cased and without accents
unless told otherwise, split at white space, at punctuation, and around every Chinese character.
Tokenising comes last: distinct chunks between white space are counted first, and there are some
thirty times fewer of those than of running words.

In text that is already split a word is one of its parts, as it is written (`splitting.py`).
"""

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers.pre_tokenizers import BertPreTokenizer

from bert_jax.errors import UserError
from bert_jax.json_reading import parse_json
from bert_jax.memory import check_workers
from bert_jax.mirror import at_hand
from bert_jax.text.chunk_counts import (
    StringTable,
    add_table,
    count_chunks,
    empty_table,
    split_chunks,
)
from bert_jax.text.splitting import (
    AS_WRITTEN,
    LONGEST_WORD,
    WORDS,
    CutText,
    Normalisation,
    Splitting,
    splitting_of,
)
from bert_jax.text.text_blocks import Block, blocks_of_files, blocks_of_texts
from bert_jax.whole_file import whole_file

_FORMAT = "bert_jax word counts 1"


@dataclass(frozen=True)
class WordSettings(Normalisation):
    """How a text becomes words: what is done to it, which is nothing if it is already split."""

    splitting: Splitting = WORDS

    def __post_init__(self) -> None:
        """Leave text that is already split as it is."""
        if not self.splitting.has_words:
            for name, value in asdict(AS_WRITTEN).items():
                object.__setattr__(self, name, value)

    @classmethod
    def asked(
        cls,
        splitting: str | Splitting | None = None,
        lowercase: bool | None = None,
        strip_accents: bool | None = None,
        split_chinese: bool | None = None,
    ) -> "WordSettings":
        """The settings that were asked for, where None is what nobody said.

        Raises:
            UserError: no splitting, or text that stays as it is written is to be changed.
        """
        how = splitting_of(splitting or WORDS)
        normalisation = how.normalisation(lowercase, strip_accents, split_chinese)
        return cls(**asdict(normalisation), splitting=how)

    def to_dict(self) -> dict[str, Any]:
        """As JSON; the splitting only where it is not into words."""
        content = {name: getattr(self, name) for name in asdict(AS_WRITTEN)}
        return content if self.splitting == WORDS else content | {"splitting": self.splitting.name}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "WordSettings":
        """Read what `to_dict` made; other keys are ignored."""
        how = {name: content[name] for name in asdict(AS_WRITTEN)}
        return cls(**how, splitting=splitting_of(content.get("splitting", WORDS)))


@dataclass(frozen=True)
class WordCounts:
    """Distinct words, sorted by code point, and how often each occurs.

    Attributes:
        words: distinct words of at most 100 characters.
        counts: int64 [words].
        settings: how the words were made.
        source_bytes: UTF-8 bytes read.
        invalid_sequences: invalid UTF-8 sequences left out.
        too_long: running words of more than 100 characters, left out.
    """

    words: tuple[str, ...]
    counts: np.ndarray
    settings: WordSettings = field(default_factory=WordSettings)
    source_bytes: int = 0
    invalid_sequences: int = 0
    too_long: int = 0

    @property
    def hash(self) -> str:
        """A sha256 of words and counts: the same for the same text in any order of files."""
        digest = hashlib.sha256()
        for line in self._lines():
            digest.update(line.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write a text file, whole or not at all: a JSON line, then "word<tab>count" lines."""
        header: dict[str, Any] = {"format": _FORMAT, "types": len(self.words)}
        header |= self.settings.to_dict() | {
            "source_bytes": self.source_bytes,
            "invalid_sequences": self.invalid_sequences,
            "too_long": self.too_long,
        }
        with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            file.write(json.dumps(header) + "\n")
            file.writelines(self._lines())

    @classmethod
    def load(cls, path: str | Path) -> "WordCounts":
        """Read what `save` wrote."""
        try:
            text = at_hand(path).read_bytes().decode("utf-8")
            first, _, rest = text.partition("\n")
            header = parse_json(first)
            if header["format"] != _FORMAT:
                raise KeyError("format")
            pairs = [line.rsplit("\t", 1) for line in rest.split("\n")[:-1]]
            if len(pairs) != header["types"]:
                raise ValueError("cut off")
            return cls(
                words=tuple(word for word, _ in pairs),
                counts=np.array([int(count) for _, count in pairs], np.int64),
                settings=WordSettings.from_dict(header),
                source_bytes=header["source_bytes"],
                invalid_sequences=header["invalid_sequences"],
                too_long=header["too_long"],
            )
        except OSError as error:
            raise UserError(
                f"cannot read word counts from {str(path)!r}: {error.strerror}; "
                "expected a file that an earlier run saved"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{str(path)!r} is not a table of word counts; expected a whole file whose first "
                f"line names the format {_FORMAT!r}; count the words again"
            ) from None

    def _lines(self) -> Iterator[str]:
        for word, count in zip(self.words, self.counts.tolist(), strict=True):
            yield f"{word}\t{count}\n"


def count_words(
    texts: Iterable[str],
    settings: WordSettings | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> WordCounts:
    """Count the words of texts, which are drawn one by one and need not fit in memory.

        >>> counted = count_words(["Cats like cats."])
        >>> counted.words, counted.counts.tolist()
        (('.', 'cats', 'like'), [1, 2, 1])

    Args:
        texts: a word never crosses from one to the next.
        settings: how to make words; BERT's uncased ones by default.
        workers: threads; by default one per core, up to four. The result does not depend on it.
        progress: called now and then, from any thread, with the bytes read so far.
    """
    return count_words_in_blocks(blocks_of_texts(texts), settings, workers, progress)


def count_words_in_files(
    paths: Iterable[str | Path],
    settings: WordSettings | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> WordCounts:
    """Count the words of UTF-8 text files; invalid bytes are left out and counted.

    The arguments are those of `count_words`.

    Raises:
        UserError: a file cannot be read or is not text.
    """
    return count_words_in_blocks(blocks_of_files(paths), settings, workers, progress)


def count_words_in_blocks(
    blocks: Iterator[Block],
    settings: WordSettings | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> WordCounts:
    """Count the words of blocks. The arguments are those of `count_words`."""
    settings = settings or WordSettings()
    if isinstance(settings.splitting, CutText):
        return _count_parts(blocks, settings.splitting, progress)
    lock, over = threading.Lock(), threading.Event()
    source_bytes, invalid = 0, 0

    def drain() -> StringTable:
        nonlocal source_bytes, invalid
        table = empty_table()
        while True:
            with lock:
                block = None if over.is_set() else next(blocks, None)
                if block is None:
                    return table
                source_bytes += block.source_bytes
                invalid += block.invalid
                if progress is not None:
                    progress(source_bytes)
            table = count_chunks(table, block.content, settings.lowercase)  # runs beside the others

    workers = workers or min(4, os.cpu_count() or 1)
    check_workers(workers)
    with ThreadPoolExecutor(workers) as pool, _set_where_it_fails(over):
        chunks, *others = [done.result() for done in [pool.submit(drain) for _ in range(workers)]]
    while others:
        chunks = add_table(chunks, others.pop())
    words = words_of_chunks(chunks, settings)
    kept = sorted(word for word in words if len(word) <= LONGEST_WORD)
    return WordCounts(
        words=tuple(kept),
        counts=np.array([words[word] for word in kept], np.int64),
        settings=settings,
        source_bytes=source_bytes,
        invalid_sequences=invalid,
        too_long=sum(count for word, count in words.items() if len(word) > LONGEST_WORD),
    )


@contextmanager
def _set_where_it_fails(over: threading.Event) -> Iterator[None]:
    """So that a thread pool, which waits for its threads, does not wait for all the text."""
    try:
        yield
    except BaseException:  # Ctrl-C, too
        over.set()
        raise


def _count_parts(
    blocks: Iterator[Block], splitting: CutText, progress: Callable[[int], None] | None
) -> WordCounts:
    """Count the parts of text that is already split, a line at a time."""
    counts: Counter[str] = Counter()
    source_bytes, invalid = 0, 0
    splitter = splitting.pre_tokenizer()
    for block in blocks:
        for line in block.content.decode().split("\n"):
            counts.update(part for part, _ in splitter.pre_tokenize_str(line))
        source_bytes += block.source_bytes
        invalid += block.invalid
        if progress is not None:
            progress(source_bytes)
    parts = sorted(counts)
    return WordCounts(
        words=tuple(parts),
        counts=np.array([counts[part] for part in parts], np.int64),
        settings=WordSettings(splitting=splitting),
        source_bytes=source_bytes,
        invalid_sequences=invalid,
    )


def words_of_chunks(chunks: StringTable, settings: WordSettings) -> Counter[str]:
    """Return the words of counted chunks: ASCII ones compiled, the others by the Rust library."""
    ascii_words, others = split_chunks(chunks)
    words = Counter({word.decode("ascii"): count for word, count in ascii_words.items()})
    normalizer = settings.normalizer()
    splitter = BertPreTokenizer()
    for other in others.tolist():
        start, length = int(chunks.starts[other]), int(chunks.lengths[other])
        chunk = chunks.pool[start : start + length].tobytes().decode()
        count = int(chunks.counts[other])
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(chunk)):
            words[word] += count
    return words
