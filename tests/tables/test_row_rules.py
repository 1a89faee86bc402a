import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.tables.context_vectors import ContextVectors, context_vectors
from bert_jax.tables.row_rules import SpelledMean, SpellingRegression
from bert_jax.tables.spelling_features import SpellingFeatures, strings_of
from bert_jax.tables.vocabulary_surgery import NewRows, move_vocabulary, with_added_pieces
from bert_jax.text.tokenizer import Tokenizer
from tests.tables.examples import tables_of, vocabulary

NUMBERS = [*map(str, range(10)), *(f"##{i}" for i in range(10)), *map(str, range(10, 250))]
SYLLABLES = ("ba", "de", "ki", "lo", "mu", "na", "po", "ri", "su", "ta")
WORDS = [a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES]


def test_the_strings_of_a_piece():
    assert strings_of("cats") == {
        "^c", "ca", "at", "ts", "s$", "^ca", "cat", "ats", "ts$", "^cat", "cats", "ats$", "^cats",
        "cats$", "^cats$", "^cat…", "^cats…",
    }  # fmt: skip
    assert strings_of("##an") == {"~a", "an", "n$", "~an", "an$", "~an$"}
    assert strings_of("##") == {"^#", "##", "#$", "^##", "##$", "^##$"}


def test_spellings_alike_have_a_large_product():
    features = SpellingFeatures(["walk", "walked", "zoo", "##walk"])
    rows = features(["walk", "walked", "walking", "##walk", "π", "oo"])
    product = (rows @ rows.T).toarray()
    np.testing.assert_allclose(np.diag(product), [1, 1, 1, 1, 0, 1], rtol=1e-6)
    assert (product[0, 1:4] > 0.4).all() and product[1, 2] > product[1, 3]
    assert not product[4].any() and not product[5, :4].any()
    assert features([]).shape[0] == 0


def test_a_row_of_one_kin_lies_between_it_and_the_mean():
    """Likeness / (1 + noise) of the way; here the likeness from its definition."""
    old = vocabulary([*NUMBERS, "walk", "##ing"])
    tables = tables_of(old)
    new = with_added_pieces(old, ["walking"])
    rule = SpellingRegression(kin=1, noise=0.25)
    moved = move_vocabulary(tables, new, NewRows(rule))
    assert moved.report.composed == {"walking": ("walk",)}

    weight = {string: 1.0 for string in strings_of("walk") | strings_of("##ing")}

    def product(a: str, b: str) -> float:
        return sum(weight.get(string, 0) for string in strings_of(a) & strings_of(b))

    likeness = product("walking", "walk") / np.sqrt(
        product("walking", "walking") * product("walk", "walk")
    )
    mean = tables.token[5:].mean(axis=0)
    expected = mean + likeness / 1.25 * (tables.token[old.id_of("walk")] - mean)
    np.testing.assert_allclose(moved.tables.token[-1], expected, rtol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_that_spelling_makes_are_found_again_where_a_mean_misses_them(seed):
    """Rows are sums of a draw for each syllable; a hidden word's is nearest to its own true row."""
    draw = np.random.default_rng(seed)
    parts = {syllable: draw.normal(size=16) for syllable in SYLLABLES}
    letters = sorted({letter for word in WORDS for letter in word})
    pieces = [*letters, *(f"##{letter}" for letter in letters), *WORDS]
    full = vocabulary(pieces)
    tables = tables_of(full, width=16)
    for word in WORDS:
        row = parts[word[:2]] + parts[word[2:4]] + parts[word[4:]]
        tables.token[full.id_of(word)] = row + draw.normal(scale=0.2, size=16)
    hidden = draw.choice(WORDS, size=200, replace=False).tolist()
    less = vocabulary(piece for piece in pieces if piece not in set(hidden))
    smaller = move_vocabulary(tables, less).tables
    true = tables.token[[full.id_of(word) for word in hidden]]
    right = {}
    for rule in (SpelledMean(), SpellingRegression()):
        moved = move_vocabulary(smaller, full, NewRows(rule)).tables.token
        made = moved[[full.id_of(word) for word in hidden]]
        apart = np.linalg.norm(made[:, None] - true[None], axis=-1)
        right[type(rule)] = np.mean(apart.argmin(axis=1) == np.arange(len(hidden)))
    assert right[SpelledMean] < 0.1
    assert right[SpellingRegression] > 0.6


MADE = st.lists(st.text("abk#é", min_size=1, max_size=8), unique=True, max_size=8)


@settings(deadline=None, max_examples=25)
@given(MADE, st.randoms(use_true_random=False))
def test_rows_depend_on_the_piece_alone_and_kept_ones_stay(wanted, shuffler: random.Random):
    """Bit for bit: not on the order of either vocabulary, nor on what else is new."""
    letters = [*"abk", "##a", "##b", "##k", "ab", "##ab", "kab", "abba"]
    tables = tables_of(vocabulary([*NUMBERS, *letters]))
    order = shuffler.sample(range(tables.tokenizer.vocab_size), tables.tokenizer.vocab_size)
    shuffled = tables.replace(
        token=tables.token[order], tokenizer=Tokenizer([tables.tokenizer.pieces[i] for i in order])
    )
    new = vocabulary(dict.fromkeys([*letters, "ababk", *wanted]))
    other = Tokenizer(shuffler.sample(new.pieces, new.vocab_size))
    one, two = move_vocabulary(tables, new), move_vocabulary(shuffled, other)
    alone = move_vocabulary(tables, vocabulary(["ababk"]))
    assert one.report.by == "regression on spellings"
    assert one.report.composed == two.report.composed
    for piece in new.pieces:
        row = one.tables.token[new.id_of(piece)]
        assert two.tables.token[other.id_of(piece)].tobytes() == row.tobytes(), piece
        if piece in tables.tokenizer.pieces:
            assert tables.token[tables.tokenizer.id_of(piece)].tobytes() == row.tobytes(), piece
    assert alone.tables.token[5].tobytes() == one.tables.token[new.id_of("ababk")].tobytes()


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 99), st.sampled_from([0.0, 1e-6, 1e3]))
def test_rows_of_untrained_tables_are_no_longer_than_theirs(seed, scale):
    old = vocabulary(
        [*NUMBERS, *WORDS[:300], *"bdklmnprst", *(f"##{x}" for x in "abdeiklmnoprstu")]
    )
    tables = tables_of(old, seed=seed, width=8)
    tables = tables.replace(token=(tables.token * scale).astype(np.float32))
    moved = move_vocabulary(tables, with_added_pieces(old, WORDS[300:330])).tables.token[-30:]
    lengths = np.linalg.norm(tables.token[5:] - tables.token[5:].mean(axis=0), axis=1)
    assert np.isfinite(moved).all()
    new = np.linalg.norm(moved - tables.token[5:].mean(axis=0), axis=1)
    assert (new <= lengths.max() * (1 + 1e-5)).all()


