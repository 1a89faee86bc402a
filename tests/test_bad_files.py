"""Files that are damaged, odd or meant to harm: each is one line that names it, or is read.

A row of `CASES` is a file that once ended in a traceback, a hang or gigabytes, or might. Beside
them every JSON format meets texts that are none, and a wrong value in every place of a right one.
"""

import bz2
import gzip
import json
import lzma
import re

import numpy as np
import pytest

from bert_jax import Tokenizer
from bert_jax.analysis.similarity import read_scored_pairs
from bert_jax.analysis.words import read_word_groups
from bert_jax.config import BertConfig
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.convert.sentence_encoders import read_sentence_encoder, wants_lower_case
from bert_jax.data.sources import open_source
from bert_jax.tables.storage import load_tables, save_tables
from bert_jax.tables.word2vec import read_word2vec
from bert_jax.tasks.multiple_choice import read_choices
from bert_jax.tasks.question_answering.squad_files import read_squad
from bert_jax.tasks.tables import read_table
from bert_jax.tasks.tagged_files import read_columns, read_conllu
from bert_jax.text.word_counts import WordCounts, count_words
from tests.hostile import (
    DEEP,
    DEEP_OBJECT,
    DIGITS,
    npy_header,
    safetensors,
    said_of,
    spoiled,
    written,
    zipped,
)
from tests.tables.examples import tables_of, vocabulary

ELEVEN_TIB = (3 * 2**20, 2**20)  # in float32, 12 bytes short of nothing: 12 TiB
SMALL = BertConfig(
    vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
    max_position_embeddings=16,
).to_dict()  # fmt: skip
LIBRARY = {
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100,
              "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "a": 5}},
    "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                   "strip_accents": None, "lowercase": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "TemplateProcessing",
                       "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                                  {"Sequence": {"id": "A", "type_id": 0}},
                                  {"SpecialToken": {"id": "[SEP]", "type_id": 0}}], "pair": []},
    "added_tokens": [{"id": 6, "content": "[ENT]", "special": True, "normalized": False}],
}  # fmt: skip
WORD_LEVEL = {
    "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": LIBRARY["model"]["vocab"]},
    "normalizer": None,
    "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\\S"}, "behavior": "Removed",
                      "invert": True},
    "added_tokens": [],
}  # fmt: skip
SETTINGS = {
    "tokenizer_class": "BertTokenizer", "do_lower_case": True, "strip_accents": None,
    "tokenize_chinese_chars": True, "mask_token": {"content": "[MASK]"}, "model_max_length": 512,
    "added_tokens_decoder": {"6": {"content": "[ENT]", "special": True}},
    "additional_special_tokens": ["[ENT]"], "do_basic_tokenize": True,
}  # fmt: skip
SPECIAL = {"mask_token": {"content": "[MASK]"}, "additional_special_tokens": ["[ENT]"]}
SQUAD = {
    "data": [
        {
            "title": "T",
            "paragraphs": [
                {
                    "context": "A fox.",
                    "qas": [
                        {
                            "id": "1",
                            "question": "Who?",
                            "answers": [{"text": "fox", "answer_start": 2}],
                        }
                    ],
                }
            ],
        }
    ]
}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
]
POOLING = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}
DENSE = {
    "in_features": 8,
    "out_features": 8,
    "activation_function": "torch.nn.modules.activation.Tanh",
}
LIMITS = {"max_seq_length": 16, "do_lower_case": False}
PROMPTS = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}


def _tokenizer(folder):
    if not (folder / "tokenizer.json").exists() and not (folder / "vocab.txt").exists():
        (folder / "vocab.txt").write_text("\n".join(LIBRARY["model"]["vocab"]) + "\n")
    Tokenizer.from_pretrained(folder)


def _sentences(folder):
    for name, content in {"modules.json": MODULES, "1_Pooling/config.json": POOLING,
                          "2_Dense/config.json": DENSE}.items():  # fmt: skip
        if not (folder / name).exists():
            written(folder, name, content)
    wants_lower_case(folder)
    read_sentence_encoder(folder, folder)


def _model(folder):
    if not (folder / "config.json").exists():
        written(folder, "config.json", SMALL)
    load_pretrained(folder)


def _documents(name):
    return lambda folder: [d.text for d in open_source([str(folder / name)])]


