"""Replacing the rows that greedy encoding hardly uses: a departure from the literature.

A learner cuts words by its merges, but BERT encodes by the longest piece that fits, from the left.
The two disagree on a few pieces: those made on the way to longer ones, mostly, which encoding then
never picks. Such rows cost parameters and are never trained. Here they give way to the next pieces
the learner would have made; both the likelihood and the length of encoded text improve.
"""

from collections.abc import Sequence

from bert_jax.text.wordpiece_inventory import CONTINUATION


def greedy_pieces(word: str, vocabulary: set[str]) -> list[str]:
    """Cut a word as BERT does: always the longest piece of the vocabulary that fits next.

        "unaffable" with {un, ##aff, ##able}   →   un ##aff ##able

    Returns an empty list where no piece fits: BERT encodes such a word as [UNK].
    """
    if word in vocabulary:
        return [word]
    pieces = []
    start, prefix = 0, ""
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = prefix + word[start:end]
            if piece in vocabulary:
                break
        else:
            return []
        pieces.append(piece)
        start, prefix = end, CONTINUATION
    return pieces


def greedy_counts(
    words: Sequence[str], counts: Sequence[int], vocabulary: set[str]
) -> dict[str, int]:
    """Return how often each piece is used when every word is encoded greedily."""
    used = dict.fromkeys(vocabulary, 0)
    for word, count in zip(words, counts, strict=True):
        for piece in greedy_pieces(word, vocabulary):
            used[piece] += count
    return used


def replace_hardly_used(
    candidates: Sequence[str],
    size: int,
    characters: int,
    words: Sequence[str],
    counts: Sequence[int],
    hardly: int,
) -> tuple[tuple[str, ...], int]:
    """Return `size` of the candidates without those that greedy encoding hardly uses.

    Starts from the first `size` candidates; again and again those used less than `hardly` times go
    for good and the next candidates take their places, until none has to go. Where the candidates
    run out before that, it is tried again with half the use asked for, down to one.

    Args:
        candidates: pieces in the order a learner made them, characters first.
        size: pieces wanted.
        characters: how many candidates are characters, which always stay: without them, words that
            were never seen could not be encoded.
        words: distinct words.
        counts: how often each occurs.
        hardly: the use that keeps a row, ≥ 1.

    Returns:
        The pieces, and the use that keeps a row after all.
    """
    while True:
        chosen = dict.fromkeys(candidates[:size])  # a set that keeps its order
        fixed = set(candidates[:characters])
        following = size
        while True:
            used = greedy_counts(words, counts, set(chosen))
            going = [piece for piece in chosen if used[piece] < hardly and piece not in fixed]
            coming = candidates[following : following + len(going)]
            if not going:
                return tuple(chosen), hardly
            if len(coming) < len(going) and hardly > 1:
                break
            going.sort(key=used.__getitem__)  # stable: of equals, the earlier first
            for piece in going[: len(coming)]:
                del chosen[piece]
            chosen.update(dict.fromkeys(coming))
            following += len(coming)
            if not coming:
                return tuple(chosen), hardly
        hardly //= 2
