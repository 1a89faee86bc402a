"""Learn a WordPiece vocabulary from text: count words, choose characters, merge, keep a record."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bert_jax.arguments import expect, whole_number
from bert_jax.errors import UserError
from bert_jax.memory import check_pieces, peak_rss_bytes
from bert_jax.text.word_counts import WordCounts, WordSettings, count_words
from bert_jax.text.wordpiece_compiled import learn_merges
from bert_jax.text.wordpiece_inventory import CharacterWords, cut_into_characters
from bert_jax.text.wordpiece_merges import Merges, log_likelihood
from bert_jax.text.wordpiece_pruning import greedy_counts, replace_hardly_used
from bert_jax.whole_file import whole_file

SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

Criterion = Literal["likelihood", "frequency"]


@dataclass(frozen=True)
class LearnedVocabulary:
    """A vocabulary and how it came about.

    Attributes:
        pieces: the rows of the vocabulary: special, unused, characters, then learned pieces in the
            order of their making.
        record: what vocab.txt.json holds; see docs/vocabulary.md for every field.
    """

    pieces: tuple[str, ...]
    record: dict[str, Any]

    def save(self, path: str | Path) -> None:
        """Write the vocabulary, a row a line, and beside it `path` + ".json" with the record.

        Raises:
            UserError: the files cannot be written; nothing half-written stays behind.
        """
        with whole_file(path) as pieces, whole_file(f"{path}.json") as record:
            pieces.write_bytes(("\n".join(self.pieces) + "\n").encode())
            record.write_bytes((json.dumps(self.record, indent=1) + "\n").encode())


def learn_vocabulary(
    source: Iterable[str] | WordCounts,
    vocab_size: int,
    *,
    criterion: Criterion = "likelihood",
    min_gain: float = 0.0,
    drop_unused: bool = False,
    coverage: float = 0.99999,
    unused_rows: int = 0,
    min_count: int = 1,
    settings: WordSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LearnedVocabulary:
    """Learn a vocabulary that `Tokenizer` can use.

        >>> learned = learn_vocabulary(["low lower lowest slow"] * 3, vocab_size=20)
        >>> learned.pieces[14:]
        ('##ow', 'low', 'sl', '##st', 'slow', 'lowe')

    Args:
        source: texts, drawn one by one; or words that are counted already.
        vocab_size: rows wanted, special ones included. Fewer come back where `min_gain` stops
            sooner or every word is a piece.
        criterion: "likelihood" makes the piece that raises the likelihood of the text the most;
            "frequency" the most frequent pair, as byte pair encoding does.
        min_gain: stop the first time the best gain is below it: nats, or occurrences for
            "frequency". At 0 likelihood never falls.
        drop_unused: give the rows that greedy encoding hardly uses to the next pieces; a departure
            from the literature that improves both likelihood and length.
        coverage: share of running characters that the character inventory must cover.
        unused_rows: rows [unused0] … to leave free.
        min_count: for text that is already split, whose parts are the pieces, the most frequent
            first: how often one must occur. What makes pieces of words has no meaning there.
        settings: how texts become words; ignored for counted words, which have their own.
        progress: called now and then with (pieces so far, pieces wanted).

    Raises:
        UserError: no words, a vocabulary smaller than its characters, or a setting out of range.
    """
    whole_number("vocab_size", vocab_size)
    expect("source", source, (WordCounts, Iterable), "texts, or what count_words gives")
    if criterion not in ("likelihood", "frequency"):
        raise UserError(f"got criterion {criterion!r}; expected likelihood or frequency")
    if not min_gain >= 0:
        raise UserError(f"got min_gain {min_gain}; expected 0 or more (0: never lose likelihood)")
    if not 0 < coverage <= 1:
        raise UserError(f"got coverage {coverage}; expected a share above 0 and at most 1")
    if unused_rows < 0:
        raise UserError(f"got unused_rows {unused_rows}; expected 0 or more")
    check_pieces(unused_rows, "unused_rows")
    if min_count < 1:
        raise UserError(f"got min_count {min_count}; expected 1 or more")
    started = time.perf_counter()
    counts = source if isinstance(source, WordCounts) else count_words(source, settings)
    counted = time.perf_counter()
    reserved = SPECIAL_PIECES + tuple(f"[unused{row}]" for row in range(unused_rows))
    if not counts.settings.splitting.has_words:
        if (criterion, min_gain, drop_unused) != ("likelihood", 0.0, False):
            raise UserError(
                f"got criterion={criterion}, min_gain={min_gain}, drop_unused={drop_unused} for"
                f" splitting={counts.settings.splitting.name!r}, which makes its matches the"
                " pieces; expected none of the three"
            )
        return _most_frequent(counts, vocab_size, reserved, min_count, counted - started)
    if min_count > 1:
        raise UserError(
            f"got min_count={min_count} for splitting='words'; expected min_gain, which says when"
            " to stop, or another splitting"
        )
    words = _characters(counts, coverage, vocab_size, len(reserved))
    wanted = vocab_size - len(reserved)
    by_frequency = criterion == "frequency"
    # Dropping rows needs pieces to put in their places: twice as many are learned, and what is
    # made first does not depend on what is made later.
    target = 2 * wanted if drop_unused else wanted
    learned_on = learn_merges(words, target, min_gain, by_frequency, progress)
    merges = learned_on.up_to(wanted)
    learned: dict[str, Any] = {
        "pieces": merges.total,
        "log_likelihood": merges.log_likelihood,
        "cut": "merges",
    }
    pieces = merges.pieces
    if drop_unused:
        pieces, learned = _replace_unused(counts, words, merges, learned_on.pieces)
    rows = reserved + pieces
    record = {
        "size": len(rows),
        "types": len(counts.words),
        "words": int(counts.counts.sum()),
        **learned,
        "seconds_counting": counted - started,
        "seconds_learning": time.perf_counter() - counted,
        "peak_rss_bytes": peak_rss_bytes(),
        "criterion": criterion,
        "corpus_hash": counts.hash,
        "vocab_hash": hashlib.sha256("\n".join(rows).encode()).hexdigest(),
        "stopped_by": merges.stopped_by,
        "settings": {
            "vocab_size": vocab_size,
            "min_gain": min_gain,
            "drop_unused": drop_unused,
            "coverage": coverage,
            "unused_rows": unused_rows,
            **counts.settings.to_dict(),
        },
        "characters": len(words.characters),
        "characters_left_out": words.dropped_characters,
        "words_left_out": words.dropped_words,
        "words_too_long": counts.too_long,
        "source_bytes": counts.source_bytes,
        "invalid_sequences": counts.invalid_sequences,
        # Merge by merge: the gain it was chosen by, and the rows in the vocabulary after it.
        "gains": merges.gain.tolist(),
        "sizes": (merges.sizes + len(reserved)).tolist(),
    }
    return LearnedVocabulary(rows, record)


def _most_frequent(
    counts: WordCounts,
    vocab_size: int,
    reserved: tuple[str, ...],
    min_count: int,
    seconds_counting: float,
) -> LearnedVocabulary:
    """The parts of text that is already split: the most frequent, then by their spelling."""
    if not counts.words:
        raise UserError(
            f"got a corpus in which splitting={counts.settings.splitting.name!r} finds nothing;"
            " expected text to learn a vocabulary from"
        )
    if vocab_size <= len(reserved):
        raise UserError(
            f"got vocabulary size {vocab_size}; expected more than {len(reserved)}, the special and"
            " unused rows"
        )
    by_count = sorted(zip((-counts.counts).tolist(), counts.words, strict=True))
    known = [(part, -n) for n, part in by_count if part not in reserved]
    frequent = [(part, n) for part, n in known if n >= min_count]
    chosen = frequent[: vocab_size - len(reserved)]
    rows = reserved + tuple(part for part, _ in chosen)
    left_out = len(frequent) > len(chosen)
    record = {
        "size": len(rows),
        "types": len(counts.words),
        "words": int(counts.counts.sum()),
        "pieces": int(counts.counts.sum()),
        "unknown": int(counts.counts.sum()) - sum(n for _, n in chosen),
        "seconds_counting": seconds_counting,
        "corpus_hash": counts.hash,
        "vocab_hash": hashlib.sha256("\n".join(rows).encode()).hexdigest(),
        "stopped_by": "size" if left_out else "min_count" if len(frequent) < len(known) else "all",
        "settings": {
            "vocab_size": vocab_size,
            "min_count": min_count,
            "unused_rows": len(reserved) - len(SPECIAL_PIECES),
            **counts.settings.to_dict(),
        },
        "source_bytes": counts.source_bytes,
        "invalid_sequences": counts.invalid_sequences,
    }
    return LearnedVocabulary(rows, record)


def _characters(
    counts: WordCounts, coverage: float, vocab_size: int, reserved: int
) -> CharacterWords:
    if not counts.words:
        raise UserError("got a corpus without a word; expected text to learn a vocabulary from")
    words = cut_into_characters(counts, coverage)
    least = reserved + len(words.characters)
    if vocab_size < least:
        raise UserError(
            f"got vocabulary size {vocab_size}; expected at least {least}: {reserved} special and "
            f"unused rows and {len(words.characters)} characters; raise the size or lower the "
            f"coverage of characters ({coverage})"
        )
    return words


def _replace_unused(
    counts: WordCounts, words: CharacterWords, merges: Merges, candidates: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Let later candidates replace the rows that are hardly used; return pieces and record."""
    size = len(merges.pieces)
    # A row is hardly used if it occurs half as often as a merge typically replaced at the end.
    last = merges.occurrences[-1000:]
    hardly = max(1, int(np.median(last)) // 2) if len(last) else 1
    pieces, hardly = replace_hardly_used(
        candidates, size, len(words.characters), counts.words, counts.counts.tolist(), hardly
    )
    used = greedy_counts(counts.words, counts.counts.tolist(), set(pieces))
    return pieces, {
        "pieces": sum(used.values()),
        "log_likelihood": log_likelihood(list(used.values())),
        "cut": "greedy",
        "replaced": len(set(merges.pieces) - set(pieces)),
        "hardly_used_below": hardly,
    }
