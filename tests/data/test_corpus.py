import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bert_jax.data.corpus import Corpus, build_corpus, is_corpus
from bert_jax.data.document import Document
from bert_jax.data.documents import Documents
from bert_jax.data.example import encode_example
from bert_jax.data.records import record_features
from bert_jax.data.sources import open_source
from bert_jax.data.tokenising import tokenise_all
from bert_jax.errors import UserError
from tests.text.vocabulary import small_tokenizer

TOKENIZER = small_tokenizer()


def documents(count, sentences=3):
    return [
        Document(f"d{i}", "\n\n".join(f"The cats {i}. He left {i + j}." for j in range(sentences)))
        for i in range(count)
    ]


def texts(split):
    decode = TOKENIZER.decode
    return [[decode(s) for s in split.document(i)] for i in range(split.num_documents)]


def test_what_is_stored(tmp_path):
    found = [
        Document("a", "A TITLE\n\nOne day. He left."),
        Document("b", ("I like cats", "\x00", "I like dogs. Yes")),
        Document("empty", " \n\n\x00"),
    ]
    report = build_corpus(found, TOKENIZER, tmp_path / "c", heldout_fraction=0)
    corpus = Corpus.open(tmp_path / "c")
    train = corpus.train
    assert texts(train) == [
        ["a title", "one day.", "he left."],
        ["i like cats", "i like dogs. yes"],
    ]
    assert train.pieces.dtype == np.uint16
    assert train.sentence_starts.tolist() == [0, 6, 9, 12, 15, 20]
    assert train.document_starts.tolist() == [0, 3, 5]
    assert train.sentence_starts.dtype == train.document_starts.dtype == np.int64
    assert (train.num_documents, train.num_sentences, train.num_pieces) == (2, 5, 20)
    assert isinstance(train.pieces, np.memmap) and not train.pieces.flags.writeable
    assert corpus.heldout.num_documents == 0
    assert corpus.tokenizer.pieces == TOKENIZER.pieces
    assert corpus.vocab_hash == TOKENIZER.vocab_hash
    assert corpus.report == report and report.documents == 2 and report.empty_documents == 1


def test_it_is_a_tfds_dataset(tmp_path):
    build_corpus(documents(30), TOKENIZER, tmp_path / "c", heldout_fraction=0.3)
    corpus = Corpus.open(tmp_path / "c")
    builder = tfds.builder_from_directory(tmp_path / "c")
    assert builder.info.splits["train"].num_examples == corpus.train.num_documents
    assert builder.info.splits["heldout"].num_examples == corpus.heldout.num_documents > 0
    record = builder.as_data_source(split="heldout")[0]
    assert sorted(record) == ["name", "pieces", "sentence_lengths"]
    assert record["pieces"].dtype == np.int32
    assert record["pieces"].tolist() == np.concatenate(corpus.heldout.document(0)).tolist()
    assert record["sentence_lengths"].tolist() == [len(s) for s in corpus.heldout.document(0)]


@given(
    name=st.text(max_size=20),
    pieces=st.lists(st.integers(0, 2**31 - 1) | st.integers(0, 300), max_size=300),
    lengths=st.lists(st.integers(0, 2**14 + 5), max_size=9),
)
def test_records_are_the_bytes_that_tfds_writes(name, pieces, lengths):
    features = record_features()
    serializer = tfds.core.example_serializer.ExampleSerializer(features.get_serialized_info())
    pieces, lengths = np.array(pieces, np.int32), np.array(lengths, np.int32)
    example = {"name": name.encode(), "pieces": pieces, "sentence_lengths": lengths}
    # Only the order of the map's entries is free.
    ours, theirs = encode_example(name, pieces, lengths), serializer.serialize_example(example)
    assert len(ours) == len(theirs) and sorted(ours) == sorted(theirs)
    parser = tfds.core.example_parser.ExampleParserNp(features.get_tensor_info())
    for data in (ours, theirs):
        back = parser.parse_example(data)
        assert back["name"] == name.encode()
        np.testing.assert_array_equal(back["pieces"], pieces)
        np.testing.assert_array_equal(back["sentence_lengths"], lengths)


