import gzip
import itertools
import json
import pickle
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.text.piece_memo import _DROPPED
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer
from bert_jax.text.word_counts import WordSettings
from bert_jax.text.wordpiece_learner import learn_vocabulary
from tests.budget import TIMES
from tests.text.vocabulary import small_tokenizer

SHARED = Path(__file__).parents[3] / "shared" / "data" / "conformance"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")

UNCASED = small_tokenizer()
CASED = small_tokenizer(lowercase=False)
WHOLE_CHINESE = small_tokenizer(split_chinese=False, strip_accents=False)


def tokenizer_for(case, lowercase=True):
    if "vocab_file" in case:
        return Tokenizer.from_file(
            SHARED / "vocab" / f"{case['vocab_file']}.vocab.txt", lowercase=lowercase
        )
    pieces = case.get("pieces", case.get("vocab", []))
    if isinstance(pieces, str):
        pieces = []
    pieces = [*pieces, *(p for p in SPECIAL_PIECES if p not in pieces)]
    if case["kind"] == "basic":  # any word is a piece, so that the pieces show the words
        pieces += [word for word in case["tokens"] if word not in pieces]
    return Tokenizer(
        list(dict.fromkeys(pieces)),
        lowercase=lowercase,
        strip_accents=case.get("strip_accents"),
    )


def cases(*kinds):
    path = SHARED / "tokenization_cases.json"
    found = json.loads(path.read_text()) if path.is_file() else []
    return [pytest.param(case, id=f"{n}-{case['kind']}") for n, case in enumerate(found)
            if case["kind"] in kinds]  # fmt: skip


@needs_shared
@pytest.mark.parametrize("case", cases("full", "full+offsets", "full+pair", "full+byte-offsets"))
def test_published_texts(case):
    tokenizer = tokenizer_for(case, case["lower"])
    encoding = tokenizer.encode(case["text"], case.get("pair"), special_pieces_in_text=True)
    framed = case.get("tokens", [""])[0:1] == ["[CLS]"]
    inner = slice(None) if framed else slice(1, -1)
    if "tokens" in case:
        assert encoding.tokens[inner] == case["tokens"]
    if "ids" in case:
        assert encoding.ids[inner] == case["ids"]
    if "type_ids" in case:
        assert encoding.type_ids == case["type_ids"]
    if "offsets" in case:
        assert encoding.offsets == [tuple(offset) for offset in case["offsets"]]
    if "byte_starts" in case:
        text = case["text"]
        starts = [len(text[:start].encode()) for start, _ in encoding.offsets[inner]]
        ends = [len(text[:end].encode()) for _, end in encoding.offsets[inner]]
        assert (starts, ends) == (case["byte_starts"], case["byte_ends"])
    if "detokenized" in case:  # keras-hub keeps spaces before marks; ours tidies them
        assert tokenizer.decode(encoding.ids) == case["detokenized"].replace(" .", ".")


@needs_shared
@pytest.mark.parametrize("case", cases("basic", "pre+offsets"))
def test_published_words(case):
    tokenizer = tokenizer_for({**case, "kind": "basic"}, case["lower"])
    encoding = tokenizer.encode(case["text"], special_pieces_in_text="never_split" in case)
    assert encoding.tokens[1:-1] == case["tokens"]
    if "offsets" in case:
        assert encoding.offsets[1:-1] == [tuple(offset) for offset in case["offsets"]]


@needs_shared
@pytest.mark.parametrize("case", cases("wordpiece", "wordpiece-words"))
def test_published_pieces_of_words(case):
    if "max_bytes_per_word" in case and case["max_bytes_per_word"] < 40:
        pytest.skip("TensorFlow Text's limit in bytes a word; BERT's is 100 characters")
    words = case.get("words", case.get("text", "").split())
    expected = case.get("subwords", [case.get("tokens")])
    model = tokenizer_for(case)._library.model
    got = [[token.value for token in model.tokenize(word)] for word in words]
    if "subwords" not in case:
        got = [[piece for word in got for piece in word]]
    assert got == expected


