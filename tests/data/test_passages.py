import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.data.corpus import Corpus, build_corpus
from bert_jax.data.document import Document
from bert_jax.data.instances import plan_instances
from bert_jax.data.passages import cut_passages, plan_passages
from tests.text.vocabulary import small_tokenizer

TOKENIZER = small_tokenizer()


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=80),
    st.floats(1e-9, 0.999),
    st.integers(1, 2),
    st.binary(max_size=8),
)
def test_runs_are_the_whole_document_and_alternate(lengths, fraction, least, key):
    runs = cut_passages(np.array(lengths), fraction, least, key)
    assert [first for _, first, _ in runs] == [0, *(end for _, _, end in runs[:-1])]
    assert runs[-1][2] == len(lengths)
    assert all(end > first for _, first, end in runs)
    splits = [split for split, _, _ in runs]
    assert splits == ["train", "heldout"] * (len(runs) // 2) + ["train"]
    assert splits.count("heldout") >= min(least, (len(lengths) - 1) // 2)
    assert runs == cut_passages(np.array(lengths), fraction, least, key)


def test_a_long_document_gives_its_share_in_passages_of_about_a_thousand_pieces():
    lengths = np.full(8000, 25)
    heldout = [
        (first, end)
        for split, first, end in cut_passages(lengths, 0.05, 2, b"a")
        if split == "heldout"
    ]
    assert len(heldout) == 10
    assert {end - first for first, end in heldout} == {40}
    assert heldout != [
        (first, end)
        for split, first, end in cut_passages(lengths, 0.05, 2, b"b")
        if split == "heldout"
    ]


def book(number, sentences=60):
    return Document(f"b{number}", " ".join(f"The cats {number}, {i}." for i in range(sentences)))


def texts(split):
    decode = TOKENIZER.decode
    return [[decode(s) for s in split.document(i)] for i in range(split.num_documents)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_documents_are_split_by_passages(tmp_path, count):
    books = [book(number) for number in range(count)]
    report = build_corpus(books, TOKENIZER, tmp_path / "c", heldout_fraction=0.05)
    corpus = Corpus.open(tmp_path / "c")
    assert report.by_passages and corpus.report == report
    assert report.rows()["heldout"].startswith(f"{corpus.heldout.num_documents} passages, ")
    train, heldout = texts(corpus.train), texts(corpus.heldout)
    assert len(heldout) == max(2, count) and len(train) == len(heldout) + count
    assert all(len(passage) == 2 or count > 1 for passage in heldout)
    # Nothing is lost, nothing is on both sides, and every passage is as it was in its book.
    whole = [sentence for (_, text) in ((b.name, b.text) for b in books)
             for sentence in text.lower().replace(", ", ", ").split(". ")]  # fmt: skip
    flat = [sentence for document in train + heldout for sentence in document]
    assert len(flat) == len(whole) == len(set(flat)) == report.sentences
    assert not {s for d in train for s in d} & {s for d in heldout for s in d}
    for split in (corpus.train, corpus.heldout):
        assert len(plan_instances(split, 32, seed=0, epoch=0)) >= 2
    assert report.splits["heldout"].sentences == corpus.heldout.num_sentences
    assert not list((tmp_path / "c").glob("tmp*"))


def test_copies_of_a_book_hold_out_the_same(tmp_path):
    build_corpus([book(0), book(0)], TOKENIZER, tmp_path / "c", heldout_fraction=0.05)
    corpus = Corpus.open(tmp_path / "c")
    train, heldout = texts(corpus.train), texts(corpus.heldout)
    assert corpus.report.by_passages and len(heldout) == 2 and heldout[0] == heldout[1]
    assert not {s for d in train for s in d} & {s for d in heldout for s in d}


def test_the_same_however_it_is_read_again(tmp_path):
    build_corpus([book(0)], TOKENIZER, tmp_path / "c", heldout_fraction=0.05)
    before = Corpus.open(tmp_path / "c")
    expected = texts(before.train), texts(before.heldout)
    for file in (tmp_path / "c" / "arrays").rglob("*.npy"):
        file.unlink()
    for folder in (tmp_path / "c" / "arrays").iterdir():
        folder.rmdir()
    again = Corpus.open(tmp_path / "c")
    assert (texts(again.train), texts(again.heldout)) == expected
    names = [name for name in tmp_path.rglob("*.array_record*")]
    assert len(names) == 2


def test_documents_stay_whole_where_there_are_enough(tmp_path):
    report = build_corpus([book(n) for n in range(40)], TOKENIZER, tmp_path / "c", 0.2)
    assert not report.by_passages
    assert report.documents == 40 and report.splits["heldout"].documents >= 2


@pytest.mark.parametrize(
    "sentences, cuts",
    [
        ([3] * 6, ["whole"] * 6),  # the two with the smallest keys
        ([5], ["cut"]),
        ([3, 3], ["cut", "cut"]),
        ([3, 40, 40], ["whole", "cut", "cut"]),
        ([2], None),
        ([1, 1, 1], None),
        ([1, 1, 1, 1], ["whole"] * 4),
    ],
)
def test_which_documents_are_cut(sentences, cuts):
    documents = [(np.full(s, 9), b"%d" % number) for number, s in enumerate(sentences)]
    planned = plan_passages(documents, 0.05)
    assert cuts == (planned and ["cut" if len(runs) > 1 else "whole" for runs in planned])
    if planned:
        splits = [split for runs in planned for split, _, _ in runs]
        assert splits.count("heldout") >= 2 and splits.count("train") >= 2
