"""One process for all command lines, since importing jax takes seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.tables.storage import load_tables, save_tables
from bert_jax.tables.vocabulary_surgery import move_vocabulary
from bert_jax.tables.word2vec import read_word2vec
from tests.convert.models import pretrained
from tests.tables.examples import assert_same_tables, tables_of, vocabulary

REPOSITORY = Path(__file__).parents[2]
_RUN_ALL = """
import contextlib, io, json, sys
from absl.testing import flagsaver
from bert_jax.cli import command
from experiments import edit_embeddings
outcomes = []
for arguments in json.load(sys.stdin):
    sys.argv, status = ["edit_embeddings.py", *arguments.split()], 0
    errors, output = io.StringIO(), io.StringIO()
    with flagsaver.flagsaver(), contextlib.redirect_stderr(errors):
        with contextlib.redirect_stdout(output):
            try:
                command.run(edit_embeddings.main)
            except SystemExit as stopped:
                status = stopped.code
    outcomes.append([status, output.getvalue(), errors.getvalue()])
print(json.dumps(outcomes))
"""
OLD = vocabulary(["un", "##able", "read", "##ing", "é", "x", "##x"])
NEW = vocabulary(["reading", "read", "ж"])
WORDS = vocabulary(
    [*map(str, range(300)), "walk", "##ing", "walked", "talking", "on", "he", "they"]
)
RIGHT = {
    "npz": "--input=old.npz --output=o.npz --vocab=new.txt --fallback=draw --seed=3",
    "vec": "--input=old.npz --output=o.vec --add_tokens=readable,##xing,[ENT] --weights=length",
    "safetensors": "--input=o.npz --output=o.safetensors --positions=9 --segments=4"
    " --copy_segment=1",
    "orbax": "--input=nameless.npz --output=o.orbax --input_vocab=old.txt --lowercase=false"
    " --vocab_size=20 --positions=11 --position_rule=interpolate",
    "txt": "--input=hf --output=o.txt",
    "model": "--input=hf --output=model --vocab=new.txt --positions=24",
    "ours": "--input=hf --output=ours --format=ours --segments=3",
    "marked": "--input=hf --output=marked --add_tokens=[ENT]",
    "learned": "--input=words.npz --output=learned.npz --add_tokens=walking",
    "text": "--input=words.npz --output=text.npz --add_tokens=walking --text=text.txt",
    "mean": "--input=words.npz --output=mean.npz --add_tokens=walking --rows=mean",
    "words": "--input=old.npz --output=words2.npz --token_rows=o.vec",
    "glove": "--input=hf --output=glove --token_rows=glove.txt",
    "twice": "--input=model --output=model_tables.npz",
}  # fmt: skip
WRONG = {
    "--output=w.npz": "got no --input or no --output; expected both",
    "--input=old.npz": "got no --input or no --output; expected both",
    "--input=old.npz --output=w.npy": "'w.npy'; expected a name that ends in .npz, .safetensors",
    "--input=old.npz --output=nowhere/w.npz": "cannot be written (No such file or directory)",
    "--input=nowhere.npz --output=w.npz": "'nowhere.npz', which cannot be read",
    "--input=old.npz --output=whole": "old.npz",
    "--input=old.npz --output=there.orbax": "there.orbax, which is not empty; expected a",
    "--input=hf --output=hf2": "hf2, which is not empty; expected a directory that is absent",
    "--input=old.npz --output=w.npz --vocab=nowhere.txt": "'nowhere.txt', which cannot be read",
    "--input=old.npz --output=w.npz --input_vocab=new.txt": "which has a vocabulary; expected",
    "--input=nameless.npz --output=w.npz --input_vocab=long.txt": "for a token table of 12 rows",
    "--input=nameless.npz --output=w.npz --vocab=new.txt": "without a vocabulary; expected tables",
    "--input=nameless.npz --output=w.npz --vocab_size=9": "expected --input_vocab, theirs",
    "--input=nameless.npz --output=w.vec": "without a vocabulary; expected one, because word2vec",
    "--input=old.npz --output=w.npz --add_tokens=read": "'read', which already exists",
    "--input=old.npz --output=w.npz --add_tokens=a-b": "which text is never split into",
    "--input=old.npz --output=w.npz --add_tokens=Read": "'Read', which text is never split into",
    "--input=old.npz --output=w.npz --vocab_size=4": "got a size of 4 pieces, which cuts off",
    "--input=old.npz --output=w.npz --vocab_size=0": "flag --vocab_size=0",
    "--input=old.npz --output=w.npz --weights=heavy": "flag --weights=heavy: value should be one",
    "--input=old.npz --output=w.npz --rows=best": "flag --rows=best: value should be one of",
    "--input=old.npz --output=w.npz --vocab=new.txt --rows=learned --weights=length": "got"
    " --weights=length with --rows=learned; expected --rows=mean",
    "--input=old.npz --output=w.npz --vocab=new.txt --rows=mean --text=new.txt": "got --text with"
    " --rows=mean; expected new pieces with --rows=learned",
    "--input=old.npz --output=w.npz --text=new.txt": "got --text with the vocabulary as it was",
    "--input=old.npz --output=w.npz --vocab=new.txt --text=nowhere": "nowhere",
    "--input=old.npz --output=w.npz --fallback=zero": "flag --fallback=zero: value should be one",
    "--input=old.npz --output=w.npz --seed=-1": "flag --seed=-1",
    "--input=old.npz --output=w.npz --positions=0": "flag --positions=0",
    "--input=old.npz --output=w.npz --position_rule=cubic": "flag --position_rule=cubic: value",
    "--input=old.npz --output=w.npz --segments=0": "flag --segments=0",
    "--input=old.npz --output=w.npz --segments=4 --copy_segment=2": "got segment 2 to copy",
    "--input=old.npz --output=w.npz --copy_segment=1": "got --copy_segment=1 without --segments",
    "--input=o.vec --output=w.npz": "no segment and position tables; expected all three, or word"
    " vectors beside tables or a model to put them into: experiments.edit_embeddings takes them as"
    " --token_rows",
    "--input=old.npz --output=w.npz --token_rows=none.vec": "'none.vec', which cannot be read",
    "--input=old.npz --output=w.npz --token_rows=glove.txt": "got word vectors of width 8 for a"
    " token table of width 4; expected the same",
    "--input=old.npz --output=w.npz --token_rows=text.txt": "whose line 1 is not in word2vec's",
    "--input=nameless.npz --output=w.npz --token_rows=o.vec": "a token table without a vocabulary",
    "--input=old.npz --output=w.npz --token_rows=german.txt": "got 1 words (Haus …), none of which",
    "--input=hf --output=whole --format=onnx": "flag --format=onnx: value should be one of",
    "--input=old.npz --output=w.npz --lowercase=maybe": "flag --lowercase=maybe",
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder of all runs, and the outcome of each."""
    folder = tmp_path_factory.mktemp("edit")
    old = tables_of(OLD)
    save_tables(old, folder / "old.npz")
    save_tables(old, folder / "there.orbax")
    save_tables(old.replace(tokenizer=None), folder / "nameless.npz")
    OLD.save(folder / "old.txt")
    NEW.save(folder / "new.txt")
    vocabulary(map(str, range(30))).save(folder / "long.txt")
    save_tables(tables_of(WORDS), folder / "words.npz")
    (folder / "glove.txt").write_text("read 1 2 3 4 5 6 7 8\nthe 0 0 0 0 0 0 0 0\n")
    (folder / "german.txt").write_text("Haus 1 2 3 4\n")
    (folder / "text.txt").write_text("he was walking home and they walked on\n" * 30)
    for name in ("hf", "hf2"):
        whole = pretrained("BertForPreTraining", vocabulary(OLD.pieces[5:]), vocab_size=12)
        save_huggingface(whole, folder / name)
    lines = [*RIGHT.values(), *WRONG]
    done = subprocess.run(
        [sys.executable, "-c", _RUN_ALL], input=json.dumps(lines), cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout.splitlines()[-1])
    return folder, dict(zip([*RIGHT, *WRONG], outcomes, strict=True))