@needs_shared
@pytest.mark.parametrize("case", cases("whitespace", "control", "punctuation"))
def test_published_character_classes(case):
    def words(character):
        tokenizer = Tokenizer([*SPECIAL_PIECES, "a", "b", "##b", "##a", character], lowercase=False)
        return tokenizer.encode(f"a{character}b").tokens[1:-1]

    want = {"whitespace": ["a", "b"], "control": ["a", "##b"]}
    for character in case["true"]:
        assert words(character) == want.get(case["kind"], ["a", character, "b"])
    for character in case["false"]:
        if case["kind"] == "control" and character in " \t\r":  # white space instead
            assert words(character) == ["a", "b"]
        elif case["kind"] != "punctuation" or character != " ":
            assert words(character) != want.get(case["kind"], ["a", character, "b"])


@needs_shared
@pytest.mark.parametrize("name", ["uncased", "cased"])
def test_agrees_with_the_whole_oracle(name):
    path = SHARED / "vocab" / f"bert-base-{name}.vocab.txt"
    tokenizer = Tokenizer.from_file(path, lowercase=name == "uncased")
    with gzip.open(SHARED / "tokenizer_oracle.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    assert len(rows) == 587
    batch = tokenizer.encode_batch([row["text"] for row in rows])
    for row, encoding in zip(rows, batch, strict=True):
        assert encoding.ids == row[name]
        assert tokenizer.piece_ids(row["text"]).tolist() == row[name][1:-1]
        if offsets := row.get(f"{name}_offsets"):
            assert encoding.offsets == [tuple(offset) for offset in offsets]


# Everything the clean-up, the splitting and the memo treat differently, and any character at all.
TRICKY = st.sampled_from(
    list(" \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u3000")
    + list("\u200b\ufeff\xad\x00\ufffd")
    + list("aAbZ09.,!-_'\"“”—…¿·")
    + list("éÉßİıΣσςǅﬀﬃǺ̈̄᷄") + ["e\u0301", "\u0301", "\u0323\u0307", "\u05b0\u05bc"]
    + list("中文字。，！々ー가각힣𠀀🤗") + ["[MASK]", "[SEP]", "##s", "the", "cats"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(TRICKY, st.characters(codec="utf-8")), max_size=40).map("".join)


@pytest.mark.parametrize("tokenizer", [UNCASED, CASED, WHOLE_CHINESE])
@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_piece_ids_are_those_of_the_library(tokenizer, text):
    expected = tokenizer._library.encode(text, add_special_tokens=False).ids
    got = tokenizer.piece_ids(text)
    assert got.dtype == np.int32
    assert got.tolist() == expected == tokenizer.encode(text).ids[1:-1]


@pytest.mark.parametrize(
    ("tokenizer", "around"),
    [(UNCASED, "a{}b"), (CASED, "{}"), *([(UNCASED, "{}"), (CASED, "a{}b")] if TIMES else [])],
)
def test_every_character_is_cut_as_the_library_cuts_it(tokenizer, around):
    # In one text a line apart: no character escapes. Unassigned planes only with FUZZ.
    for start in range(0, 0x110000 if TIMES else 0x30000, 0x1000):
        characters = (chr(c) for c in range(start, start + 0x1000) if not 0xD800 <= c < 0xE000)
        text = "\n".join(map(around.format, characters))
        expected = tokenizer._library.encode(text, add_special_tokens=False).ids
        assert tokenizer.piece_ids(text).tolist() == expected


def test_two_characters_of_any_two_kinds_are_cut_as_the_library_cuts_them():
    kinds = {}
    for character in map(chr, range(sys.maxunicode + 1)):
        if (kind := unicodedata.category(character)) != "Cs":
            kinds.setdefault((kind, unicodedata.combining(character) > 0), character)
    pairs = map("".join, itertools.product([*kinds.values(), *_DROPPED], repeat=2))
    text = "\n".join(f"{pair} x{pair}x" for pair in pairs)
    for tokenizer in (UNCASED, CASED, WHOLE_CHINESE):
        expected = tokenizer._library.encode(text, add_special_tokens=False).ids
        assert tokenizer.piece_ids(text).tolist() == expected


def test_special_pieces_a_user_types_are_text():
    text = "[MASK] [CLS][SEP] [UNK] [PAD] cats"
    specials = set(UNCASED.special_ids)
    assert not specials & set(UNCASED.encode(text).ids[1:-1])
    assert not specials & set(UNCASED.piece_ids(text).tolist())
    assert not specials & set(UNCASED.encode_batch([text])[0].ids[1:-1])


def test_special_pieces_can_be_asked_for():
    encoding = UNCASED.encode("the [MASK] left", special_pieces_in_text=True)
    assert encoding.tokens == ["[CLS]", "the", "[MASK]", "left", "[SEP]"]
    assert encoding.offsets == [(0, 0), (0, 3), (4, 10), (11, 15), (0, 0)]
    assert UNCASED.encode("the [mask]", special_pieces_in_text=True).tokens[2] == "["


def test_pair_with_segments_and_truncation():
    encoding = UNCASED.encode("I like cats", "I like dogs")
    assert " ".join(encoding.tokens) == "[CLS] i like cats [SEP] i like dogs [SEP]"
    assert encoding.type_ids == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert encoding.offsets[5:] == [(0, 1), (2, 6), (7, 11), (0, 0)]
    cut = UNCASED.encode("I like cats", "I like dogs and cats", max_length=8)
    assert " ".join(cut.tokens) == "[CLS] i like [SEP] i like dogs [SEP]"
    assert cut.type_ids == [0, 0, 0, 0, 1, 1, 1, 1]
    assert len(cut.offsets) == 8


def test_batch_is_each_alone():
    texts, pairs = ["I like cats", "", "the end"], ["yes", "no [SEP]", ""]
    assert UNCASED.encode_batch(texts, pairs, 7) == [
        UNCASED.encode(text, pair, 7) for text, pair in zip(texts, pairs, strict=True)
    ]
    assert UNCASED.encode_batch([]) == []
    with pytest.raises(UserError, match="got 3 texts and 1 pairs; expected one pair for each"):
        UNCASED.encode_batch(texts, ["yes"])


def test_decode():
    ids = UNCASED.encode("He like-d the cats, yes!", "fine").ids
    assert UNCASED.decode(ids) == "he like - d the cats, yes! fine"
    assert UNCASED.decode(np.array(ids[:4]), skip_special_tokens=False).startswith("[CLS] he")
    assert UNCASED.decode([]) == ""
    with pytest.raises(UserError, match=r"got id -1; expected 0 to"):
        UNCASED.decode([-1])


def test_what_the_vocabulary_is():
    tokenizer = Tokenizer(["[UNK]", "a", "##b", "##", *SPECIAL_PIECES[2:], "[PAD]"])
    assert tokenizer.vocab_size == 8
    assert tokenizer.special_ids == (7, 0, 4, 5, 6)
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id) == (7, 0, 4)
    assert (tokenizer.sep_id, tokenizer.mask_id) == (5, 6)
    assert tokenizer.is_continuation.tolist() == [False, False, True, *[False] * 5]
    assert tokenizer.id_of("##b") == 2
    # printf '[UNK]\na\n##b\n##\n[CLS]\n[SEP]\n[MASK]\n[PAD]' | sha256sum
    assert tokenizer.vocab_hash == (
        "1f3150659f7b438a55d69e823c5aafee0dcbb1ac9cb859ca5aae1041ad1a7f95"
    )
    with pytest.raises(UserError, match="got piece 'b'; expected one of the vocabulary's 8"):
        tokenizer.id_of("b")


def test_save_and_load_keep_every_piece(tmp_path):
    pieces = [*SPECIAL_PIECES, "\u2028", "##\u2028", "\x85", "中", "a"]
    Tokenizer(pieces).save(tmp_path / "vocab.txt")
    again = Tokenizer.from_file(tmp_path / "vocab.txt")
    assert again.pieces == tuple(pieces)
    assert again.vocab_hash == Tokenizer(pieces).vocab_hash
    assert [path.name for path in tmp_path.iterdir()] == ["vocab.txt"]
    (tmp_path / "windows.txt").write_bytes(("\ufeff" + "\r\n".join(pieces)).encode())
    assert Tokenizer.from_file(tmp_path / "windows.txt").pieces == tuple(pieces)


def test_a_learned_vocabulary_is_what_its_record_says(tmp_path):
    file, record = tmp_path / "vocab.txt", tmp_path / "vocab.txt.json"
    UNCASED.save(file)
    record.write_text(json.dumps({"vocab_hash": UNCASED.vocab_hash}))
    assert Tokenizer.from_file(file).pieces == UNCASED.pieces
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))  # an editor did
    assert Tokenizer.from_file(file).pieces == UNCASED.pieces
    *others, last, end = UNCASED.pieces
    UNCASED.with_pieces([*others, end, last]).save(file)
    with pytest.raises(UserError, match=r"vocab\.txt', which was changed or is damaged: vocab"):
        Tokenizer.from_file(file)
    for other in (b"", b"{", b"[]", b"{}", b"\xff"):
        record.write_bytes(other)
        assert Tokenizer.from_file(file).pieces[-1] == last


