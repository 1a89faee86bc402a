import json

import pytest

from bert_jax.errors import UserError
from bert_jax.text.wordpiece_learner import learn_vocabulary


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