def all_bytes(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "corpus.json"  # holds the seconds it took
    }


def test_any_number_of_workers_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("bert_jax.data.tokenising._BATCH_CHARACTERS", 500)
    for workers in (1, 2):
        build_corpus(documents(60), TOKENIZER, tmp_path / str(workers), 0.2, workers)
    assert all_bytes(tmp_path / "1") == all_bytes(tmp_path / "2")
    assert (tmp_path / "1").is_dir() and len(all_bytes(tmp_path / "1")) > 8
    assert Corpus.open(tmp_path / "1").fingerprint == Corpus.open(tmp_path / "2").fingerprint


def test_documents_are_read_as_they_are_needed(monkeypatch):
    monkeypatch.setattr("bert_jax.data.tokenising._BATCH_CHARACTERS", 1)
    taken = []

    def source():
        for document in documents(500):
            taken.append(document)
            yield document

    for number, _ in enumerate(tokenise_all(source(), TOKENIZER, 2)):
        assert len(taken) - number <= 2 * 2 + 3


def test_an_error_in_a_worker_is_raised_here(monkeypatch):
    monkeypatch.setattr("bert_jax.data.tokenising._BATCH_CHARACTERS", 1)
    bad = [*documents(5), Document("bad", 7)]
    with pytest.raises(TypeError):
        list(tokenise_all(bad, TOKENIZER, 2))


class Deadly(Document):
    """Kills the process that looks at its text."""

    def __getattribute__(self, name):
        if name == "text" and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getattribute__(name)


def test_a_worker_that_dies_is_one_line(monkeypatch):
    monkeypatch.setattr("bert_jax.data.tokenising._BATCH_CHARACTERS", 1)
    with pytest.raises(UserError, match="got a worker process that died, one of 2, perhaps"):
        list(tokenise_all([*documents(5), Deadly("x", "y")], TOKENIZER, 2))


def test_documents_travel_to_other_processes_as_a_path(tmp_path):
    build_corpus(documents(300), TOKENIZER, tmp_path / "c")
    train = Corpus.open(tmp_path / "c").train
    sent = pickle.dumps(train)
    assert len(sent) < 500
    again = pickle.loads(sent)
    assert isinstance(again.pieces, np.memmap)
    np.testing.assert_array_equal(again.pieces, train.pieces)
    np.testing.assert_array_equal(again.document_starts, train.document_starts)
    loose = Documents(np.arange(3), np.array([0, 3]), np.array([0, 1]))
    assert pickle.loads(pickle.dumps(loose)).pieces.tolist() == [0, 1, 2]


def test_the_split_goes_by_content(tmp_path):
    some = documents(300)
    copies = [Document(f"copy of {d.name}", d.text + "\n\n\n") for d in some]
    build_corpus([*some, *copies], TOKENIZER, tmp_path / "all", heldout_fraction=0.1)
    build_corpus(some[::2], TOKENIZER, tmp_path / "half", heldout_fraction=0.1)
    everything, half = Corpus.open(tmp_path / "all"), Corpus.open(tmp_path / "half")
    train, heldout = texts(everything.train), texts(everything.heldout)
    assert 30 <= len(heldout) <= 100  # of 600; expected 60
    assert not {str(t) for t in train} & {str(t) for t in heldout}
    assert {str(t) for t in texts(half.heldout)} <= {str(t) for t in heldout}


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_few_documents_still_leave_one_to_hold_out(tmp_path, count):
    some = documents(count)
    twice = [*some, *some]
    build_corpus(twice, TOKENIZER, tmp_path / "c", heldout_fraction=1e-9)
    corpus = Corpus.open(tmp_path / "c")
    assert corpus.heldout.num_documents == 2 and corpus.train.num_documents == 2 * count - 2
    assert not {str(t) for t in texts(corpus.train)} & {str(t) for t in texts(corpus.heldout)}


