"""One merge, for compiled code: a pair becomes one piece, and its neighbours' pairs change.

    before   … x  a  b  y …        pairs (x, a) (a, b) (b, y)  lose an occurrence
    after    … x  ab    y …        pairs (x, ab) (ab, y)       win one

Counts follow what a merge would replace: of a run of one piece, (a, a) counts ⌊run / 2⌋ times. So
where equal pieces meet, what changes is the difference of two such halves, not one.
"""

from typing import NamedTuple

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


class Scratch(NamedTuple):
    """Memory that one merge after the other uses.

    Attributes:
        places: int32 [X], where the pair stands that is being merged.
        risen: int32 [2 · piece capacity], pairs whose n may have risen.
        with_left: int32 [piece capacity], the pair of each left neighbour and the piece being
            made; −1 between merges.
        with_right: the same for right neighbours.
    """

    places: np.ndarray
    risen: np.ndarray
    with_left: np.ndarray
    with_right: np.ndarray


def empty_scratch(text: Text, pieces: Pieces) -> Scratch:
    """Return the memory that merging in this text takes."""
    capacity = len(pieces.counts)
    return Scratch(
        places=np.empty(len(text), np.int32),
        risen=np.empty(2 * capacity + 2, np.int32),
        with_left=np.full(capacity, -1, np.int32),
        with_right=np.full(capacity, -1, np.int32),
    )


@inner
def start_text(text: Text, pieces: Pieces, pairs: Pairs) -> None:
    """Enter the characters as pieces, and every place under its pair."""
    number = 0
    while number < len(pieces.counts) and pieces.counts[number] > 0:
        new_piece(text, pieces, pieces.spelling[number], int64(pieces.sample[number]), int64(1))
        number += 1
    run = 0  # how many of one piece stand in a row from place + 1 on
    for place in range(len(text) - 2, 0, -1):  # backwards, so that the lists run forwards
        left, right = int64(text[place].symbol), int64(text[place + 1].symbol)
        run = run + 1 if left == right else 1
        if left < 0 or right < 0:
            continue
        pair = find_or_add_pair(text, pieces, pairs, left, right)
        link(text, pairs, pair, place)
        if left != right or run % 2 == 0:
            pairs.n[pair] += text[place].weight


@inner
def merge(
    text: Text,
    pieces: Pieces,
    pairs: Pairs,
    pair: int,
    scratch: Scratch,
) -> tuple[int, int]:
    """Merge a pair everywhere.

    Args:
        text, pieces, pairs: changed in place.
        pair: the pair to merge.
        scratch: its `risen` receives the pairs whose n may have risen.

    Returns:
        The piece made, and how many pairs stand in `scratch.risen`.
    """
    left, right = int64(pairs.left[pair]), int64(pairs.right[pair])
    places, risen = scratch.places, scratch.risen
    with_left, with_right = scratch.with_left, scratch.with_right
    number_places = _find_places(text, pieces, pairs, pair, places)
    piece = int64(pairs.target[pair])
    if piece < 0:
        length = int64(pieces.length[left] + pieces.length[right])
        spelling = joined_spelling(pieces, left, right)
        piece = new_piece(text, pieces, spelling, int64(places[0]), length)
    number_risen = 0
    merged = 0
    for k in range(number_places):
        place = int64(places[k])
        if text[place].pair != pair:
            continue  # the second of three equal pieces: the first merge has used it up
        weight = text[place].weight
        merged += weight
        middle = place + int64(pieces.length[left])
        end = middle + int64(pieces.length[right])
        _take_out(text, pieces, pairs, pair, place, middle, end)
        text[place].symbol = piece
        text[end - 1].back = place

        run = 1  # of the new piece, through this place
        halves = 0  # what the runs that now join up counted for
        if text[place - 1].symbol >= 0:
            before = int64(text[place - 1].back)
            neighbour = int64(text[before].symbol)
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
        if text[end].symbol >= 0:
            neighbour = int64(text[end].symbol)
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
    weight = text[place].weight
    text[place].pair = -1  # the list of the pair itself is given up as a whole
    if text[place - 1].symbol >= 0:
        before = int64(text[place - 1].back)
        lost = text[before].pair
        if text[before].symbol == left:  # the last of a run goes
            run = run_before(text, place, left)
            pairs.n[lost] -= weight * ((run + 1) // 2 - run // 2)
        else:
            pairs.n[lost] -= weight
        unlink(text, pairs, before)
    if text[end].symbol >= 0:
        lost = text[middle].pair
        if lost == pair:  # only in a run of three or more: (a, a) keeps no count
            text[middle].pair = -1
            return
        if text[end].symbol == right:  # the first of a run goes
            run = run_from(text, pieces, end, right)
            pairs.n[lost] -= weight * ((run + 1) // 2 - run // 2)
        else:
            pairs.n[lost] -= weight
        unlink(text, pairs, middle)


@inner
def _find_places(text: Text, pieces: Pieces, pairs: Pairs, pair: int, places: np.ndarray) -> int:
    """Enter where a pair stands, runs of equal pieces from left to right; return the number."""
    left = int64(pairs.left[pair])
    same = left == pairs.right[pair]
    number = 0
    place = int64(pairs.first[pair])
    while place >= 0:
        if not same:
            places[number] = place
            number += 1
        elif run_before(text, place, left) == 0:
            at = place
            while text[at].pair == pair:
                places[number] = at
                number += 1
                at += int64(pieces.length[left])
        place = int64(text[place].after)
    return number
