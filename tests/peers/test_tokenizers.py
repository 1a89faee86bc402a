"""An exported vocabulary gives the same ids there."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

transformers = pytest.importorskip("transformers", reason="the peers suite needs transformers")

from bert_jax import Tokenizer  # noqa: E402
from bert_jax.convert.huggingface import save_huggingface  # noqa: E402
from bert_jax.text.added_tokens import AddedToken  # noqa: E402
from bert_jax.text.tokenizer import SPECIAL_PIECES  # noqa: E402
from bert_jax.text.tokenizer_files import read_tokenizer  # noqa: E402
from tests.convert import models  # noqa: E402
from tests.text.vocabulary import small_tokenizer  # noqa: E402

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "conformance"
TEXTS = [
    "I like cats, and unaffable DOGS.", "Crème brûlée — naïve!", "你好 world", "", " \t\n ",
    "a" * 101, "\u0000\ufffd\u200b zero width", "don't", "e\u0301", "ＦＵＬＬ width", "#hash ##ing",
]  # fmt: skip


def exported(tokenizer, directory):
    """The tokenizer as transformers opens it from an exported model."""
    size = tokenizer.vocab_size
    save_huggingface(models.pretrained("BertModel", tokenizer, vocab_size=size), directory)
    return transformers.AutoTokenizer.from_pretrained(directory)


@pytest.mark.parametrize(
    "settings",
    [
        {"lowercase": True},
        {"lowercase": False},
        {"lowercase": True, "strip_accents": False},
        {"lowercase": False, "strip_accents": True, "split_chinese": False},
    ],
)
def test_ids_and_segments_are_the_same(tmp_path, settings):
    ours = small_tokenizer(**settings)
    theirs = exported(ours, tmp_path)
    for text in TEXTS:
        encoded, peer = ours.encode(text, "a pair"), theirs(text, "a pair")
        assert (peer["input_ids"], peer["token_type_ids"]) == (encoded.ids, encoded.type_ids)
        assert theirs(text)["input_ids"] == ours.encode(text).ids
    assert theirs.model_max_length == 16
    assert (theirs.mask_token_id, theirs.pad_token_id) == (ours.mask_id, ours.pad_id)
    marked = "I [MASK] cats"
    special = ours.encode(marked, special_pieces_in_text=True).ids
    assert theirs(marked)["input_ids"] == special
    back, notes = read_tokenizer(tmp_path)
    assert notes == () and back.pieces == ours.pieces
    theirs.save_pretrained(tmp_path / "theirs")
    again, notes = read_tokenizer(tmp_path / "theirs")
    assert notes == () and again.__reduce__() == back.__reduce__()


@pytest.mark.parametrize("max_length", [None, 5, 12])
def test_a_call_gives_the_same_arrays_for_texts_and_pairs(tmp_path, max_length):
    ours = small_tokenizer()
    ours.save_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    pairs = list(reversed(TEXTS))
    cut = {"max_length": max_length, "truncation": max_length is not None}
    for texts in ((TEXTS,), (TEXTS, pairs)):
        found = ours(*texts, max_length=max_length)
        peer = theirs(*texts, padding=True, return_tensors="np", **cut)
        assert set(found) == set(peer)
        for name, array in found.items():
            np.testing.assert_array_equal(array, peer[name])
    if max_length is not None:
        wide = theirs(TEXTS, padding="max_length", return_tensors="np", **cut)["input_ids"]
        found = ours(TEXTS, max_length=max_length, padding="max_length")
        np.testing.assert_array_equal(found.input_ids, wide)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data: the oracle is not here")
@pytest.mark.parametrize("case", ["cased", "uncased"])
def test_the_oracle_s_ids_come_out_there(tmp_path, case):
    vocab = SHARED / "vocab" / f"bert-base-{case}.vocab.txt"
    theirs = exported(Tokenizer.from_file(vocab, lowercase=case == "uncased"), tmp_path)
    with gzip.open(SHARED / "tokenizer_oracle.jsonl.gz", "rt", encoding="utf-8") as lines:
        oracle = [json.loads(line) for line in lines]
    assert len(oracle) == 587
    for line in oracle:
        assert theirs(line["text"])["input_ids"] == line[case]


@pytest.mark.parametrize("splitting", ["spaces", r"\[[^\]]+]|Br?|Cl?|[NOcn]|[()=#]"])
def test_text_that_is_cut_already_is_cut_alike_there(tmp_path, splitting):
    """Also with an added token, and with blanks of every kind between parts."""
    pieces = [*["C", "Cl", "Br", "O", "N", "c", "(", ")", "=", "#", "[nH]"], "[E]"]
    ours = Tokenizer([*SPECIAL_PIECES, *pieces], splitting=splitting, added=[AddedToken("[E]")])
    theirs = exported(ours, tmp_path)
    for text in ["CCl(=O)Br", "C Cl ( = O ) Br", "C\t[nH]\u2028c\x85O\x1cN", "", "xC[E]O x", "é"]:
        assert theirs(text)["input_ids"] == ours.encode(text).ids
        assert theirs(text, "C O")["token_type_ids"] == ours.encode(text, "C O").type_ids
        masked = f"{text} [MASK] C"
        special = ours.encode(masked, special_pieces_in_text=True)
        assert theirs(masked)["input_ids"] == special.ids
        assert theirs.decode(special.ids) == ours.decode(special.ids, skip_special_tokens=False)
    assert Tokenizer.from_pretrained(tmp_path).__reduce__() == ours.__reduce__()
    theirs.save_pretrained(tmp_path / "theirs")
    again = Tokenizer.from_pretrained(tmp_path / "theirs")
    assert (again.splitting, again.pieces) == (ours.splitting, ours.pieces)
