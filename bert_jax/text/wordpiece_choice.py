"""Finding the pair of the largest gain without looking at all pairs, for compiled code.

Exact, by three devices, each with its reason:

* **Bounds with floors.** A piece has a floor at or under its count. The heap holds, for each pair
  that is awake, `gain_bound` at the floors, which no later gain exceeds while n and m do not rise
  and the pieces stay over their floors; whichever happens, the bound is renewed. Popping goes on
  until the largest bound left is under the best exact gain. What was popped stays out, in a list
  of pairs whose gains are computed at every step, and goes back when its bound is well behind:
  most candidates of one step are candidates of the next.
* **Sleep.** A pair with n < `least` whose merged string is no piece yet gains less than
  n (ln(N / n) + 1), since f(x) − 2 f(x) = −f(x) at c_a = c_b = n is the most it can be, and
  f(N) − f(N − n) < n (ln N + 1). Such pairs are kept out of the heap. As soon as the best gain is
  not above that limit, `least` is halved and the pairs over it wake up.
* **Rounding.** Comparisons of a bound with a gain leave room for the rounding of both, so the pair
  chosen is the one with the largest gain as computed, to the last bit; ties go to the earlier left
  piece, then the earlier right piece.
"""

import math
from typing import NamedTuple

import numpy as np

from bert_jax.text.compiled import inner, int64
from bert_jax.text.wordpiece_gain import gain_bound, likelihood_gain, rounding_error, x_log_x_table
from bert_jax.text.wordpiece_heap import Heap, empty_heap, pop, push, sweep
from bert_jax.text.wordpiece_text import Pairs, Pieces, Text, find_pair, find_spelling

_SLACK = 0.98  # a floor stands this much under the count: lower, fewer renewals; higher, fewer pops
_BEHIND = 0.97  # a candidate whose gain is under this share of the best may leave the candidates
_IN_LEFT, _IN_RIGHT, _AWAKE, _CANDIDATE = 1, 2, 3, 4


class Choice(NamedTuple):
    """What the search keeps.

    Attributes:
        key: float64 [pair capacity], the current bound of a pair; NaN where it has none.
        listed: uint8 [pair capacity], bits: in the list of its left piece, in that of its right
            piece (awake: both), among the candidates.
        next_left, next_right: int32 [pair capacity], the next pair with that left (right) piece.
        first_left, first_right: int32 [piece capacity], the heads of these lists, or −1.
        floor: int64 [piece capacity].
        heap: the bounds of all pairs that are awake, but the candidates.
        candidates: int32 [pair capacity].
        gains: float64 [pair capacity], the candidates' gains at this step, in their order.
        state: int64 [3], `least`, the entries the heap may reach before it is swept, and how many
            candidates there are.
        table: float64 [2^16], f of small counts, which most counts are.
    """

    key: np.ndarray
    listed: np.ndarray
    next_left: np.ndarray
    next_right: np.ndarray
    first_left: np.ndarray
    first_right: np.ndarray
    floor: np.ndarray
    heap: Heap
    candidates: np.ndarray
    gains: np.ndarray
    state: np.ndarray
    table: np.ndarray


def empty_choice(pairs: Pairs, piece_capacity: int) -> Choice:
    """Return a search over no pairs, with room for those that `pairs` has room for."""
    capacity = len(pairs.n)
    return Choice(
        key=np.full(capacity, np.nan),
        listed=np.zeros(capacity, np.uint8),
        next_left=np.full(capacity, -1, np.int32),
        next_right=np.full(capacity, -1, np.int32),
        first_left=np.full(piece_capacity, -1, np.int32),
        first_right=np.full(piece_capacity, -1, np.int32),
        floor=np.zeros(piece_capacity, np.int64),
        # A step renews a pair four times at most; the heap is swept before it holds two of each.
        heap=empty_heap(6 * capacity),
        candidates=np.empty(capacity, np.int32),
        gains=np.empty(capacity, np.float64),
        state=np.zeros(3, np.int64),
        table=x_log_x_table(1 << 16),
    )


def grown_choice(choice: Choice, pairs: Pairs) -> Choice:
    """Return the same search with room for the pairs that `pairs` has room for."""
    larger = empty_choice(pairs, len(choice.floor))
    for name in ("key", "listed", "next_left", "next_right"):
        old = getattr(choice, name)
        getattr(larger, name)[: len(old)] = old
    number = int(choice.state[2])
    larger.candidates[:number] = choice.candidates[:number]
    size = int(choice.heap.size[0])
    larger.heap.keys[:size] = choice.heap.keys[:size]
    larger.heap.pairs[:size] = choice.heap.pairs[:size]
    larger.heap.size[0] = size
    return larger._replace(
        first_left=choice.first_left,
        first_right=choice.first_right,
        floor=choice.floor,
        state=choice.state,
        table=choice.table,
    )


