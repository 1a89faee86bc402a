"""The likelihood WordPiece learner in plain Python, which the compiled one must equal.

Start from the characters; again and again merge the pair of adjacent pieces whose merging raises
the likelihood of the text the most:

    h·u·g ×10   p·u·g ×5   h·u·g·s ×5
    merge (##u, ##g)        h·ug ×10   p·ug ×5   h·ug·s ×5
    merge (h, ##ug)         hug ×10    p·ug ×5   hug·s ×5

Two pairs may spell the same string, (un, ##able) and (una, ##ble); the second merge then adds its
occurrences to the piece that exists, and the vocabulary does not grow by it.

**Which pair.** The largest gain as `likelihood_gain` computes it in float64; equal gains: the left
piece that came earlier, then the right piece that came earlier (characters in the order of the
inventory, then merged pieces in the order of their making). Nothing else has a say.

**How it is found.** Gains change all the time: one merge changes the gains of all pairs of its two
pieces. A heap of gains as they once were is wrong, since gains rise when the count of a piece
falls. So each piece has a floor at or under its count, the heap holds for each pair a bound on all
its gains while its pieces stay over their floors (`gain_bound`), and a pair's bound is renewed when
a piece drops under its floor, or when n or m of the pair rises. Pop until the largest bound left is
under the best exact gain.
"""

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from bert_jax.text.wordpiece_gain import gain_bound, likelihood_gain, rounding_error
from bert_jax.text.wordpiece_inventory import CONTINUATION, CharacterWords
from bert_jax.text.wordpiece_merges import Merges

_SLACK = 0.98  # a floor stands this much under the count: lower, fewer renewals; higher, fewer pops
_TABLE = np.zeros(1)  # f(0); every other value is computed when it is wanted


def learn_merges_reference(
    words: CharacterWords, size: int, min_gain: float = 0.0, by_frequency: bool = False
) -> Merges:
    """Learn pieces until there are `size` of them, or the best gain is below `min_gain` (nats).

    With `by_frequency` the score of a pair is its number of occurrences, as in byte pair encoding,
    and `min_gain` counts occurrences. Made to be read: minutes for a real corpus.
    """
    return _Learner(words, by_frequency).run(size, min_gain)