def test_all_commands_end_well_and_print_a_table(ran):
    folder, outcomes = ran
    for name, line in RIGHT.items():
        status, printed, errors = outcomes[name]
        assert (status, errors) == (0, ""), name
        output = line.split("--output=")[1].split()[0]
        assert output in printed
        assert "token table" in printed
        assert json.loads((folder / f"{output}.json").read_text())["rows"]["token"]
    assert "reading ← read ##ing" in outcomes["npz"][1]


def test_tables_are_moved_and_written_in_every_form(ran):
    folder, _ = ran
    old = load_tables(folder / "old.npz")
    moved = load_tables(folder / "o.npz")
    np.testing.assert_array_equal(moved.token[:7], move_vocabulary(old, NEW).tables.token[:7])
    assert moved.tokenizer.pieces == NEW.pieces
    record = json.loads((folder / "o.npz.json").read_text())["vocabulary"]
    assert record["composed"] == {"reading": ["read", "##ing"]}
    assert record["unspellable"] == ["ж"]
    words = read_word2vec(folder / "o.vec")
    assert words.pieces == (*OLD.pieces, "readable", "##xing", "[ENT]")
    # read: four characters, ##able: four; ##x: one, ##ing: three.
    np.testing.assert_allclose(words.table[12], (old.token[7] + old.token[6]) / 2, rtol=1e-6)
    np.testing.assert_allclose(words.table[13], old.token[11] / 4 + old.token[8] * 3 / 4, rtol=1e-6)
    marked = load_pretrained(folder / "marked").tokenizer
    assert marked.encode("read[ENT]").tokens[1:-1] == ["read", "[ENT]"]
    longer = load_tables(folder / "o.safetensors")
    assert longer.position.shape == (9, 4)
    np.testing.assert_array_equal(longer.position[6:], old.position[:3])
    np.testing.assert_array_equal(longer.segment[2:], old.segment[[1, 1]])
    named = load_tables(folder / "o.orbax")
    assert (named.tokenizer.vocab_size, named.tokenizer.lowercase) == (20, False)
    np.testing.assert_array_equal(named.position[::2], old.position)
    assert (folder / "o.txt").read_text() == (folder / "old.txt").read_text()


