"""Runs that start from given embedding tables, freeze some, and are killed."""

import json

import jax
import numpy as np
import pytest

from bert_jax.checkpoint_files import load_params
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.tables.storage import load_tables, save_tables
from tests.faults.runs import (
    command,
    curve,
    finish,
    kill,
    start,
    wait_for_step,
    write_model,
    write_text,
)  # fmt: skip
from tests.tables.examples import tables_of, vocabulary

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = vocabulary([*LETTERS, *(f"##{c}" for c in LETTERS), ".", "the", "fox"])
STEPS = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Text, a model, tables of its sizes, and a finished run that began with them."""
    folder = tmp_path_factory.mktemp("given")
    write_model(folder)
    (folder / "text").mkdir()
    write_text(folder / "text")
    save_tables(tables_of(VOCABULARY, width=16, positions=32), folder / "given.npz")
    finish(start(line(folder, "run")))
    return folder


def line(folder, run, **changes):
    options = {
        "steps": STEPS, "init_embeddings": folder / "given.npz", "freeze": "token,position",
        "eval_every": 0, "checkpoint_every": 20, "keep": 9,
    } | changes  # fmt: skip
    return command(folder / run, f"{folder}/text/*.txt", f"{folder}/model.json", **options)


def tables_at(folder, run, step) -> EmbeddingTables:
    return load_tables(folder / run / "checkpoints" / str(step))


def test_the_run_has_their_vocabulary_and_leaves_frozen_ones_as_they_are(folder):
    given, final = load_tables(folder / "given.npz"), load_tables(folder / "run")
    assert final.tokenizer.pieces == given.tokenizer.pieces
    np.testing.assert_array_equal(final.token, given.token)
    np.testing.assert_array_equal(final.position, given.position)
    for name in ("segment", "norm_scale", "norm_bias"):
        first, last = (getattr(tables_at(folder, "run", step), name) for step in (20, STEPS))
        assert (first != getattr(given, name)).any() and (last != first).any()
        # A step moves an entry by the rate at most: so far these are still the given ones.
        np.testing.assert_allclose(first, getattr(given, name), atol=0.25)
    loss = [entry["mlm_loss"] for entry in curve(folder / "run")]
    assert np.mean(loss[-5:]) < np.mean(loss[:5]) - 0.2


def test_killed_and_continued_without_the_tables_it_is_the_same_bit_for_bit(folder):
    process = start(line(folder, "killed"))
    wait_for_step(process, folder / "killed", 45)  # the checkpoint of step 20 is whole
    kill(process)
    (folder / "given.npz").rename(folder / "moved.npz")  # what is needed is in the workdir
    output = finish(start(line(folder, "killed")))
    (folder / "moved.npz").rename(folder / "given.npz")
    assert "continuing" in output
    assert curve(folder / "killed") == curve(folder / "run")
    jax.tree.map(
        np.testing.assert_array_equal,
        *(load_params(folder / run / "checkpoints" / str(STEPS)) for run in ("killed", "run")),
    )


def test_other_tables_parts_or_freezing_cannot_continue_a_run(folder):
    for changes, message in {
        ("freeze", "token"): "got --freeze=token, but the run in {} was started with"
        " --freeze=token,position",
        ("init_parts", "position"): "got --init_parts=position, but the run in {} was started with"
        " --init_parts=token,segment,position",
    }.items():
        output = finish(start(line(folder, "run", **dict([changes]))), status=2)
        assert message.format(folder / "run") in output
    assert json.loads((folder / "run" / "config.json").read_text())["freeze"] == "token,position"


def test_a_checkpoint_gives_its_position_table_to_a_run_with_another_vocabulary(folder):
    changes = {"init_parts": "position", "steps": 1, "init_embeddings": folder / "run"}
    finish(start(line(folder, "other", vocab_size=80, **changes)))
    given, final = tables_at(folder, "run", STEPS), load_tables(folder / "other")
    np.testing.assert_array_equal(final.position, given.position)
    assert final.vocab_hash != given.vocab_hash
    assert final.token.shape == (final.tokenizer.vocab_size, 16)