@inner
def start_choice(pieces: Pieces, pairs: Pairs, choice: Choice, by_frequency: bool) -> None:
    """Set the floors and wake the most frequent pairs of a text that has just been laid out."""
    for piece in range(pieces.number[0]):
        choice.floor[piece] = lowered(pieces.counts[piece])
    most = 0
    for pair in range(pairs.number[0]):
        most = max(most, pairs.n[pair])
    choice.state[0] = most // 4 + 1
    choice.state[1] = 1 << 14
    _wake_all(pieces, pairs, choice, by_frequency)


@inner
def lowered(count: int) -> int:
    """Return the floor for a count."""
    return int64(count * _SLACK)


@inner
def best_pair(
    pieces: Pieces, pairs: Pairs, choice: Choice, by_frequency: bool
) -> tuple[int, float]:
    """Return the pair with the largest gain and its gain, or −1 if no pair is left."""
    heap = choice.heap
    if heap.size[0] > choice.state[1]:
        sweep(heap, choice.key)
        choice.state[1] = 3 * heap.size[0] + (1 << 14)
    total = pieces.number[1]
    error = rounding_error(total)
    best, best_gain = int64(-1), -math.inf
    for k in range(choice.state[2]):
        pair = int64(choice.candidates[k])
        if pairs.n[pair] > 0:
            gain = _gain(pieces, pairs, choice, pair, by_frequency)
            choice.gains[k] = gain
            if gain > best_gain or (gain == best_gain and _comes_before(pairs, pair, best)):
                best, best_gain = pair, gain
    while True:
        while heap.size[0] > 0 and heap.keys[0] >= best_gain - error:
            key, pair = heap.keys[0], int64(heap.pairs[0])
            pop(heap)
            if key != choice.key[pair]:
                continue  # renewed since, or gone to sleep
            choice.key[pair] = np.nan
            if pairs.n[pair] == 0:
                continue
            gain = _gain(pieces, pairs, choice, pair, by_frequency)
            choice.candidates[choice.state[2]] = pair
            choice.gains[choice.state[2]] = gain
            choice.state[2] += 1
            choice.listed[pair] |= _CANDIDATE
            if gain > best_gain or (gain == best_gain and _comes_before(pairs, pair, best)):
                best, best_gain = pair, gain
        asleep = choice.state[0] - 1  # the largest n of a pair that may be asleep
        if by_frequency:
            limit = float(asleep)
        else:
            limit = asleep * (math.log(total / max(asleep, 1)) + 1.0) + error
        if asleep == 0 or best_gain > limit:
            break
        choice.state[0] = max(1, choice.state[0] // 2)
        _wake_all(pieces, pairs, choice, by_frequency)
    _thin_out(pieces, pairs, choice, best, best_gain, by_frequency)
    return best, best_gain


@inner
def _thin_out(
    pieces: Pieces, pairs: Pairs, choice: Choice, best: int, best_gain: float, by_frequency: bool
) -> None:
    """Take the best pair, about to be merged, and those well behind from the candidates."""
    kept = 0
    for k in range(choice.state[2]):
        pair = int64(choice.candidates[k])
        stays = pairs.n[pair] > 0 and pair != best
        if stays and choice.gains[k] < _BEHIND * best_gain:
            stays = _bound(pieces, pairs, choice, pair, by_frequency) >= best_gain
        if stays:
            choice.candidates[kept] = pair
            kept += 1
        else:
            choice.listed[pair] &= ~np.uint8(_CANDIDATE)
            if pair != best:
                _renew(pieces, pairs, choice, pair, by_frequency)
    choice.state[2] = kept


@inner
def n_rose(pieces: Pieces, pairs: Pairs, choice: Choice, pair: int, by_frequency: bool) -> None:
    """Take note that a pair has become more frequent, or its merged piece has."""
    if choice.listed[pair] & _AWAKE == _AWAKE:
        _renew(pieces, pairs, choice, pair, by_frequency)
    elif choice.listed[pair] & _AWAKE or not _may_sleep(pairs, choice, pair):
        _wake(pieces, pairs, choice, pair, by_frequency)


@inner
def count_fell(
    pieces: Pieces, pairs: Pairs, choice: Choice, piece: int, by_frequency: bool
) -> None:
    """Take note that a piece has become rarer: under its floor, renew all its pairs."""
    if by_frequency or pieces.counts[piece] >= choice.floor[piece]:
        return
    choice.floor[piece] = lowered(pieces.counts[piece])
    previous, pair = -1, int64(choice.first_left[piece])
    while pair >= 0:
        after = int64(choice.next_left[pair])
        if _may_sleep(pairs, choice, pair):
            choice.listed[pair] &= ~np.uint8(_IN_LEFT)
            choice.key[pair] = np.nan
            if previous >= 0:
                choice.next_left[previous] = after
            else:
                choice.first_left[piece] = after
        else:
            _renew(pieces, pairs, choice, pair, by_frequency)
            previous = pair
        pair = after
    previous, pair = -1, int64(choice.first_right[piece])
    while pair >= 0:
        after = int64(choice.next_right[pair])
        if _may_sleep(pairs, choice, pair):
            choice.listed[pair] &= ~np.uint8(_IN_RIGHT)
            choice.key[pair] = np.nan
            if previous >= 0:
                choice.next_right[previous] = after
            else:
                choice.first_right[piece] = after
        else:
            _renew(pieces, pairs, choice, pair, by_frequency)
            previous = pair
        pair = after


@inner
def spelling_rose(
    text: Text, pieces: Pieces, pairs: Pairs, choice: Choice, piece: int, by_frequency: bool
) -> None:
    """Take note that a piece is new or more frequent: the other pairs that spell it gain more."""
    start, length = int64(pieces.sample[piece]), int64(pieces.length[piece])
    head = np.uint64(0)
    for cut in range(1, length):
        head = head * pieces.powers[1] + pieces.spelling[text[start + cut - 1].character]
        tail = pieces.spelling[piece] - head * pieces.powers[length - cut]
        left = find_spelling(text, pieces, head, start, cut, start, cut)
        if left < 0:
            continue
        rest = start + cut
        right = find_spelling(text, pieces, tail, rest, length - cut, rest, length - cut)
        if right < 0:
            continue
        pair = find_pair(pairs, left, right)
        if pair >= 0:
            pairs.target[pair] = piece
            if pairs.n[pair] > 0:
                n_rose(pieces, pairs, choice, pair, by_frequency)


@inner
def _gain(pieces: Pieces, pairs: Pairs, choice: Choice, pair: int, by_frequency: bool) -> float:
    if by_frequency:
        return float(pairs.n[pair])
    left, right, target = pairs.left[pair], pairs.right[pair], pairs.target[pair]
    merged = pieces.counts[target] if target >= 0 else 0
    return likelihood_gain(
        pairs.n[pair],
        merged,
        pieces.counts[left],
        pieces.counts[right],
        left == right,
        pieces.number[1],
        choice.table,
    )


@inner
def _bound(pieces: Pieces, pairs: Pairs, choice: Choice, pair: int, by_frequency: bool) -> float:
    if by_frequency:
        return float(pairs.n[pair])
    left, right, target = pairs.left[pair], pairs.right[pair], pairs.target[pair]
    merged = pieces.counts[target] if target >= 0 else 0
    return gain_bound(
        pairs.n[pair],
        merged,
        choice.floor[left],
        choice.floor[right],
        left == right,
        pieces.number[1],
        choice.table,
    )


@inner
def _renew(pieces: Pieces, pairs: Pairs, choice: Choice, pair: int, by_frequency: bool) -> None:
    """Put today's bound of a pair in the heap, unless it is a candidate."""
    if pairs.n[pair] == 0 or choice.listed[pair] & _CANDIDATE:
        return
    key = _bound(pieces, pairs, choice, pair, by_frequency)
    if key != choice.key[pair]:
        choice.key[pair] = key
        push(choice.heap, key, pair)


@inner
def _wake(pieces: Pieces, pairs: Pairs, choice: Choice, pair: int, by_frequency: bool) -> None:
    left, right = int64(pairs.left[pair]), int64(pairs.right[pair])
    if choice.listed[pair] & _IN_LEFT == 0:
        choice.next_left[pair] = choice.first_left[left]
        choice.first_left[left] = pair
    if choice.listed[pair] & _IN_RIGHT == 0:
        choice.next_right[pair] = choice.first_right[right]
        choice.first_right[right] = pair
    choice.listed[pair] |= _AWAKE
    _renew(pieces, pairs, choice, pair, by_frequency)


@inner
def _wake_all(pieces: Pieces, pairs: Pairs, choice: Choice, by_frequency: bool) -> None:
    """Wake the pairs that `least` no longer lets sleep."""
    for pair in range(pairs.number[0]):
        if choice.listed[pair] & _AWAKE != _AWAKE and not _may_sleep(pairs, choice, pair):
            _wake(pieces, pairs, choice, pair, by_frequency)


@inner
def _may_sleep(pairs: Pairs, choice: Choice, pair: int) -> bool:
    n = pairs.n[pair]
    return n == 0 or (n < choice.state[0] and pairs.target[pair] < 0)


@inner
def _comes_before(pairs: Pairs, one: int, other: int) -> bool:
    if other < 0:
        return True
    if pairs.left[one] != pairs.left[other]:
        return pairs.left[one] < pairs.left[other]
    return pairs.right[one] < pairs.right[other]