READERS = {
    "config.json": lambda folder: BertConfig.from_json(folder / "config.json"),
    "tokenizer.json": _tokenizer,
    "tokenizer_config.json": _tokenizer,
    "special_tokens_map.json": _tokenizer,
    "added_tokens.json": _tokenizer,
    "vocab.txt": _tokenizer,
    "modules.json": _sentences,
    "1_Pooling/config.json": _sentences,
    "2_Dense/config.json": _sentences,
    "2_Dense/model.safetensors": _sentences,
    "sentence_bert_config.json": _sentences,
    "config_sentence_transformers.json": _sentences,
    "model.safetensors": _model,
    "model.safetensors.index.json": _model,
    "flax_model.msgpack": _model,
    "tables.npz": lambda folder: load_tables(folder / "tables.npz"),
    "tables.safetensors": lambda folder: load_tables(folder / "tables.safetensors"),
    "words.vec": lambda folder: read_word2vec(folder / "words.vec"),
    "counts.txt": lambda folder: WordCounts.load(folder / "counts.txt"),
    "squad.json": lambda folder: read_squad(folder / "squad.json"),
    "squad.json.gz": lambda folder: read_squad(folder / "squad.json.gz"),
    "rows.tsv": lambda folder: read_table(folder / "rows.tsv"),
    "rows.tsv.gz": lambda folder: read_table(folder / "rows.tsv.gz"),
    "rows.csv": lambda folder: read_table(folder / "rows.csv"),
    "rows.csv.gz": lambda folder: read_table(folder / "rows.csv.gz"),
    "rows.jsonl": lambda folder: read_table(folder / "rows.jsonl"),
    "rows.jsonl.gz": lambda folder: read_table(folder / "rows.jsonl.gz"),
    "choices.jsonl": lambda folder: read_choices(folder / "choices.jsonl"),
    "tags.conll": lambda folder: read_columns(folder / "tags.conll"),
    "tags.conllu": lambda folder: read_conllu(folder / "tags.conllu"),
    "pairs.tsv": lambda folder: read_scored_pairs(folder / "pairs.tsv"),
    "groups.txt": lambda folder: read_word_groups(folder / "groups.txt", 3),
    **{name: _documents(name) for name in (
        "text.jsonl", "text.json", "text.txt", "text.txt.gz", "text.txt.bz2", "text.txt.xz",
        "text.txt.zst", "text.parquet", "text.arrow",
    )},
}  # fmt: skip

JSON_FILES = {
    "config.json": SMALL,
    "tokenizer.json": LIBRARY,
    "tokenizer_config.json": SETTINGS,
    "special_tokens_map.json": SPECIAL,
    "added_tokens.json": {"[ENT]": 6},
    "modules.json": MODULES,
    "1_Pooling/config.json": POOLING,
    "2_Dense/config.json": DENSE,
    "sentence_bert_config.json": LIMITS,
    "config_sentence_transformers.json": PROMPTS,
    "model.safetensors.index.json": {"weight_map": {"a": "x.safetensors", "b": "x.safetensors"}},
    "squad.json": SQUAD,
    "rows.jsonl": {"text": "a", "label": "b"},
    "choices.jsonl": {"question": "a", "choices": ["b", "c"], "answer": 0},
    "text.jsonl": {"text": "a"},
    "text.json": [{"text": "a"}],
}  # fmt: skip

TEXTS = {
    "deep": DEEP,
    "deep objects": DEEP_OBJECT,
    "deep inside": '{"a": ' + DEEP + "}",
    "digits": '{"a": ' + DIGITS + "}",
    "digits alone": DIGITS,
    "infinity": '{"a": 1e999}',
    "nothing": "",
    "a blank": " ",
    "cut": '{"a": [1, 2',
    "two": "{} {}",
    "no UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a lone surrogate": '{"a": "\\ud800", "text": "\\ud800"}',
    "zeros": bytes(1000),
    "a list": "[]",
    "null": "null",
    "a number": "5",
    "a text": '"a"',
    "many members": json.dumps({f"k{i}": i for i in range(20_000)}),
}


@pytest.mark.parametrize("name", JSON_FILES)
@pytest.mark.parametrize("text", TEXTS)
def test_json_that_is_none_is_refused(tmp_path, name, text):
    path = written(tmp_path, name, TEXTS[text])
    said = said_of(lambda: READERS[name](tmp_path), path.stat().st_size)
    hopeless = text in ("deep", "deep objects", "deep inside", "digits", "cut", "two")
    if hopeless and name not in ("text.json", "text.jsonl"):
        assert said is not None and path.name in said


@pytest.mark.parametrize("name", JSON_FILES)
def test_json_with_a_member_of_another_type_is_refused_or_read(tmp_path, name):
    path = written(tmp_path, name, JSON_FILES[name])
    if name != "model.safetensors.index.json":
        assert said_of(lambda: READERS[name](tmp_path), 0) is None
    for where, content in spoiled(JSON_FILES[name]):
        written(tmp_path, name, content)
        try:
            said_of(lambda: READERS[name](tmp_path), path.stat().st_size)
        except Exception as error:
            raise AssertionError(f"{name} with {where}") from error


