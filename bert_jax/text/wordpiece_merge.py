"""One merge, for compiled code: a pair becomes one piece, and its neighbours' pairs change.

    before   … x  a  b  y …        pairs (x, a) (a, b) (b, y)  lose an occurrence
    after    … x  ab    y …        pairs (x, ab) (ab, y)       win one

Counts follow what a merge would replace: of a run of one piece, (a, a) counts ⌊run / 2⌋ times. So
where equal pieces meet, what changes is the difference of two such halves, not one.
"""

import numpy as np

from bert_jax.text.compiled import inner, int64
from bert_jax.text.wordpiece_text import (
    Pairs,
    Pieces,
    Text,
    find_or_add_pair,
    find_pair,
    joined_spelling,
    link,
    new_piece,
    run_before,
    run_from,
    unlink,
)


@inner
def start_text(text: Text, pieces: Pieces, pairs: Pairs) -> None:
    """Enter the characters as pieces, and every place under its pair."""
    number = 0
    while number < len(pieces.counts) and pieces.counts[number] > 0:
        new_piece(text, pieces, pieces.spelling[number], int64(pieces.sample[number]), int64(1))
        number += 1
    run = 0  # how many of one piece stand in a row from place + 1 on
    for place in range(len(text.symbols) - 2, 0, -1):  # backwards, so that the lists run forwards
        left, right = int64(text.symbols[place]), int64(text.symbols[place + 1])
        run = run + 1 if left == right else 1
        if left < 0 or right < 0:
            continue
        pair = find_or_add_pair(text, pieces, pairs, left, right)
        link(text, pairs, pair, place)
        if left != right or run % 2 == 0:
            pairs.n[pair] += text.weights[place]


@inner
def merge(
    text: Text,
    pieces: Pieces,
    pairs: Pairs,
    pair: int,
    risen: np.ndarray,
    with_left: np.ndarray,
    with_right: np.ndarray,
) -> tuple[int, int]:
    """Merge a pair everywhere.

    Args:
        text, pieces, pairs: changed in place.
        pair: the pair to merge.
        risen: int32 [2 · pieces + 2], receives the pairs whose n may have risen.
        with_left: int32 [pieces], −1 throughout; for the pair of each left neighbour and the new
            piece, while the merge lasts.
        with_right: the same for right neighbours.

    Returns:
        The piece made, and how many pairs stand in `risen`.
    """
    left, right = int64(pairs.left[pair]), int64(pairs.right[pair])
    places = _places(text, pieces, pairs, pair)
    piece = int64(pairs.target[pair])
    if piece < 0:
        length = int64(pieces.length[left] + pieces.length[right])
        spelling = joined_spelling(pieces, left, right)
        piece = new_piece(text, pieces, spelling, places[0], length)
    number_risen = 0
    merged = 0
    for k in range(len(places)):
        place = places[k]
        if text.pair_at[place] != pair:
            continue  # the second of three equal pieces: the first merge has used it up
        weight = text.weights[place]
        merged += weight
        middle = place + int64(pieces.length[left])
        end = middle + int64(pieces.length[right])
        _take_out(text, pieces, pairs, pair, place, middle, end)
        text.symbols[place] = piece
        text.back[end - 1] = place

        run = 1  # of the new piece, through this place
        halves = 0  # what the runs that now join up counted for
        if text.symbols[place - 1] >= 0:
            before = int64(text.back[place - 1])
            neighbour = int64(text.symbols[before])
            if with_left[neighbour] < 0:
                with_left[neighbour] = find_or_add_pair(text, pieces, pairs, neighbour, piece)
                risen[number_risen] = with_left[neighbour]
                number_risen += 1
            link(text, pairs, int64(with_left[neighbour]), before)
            if neighbour == piece:
                length = run_before(text, place, piece)
                run += length
                halves += length // 2
            else:
                pairs.n[with_left[neighbour]] += weight
        if text.symbols[end] >= 0:
            neighbour = int64(text.symbols[end])
            if with_right[neighbour] < 0:
                with_right[neighbour] = find_or_add_pair(text, pieces, pairs, piece, neighbour)
                risen[number_risen] = with_right[neighbour]
                number_risen += 1
            link(text, pairs, int64(with_right[neighbour]), place)
            if neighbour == piece:
                length = run_from(text, pieces, end, piece)
                run += length
                halves += length // 2
            else:
                pairs.n[with_right[neighbour]] += weight
        if run > 1:
            pairs.n[find_pair(pairs, piece, piece)] += weight * (run // 2 - halves)
    pairs.n[pair] = 0
    pairs.first[pair] = -1
    for k in range(number_risen):
        with_left[pairs.left[risen[k]]] = -1
        with_right[pairs.right[risen[k]]] = -1
    pieces.counts[left] -= merged
    pieces.counts[right] -= merged
    pieces.counts[piece] += merged
    pieces.number[1] -= merged
    return piece, number_risen


@inner
def _take_out(
    text: Text, pieces: Pieces, pairs: Pairs, pair: int, place: int, middle: int, end: int
) -> None:
    """Remove the two pieces at `place` and `middle` from the pairs that they stand in."""
    left, right = int64(pairs.left[pair]), int64(pairs.right[pair])
    weight = text.weights[place]
    text.pair_at[place] = -1  # the list of the pair itself is given up as a whole
    if text.symbols[place - 1] >= 0:
        before = int64(text.back[place - 1])
        lost = text.pair_at[before]
        if text.symbols[before] == left:  # the last of a run goes
            run = run_before(text, place, left)
            pairs.n[lost] -= weight * ((run + 1) // 2 - run // 2)
        else:
            pairs.n[lost] -= weight
        unlink(text, pairs, before)
    if text.symbols[end] >= 0:
        lost = text.pair_at[middle]
        if lost == pair:  # only in a run of three or more: (a, a) keeps no count
            text.pair_at[middle] = -1
            return
        if text.symbols[end] == right:  # the first of a run goes
            run = run_from(text, pieces, end, right)
            pairs.n[lost] -= weight * ((run + 1) // 2 - run // 2)
        else:
            pairs.n[lost] -= weight
        unlink(text, pairs, middle)


@inner
def _places(text: Text, pieces: Pieces, pairs: Pairs, pair: int) -> np.ndarray:
    """Return where a pair stands; the places of a run of equal pieces in order, left to right."""
    number = 0
    place = int64(pairs.first[pair])
    while place >= 0:
        number += 1
        place = int64(text.after[place])
    places = np.empty(number, np.int64)
    left = int64(pairs.left[pair])
    same = left == pairs.right[pair]
    k = 0
    place = int64(pairs.first[pair])
    while place >= 0:
        if not same:
            places[k] = place
            k += 1
        elif run_before(text, place, left) == 0:
            at = place
            while text.pair_at[at] == pair:
                places[k] = at
                k += 1
                at += int64(pieces.length[left])
        place = int64(text.after[place])
    return places