@pytest.mark.parametrize(
    "found, message",
    [
        ([], "got no text"),
        ([Document("a", "\n")], "got no text"),
        ([Document("a", "the cats")], "got 1 document, all in one split; expected at least two"),
        ([Document("a", "the"), Document("b", "the")], "got 2 documents, all in one split"),
    ],
)
def test_too_little_text_leaves_nothing_behind(tmp_path, found, message):
    with pytest.raises(UserError, match=message):
        build_corpus(found, TOKENIZER, tmp_path / "sub" / "c")
    assert list((tmp_path / "sub").iterdir()) == []


def test_an_error_half_way_leaves_nothing_behind(tmp_path):
    def broken():
        yield from documents(5)
        raise OSError("disk on fire")

    with pytest.raises(OSError, match="disk on fire"):
        build_corpus(broken(), TOKENIZER, tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_same_again_is_found_and_anything_else_refused(tmp_path):
    (tmp_path / "in.docs.txt").write_text("The cats.\n\nHe left.\n\nOne day.\n")
    source = open_source(str(tmp_path / "in.docs.txt"))
    data_dir = tmp_path / "c"
    report = build_corpus(source, TOKENIZER, data_dir)
    before = all_bytes(data_dir)
    assert build_corpus(source, TOKENIZER, data_dir, workers=2) == report
    with pytest.raises(UserError, match="holds a corpus with another vocab_hash"):
        build_corpus(source, small_tokenizer_with("##xyz"), data_dir)
    with pytest.raises(UserError, match="holds a corpus with another tokenizer"):
        build_corpus(source, small_tokenizer(lowercase=False), data_dir)
    with pytest.raises(UserError, match=r"another heldout_fraction \(0\.05, not 0\.5\)"):
        build_corpus(source, TOKENIZER, data_dir, heldout_fraction=0.5)
    (tmp_path / "in.docs.txt").write_text("Other.\n\nText.")
    with pytest.raises(UserError, match="holds a corpus with another input"):
        build_corpus(open_source(str(tmp_path / "in.docs.txt")), TOKENIZER, data_dir)
    with pytest.raises(UserError, match="holds a corpus with another input"):
        build_corpus(documents(3), TOKENIZER, data_dir)
    assert all_bytes(data_dir) == before


def small_tokenizer_with(piece):
    return type(TOKENIZER)([*TOKENIZER.pieces, piece])


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    for place in ("file", "full"):
        with pytest.raises(UserError, match="which holds something else; expected a folder that"):
            build_corpus(documents(3), TOKENIZER, tmp_path / place)
    with pytest.raises(UserError, match="which cannot be written"):
        build_corpus(documents(3), TOKENIZER, tmp_path / "file" / "c")
    with pytest.raises(UserError, match=r"got heldout_fraction=1\.5; expected 0 or more"):
        build_corpus(documents(3), TOKENIZER, tmp_path / "c", heldout_fraction=1.5)
    with pytest.raises(UserError, match=r"which holds no corpus; expected a folder made by"):
        Corpus.open(tmp_path / "full")
    (tmp_path / "empty").mkdir()
    build_corpus(documents(3), TOKENIZER, tmp_path / "empty")
    assert is_corpus(tmp_path / "empty")


def test_a_killed_build_leaves_nothing_that_opens_and_the_next_one_tidies_up(tmp_path):
    program = (
        "import sys, time\n"
        "from bert_jax.data.corpus import build_corpus\n"
        "from bert_jax.data.document import Document\n"
        "from tests.text.vocabulary import small_tokenizer\n"
        "def endless():\n"
        "    for i in range(10**9):\n"
        "        if i == 500:\n"
        "            print('going', flush=True)\n"
        "            time.sleep(99)\n"
        "        yield Document(str(i), f'the cats {i}')\n"
        f"build_corpus(endless(), small_tokenizer(), {str(tmp_path / 'c')!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"going\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    lock, left_over = sorted(path.name for path in tmp_path.iterdir())
    assert lock == ".c.lock" and left_over.startswith(".c.partial-")
    build_corpus(documents(3), TOKENIZER, tmp_path / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_arrays_are_made_again_from_the_records(tmp_path):
    build_corpus(documents(40), TOKENIZER, tmp_path / "c", heldout_fraction=0.3)
    before = all_bytes(tmp_path / "c")
    for path in sorted((tmp_path / "c" / "arrays").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    corpus = Corpus.open(tmp_path / "c")
    assert corpus.train.num_documents + corpus.heldout.num_documents == 40
    assert all_bytes(tmp_path / "c") == before


def test_fingerprint_knows_content_and_vocabulary_but_not_names(tmp_path):
    def fingerprint(name, found, tokenizer=TOKENIZER):
        build_corpus(found, tokenizer, tmp_path / name, heldout_fraction=0)
        return Corpus.open(tmp_path / name).fingerprint

    some = documents(4)
    first = fingerprint("a", some)
    assert fingerprint("b", [Document("other", d.text) for d in some]) == first
    assert fingerprint("c", some[::-1]) != first
    assert fingerprint("d", some, small_tokenizer_with("##xyz")) != first


def test_settings_are_stored_to_tokenise_alike(tmp_path):
    tokenizer = small_tokenizer(lowercase=False, split_chinese=False)
    build_corpus(documents(4), tokenizer, tmp_path / "c")
    stored = Corpus.open(tmp_path / "c").tokenizer
    assert stored.encode("The 中文 Cats") == tokenizer.encode("The 中文 Cats")
    settings_ = json.loads((tmp_path / "c" / "corpus.json").read_text())["settings"]
    assert settings_["vocab_hash"] == tokenizer.vocab_hash


def test_large_vocabularies_need_wider_ids(tmp_path):
    pieces = [*TOKENIZER.pieces, *(f"w{i}" for i in range(70_000))]
    build_corpus([Document("a", "w69999 the")], type(TOKENIZER)(pieces), tmp_path / "c", 0.0)
    train = Corpus.open(tmp_path / "c").train
    assert train.pieces.dtype == np.int32
    assert train.pieces[0] == len(pieces) - 1


def test_records_of_many_shards(tmp_path, monkeypatch):
    monkeypatch.setattr("bert_jax.data.records._SHARD_PIECES", 200)
    build_corpus(documents(60), TOKENIZER, tmp_path / "c", heldout_fraction=0)
    assert len(list((tmp_path / "c").glob("corpus-train.array_record-*"))) > 2
    builder = tfds.builder_from_directory(tmp_path / "c")
    assert len(builder.as_data_source(split="train")) == 60


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.lists(st.text(alphabet="ab c.\n中", max_size=30), max_size=4), min_size=1, max_size=6
    )
)
def test_every_piece_of_every_document_is_there(tmp_path_factory, found):
    folder = tmp_path_factory.mktemp("any") / "c"
    source = [Document(str(i), tuple(lines)) for i, lines in enumerate(found)]
    expected = [
        pieces
        for lines in found
        if (pieces := [i for line in lines for i in TOKENIZER.piece_ids(line).tolist()])
    ]
    if not expected:
        with pytest.raises(UserError, match="got no text"):
            build_corpus(source, TOKENIZER, folder, heldout_fraction=0)
        return
    build_corpus(source, TOKENIZER, folder, heldout_fraction=0)
    train = Corpus.open(folder).train
    got = [np.concatenate(train.document(i)).tolist() for i in range(train.num_documents)]
    assert got == expected
    assert np.all(np.diff(train.sentence_starts) > 0) and np.all(np.diff(train.document_starts) > 0)
    assert train.sentence_starts[-1] == train.num_pieces
    assert train.document_starts[-1] == train.num_sentences


def test_progress_adds_up(tmp_path):
    (tmp_path / "a.docs.txt").write_text("The cats.\n\nHe left.\n" * 50)
    source = open_source(str(tmp_path / "a.docs.txt"))
    seen = []
    build_corpus(source, TOKENIZER, tmp_path / "c", 0.0, progress=seen.append)
    assert sum(seen) == source.total_bytes
