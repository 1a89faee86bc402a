"""The text while it is being merged, for compiled code: linked symbols and where each pair occurs.

Every word lies in one long array, and a merge touches only its own surroundings:

    place     0  1  2  3  4  5            after merging (##u, ##g) = 9
    symbol   −1  h  u  g  s −1            −1  h  9  ·  s −1
    the next symbol starts `length[symbol]` places on; `back` leads from the last place of a symbol
    to its first, so the previous symbol is back[place − 1]

`pair` is the pair whose left piece starts at a place. All places of a pair form a doubly linked
list, so finding them takes no search and changing one takes constant time.
"""

from typing import NamedTuple

import numpy as np

from bert_jax.text.compiled import entry, inner, int64
from bert_jax.text.wordpiece_inventory import CharacterWords

_HASH = np.uint64(0x9E3779B97F4A7C15)


# One place of the text. All that a merge asks of a place lies side by side in memory.
PLACE = np.dtype(
    [
        ("symbol", np.int32),  # the piece that starts here; −1 between words; stale inside a piece
        ("back", np.int32),  # on the last place of a piece: its first
        ("pair", np.int32),  # the pair whose left piece starts here, or −1
        ("after", np.int32),  # the next place of the same pair, or −1
        ("before", np.int32),  # the previous place of the same pair, or −1
        ("character", np.int32),  # the character piece that was here at first (never changed)
        ("weight", np.int64),  # how often the word occurs
    ]
)
Text = np.ndarray  # of PLACE, [X]


class Pairs(NamedTuple):
    """Pairs of pieces that occur or once occurred, all [pair capacity] but the last two.

    Attributes:
        left, right: int32, the pieces.
        n: int64, occurrences that a merge would replace.
        first: int32, one place of the pair, or −1.
        target: int32, the piece with the merged spelling, or −1.
        slots: int32 [power of two], open-addressed table from (left, right) to pair, or −1.
        number: int64 [1], pairs in use.
    """

    left: np.ndarray
    right: np.ndarray
    n: np.ndarray
    first: np.ndarray
    target: np.ndarray
    slots: np.ndarray
    number: np.ndarray


class Pieces(NamedTuple):
    """Pieces of the vocabulary, all [piece capacity] but the last three.

    Attributes:
        counts: int64, occurrences in the text.
        length: int32, characters.
        sample: int32, a place whose characters spell the piece.
        spelling: uint64, a hash of those characters.
        slots: int32 [power of two], open-addressed table from spelling to piece, or −1.
        powers: uint64, powers of the hash's base.
        number: int64 [2], pieces in use, and N: pieces in the whole text.
    """

    counts: np.ndarray
    length: np.ndarray
    sample: np.ndarray
    spelling: np.ndarray
    slots: np.ndarray
    powers: np.ndarray
    number: np.ndarray


def lay_out(words: CharacterWords, piece_capacity: int) -> tuple[Text, Pieces, Pairs]:
    """Return the text, its characters as the first pieces, and room for pairs, none entered yet."""
    places = len(words.symbols)
    number = len(words.characters)
    piece_capacity = max(piece_capacity, number) + 1
    characters = np.arange(number)
    inside = words.symbols >= 0
    text = np.zeros(places, PLACE)
    text["symbol"] = text["character"] = words.symbols
    text["back"] = np.arange(places)
    text["weight"] = words.weights
    for field in ("pair", "after", "before"):
        text[field] = -1
    longest = 2 + int(np.diff(np.flatnonzero(~inside)).max(initial=1))
    powers = np.full(longest, 0x100000001B3, np.uint64)  # any odd base will do
    powers[0] = 1
    pieces = Pieces(
        counts=np.zeros(piece_capacity, np.int64),
        length=np.ones(piece_capacity, np.int32),
        sample=np.zeros(piece_capacity, np.int32),
        spelling=np.zeros(piece_capacity, np.uint64),
        slots=np.full(_power_of_two(2 * piece_capacity), -1, np.int32),
        powers=np.multiply.accumulate(powers),
        number=np.array([0, words.weights.sum()], np.int64),
    )
    np.add.at(pieces.counts[:number], words.symbols[inside], words.weights[inside])
    pieces.sample[words.symbols[inside]] = np.flatnonzero(inside)
    pieces.spelling[:number] = (characters + 1).astype(np.uint64) * _HASH
    return text, pieces, _empty_pairs(max(1 << 12, 4 * piece_capacity, min(places, number**2)))


def grown_pairs(pairs: Pairs) -> Pairs:
    """Return the same pairs with room for twice as many."""
    larger = _empty_pairs(2 * len(pairs.n))
    used = int(pairs.number[0])
    for name in ("left", "right", "n", "first", "target"):
        getattr(larger, name)[:used] = getattr(pairs, name)[:used]
    larger.number[0] = used
    enter_pairs(larger)
    return larger


