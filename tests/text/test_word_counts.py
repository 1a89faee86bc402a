import json
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from bert_jax.errors import UserError
from bert_jax.text.text_blocks import blocks_of_files, blocks_of_texts
from bert_jax.text.word_counts import (
    WordCounts,
    WordSettings,
    count_words,
    count_words_in_files,
)

SETTINGS = st.builds(
    WordSettings, st.booleans(), st.sampled_from([None, True, False]), st.booleans()
)
TEXT = st.text(
    st.one_of(
        st.sampled_from(
            "aAbB zZ09.,-#'\t\n\r\x0b\x0c\x1c\x7f\x85\xa0éÉßİΣς漢字\u0301\u200b\u2028\ufffd"
        ),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)


def counted_by_the_library(texts, how):
    """Basic tokenisation of whole texts, no chunks: what counting must equal."""
    normalizer = BertNormalizer(
        clean_text=True,
        handle_chinese_chars=how.split_chinese,
        strip_accents=how.strip_accents,
        lowercase=how.lowercase,
    )
    splitter = BertPreTokenizer()
    return Counter(
        word
        for text in texts
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
        if len(word) <= 100
    )


def as_counter(counts):
    return Counter(dict(zip(counts.words, counts.counts.tolist(), strict=True)))


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, max_size=4), SETTINGS)
@example(["a\x0bb a\x1cb a\x85b a\x00b"], WordSettings())
def test_words_are_those_of_the_library_on_the_whole_text(texts, how):
    counts = count_words(texts, how, workers=1)
    assert as_counter(counts) == counted_by_the_library(texts, how)
    assert list(counts.words) == sorted(counts.words)


def test_the_number_of_workers_and_the_cutting_change_nothing(tmp_path):
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdé."), rng.integers(1, 6))) for _ in range(3000)]
    text = " ".join(words[int(k)] for k in rng.zipf(1.3, 400_000) % 3000)
    (tmp_path / "one.txt").write_text(text)
    (tmp_path / "two.txt").write_text("the end")
    files = [tmp_path / "one.txt", tmp_path / "two.txt"]
    one, four = (count_words_in_files(files, workers=w) for w in (1, 4))
    assert as_counter(one) == counted_by_the_library([text, "the end"], WordSettings())
    assert as_counter(four) == as_counter(one)
    assert four.hash == one.hash == count_words([text, "the end"]).hash
    assert one.source_bytes == sum(file.stat().st_size for file in files)


def test_blocks_are_cut_at_white_space_only(tmp_path):
    text = "né " * 1000 + "x" * 500 + "\n" + "漢字 " * 300
    (tmp_path / "text").write_text(text)
    blocks = list(blocks_of_files([tmp_path / "text"], size=64))
    assert len(blocks) > 50
    assert b"".join(block.content for block in blocks).decode() == text
    assert all(block.content[-1:].isspace() for block in blocks)
    assert next(iter(blocks_of_texts(["ab", "cd", "e"], size=5))).content == b"ab\ncd"


def test_invalid_bytes_are_left_out_and_counted(tmp_path):
    rng = np.random.default_rng(1)
    data = bytearray(b"plain words and caf\xc3\xa9s, again. " * 3000)
    spots = rng.random(len(data)) < 0.1
    data = bytes(
        int(rng.integers(0x80, 0x100)) if bad else byte
        for byte, bad in zip(data, spots, strict=True)
    )
    (tmp_path / "broken.txt").write_bytes(data)
    counts = count_words_in_files([tmp_path / "broken.txt"])
    decoded = data.decode("utf-8", "replace")
    assert as_counter(counts) == counted_by_the_library([decoded], WordSettings())
    assert counts.invalid_sequences == decoded.count("\ufffd") > 5000


def test_a_long_line_and_a_word_without_end(tmp_path):
    line = b"one line without an end, " * 200_000
    (tmp_path / "line.txt").write_bytes(line + b"x" * 3_000_000)
    counts = count_words_in_files([tmp_path / "line.txt"])
    assert as_counter(counts)["line"] == 200_000
    assert counts.too_long == 1
    (tmp_path / "word.txt").write_bytes(b"x" * 3_000_000)
    assert count_words_in_files([tmp_path / "word.txt"]).too_long == 1
    (tmp_path / "dots.txt").write_bytes(b"x." * 1_000_000)
    dots = as_counter(count_words_in_files([tmp_path / "dots.txt"]))
    assert dots == {"x": 1_000_000, ".": 1_000_000}


def test_a_table_grows_in_the_middle_of_a_chunk():
    numbers = [f"w{k}" for k in range(150_000)]  # more words than a new table has room for
    counts = count_words([".".join(numbers), " ".join(numbers[:90_000])])
    assert as_counter(counts) == Counter(numbers) + Counter(numbers[:90_000]) + Counter(
        {".": 149_999}
    )


def test_a_binary_file_is_one_line(tmp_path):
    (tmp_path / "image").write_bytes(b"text\0\1\2")
    with pytest.raises(UserError, match=r"image' holds NUL bytes.*expected UTF-8") as caught:
        count_words_in_files([tmp_path / "image"])
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"cannot read .*absent"):
        count_words_in_files([tmp_path / "absent"])


def test_a_saved_table_comes_back(tmp_path):
    counts = count_words(["Ünïcode “words”, \t twice twice"], WordSettings(False, None, True))
    counts.save(tmp_path / "words.tsv")
    again = WordCounts.load(tmp_path / "words.tsv")
    assert (again.words, again.settings, again.hash) == (
        counts.words,
        counts.settings,
        counts.hash,
    )
    np.testing.assert_array_equal(again.counts, counts.counts)
    header, first, *_ = (tmp_path / "words.tsv").read_text().split("\n")
    assert json.loads(header)["lowercase"] is False
    assert re.fullmatch(r",\t1", first)


@pytest.mark.parametrize("content", ["", "a\t1\n", '{"format": "another"}\n', "[1]\n"])
def test_another_file_is_no_table(tmp_path, content):
    (tmp_path / "words.tsv").write_text(content)
    with pytest.raises(UserError, match="is not a table of word counts"):
        WordCounts.load(tmp_path / "words.tsv")


def test_a_table_cut_off_is_no_table(tmp_path):
    count_words(["a b c d"]).save(tmp_path / "words.tsv")
    whole = (tmp_path / "words.tsv").read_text()
    (tmp_path / "words.tsv").write_text(whole[:-4])
    with pytest.raises(UserError, match="is not a table of word counts"):
        WordCounts.load(tmp_path / "words.tsv")
