import json
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.data.corpus import Corpus, build_corpus
from bert_jax.data.doctor import CorpusReport, expected_instances
from bert_jax.data.document import Document
from bert_jax.data.documents import Documents
from bert_jax.data.instances import plan_instances
from bert_jax.data.seen import DuplicateCounter, SeenHashes
from tests.text.vocabulary import small_tokenizer

TOKENIZER = small_tokenizer()

SICK = [
    Document("a", "The cats.\n\nHe left.", bad_bytes=2),
    Document("b", "The cats.\n\nOne day. He left ж."),
    Document("c", "The cats.\n\nHe left."),
    Document("d", " \x00"),
    Document("e", "Yes"),
    Document("f", "he left.\n\nThe cats."),
]


def test_what_the_doctor_sees(tmp_path):
    report = build_corpus(SICK, TOKENIZER, tmp_path / "c", heldout_fraction=0)
    assert (report.documents, report.sentences, report.pieces) == (5, 10, 29)
    assert report.unk_rate == 1 / 29
    assert (report.duplicates, report.duplicate_lines) == (1, 4)
    assert report.duplicate_lines_exact
    assert (report.dropped_documents, report.dropped_lines) == (0, 0)
    assert (report.empty_documents, report.one_sentence_documents) == (1, 1)
    assert (report.bad_utf8_bytes, report.bad_utf8_documents) == (2, 1)
    assert report.longest_sentence == 4
    assert report.characters == sum(len(document.text) for document in SICK)
    assert report.splits["train"].documents == 5 and report.splits["heldout"].pieces == 0
    assert set(report.expected_instances) == {128, 512}
    on_disk = sum(f.stat().st_size for f in (tmp_path / "c").rglob("*") if f.is_file())
    assert 0 < on_disk - report.disk_bytes < 4000  # corpus.json itself
    assert report.seconds > 0


def test_duplicates_are_dropped_on_request(tmp_path):
    report = build_corpus(SICK, TOKENIZER, tmp_path / "d", 0.0, drop_duplicates=True)
    assert (report.documents, report.duplicates, report.dropped_documents) == (4, 1, 1)
    assert report.duplicate_lines == 4 and report.dropped_lines == 0

    report = build_corpus(SICK, TOKENIZER, tmp_path / "l", 0.0, drop_duplicate_lines=True)
    train = Corpus.open(tmp_path / "l").train
    decode = partial(TOKENIZER.decode, skip_special_tokens=False)
    texts = [[decode(s) for s in train.document(i)] for i in range(train.num_documents)]
    assert texts == [
        ["the cats.", "he left."],
        ["one day.", "he left [UNK]."],
        ["yes"],
        ["he left."],
    ]
    assert report.documents == train.num_documents == 4
    assert (report.dropped_lines, report.dropped_documents) == (4, 1)


def test_the_report_survives_json(tmp_path):
    report = build_corpus(SICK, TOKENIZER, tmp_path / "c", heldout_fraction=0)
    assert CorpusReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    rows = report.rows()
    assert rows["duplicate documents"] == "1, 0 dropped"
    assert rows["bad UTF-8"] == "at 2 places, in 1 documents"
    assert all(isinstance(value, str) and "\n" not in value for value in rows.values())


@pytest.mark.parametrize("mean_sentences, length", [(2, 128), (12, 128), (300, 128), (30, 512)])
def test_expected_instances_are_about_those_planned(mean_sentences, length):
    rng = np.random.default_rng(0)
    counts = 1 + rng.poisson(mean_sentences - 1, 6000 // mean_sentences)
    starts = np.concatenate([[0], np.cumsum(rng.integers(5, 45, counts.sum()))])
    documents = Documents(
        np.zeros(starts[-1], np.uint16), starts, np.concatenate([[0], np.cumsum(counts)])
    )
    pieces = np.diff(starts[documents.document_starts])
    expected = sum(
        expected_instances(int(p), int(s), length) for p, s in zip(pieces, counts, strict=True)
    )
    planned = len(plan_instances(documents, length, seed=0, epoch=0))
    assert expected == pytest.approx(planned, rel=1 / 5)


@given(st.lists(st.lists(st.integers(0, 20), max_size=12), max_size=12))
def test_seen_hashes(batches):
    seen, known = SeenHashes(), set()
    for batch in batches:
        expected = []
        for value in batch:
            expected.append(value in known)
            known.add(value)
        assert seen.add(np.array(batch, np.uint64)).tolist() == expected
    assert len(seen) == len(known)


def test_seen_hashes_at_the_edges_of_64_bits():
    seen = SeenHashes()
    edges = np.array([0, 2**63, 2**64 - 1], np.uint64)
    assert not seen.add(edges).any()
    assert seen.add(edges).all()


@pytest.mark.parametrize("distinct", [1000, 50_000])
def test_duplicates_are_counted_in_bounded_memory(distinct):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**64, distinct, np.uint64)
    stream = np.concatenate([values, values, values[: distinct // 2]])
    rng.shuffle(stream)
    counter = DuplicateCounter(capacity=2000)
    for batch in np.array_split(stream, 100):
        counter.add(batch)
        assert len(counter._seen) <= 2000
    true = distinct + distinct // 2
    assert counter.exact == (distinct == 1000)
    assert counter.duplicates == (true if counter.exact else pytest.approx(true, rel=0.1))
