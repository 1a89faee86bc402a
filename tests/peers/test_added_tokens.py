"""Added tokens and the files that state them, read here and by transformers: the same ids."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers", reason="the peers suite needs transformers")

import tokenizers  # noqa: E402
from tokenizers.models import WordPiece  # noqa: E402
from tokenizers.normalizers import BertNormalizer  # noqa: E402
from tokenizers.pre_tokenizers import BertPreTokenizer  # noqa: E402

from bert_jax import Tokenizer  # noqa: E402
from bert_jax.text.added_tokens import AddedToken  # noqa: E402
from tests.text.vocabulary import small_pieces  # noqa: E402

PIECES = list(dict.fromkeys(small_pieces()))
TEXTS = ["The [E1] cat[E1]s, [e1] x", "new york New York", "[E2][E1] [E", "[MASK] [unused0] [CLS]"]
FLAGS = {"lstrip": False, "rstrip": False, "single_word": False}
E1 = {"content": "[E1]", "normalized": True, "special": False, **FLAGS}


def library(lowercase=True, added=()):
    """The content of a `tokenizer.json`."""
    made = tokenizers.Tokenizer(
        WordPiece({piece: i for i, piece in enumerate(PIECES)}, unk_token="[UNK]")
    )
    made.normalizer = BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = BertPreTokenizer()
    made.add_special_tokens(PIECES[:5])
    made.add_tokens([tokenizers.AddedToken(**token) for token in added])
    return json.loads(made.to_str())


def assert_same_ids(directory, texts=TEXTS):
    """`special_pieces_in_text`, since special pieces in a text are special there."""
    ours = Tokenizer.from_pretrained(directory)
    theirs = transformers.AutoTokenizer.from_pretrained(directory)
    for text in texts:
        ids = ours.encode(text, special_pieces_in_text=True).ids
        assert theirs(text)["input_ids"] == ids, text
    return ours


LOWER = {"do_lower_case": True}
FILES = {
    "tokenizer.json": {"tokenizer.json": library(added=[E1])},
    "beside settings": {"tokenizer.json": library(added=[E1]), "tokenizer_config.json": LOWER},
    "added_tokens.json": {"added_tokens.json": {"[E1]": len(PIECES)}},
    "added and special": {
        "added_tokens.json": {"[E1]": len(PIECES)},
        "tokenizer_config.json": {"additional_special_tokens": ["[E1]", "[E2]"], **LOWER},
    },
    "additional_special_tokens": {
        "tokenizer_config.json": {"additional_special_tokens": ["[E1]", "dogs"], **LOWER}
    },
    "special_tokens_map.json": {
        "special_tokens_map.json": {"additional_special_tokens": ["[E2]", "[E1]"]}
    },
    "added_tokens_decoder": {
        "tokenizer_config.json": {
            "added_tokens_decoder": {
                str(len(PIECES) + 1): {**E1, "content": "new york"}, str(len(PIECES)): E1,
            }, "extra_special_tokens": ["[E2]"], **LOWER,
        }
    },
    "a token of its own name": {"tokenizer_config.json": {"entity_token": "[E1]", **LOWER}},
    "a library's own class": {
        "tokenizer.json": library(False, [E1]),
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizerFast", "do_lower_case": False},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_adds_tokens_is_obeyed(tmp_path, name):
    settings = {"tokenizer_config.json": LOWER}
    for file, content in {**settings, **FILES[name]}.items():
        (tmp_path / file).write_text(json.dumps(content))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    ours = assert_same_ids(tmp_path)
    assert len(PIECES) in ours.encode(TEXTS[0]).ids or "[E2]" in ours.pieces
    ours.save_pretrained(tmp_path / "again")
    again = assert_same_ids(tmp_path / "again")
    assert again.pieces == ours.pieces
    for text in TEXTS:
        assert again.encode(text).ids == ours.encode(text).ids


@pytest.mark.parametrize("stated", [True, False])
def test_the_casing_of_the_settings_wins(tmp_path, stated):
    (tmp_path / "tokenizer.json").write_text(json.dumps(library(lowercase=not stated)))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": stated}))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert assert_same_ids(tmp_path, ["The cat", "CATS dogs"]).lowercase == stated


FLAG = st.booleans()
TOKENS = st.lists(
    st.builds(
        AddedToken,
        st.sampled_from(["[E1]", "[e1]", "new york", "c++", "cat", "ÉÉ", "中文", "dogsx"]),
        FLAG, FLAG, FLAG, FLAG, FLAG,
    ),
    unique_by=lambda token: token.content, min_size=1, max_size=4,
)  # fmt: skip
TEXT = st.lists(
    st.sampled_from(
        ["[E1]", "[e1]", " ", " ", "New York", "new york", "C++", "cat", "cats", "éé", "ÉÉ", "中文",
         "dogsx", "y", ".", "[MASK]", "the", "\u0301", "\t"]
    ), max_size=12,
).map("".join)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(TOKENS, st.lists(TEXT, min_size=1, max_size=8), FLAG)
def test_what_we_export_is_found_in_text_alike_there(tokens, texts, lowercase):
    ours = Tokenizer([*PIECES, *(t.content for t in tokens)], lowercase, added=tokens)
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(Path(folder))
        assert_same_ids(Path(folder), texts)
