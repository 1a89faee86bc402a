"""Damaged corpora: every file flipped, cut, emptied, gone, exchanged. None is read as another."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bert_jax.data.corpus import Corpus, build_corpus, is_corpus
from bert_jax.data.document import Document
from bert_jax.data.preparation import built_corpus
from bert_jax.errors import DamagedFileError, UserError
from tests.damage import DAMAGES, damage
from tests.text.vocabulary import small_tokenizer

TOKENIZER = small_tokenizer()
ARRAYS = [
    f"arrays/{split}/{name}.npy"
    for split in ("train", "heldout")
    for name in ("pieces", "sentence_starts", "document_starts")
]
RECORDS = [
    "corpus-train.array_record-00000",
    "corpus-heldout.array_record-00000",
    "dataset_info.json",
    "features.json",
]
READ = ["corpus.json", "vocab.txt", *ARRAYS]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "c"
    some = [Document(f"d{i}", f"The cats {i}. He left.\n\nI like dogs {i % 7}.") for i in range(60)]
    build_corpus(some, TOKENIZER, folder, heldout_fraction=0.3)
    return folder


@pytest.fixture
def copy(built, tmp_path):
    return Path(shutil.copytree(built, tmp_path / "c"))


def content(folder):
    """All that a corpus says when it is opened."""
    corpus = Corpus.open(folder)
    splits = [corpus.train, corpus.heldout]
    arrays = [(s.pieces, s.sentence_starts, s.document_starts) for s in splits]
    said = corpus.fingerprint, corpus.settings, corpus.report, corpus.tokenizer.pieces
    return *said, [array.tolist() for split in arrays for array in split]


def without_digests(folder):
    """As it was built before there were any."""
    saved = json.loads((folder / "corpus.json").read_text())
    del saved["digests"], saved["digest"]
    (folder / "corpus.json").write_text(json.dumps(saved))


def remove_arrays(folder):
    shutil.rmtree(folder / "arrays")


def test_every_file_of_a_corpus_is_damaged_here(built):
    found = {f.relative_to(built).as_posix() for f in built.rglob("*") if f.is_file()}
    assert found == {*READ, *RECORDS}
    assert set(Corpus.open(built).digests) == found - {"corpus.json"}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", READ)
def test_damage_is_one_line_that_names_the_file(copy, name, how):
    damage(copy / name, how, np.random.default_rng(0))
    with pytest.raises(DamagedFileError, match=rf"got {copy / name}, a damaged file \(") as error:
        content(copy)
    assert str(error.value).endswith(f": remove {copy} and build it again, or take a copy")
    assert "\n" not in str(error.value)
    assert is_corpus(copy)  # and no folder of texts, when it is named as one
    with pytest.raises(DamagedFileError):
        opened = built_corpus([str(copy)])
        assert opened.tokenizer and opened.train and opened.heldout


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", RECORDS)
def test_damaged_records_matter_where_the_arrays_are_made_of_them(copy, built, name, how):
    damage(copy / name, how, np.random.default_rng(0))
    assert content(copy) == content(built)
    remove_arrays(copy)
    with pytest.raises(DamagedFileError, match=rf"got {copy / name}, a damaged file \("):
        content(copy)


def test_any_flipped_bit_is_found_or_changes_nothing(copy, built):
    rng, expected = np.random.default_rng(0), content(built)
    found = 0
    for name in [*READ, *["corpus.json"] * 40]:
        whole = (copy / name).read_bytes()
        for _ in range(5):
            damage(copy / name, "flipped", rng)
            try:
                assert content(copy) == expected
            except UserError as error:
                found += 1
                assert f"{copy / name}, a damaged file" in str(error)
            (copy / name).write_bytes(whole)
    assert found > 150


def test_arrays_are_not_exchanged(copy):
    files = [copy / "arrays" / split / "pieces.npy" for split in ("train", "heldout")]
    train, heldout = (file.read_bytes() for file in files)
    files[0].write_bytes(heldout)
    files[1].write_bytes(train)
    with pytest.raises(DamagedFileError, match=r"train/pieces\.npy, a damaged file"):
        content(copy)


def swap_pieces(file):
    lines = file.read_text().splitlines(keepends=True)
    lines[-1], lines[-2] = lines[-2], lines[-1]
    file.write_text("".join(lines))


@pytest.mark.parametrize("old", [False, True])
def test_pieces_of_the_vocabulary_do_not_change_places(copy, old):
    if old:
        without_digests(copy)
    swap_pieces(copy / "vocab.txt")
    with pytest.raises(DamagedFileError, match=r"vocab\.txt, a damaged file \(it is not what was"):
        content(copy)


def test_a_corpus_of_before_there_were_digests_is_opened(copy, built):
    without_digests(copy)
    assert content(copy) == content(built)
    remove_arrays(copy)
    assert content(copy) == content(built)


@pytest.mark.parametrize(
    "name, values, message",
    [
        ("pieces", {"-1": 60_000}, f"ids that are not from 0 to {TOKENIZER.vocab_size - 1}"),
        ("sentence_starts", {"-1": 7}, "their lengths do not agree"),
        ("sentence_starts", {"3": 10**9}, "their lengths do not agree"),
        ("document_starts", {"0": 1}, "their lengths do not agree"),
    ],
)
def test_arrays_without_digests_cannot_be_read_beyond_their_ends(copy, name, values, message):
    without_digests(copy)
    file = copy / "arrays" / "train" / f"{name}.npy"
    array = np.load(file)
    for place, value in values.items():
        array[int(place)] = value
    np.save(file, array)
    with pytest.raises(DamagedFileError, match=message):
        content(copy)


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", ["corpus.json", *ARRAYS[:3]])
def test_damage_without_digests_is_one_line_or_other_numbers(copy, name, how):
    without_digests(copy)
    damage(copy / name, how, np.random.default_rng(1))
    try:
        content(copy)
    except UserError as error:
        assert str(copy) in str(error) and "\n" not in str(error)


def test_a_corpus_that_is_damaged_is_not_built_over(copy):
    (copy / "corpus.json").write_bytes(b"")
    with pytest.raises(DamagedFileError, match=r"corpus\.json, a damaged file"):
        build_corpus([], TOKENIZER, copy)