def test_word_vectors_are_put_in(ran):
    folder, outcomes = ran
    before, words = load_tables(folder / "old.npz"), read_word2vec(folder / "o.vec")
    assert_same_tables(load_tables(folder / "words2.npz"), before)  # its own rows, read back
    assert "12 of 12; the file has 15" in outcomes["words"][1] and len(words.pieces) == 15
    record = json.loads((folder / "words2.npz.json").read_text())
    assert record["token_rows"] == {"file": "o.vec", "rows": 12}
    tables, old = load_tables(folder / "glove"), load_tables(folder / "hf")
    assert tables.token[7].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]  # read
    np.testing.assert_array_equal(np.delete(tables.token, 7, 0), np.delete(old.token, 7, 0))
    assert "1 of 12; the file has 2" in outcomes["glove"][1]


def test_a_new_row_is_learned_of_pieces_spelled_or_used_alike_or_is_a_mean(ran):
    folder, outcomes = ran
    made_of = {}
    for name in ("learned", "text", "mean"):
        record = json.loads((folder / f"{name}.npz.json").read_text())["vocabulary"]
        made_of[name] = record["composed"]["walking"], record["by"]
        assert record["by"] in outcomes[name][1]
    assert made_of["mean"] == (["walk", "##ing"], "the mean of the pieces that spell it")
    assert made_of["learned"][1] == "regression on spellings"
    assert made_of["text"][1] == "regression on spellings and contexts"
    assert {"walk", "talking", "walked", "##ing"} == set(made_of["learned"][0][:4])
    assert {"he", "they", "on"} & set(made_of["text"][0])
    rows = [load_tables(folder / f"{name}.npz").token for name in made_of]
    np.testing.assert_array_equal(rows[0][:-1], rows[1][:-1])
    assert len({row[-1].tobytes() for row in rows}) == 3


def test_a_whole_model_is_edited_and_read_again(ran):
    folder, _ = ran
    before, after = load_pretrained(folder / "hf"), load_pretrained(folder / "model")
    assert after.config == before.config.replace(vocab_size=8, max_position_embeddings=24)
    assert after.architecture == "BertForPreTraining"
    assert after.tokenizer.pieces == NEW.pieces
    bias, old_bias = after.params["mlm"]["bias"], before.params["mlm"]["bias"]
    assert bias[6] == old_bias[7]
    np.testing.assert_allclose(bias[5], (old_bias[7] + old_bias[8]) / 2, rtol=1e-6)
    tables = load_tables(folder / "model_tables.npz")
    assert_same_tables(tables, load_tables(folder / "model"))
    ours = load_pretrained(folder / "ours")
    assert ours.params["bert"]["embeddings"]["segment"]["table"].shape == (3, 8)
    np.testing.assert_array_equal(ours.params["mlm"]["bias"], old_bias)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_mistake_is_one_line_and_leaves_nothing(ran, wrong):
    folder, outcomes = ran
    status, printed, errors = outcomes[wrong]
    assert (status, printed) == (2, "")
    assert WRONG[wrong] in errors
    assert errors.startswith("experiments.edit_embeddings: ") and errors.count("\n") == 1
    assert not list(folder.glob("w.*")) and not (folder / "whole").exists()
    assert not list(folder.glob(".*"))
