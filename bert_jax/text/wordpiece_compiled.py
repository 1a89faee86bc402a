"""The likelihood WordPiece learner, compiled: the merges of the reference, in seconds.

See wordpiece_reference.py for the algorithm and the tie rule, wordpiece_text.py for the text and
wordpiece_choice.py for how the best pair is found. Here: one merge, and the loop over merges.
"""

from collections.abc import Callable

import numpy as np

from bert_jax.text import (
    compiled,
    wordpiece_choice,
    wordpiece_gain,
    wordpiece_heap,
    wordpiece_merge,
    wordpiece_text,
)
from bert_jax.text.compiled import entry, fingerprint, int64
from bert_jax.text.wordpiece_choice import (
    Choice,
    best_pair,
    count_fell,
    empty_choice,
    grown_choice,
    lowered,
    n_rose,
    spelling_rose,
    start_choice,
)
from bert_jax.text.wordpiece_inventory import CONTINUATION, CharacterWords
from bert_jax.text.wordpiece_merge import Scratch, empty_scratch, merge, start_text
from bert_jax.text.wordpiece_merges import Merges
from bert_jax.text.wordpiece_text import Pairs, Pieces, Text, grown_pairs, lay_out

_AT_ONCE = 1000  # merges between two reports of progress
_DONE, _BELOW_GAIN, _EXHAUSTED, _MORE_ROOM = 0, 1, 2, 3


def learn_merges(
    words: CharacterWords,
    size: int,
    min_gain: float = 0.0,
    by_frequency: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Merges:
    """Learn pieces until there are `size` of them, or the best gain is below `min_gain` (nats).

    With `by_frequency` the score of a pair is its number of occurrences, as in byte pair encoding,
    and `min_gain` counts occurrences.

    Args:
        words: the words, cut into characters.
        size: pieces wanted, characters included.
        min_gain: the threshold, ≥ 0.
        by_frequency: choose by occurrences instead of likelihood.
        progress: called now and then with (pieces so far, pieces wanted).
    """
    wanted = size
    # A merge leaves a symbol less: there are never more pieces, and no room is made for them.
    size = min(size, len(words.characters) + len(words.symbols))
    text, pieces, pairs = lay_out(words, size)
    choice = empty_choice(pairs, size)
    scratch = empty_scratch(text, pieces)
    log = np.empty((size, 5), np.int64)  # left, right, piece, n, size after
    gains = np.empty(size, np.float64)
    done = 0
    _start(text, pieces, pairs, choice, by_frequency)
    while True:
        room = len(log) - done
        if room < _AT_ONCE:  # merges into pieces that exist make the log longer than `size`
            log = np.concatenate([log, np.empty_like(log)])
            gains = np.concatenate([gains, np.empty_like(gains)])
        until = min(size, int(pieces.number[0]) + _AT_ONCE)
        steps, status, _ = _learn(
            text,
            pieces,
            pairs,
            choice,
            until,
            min_gain,
            by_frequency,
            scratch,
            log[done:],
            gains[done:],
        )
        done += steps
        if status == _MORE_ROOM:
            pairs = grown_pairs(pairs)
            choice = grown_choice(choice, pairs)
        if progress is not None:
            progress(int(pieces.number[0]), wanted)
        if status in (_BELOW_GAIN, _EXHAUSTED) or pieces.number[0] >= size:
            break
    number = int(pieces.number[0])
    return Merges(
        pieces=_spell(words, pieces, number),
        left=log[:done, 0].astype(np.int32),
        right=log[:done, 1].astype(np.int32),
        piece=log[:done, 2].astype(np.int32),
        gain=gains[:done].copy(),
        occurrences=log[:done, 3].copy(),
        sizes=log[:done, 4].astype(np.int32),
        counts=pieces.counts[:number].copy(),
        stopped_by={_BELOW_GAIN: "gain", _EXHAUSTED: "exhausted"}.get(status, "size"),
    )


def _entry_points(sources: int) -> tuple[Callable, Callable]:
    """Return the two functions that Python calls, cached on disk under the sources' fingerprint."""

    @entry
    def start(text: Text, pieces: Pieces, pairs: Pairs, choice: Choice, by_frequency: bool) -> int:
        start_text(text, pieces, pairs)
        start_choice(pieces, pairs, choice, by_frequency)
        return sources

    @entry
    def learn(
        text: Text,
        pieces: Pieces,
        pairs: Pairs,
        choice: Choice,
        until: int,
        min_gain: float,
        by_frequency: bool,
        scratch: Scratch,
        log: np.ndarray,
        gains: np.ndarray,
    ) -> tuple[int, int, int]:
        """Merge until there are `until` pieces; return the merges made and why they ended."""
        step = 0
        while pieces.number[0] < until and step < len(log):
            if pairs.number[0] + 2 * pieces.number[0] + 4 > len(pairs.n):
                return step, _MORE_ROOM, sources
            pair, gain = best_pair(pieces, pairs, choice, by_frequency)
            if pair < 0:
                return step, _EXHAUSTED, sources
            if gain < min_gain:
                return step, _BELOW_GAIN, sources
            left, right, n = int64(pairs.left[pair]), int64(pairs.right[pair]), pairs.n[pair]
            piece, number_risen = merge(text, pieces, pairs, pair, scratch)
            choice.floor[piece] = lowered(pieces.counts[piece])
            count_fell(pieces, pairs, choice, left, by_frequency)
            if right != left:
                count_fell(pieces, pairs, choice, right, by_frequency)
            for k in range(number_risen):
                n_rose(pieces, pairs, choice, int64(scratch.risen[k]), by_frequency)
            spelling_rose(text, pieces, pairs, choice, piece, by_frequency)
            gains[step] = gain
            log[step, 0] = left
            log[step, 1] = right
            log[step, 2] = piece
            log[step, 3] = n
            log[step, 4] = pieces.number[0]
            step += 1
        return step, _DONE, sources

    return start, learn


_start, _learn = _entry_points(
    fingerprint(
        compiled, wordpiece_choice, wordpiece_gain, wordpiece_heap, wordpiece_text, wordpiece_merge
    )
)


def _spell(words: CharacterWords, pieces: Pieces, number: int) -> tuple[str, ...]:
    letters = [character.removeprefix(CONTINUATION) for character in words.characters]
    spelled = list(words.characters)
    for piece in range(len(spelled), number):
        at, length = int(pieces.sample[piece]), int(pieces.length[piece])
        first, *rest = words.symbols[at : at + length].tolist()
        spelled.append(words.characters[first] + "".join(letters[c] for c in rest))
    return tuple(spelled)