def test_a_word_level_tokenizer_with_a_member_of_another_type(tmp_path):
    for where, content in spoiled(WORD_LEVEL):
        written(tmp_path, "tokenizer.json", content)
        try:
            said_of(lambda: _tokenizer(tmp_path), 1000)
        except Exception as error:
            raise AssertionError(where) from error


_HUGE = {
    "__metadata__": {},
    "a": {"dtype": "F32", "shape": list(ELEVEN_TIB), "data_offsets": [0, 12 * 2**40]},
}
_ROW = b"some text\tlabel\n"
CASES = [
    ("config.json", {**SMALL, "hidden_size": 10**9}, "hidden_size=1000000000; expected at most"),
    ("config.json", {**SMALL, "vocab_size": 10**18}, "vocab_size=1000000000000000000; expected at"),
    ("config.json", {**SMALL, "layer_norm_eps": float("inf")}, "layer_norm_eps=inf; expected"),
    ("config.json", {**SMALL, "layer_norm_eps": float("nan")}, "layer_norm_eps=nan; expected"),
    ("config.json", {k.replace("hidden_size", "hiden_size"): v for k, v in SMALL.items()},
     "got the key 'hiden_size' in .*config.json; expected 'hidden_size'"),
    ("config.json", {k.replace("vocab_size", "vocabsize", 1): v for k, v in SMALL.items()
                     if k != "type_vocab_size"}, "expected 'vocab_size'"),
    ("model.safetensors", safetensors(_HUGE), "model.safetensors, which cannot be read as safet"),
    ("model.safetensors", (2**62).to_bytes(8, "little"), "cannot be read as safetensors"),
    ("model.safetensors", safetensors(DEEP.encode()), "cannot be read as safetensors"),
    ("model.safetensors", b"", "cannot be read as safetensors"),
    ("2_Dense/model.safetensors", safetensors({"a": {"dtype": "F8_E4M3", "shape": [1],
     "data_offsets": [0, 1]}}, b"a"), "model.safetensors"),
    ("model.safetensors.index.json", {"weight_map": {"a": "../../etc/passwd"}}, "json with weight"),
    ("model.safetensors.index.json", {"weight_map": {"a": "x" * 300}}, "xx, which cannot"),
    ("tables.safetensors", safetensors(_HUGE), "tables.safetensors', which cannot be read"),
    ("tables.safetensors", safetensors({"__metadata__": {"vocabulary": DEEP}}), "tables.safetens"),
    ("2_Dense/model.safetensors", safetensors({}), "linear.weight"),
    ("2_Dense/model.safetensors", safetensors({"linear.weight": {"dtype": "F32", "shape": [1],
     "data_offsets": [0, 4]}}, bytes(4)), "linear.weight"),
    ("flax_model.msgpack", b"\xdf\xff\xff\xff\xff", "flax_model.msgpack, which cannot be read"),
    ("flax_model.msgpack", b"\x81\xa1a" * 5000, "flax_model.msgpack, which cannot be read"),
    ("flax_model.msgpack", b"\x81\xa1a\xc6\xff\xff\xff\xff", "flax_model.msgpack, which cannot be"),
    ("flax_model.msgpack", b"\x81\xa1a\xc7\x05\x01abcde", "flax_model.msgpack, which cannot be r"),
    ("tables.npz", zipped({"token.npy": npy_header(ELEVEN_TIB)}), "tables.npz', which cannot be"),
    ("tables.npz", zipped({"token.npy": npy_header((2,), "|O") + b"cos\nsystem\n."}), "tables.npz"),
    ("tables.npz", zipped({"token.npy": npy_header((2**29,)) + bytes(100)}), "tables.npz"),
    ("tables.npz", zipped({"token.npy": b"\x93NUMPY\x09\x00"}), "tables.npz', which cannot be"),
    ("tables.npz", zipped({"token.npy": b""}), "tables.npz', which cannot be read"),
    ("tables.npz", zipped({"token.npy": b"no array"}), "tables.npz', which cannot be read"),
    ("tables.npz", zipped({"token.npy": 200 << 20}), "many times its own size"),
    ("tables.npz", zipped({"bomb.npy": 200 << 20}), "tables.npz without token, segment"),
    ("tables.npz", b"PK\x05\x06" + bytes(18), "tables.npz without token"),
    ("tables.npz", npy_header((2, 2)) + bytes(16), "tables.npz', which cannot be read"),
    ("words.vec", f"{DIGITS} 3\na 1 2 3\n", "words.vec"),
    ("words.vec", "2 99999999999999999999\na 1 2\n", "words.vec"),
    ("words.vec", "1 2\na\\u{ffffffffffff} 1 2\n", "words.vec"),
    ("words.vec", "1 2\na 1 1e999\n", "words.vec"),
    ("words.vec", b"1 2\n\xff 1 2\n", "words.vec"),
    ("counts.txt", DEEP, "counts.txt"),
    ("counts.txt", '{"format": []}\n', "counts.txt"),
    ("counts.txt", "[]\n", "counts.txt"),
    ("counts.txt", "5\n", "counts.txt"),
    ("squad.json.gz", gzip.compress(json.dumps(SQUAD).encode())[:40], "squad.json.gz, which cann"),
    ("squad.json.gz", gzip.compress(b" " * (300 << 20)), "squad.json.gz, which unpacks to more"),
    ("rows.tsv.gz", gzip.compress(b"text\tlabel\n" + b"a" * (300 << 20)), "rows.tsv.gz, which unp"),
    ("rows.csv.gz", gzip.compress(b"text,label\n" + b"a" * (300 << 20)), "rows.csv.gz, which unp"),
    ("rows.jsonl.gz", gzip.compress(b"{" + b" " * (300 << 20)), "rows.jsonl.gz, which unpacks to"),
    ("rows.tsv.gz", gzip.compress(_ROW * 1000)[:-9], "rows.tsv.gz, which cannot be read"),
    ("rows.tsv.gz", gzip.compress(_ROW * 1000)[:60] + b"garbage", "rows.tsv.gz, which cannot be"),
    ("rows.csv", 'text,label\n"' + "a" * (2 << 20), "rows.csv"),
    ("rows.csv", b"text,label\n\0,\0\n", None),
    ("rows.tsv", b"\xff\xfe" + "a\tb\n".encode("utf-16-le"), "rows.tsv"),
    ("rows.jsonl", '{"text": "a"}\n{"text": ' + DIGITS + "}\n", "rows.jsonl, line 2"),
    ("rows.jsonl", '{"text": "a"}\n' + DEEP_OBJECT + "\n", "rows.jsonl, line 2"),
    ("choices.jsonl", DEEP_OBJECT, "choices.jsonl, line 1"),
    ("tags.conll", "a B\nc\n", "tags.conll"),
    ("tags.conll", b"\xff B\n", "tags.conll"),
    ("tags.conllu", "1\ta\n", "tags.conllu"),
    ("tags.conllu", DIGITS + "\ta" * 9 + "\n", None),
    ("pairs.tsv", "a\tb\tnan\nc\td\tinf\n", "pairs.tsv"),
    ("groups.txt", "a\n", "groups.txt"),
    ("text.jsonl", '{"text": "a"}\n{"text": ' + DIGITS + "}\n", "text.jsonl, line 2"),
    ("text.jsonl", '{"text": "a"}\n' + DEEP_OBJECT + "\n", "text.jsonl, line 2"),
    ("text.json", '[{"text": "a"}, ' + DEEP + "]", None),  # brackets hold no object
    ("text.json", '[{"text": "a"}, ' + DEEP_OBJECT + "]", "text.json, object 2"),
    ("text.json", '[{"text": "a"}, {"n": ' + DIGITS + "}]", "text.json, object 2"),
    ("text.txt.gz", gzip.compress(b"some text. " * 9000)[:-9], "text.txt.gz"),
    ("text.txt.bz2", bz2.compress(b"some text. " * 9000)[:-9], "text.txt.bz2"),
    ("text.txt.xz", lzma.compress(b"some text. " * 9000)[:-9], "text.txt.xz"),
    ("text.txt.zst", b"\x28\xb5\x2f\xfd" + bytes(50), "text.txt.zst"),
    ("text.parquet", b"PAR1" + bytes(100) + b"PAR1", "text.parquet"),
    ("text.parquet", b"PAR1" + b"\xff" * 8 + b"PAR1", "text.parquet"),
    ("text.arrow", b"ARROW1" + bytes(100), "text.arrow"),
    ("text.arrow", b"\xff" * 100, "text.arrow"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_bad_file_is_one_line(tmp_path, number):
    name, content, expected = CASES[number]
    path = written(tmp_path, name, content)
    said = said_of(lambda: READERS[name](tmp_path), path.stat().st_size)
    if expected is None:
        assert said is None
    else:
        assert said is not None and re.search(expected, said), said


def test_every_file_that_is_whole_is_read(tmp_path):
    """What stands beside the bad ones is what they would be."""
    save_tables(tables_of(vocabulary(["a"])), tmp_path / "tables.npz")
    assert said_of(lambda: READERS["tables.npz"](tmp_path), 0) is None
    count_words(["some words"]).save(tmp_path / "counts.txt")
    assert said_of(lambda: READERS["counts.txt"](tmp_path), 0) is None
    packed = tmp_path / "packed.npz"
    with np.load(tmp_path / "tables.npz") as arrays:
        np.savez_compressed(packed, **arrays)
    assert load_tables(packed).token.shape == load_tables(tmp_path / "tables.npz").token.shape
