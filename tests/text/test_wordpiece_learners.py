"""Three learners that must agree: real recounting, the reference, and the compiled one."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.text.word_counts import WordCounts
from bert_jax.text.wordpiece_compiled import learn_merges
from bert_jax.text.wordpiece_gain import gain_bound, likelihood_gain, x_log_x, x_log_x_table
from bert_jax.text.wordpiece_inventory import cut_into_characters
from bert_jax.text.wordpiece_merges import log_likelihood
from bert_jax.text.wordpiece_reference import learn_merges_reference

FIELDS = ("pieces", "left", "right", "piece", "gain", "occurrences", "sizes", "counts")
NO_TABLE = np.zeros(1)


def table(words):
    kept = sorted(words)
    return WordCounts(tuple(kept), np.array([words[w] for w in kept], np.int64))


def tables(alphabet, longest, most):
    word = st.text(alphabet, min_size=1, max_size=longest)
    count = st.one_of(st.integers(1, 3), st.integers(1, 1000))
    return st.dictionaries(word, count, min_size=1, max_size=most).map(table)


# Few letters: repeats, equal gains and several ways to spell a piece; then Unicode.
TABLES = st.one_of(
    tables("a", 9, 6), tables("ab", 12, 30), tables("abcé漢", 8, 60), tables("abcdefgh", 14, 150)
)


def brute_force(words, size, min_gain, by_frequency):
    """Learn by doing every merge there is at every step and counting all pieces again."""
    texts, weights = words.words()
    pieces, merges = list(words.characters), []

    def replaced(text, pair, new):
        out, i = [], 0
        while i < len(text):
            if tuple(text[i : i + 2]) == pair:
                out.append(new)
                i += 2
            else:
                out.append(text[i])
                i += 1
        return out

    def counts(of):
        counter = Counter()
        for text, weight in zip(of, weights, strict=True):
            for piece in text:
                counter[piece] += weight
        return counter

    while len(pieces) < size:
        now = counts(texts)
        before = log_likelihood(list(now.values()))
        scored = []
        for pair in {p for text in texts for p in itertools.pairwise(text)}:
            spelled = pieces[pair[0]] + pieces[pair[1]].removeprefix("##")
            new = pieces.index(spelled) if spelled in pieces else len(pieces)
            merged = [replaced(text, pair, new) for text in texts]
            then = counts(merged)
            real = log_likelihood(list(then.values())) - before
            n = now.total() - then.total()
            gain = likelihood_gain(
                n, now[new], now[pair[0]], now[pair[1]], pair[0] == pair[1], now.total(), NO_TABLE
            )
            assert gain == pytest.approx(real, abs=1e-8 * (1 + abs(before)))
            score = float(n) if by_frequency else gain
            scored.append((-score, pair, real, n, new, spelled, merged))
        if not scored:
            return pieces, merges, "exhausted"
        scored.sort(key=lambda s: s[:2])
        score, pair, real, n, new, spelled, merged = scored[0]
        if not by_frequency:  # the pair chosen is truly the best one, up to rounding
            assert real >= max(s[2] for s in scored) - 1e-8 * (1 + abs(before))
        if -score < min_gain:
            return pieces, merges, "gain"
        if new == len(pieces):
            pieces.append(spelled)
        texts = merged
        merges.append((*pair, new, -score, n, len(pieces)))
    return pieces, merges, "size"


def assert_same(one, other):
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)
    assert one.stopped_by == other.stopped_by


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(tables("a", 9, 4), tables("ab", 8, 10), tables("aé漢b", 6, 14)),
    st.integers(0, 30),
    st.sampled_from([0.0, 0.0, 3.0, 30.0]),
    st.booleans(),
)
def test_both_learners_equal_brute_force(counts, more, min_gain, by_frequency):
    words = cut_into_characters(counts)
    size = len(words.characters) + more
    pieces, merges, stopped_by = brute_force(words, size, min_gain, by_frequency)
    for learn in (learn_merges_reference, learn_merges):
        learned = learn(words, size, min_gain, by_frequency)
        found = [getattr(learned, field).tolist() for field in FIELDS[1:-1]]
        assert list(zip(*found, strict=True)) == merges
        assert (list(learned.pieces), learned.stopped_by) == (pieces, stopped_by)


@settings(max_examples=60, deadline=None)
@given(TABLES, st.integers(0, 300), st.sampled_from([0.0, 5.0]), st.booleans())
def test_the_compiled_learner_equals_the_reference(counts, more, min_gain, by_frequency):
    words = cut_into_characters(counts)
    size = len(words.characters) + more
    reference = learn_merges_reference(words, size, min_gain, by_frequency)
    assert_same(learn_merges(words, size, min_gain, by_frequency), reference)


def zipf_table(types, seed):
    """Make up words of syllables, with the counts that real words have."""
    rng = np.random.default_rng(seed)
    syllables = ["".join(rng.choice(list("aeioukmnprst"), rng.integers(1, 4))) for _ in range(300)]
    shares = 1 / np.arange(1, 301)
    words = Counter()
    for rank in range(1, types + 1):
        parts = rng.choice(300, rng.integers(1, 5), p=shares / shares.sum())
        words["".join(syllables[p] for p in parts)] += 1 + int(3e5 / rank**1.1)
    return table(words)


def test_both_agree_on_a_table_large_enough_to_sleep_sweep_and_grow():
    words = cut_into_characters(zipf_table(4000, 0))
    reference = learn_merges_reference(words, 2500)
    assert len(reference.left) > 2000
    assert_same(learn_merges(words, 2500), reference)


def test_the_order_of_words_and_the_size_asked_for_change_nothing():
    counts = zipf_table(800, 1)
    words = cut_into_characters(counts)
    learned = learn_merges(words, 700)
    order = np.random.default_rng(2).permutation(len(counts.words))
    shuffled = WordCounts(tuple(counts.words[i] for i in order), counts.counts[order])
    assert_same(learn_merges(cut_into_characters(shuffled), 700), learned)
    assert_same(learn_merges(words, 900).up_to(700), learned)


def test_hand_made_merges():
    words = cut_into_characters(table({"hug": 10, "pug": 5, "hugs": 5}))
    learned = learn_merges_reference(words, 8)
    assert learned.pieces == ("h", "p", "##g", "##s", "##u", "##ug", "hug", "pug")
    assert learned.occurrences.tolist() == [20, 15, 5]
    # 20 ×(##u ##g) become 20 ×(##ug): both vanish, 65 pieces become 45.
    first = 65 * math.log(65) - 45 * math.log(45) - 20 * math.log(20)
    assert learned.gain[0] == pytest.approx(first)


def test_a_run_of_equal_pieces_is_merged_from_the_left():
    words = cut_into_characters(table({"baaa": 1, "caaaa": 2, "daa": 4}))
    for learn in (learn_merges_reference, learn_merges):
        learned = learn(words, 5, by_frequency=True)  # b aa a ×1, c aa aa ×2, d aa ×4
        assert learned.pieces == ("b", "c", "d", "##a", "##aa")
        assert learned.occurrences.tolist() == [1 + 2 * 2 + 4]
        assert learned.counts.tolist() == [1, 2, 4, 1, 9]


def test_every_merge_adds_a_row():
    # A pair that spells a piece which exists would not. But between the same two cuts a string is
    # always cut the same way, whatever stands around it, so the merge that made the piece left no
    # such pair. The learners allow for it; this says that it stays theory, runs included.
    rng = np.random.default_rng(0)
    for letters in ("a", "ab", "abc"):
        words = {"".join(rng.choice(list(letters), rng.integers(1, 12))): k for k in range(1, 99)}
        start = cut_into_characters(table(words))
        learned = learn_merges(start, 300, by_frequency=True)
        first = len(start.characters) + 1
        assert learned.sizes.tolist() == list(range(first, first + len(learned.sizes)))
        assert len(set(learned.pieces)) == len(learned.pieces)


def test_likelihood_is_the_sum_of_the_gains():
    words = cut_into_characters(zipf_table(800, 3))
    start, end = learn_merges(words, len(words.characters)), learn_merges(words, 500)
    gained = math.fsum(end.gain)
    assert end.log_likelihood == pytest.approx(start.log_likelihood + gained, rel=1e-9)


def test_the_threshold_stops_at_the_first_gain_below_it():
    words = cut_into_characters(zipf_table(800, 4))
    gains = learn_merges(words, 600).gain
    threshold = float(np.sort(gains)[len(gains) // 2])
    first_below = int(np.argmax(gains < threshold))
    stopped = learn_merges(words, 600, min_gain=threshold)
    assert stopped.stopped_by == "gain"
    np.testing.assert_array_equal(stopped.gain, gains[:first_below])


counts_of_pairs = st.tuples(
    st.integers(1, 60), st.integers(0, 40), st.integers(0, 80), st.integers(0, 80),
    st.integers(0, 3000), st.booleans(),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(counts_of_pairs, st.data())
def test_no_later_gain_exceeds_the_bound(case, data):
    n, merged, left_rest, right_rest, others, same = case
    left = (2 * n if same else n) + left_rest
    right = left if same else n + right_rest
    total = (left if same else left + right) + merged + others
    left_floor = data.draw(st.integers(0, left))
    right_floor = left_floor if same else data.draw(st.integers(0, right))
    bound = gain_bound(n, merged, left_floor, right_floor, same, total, NO_TABLE)
    # Later: n, m and N may have fallen, the pieces may have fallen as far as their floors.
    n2 = data.draw(st.integers(1, n))
    merged2 = data.draw(st.integers(0, merged))
    left2 = data.draw(st.integers(max(left_floor, 2 * n2 if same else n2), left + 5))
    right2 = left2 if same else data.draw(st.integers(max(right_floor, n2), right + 5))
    least = (left2 if same else left2 + right2) + merged2
    total2 = data.draw(st.integers(min(least, total), total))
    later = likelihood_gain(n2, merged2, left2, right2, same, max(total2, least), NO_TABLE)
    if max(total2, least) <= total:
        assert later <= max(0.0, bound) + 1e-9


def test_the_table_of_x_log_x_holds_what_computing_gives():
    kept = x_log_x_table(5000)
    assert kept.tolist() == [x_log_x(k, NO_TABLE) for k in range(5000)]
    assert kept[:3].tolist() == [0.0, 0.0, 2 * math.log(2)]