class _Learner:
    def __init__(self, words: CharacterWords, by_frequency: bool):
        self.words, self.weights = words.words()
        self.by_frequency = by_frequency
        self.pieces = list(words.characters)
        self.index = {piece: u for u, piece in enumerate(self.pieces)}
        self.count = [0] * len(self.pieces)
        self.n: dict[tuple[int, int], int] = defaultdict(int)
        self.found_in: dict[tuple[int, int], set[int]] = defaultdict(set)  # indices of words
        self.pairs_with: dict[int, set[tuple[int, int]]] = defaultdict(set)
        self.spelled: dict[str, set[tuple[int, int]]] = defaultdict(set)
        self.key: dict[tuple[int, int], float] = {}
        self.heap: list[tuple[float, tuple[int, int]]] = []
        for w, word in enumerate(self.words):
            for u in word:
                self.count[u] += self.weights[w]
            for pair, n in _pairs(word).items():
                self._add(pair, n * self.weights[w], w)
        self.total = sum(self.count)
        self.floor = [int(c * _SLACK) for c in self.count]
        self._renew(list(self.n))

    def run(self, size: int, min_gain: float) -> Merges:
        steps: list[tuple[int, int, int, float, int, int]] = []
        stopped_by = "size"
        while len(self.pieces) < size:
            pair, gain = self._best()
            if pair is None or gain < min_gain:
                stopped_by = "exhausted" if pair is None else "gain"
                break
            n = self.n[pair]
            piece = self._merge(pair)
            steps.append((*pair, piece, gain, n, len(self.pieces)))
        left, right, made, gains, occurrences, sizes = (
            zip(*steps, strict=True) if steps else [()] * 6
        )
        return Merges(
            pieces=tuple(self.pieces),
            left=np.array(left, np.int32),
            right=np.array(right, np.int32),
            piece=np.array(made, np.int32),
            gain=np.array(gains, np.float64),
            occurrences=np.array(occurrences, np.int64),
            sizes=np.array(sizes, np.int32),
            counts=np.array(self.count, np.int64),
            stopped_by=stopped_by,
        )

    def _best(self) -> tuple[tuple[int, int] | None, float]:
        """Return the pair of the largest gain and that gain; (None, −inf) when no pair is left."""
        best, best_gain = None, -math.inf
        error = rounding_error(self.total)
        looked_at = []
        while self.heap and -self.heap[0][0] >= best_gain - error:
            key, pair = heapq.heappop(self.heap)
            if self.key.get(pair) != -key:
                continue  # gone, or renewed since
            gain = self._gain(pair)
            if gain > best_gain or (gain == best_gain and (best is None or pair < best)):
                best, best_gain = pair, gain
            looked_at.append(pair)
            self.key[pair] = math.nan  # equal to no entry that is still in the heap
        self._renew(looked_at)
        return best, best_gain

    def _gain(self, pair: tuple[int, int]) -> float:
        left, right = pair
        if self.by_frequency:
            return float(self.n[pair])
        merged, same = self._count_of(pair), left == right
        return likelihood_gain(
            self.n[pair], merged, self.count[left], self.count[right], same, self.total, _TABLE
        )

    def _renew(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Put today's bound of each pair in the heap."""
        for pair in pairs:
            n = self.n.get(pair, 0)
            if n == 0:
                continue
            left, right = pair
            if self.by_frequency:
                key = float(n)
            else:
                merged, same = self._count_of(pair), left == right
                floors = self.floor[left], self.floor[right]
                key = gain_bound(n, merged, *floors, same, self.total, _TABLE)
            if key != self.key.get(pair):
                self.key[pair] = key
                heapq.heappush(self.heap, (-key, pair))

    def _merge(self, pair: tuple[int, int]) -> int:
        """Replace the pair by one piece in every word, left to right; return the piece."""
        text = self._spelling(pair)
        if text not in self.index:
            self.index[text] = len(self.pieces)
            self.pieces.append(text)
            self.count.append(0)
            self.floor.append(0)
        piece = self.index[text]
        risen = set()
        for w in list(self.found_in[pair]):
            word, weight = self.words[w], self.weights[w]
            before = _pairs(word)
            merged = _replace(word, pair, piece)
            after = _pairs(merged)
            self.words[w] = merged
            for new, n in after.items():  # first, so that a pair which stays is never gone between
                self._add(new, n * weight, w)
                if n > before.get(new, 0):
                    risen.add(new)
            for old, n in before.items():
                self._add(old, -n * weight, None if old in after else w)
            made = len(word) - len(merged)
            self.count[piece] += made * weight
            self.count[pair[0]] -= made * weight
            self.count[pair[1]] -= made * weight
            self.total -= made * weight
        self.floor[piece] = int(self.count[piece] * _SLACK)
        for fallen in set(pair):
            if self.count[fallen] < self.floor[fallen]:
                self.floor[fallen] = int(self.count[fallen] * _SLACK)
                risen |= self.pairs_with[fallen]
        self._renew(risen | self.spelled[text])  # m of those that spell this piece has risen
        return piece

    def _add(self, pair: tuple[int, int], n: int, word: int | None) -> None:
        """Change a pair's count by n, which `word` (an index) begins or ceases to hold."""
        left, right = pair
        sets = [self.pairs_with[left], self.pairs_with[right], self.spelled[self._spelling(pair)]]
        if pair not in self.n:
            for pairs in sets:
                pairs.add(pair)
        self.n[pair] += n
        if word is not None and n > 0:
            self.found_in[pair].add(word)
        elif word is not None:
            self.found_in[pair].discard(word)
        if self.n[pair] == 0:
            for pairs in sets:
                pairs.discard(pair)
            del self.n[pair], self.found_in[pair]
            self.key.pop(pair, None)

    def _spelling(self, pair: tuple[int, int]) -> str:
        return self.pieces[pair[0]] + self.pieces[pair[1]].removeprefix(CONTINUATION)

    def _count_of(self, pair: tuple[int, int]) -> int:
        piece = self.index.get(self._spelling(pair))
        return 0 if piece is None else self.count[piece]


def _pairs(word: list[int]) -> dict[tuple[int, int], int]:
    """Return how often a merge of each pair would replace it in a word: "aaa" holds (a, a) once."""
    counts: dict[tuple[int, int], int] = defaultdict(int)
    run = 1  # length of the run of one piece that ends here
    for left, right in itertools.pairwise(word):
        run = run + 1 if left == right else 1
        if left != right or run % 2 == 0:
            counts[left, right] += 1
    return counts


def _replace(word: list[int], pair: tuple[int, int], piece: int) -> list[int]:
    merged: list[int] = []
    i = 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            merged.append(piece)
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return merged
