"""Tokenizers as others write them: each key is obeyed, refused, or said in a note."""

import json

import pytest
import tokenizers
from tokenizers.models import WordLevel, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from bert_jax import Tokenizer
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import SPECIAL_PIECES
from bert_jax.text.tokenizer_files import read_tokenizer

PIECES = (*SPECIAL_PIECES, "the", "cat", "[unused0]", "C", "Br")


def library(*, model=None, **changes):
    """The content of a `tokenizer.json`, with other parts put in."""
    ids = {piece: i for i, piece in enumerate(PIECES)}
    made = tokenizers.Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    made.add_special_tokens(list(SPECIAL_PIECES))
    content = {**json.loads(made.to_str()), **changes}
    content["model"] |= model or {}
    return content


VOCAB = "\n".join(PIECES)


def written(folder, vocab=VOCAB, **files):
    if vocab is not None:
        (folder / "vocab.txt").write_text(vocab + "\n")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_the_casing_of_the_settings_wins_over_the_library_s(tmp_path):
    settings = {"do_lower_case": False}
    tokenizer, notes = read_tokenizer(
        written(tmp_path, tokenizer_config=settings, tokenizer=library())
    )
    assert tokenizer.encode("The cat").tokens[1:-1] == ["[UNK]", "cat"]
    assert notes == (
        "do_lower_case=False of tokenizer_config.json is obeyed, as in transformers, and not"
        " lowercase=True of tokenizer.json",
    )


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "TokenizersBackend", "Another"])
def test_of_the_library_s_class_the_library_s_file_wins(tmp_path, name):
    settings = {"do_lower_case": False, "tokenizer_class": name}
    processor = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    tokenizer, notes = read_tokenizer(
        written(
            tmp_path, tokenizer_config=settings, tokenizer=library(post_processor=processor)
        )
    )  # fmt: skip
    assert tokenizer.lowercase and notes == ()


def test_what_the_settings_do_not_say_is_the_library_s(tmp_path):
    cased = library(normalizer={"type": "BertNormalizer", "lowercase": False, "clean_text": True})
    tokenizer, notes = read_tokenizer(
        written(tmp_path, tokenizer_config={"strip_accents": True}, tokenizer=cased)
    )
    assert (tokenizer.lowercase, tokenizer.strip_accents) == (False, True)
    assert notes == (
        "lowercase=False of tokenizer.json is obeyed; transformers takes do_lower_case=True, since"
        " tokenizer_config.json does not say",
        "strip_accents=True of tokenizer_config.json is obeyed, as in transformers, and not"
        " strip_accents=None of tokenizer.json",
    )


NOTED = {
    "normalizer.clean_text=False of tokenizer.json is not obeyed: control characters": {
        "tokenizer": library(normalizer={"type": "BertNormalizer", "clean_text": False})
    },
    "model.max_input_chars_per_word=7 of tokenizer.json is not obeyed: a word of more than 100": {
        "tokenizer": library(model={"max_input_chars_per_word": 7})
    },
    "post_processor of tokenizer.json is not obeyed: texts are framed as [CLS] A [SEP]": {
        "tokenizer": library(),
        "tokenizer_config": {"tokenizer_class": "PreTrainedTokenizerFast"},
    },
    "do_basic_tokenize=False of tokenizer_config.json is not obeyed": {
        "tokenizer_config": {"do_basic_tokenize": False, "do_lower_case": True}
    },
}


@pytest.mark.parametrize("note", NOTED)
def test_what_is_not_obeyed_is_said(tmp_path, note):
    _, (said,) = read_tokenizer(written(tmp_path, **NOTED[note]))
    assert said.startswith(note)