def test_text_makes_kin_of_pieces_used_alike():
    """Fruit is eaten, stone is thrown; a new word that is eaten is of fruits."""
    fruits, stones = ["apple", "pear", "plum"], ["flint", "slate", "chalk"]
    old = vocabulary([*NUMBERS, *fruits, *stones, "eat", "sweet", "throw", "hard", "x", "##qj"])
    new = with_added_pieces(old, ["xqj"])
    texts = [f"eat sweet {fruit}" for fruit in (*fruits, "xqj")] * 9
    texts += [f"throw hard {stone}" for stone in stones] * 9
    documents = [new.piece_ids(text) for text in texts]
    contexts = context_vectors(new, documents)
    like = contexts.of(["xqj"]) @ contexts.of([*fruits, *stones]).T
    assert like[0, :3].min() > 2 * like[0, 3:].max()
    assert not contexts.of(["249", "no piece"]).any()
    composed = move_vocabulary(tables_of(old), new, NewRows(SpellingRegression(contexts))).report
    assert set(fruits) < set(composed.composed["xqj"])
    assert composed.by == "regression on spellings and contexts"


@given(st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=5)
def test_contexts_do_not_depend_on_the_order_of_the_vocabulary(shuffler: random.Random):
    one = vocabulary(["a", "b", "c", "d"])
    two = Tokenizer(shuffler.sample(one.pieces, one.vocab_size))
    texts = ["a b c d", "b d a a", "", "c"]
    first, second = (context_vectors(t, [t.piece_ids(x) for x in texts]) for t in (one, two))
    assert first.of("abcd").tobytes() == second.of("abcd").tobytes()
    assert np.linalg.norm(first.of("abcd"), axis=1) == pytest.approx(
        np.sqrt([3 / 23, 2 / 22, 2 / 22, 2 / 22]), rel=1e-5
    )


def test_contexts_of_no_text_and_of_text_without_pairs():
    tokenizer = vocabulary(["a"])
    assert not context_vectors(tokenizer, []).vectors.any()
    assert np.isfinite(context_vectors(tokenizer, [np.array([5])]).vectors).all()
    assert isinstance(context_vectors(tokenizer, [np.array([], np.int32)]), ContextVectors)
