import json
from pydoc_data.topics import topics

import pytest
from tokenizers.models import WordPiece

from bert_jax.errors import UserError
from bert_jax.text.word_counts import count_words
from bert_jax.text.wordpiece_learner import learn_vocabulary
from bert_jax.text.wordpiece_merges import log_likelihood
from bert_jax.text.wordpiece_pruning import greedy_counts, greedy_pieces


def test_learns_the_words_of_a_small_text_and_keeps_the_record(tmp_path):
    learned = learn_vocabulary(["The cat sat on the mat.", "the cats"], 60, unused_rows=2)
    assert learned.pieces[:7] == (
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        *("[unused0]", "[unused1]"),
    )
    assert {"the", "cat", "cats", "mat", "sat", "on", "."} <= set(learned.pieces)
    assert learned.record["stopped_by"] == "exhausted"
    learned.save(tmp_path / "vocab.txt")
    assert (tmp_path / "vocab.txt").read_text().split("\n") == [*learned.pieces, ""]
    record = json.loads((tmp_path / "vocab.txt.json").read_text())
    needed = "size types pieces seconds_counting seconds_learning peak_rss_bytes log_likelihood"
    assert set(needed.split()) <= set(record)
    assert {"criterion", "corpus_hash"} <= set(record)
    assert (record["size"], record["types"], record["pieces"]) == (len(learned.pieces), 7, 9)


def test_a_vocabulary_smaller_than_the_characters_is_one_line():
    with pytest.raises(UserError, match="got vocabulary size 6; expected at least 8") as caught:
        learn_vocabulary(["abc"], 6)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "size", "settings", "line"),
    [
        ([], 100, {}, "got a corpus without a word"),
        ([" \n\t "], 100, {}, "got a corpus without a word"),
        (["a"], 100, {"min_gain": -1.0}, "got min_gain -1.0; expected 0 or more"),
        (["a"], 100, {"coverage": 1.5}, "got coverage 1.5"),
        (["a"], 100, {"unused_rows": -1}, "got unused_rows -1"),
        (["a"], 100, {"criterion": "ratio"}, "got criterion 'ratio'"),
    ],
)
def test_what_cannot_be_learned_is_one_line(texts, size, settings, line):
    with pytest.raises(UserError, match=line) as caught:
        learn_vocabulary(texts, size, **settings)
    assert "\n" not in str(caught.value)


def test_nothing_half_written_where_the_folder_is_missing(tmp_path):
    learned = learn_vocabulary(["a b"], 50)
    with pytest.raises(UserError, match="cannot be written"):
        learned.save(tmp_path / "absent" / "vocab.txt")
    (tmp_path / "vocab.txt").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        learned.save(tmp_path / "vocab.txt")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_rare_characters_are_left_out_with_their_words():
    texts = ["common rewards " * 5000, "r\N{SNOWMAN}re"]
    everything = learn_vocabulary(texts, 60, coverage=1.0)
    most = learn_vocabulary(texts, 60, coverage=0.9999)
    assert "\N{SNOWMAN}" not in "".join(most.pieces)
    assert "\N{SNOWMAN}" in "".join(everything.pieces)
    assert most.record["characters_left_out"] == 1


LINES = [
    "the learner learns what the learned have learned, and the learning earns",
    "earnest earners learnt early that yearning is earning nearly nothing at all",
    "the nearest clearing appears dreary; the weary bear wears a beard in the rear",
]


def test_rows_that_encoding_hardly_uses_give_way():
    counts = count_words(topics.values())  # half a megabyte of Python's documentation
    plain = learn_vocabulary(counts, 2000)
    pruned = learn_vocabulary(counts, 2000, drop_unused=True)
    before, after = (
        greedy_counts(counts.words, counts.counts.tolist(), set(learned.pieces[5:]))
        for learned in (plain, pruned)
    )
    assert pruned.record["size"] == plain.record["size"] == len(set(pruned.pieces)) == 2000
    assert list(before.values()).count(0) > 20
    assert list(after.values()).count(0) <= 2
    assert pruned.record["pieces"] == sum(after.values()) < sum(before.values())
    assert pruned.record["cut"] == "greedy"
    assert pruned.record["log_likelihood"] > log_likelihood(list(before.values()))
    characters = 5 + plain.record["characters"]
    assert pruned.pieces[:characters] == plain.pieces[:characters]


def test_greedy_encoding_is_that_of_the_rust_library():
    learned = learn_vocabulary(LINES, 60)
    model = WordPiece({piece: row for row, piece in enumerate(learned.pieces)}, unk_token="[UNK]")
    for word in [*count_words(LINES).words, "unseen", "the\N{SNOWMAN}", "earthen"]:
        expected = [token.value for token in model.tokenize(word)]
        assert greedy_pieces(word, set(learned.pieces)) == (
            expected if expected != ["[UNK]"] else []
        )