def _empty_pairs(capacity: int) -> Pairs:
    return Pairs(
        left=np.empty(capacity, np.int32),
        right=np.empty(capacity, np.int32),
        n=np.zeros(capacity, np.int64),
        first=np.empty(capacity, np.int32),
        target=np.empty(capacity, np.int32),
        slots=np.full(_power_of_two(2 * capacity), -1, np.int32),
        number=np.zeros(1, np.int64),
    )


def _power_of_two(least: int) -> int:
    return 1 << max(4, (least - 1).bit_length())


@inner
def find_spelling(
    text: Text, pieces: Pieces, spelling: np.uint64, start: int, middle: int, rest: int, length: int
) -> int:
    """Return the piece spelled by places start…middle and then rest…, or −1.

    The first `middle` characters are read from place `start`, the others from place `rest`.
    """
    mask = len(pieces.slots) - 1
    slot = np.int64((spelling * _HASH) >> np.uint64(32)) & mask
    while pieces.slots[slot] >= 0:
        piece = int64(pieces.slots[slot])
        if pieces.spelling[piece] == spelling and pieces.length[piece] == length:
            at = pieces.sample[piece]
            same = True
            for k in range(length):
                place = start + k if k < middle else rest + k - middle
                if text[at + k].character != text[place].character:
                    same = False
                    break
            if same:
                return piece
        slot = (slot + 1) & mask
    return -1


@inner
def new_piece(text: Text, pieces: Pieces, spelling: np.uint64, sample: int, length: int) -> int:
    """Add a piece that does not occur yet and return it."""
    piece = pieces.number[0]
    pieces.number[0] += 1
    pieces.length[piece] = length
    pieces.sample[piece] = sample
    pieces.spelling[piece] = spelling
    mask = len(pieces.slots) - 1
    slot = np.int64((spelling * _HASH) >> np.uint64(32)) & mask
    while pieces.slots[slot] >= 0:
        slot = (slot + 1) & mask
    pieces.slots[slot] = piece
    return piece


@inner
def joined_spelling(pieces: Pieces, left: int, right: int) -> np.uint64:
    """Return the hash of left's characters followed by right's."""
    shifted = pieces.spelling[left] * pieces.powers[pieces.length[right]]
    return shifted + pieces.spelling[right]


@inner
def find_pair(pairs: Pairs, left: int, right: int) -> int:
    """Return the pair (left, right), or −1 − the free slot where it would stand."""
    mask = len(pairs.slots) - 1
    key = np.uint64(left) * np.uint64(0x100000001) ^ np.uint64(right) * _HASH
    slot = np.int64((key * _HASH) >> np.uint64(32)) & mask
    while pairs.slots[slot] >= 0:
        pair = int64(pairs.slots[slot])
        if pairs.left[pair] == left and pairs.right[pair] == right:
            return pair
        slot = (slot + 1) & mask
    return int64(-1 - slot)


@inner
def find_or_add_pair(text: Text, pieces: Pieces, pairs: Pairs, left: int, right: int) -> int:
    """Return the pair (left, right), added with n = 0 if it is new."""
    found = find_pair(pairs, left, right)
    if found >= 0:
        return found
    pair = int64(pairs.number[0])
    pairs.number[0] += 1
    pairs.slots[-1 - found] = pair
    pairs.left[pair] = left
    pairs.right[pair] = right
    pairs.n[pair] = 0
    pairs.first[pair] = -1
    pairs.target[pair] = find_spelling(
        text,
        pieces,
        joined_spelling(pieces, left, right),
        int64(pieces.sample[left]),
        int64(pieces.length[left]),
        int64(pieces.sample[right]),
        int64(pieces.length[left] + pieces.length[right]),
    )
    return pair


@entry
def enter_pairs(pairs: Pairs) -> None:
    """Fill the empty table of pairs."""
    for pair in range(pairs.number[0]):
        pairs.slots[-1 - find_pair(pairs, pairs.left[pair], pairs.right[pair])] = pair


@inner
def link(text: Text, pairs: Pairs, pair: int, place: int) -> None:
    """Enter a place into the list of its pair."""
    first = int64(pairs.first[pair])
    text[place].pair = pair
    text[place].before = -1
    text[place].after = first
    if first >= 0:
        text[first].before = place
    pairs.first[pair] = place


@inner
def unlink(text: Text, pairs: Pairs, place: int) -> None:
    """Take a place out of the list of its pair."""
    after, before = text[place].after, text[place].before
    if before >= 0:
        text[before].after = after
    else:
        pairs.first[text[place].pair] = after
    if after >= 0:
        text[after].before = before
    text[place].pair = -1


@inner
def run_before(text: Text, place: int, piece: int) -> int:
    """Return how many times `piece` stands in a row up to (not including) `place`."""
    run = 0
    while text[place - 1].symbol >= 0 and text[text[place - 1].back].symbol == piece:
        run += 1
        place = int64(text[place - 1].back)
    return run


@inner
def run_from(text: Text, pieces: Pieces, place: int, piece: int) -> int:
    """Return how many times `piece` stands in a row from `place` on."""
    run = 0
    while text[place].symbol == piece:
        run += 1
        place += pieces.length[piece]
    return run