REFUSED = {
    "unk_token='<unk>' in ": {"tokenizer_config": {"unk_token": "<unk>"}},
    "pad_token='<pad>' in ": {"special_tokens_map": {"pad_token": {"content": "<pad>"}}},
    "word_tokenizer_type='mecab' in": {
        "tokenizer_config": {
            "tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab",
        }
    },
    "subword_tokenizer_type='character' in": {
        "tokenizer_config": {
            "tokenizer_class": "BertJapaneseTokenizer", "subword_tokenizer_type": "character",
        }
    },
    "tokenizer_class='SmilesTokenizer' in": {
        "tokenizer_config": {"tokenizer_class": "SmilesTokenizer"}
    },
    "with model BPE; expected WordPiece": {"tokenizer": library(model={"type": "BPE"})},
    "with normalizer Lowercase; expected": {"tokenizer": library(normalizer={"type": "Lowercase"})},
    "with pre_tokenizer Metaspace": {"tokenizer": library(pre_tokenizer={"type": "Metaspace"})},
    "continue a word with '@@'": {"tokenizer": library(model={"continuing_subword_prefix": "@@"})},
    "without model.vocab": {"tokenizer": library(model={"vocab": None})},
    "whose ids have gaps, as at 1": {"tokenizer": library(model={"vocab": {"a": 0, "b": 2}})},
    "the added token '[E]' with id 5 in": {"added_tokens": {"[E]": 5}},
    "the added token '[E]' with id 99999 in": {"added_tokens": {"[E]": 99999}},
    "the added token '[E]' with id 'x' in": {"added_tokens": {"[E]": "x"}},
    "the added token '[F]' with id 'ten' in": {
        "tokenizer_config": {"added_tokens_decoder": {"ten": "[F]"}}
    },
    "the added token {'content': 5} with id '9' in": {
        "tokenizer_config": {"added_tokens_decoder": {"9": {"content": 5}}}
    },
    "the added token '[G]' with id None in": {"tokenizer": library() | {"added_tokens": ["[G]"]}},
    "and normalizer Lowercase; expected none, for text": {
        "tokenizer": library(model={"type": "WordLevel"}, normalizer={"type": "Lowercase"})
    },
    "and pre_tokenizer BertPreTokenizer; expected WhitespaceSplit": {
        "tokenizer": library(model={"type": "WordLevel"}, normalizer=None)
    },
}  # fmt: skip


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_obeyed_is_refused_in_one_line(tmp_path, line):
    with pytest.raises(UserError) as error:
        Tokenizer.from_pretrained(written(tmp_path, **REFUSED[line]))
    assert line in str(error.value) and "expected" in str(error.value)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_words_of_japanese_that_need_no_other_program_are_bert_s(tmp_path):
    settings = {"tokenizer_class": "BertJapaneseTokenizer", "do_lower_case": False}
    assert not Tokenizer.from_pretrained(written(tmp_path, tokenizer_config=settings)).lowercase


def test_an_added_token_keeps_the_row_it_was_given(tmp_path):
    found = Tokenizer.from_pretrained(
        written(tmp_path, added_tokens={"[E]": 12}, tokenizer_config={"mark_token": "[M]"})
    )
    assert found.pieces == (*PIECES, "[unused1]", "[unused2]", "[E]", "[M]")
    assert found.encode("[E][M]").ids[1:-1] == [12, 13]
    found.save_pretrained(tmp_path / "again")
    assert Tokenizer.from_pretrained(tmp_path / "again").__reduce__() == found.__reduce__()
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "again" / "tokenizer.json"))
    assert library.encode("[E][M]").ids == [2, 12, 13, 3]


def test_blanks_behind_a_piece_are_no_part_of_it(tmp_path):
    vocab = "\n".join(piece + " \t" * (piece == "cat") for piece in PIECES) + "\na\na \n \nb "
    found = Tokenizer.from_file(written(tmp_path, vocab) / "vocab.txt")
    assert found.pieces == (*PIECES, "a", "a ", " ", "b")


@pytest.mark.parametrize(
    ("name", "pre_tokenizer", "text"),
    [
        ("spaces", {"type": "WhitespaceSplit"}, "C  Br\tthe"),
        (
            "Br?|C|the",
            {
                "type": "Split", "pattern": {"Regex": "Br?|C|the"}, "behavior": "Removed",
                "invert": True,
            },
            "CBr the",
        ),
    ],
)  # fmt: skip
def test_text_that_is_cut_already_is_known_by_its_library_file(tmp_path, name, pre_tokenizer, text):
    ids = {piece: i for i, piece in enumerate(PIECES)}
    model = json.loads(tokenizers.Tokenizer(WordLevel(ids, "[UNK]")).to_str())["model"]
    content = library(normalizer=None, pre_tokenizer=pre_tokenizer) | {"model": model}
    found = Tokenizer.from_pretrained(written(tmp_path, None, tokenizer=content))
    assert found.splitting.name == name and not found.lowercase
    assert found.encode(text).tokens[1:-1] == ["C", "Br", "the"]
    with pytest.raises(UserError, match=r"got splitting='\\\\S' for .*, whose tokenizer.json says"):
        Tokenizer.from_pretrained(tmp_path, splitting=r"\S")