def test_pickles_as_its_vocabulary():
    CASED.piece_ids("The cats")
    again = pickle.loads(pickle.dumps(CASED))
    assert again.pieces == CASED.pieces and not again.lowercase
    assert again.encode("The cats") == CASED.encode("The cats")


@pytest.mark.parametrize(
    "content, message",
    [
        (
            b"a\nb\n",
            r"without \[PAD\] \[UNK\] \[CLS\] \[SEP\] \[MASK\]; expected one piece per line",
        ),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\na\n", "got the piece 'a' twice"),
        (b"[PAD]\n\xff\n", "which is not valid UTF-8"),
    ],
)
def test_bad_vocabularies(tmp_path, content, message):
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        Tokenizer.from_file(tmp_path / "vocab.txt")


def test_missing_vocabulary(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read \(No such file"):
        Tokenizer.from_file(tmp_path / "vocab.txt")


def test_words_that_cannot_be_cut_are_unknown():
    assert UNCASED.encode("ж the " + "a" * 101).tokens[1:-1] == ["[UNK]", "the", "[UNK]"]
    assert UNCASED.piece_ids("ж the " + "a" * 101).tolist() == [
        UNCASED.unk_id,
        UNCASED.id_of("the"),
        UNCASED.unk_id,
    ]


def test_a_vocabulary_is_read_as_it_was_learned(tmp_path):
    file = tmp_path / "v.txt"
    learn_vocabulary(
        ["Ünder die Brücke geht er"] * 9, 60, settings=WordSettings(lowercase=False)
    ).save(file)
    for read in (Tokenizer.from_file, Tokenizer.from_pretrained):
        assert not read(file).lowercase and "B" in read(file).pieces
    assert not Tokenizer.from_file(file, lowercase=False, splitting="words").lowercase
    with pytest.raises(UserError) as error:
        Tokenizer.from_file(file, lowercase=True)
    assert str(error.value) == (
        f"got lowercase=True for {file}, which was learned with lowercase=False (according to"
        " v.txt.json next to it); expected the same, or no `lowercase`"
    )
    uncased = small_tokenizer(strip_accents=False)
    assert not Tokenizer.from_file(file, like=uncased).lowercase  # the record comes first
    (tmp_path / "v.txt.json").unlink()
    alike = Tokenizer.from_file(file, like=WHOLE_CHINESE)
    assert (alike.lowercase, alike.strip_accents, alike.split_chinese) == (True, False, False)
    assert Tokenizer.from_file(file, False, like=WHOLE_CHINESE).strip_accents is None
    learn_vocabulary(["geht er"] * 9, 60).save(file)
    with pytest.raises(UserError, match="got split_chinese=False for"):
        Tokenizer.from_file(file, split_chinese=False)


def test_ids_alone_are_those_of_encodings():
    texts = ["", "I like cats, no dogs", "[MASK] é 你\ud800", "cats " * 30]
    for special in (False, True):
        encodings = UNCASED.encode_batch(texts, None, 9, special)
        found = UNCASED.inputs_of(texts, 9, special)
        assert [(each.ids, each.type_ids) for each in found] == [
            (each.ids, each.type_ids) for each in encodings
        ]
    with pytest.raises(UserError, match="got max_length=1; expected at least 2"):
        UNCASED.inputs_of(["cats"], 1)
