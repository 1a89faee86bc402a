"""Texts of which the tokenizer leaves nothing: counted in training, refused by predict."""

import dataclasses
import json

import numpy as np
import pytest

from bert_jax.tasks import finetune
from bert_jax.tasks.empty_texts import empty_text_remarks, have_empty_texts
from bert_jax.tasks.multiple_choice import ChoiceQuestion
from bert_jax.tasks.predictor import Predictor
from bert_jax.tasks.question_answering.squad import Question
from tests.tasks.examples import TASKS, TOKENIZER, tiny_pretrained

EMPTY = ["", " \t ", "\u00a0", "\u200b", "\u200b\u2060 \x07"]


def prepared(name, *examples):
    return TASKS[name][0].prepare(examples, TOKENIZER)


@pytest.mark.parametrize("empty", EMPTY)
def test_one_rule_for_texts_pairs_questions_and_choices(empty):
    example = TASKS["classification"][1][0]
    texts = [("a", None), (empty, None), ("a", "b"), (empty, "b"), ("a", empty), (empty, empty)]
    pairs = [dataclasses.replace(example, text=text, pair=pair) for text, pair in texts]
    for name, asked, expected in (
        ("classification", pairs, [0, 1, 0, 1, 1, 1]),
        ("similarity", [dataclasses.replace(e, label=None) for e in pairs[2:]], [0, 1, 1, 1]),
        ("multiple_choice", [ChoiceQuestion("a", ("b", c), 0, 1) for c in ("c", empty)], [0, 1]),
        ("qa", [Question("1", "", "a", c, ()) for c in ("b", empty)], [0, 1]),
        ("qa", [Question("1", "", empty, "b", ())], [1]),
    ):
        found = have_empty_texts(prepared(name, *asked).features)
        np.testing.assert_array_equal(found, np.array(expected, bool))
    assert not have_empty_texts(prepared("tagging", *TASKS["tagging"][1]).features).any()


def test_they_are_marked_by_their_number_and_the_others_are_answered():
    task, _ = TASKS["classification"]
    model = dataclasses.replace(tiny_pretrained(), architecture=task.head.architecture)
    asked = ["the cats", *EMPTY, ("the", "\u200b"), {"text": " ", "pair": "cats"}, "the cats"]
    rows = Predictor(model, task)(asked, on_error="mark")
    assert ["error" in row for row in rows] == [False, *[True] * 7, False]
    assert rows[2] == {
        "item": 3,
        "error": "the examples, item 3: got a text without a piece (empty, or white space, control"
        " and format characters alone); expected words in every text",
    }


def test_training_counts_and_says_them(tmp_path, capfd):
    texts = {part: prepared("one text", *TASKS["one text"][1]) for part in ("train", "dev")}
    assert empty_text_remarks(texts) == []
    rows = [("the cats", "yes"), ("the dogs", "no"), ("", "yes"), (" \t", "no"), ("\u200b", "no")]
    finetune(
        "classification", checkpoint=tiny_pretrained(num_hidden_layers=1), train=rows,
        dev=rows[:3], workdir=tmp_path / "run", epochs=1, batch_size=8, max_length=16,
    )  # fmt: skip
    assert "texts without a piece: 3 of train, 1 of dev\n" in capfd.readouterr().err
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert kept["data"]["texts_without_a_piece"] == {"train": 3, "dev": 1}
    assert kept["examples"] == {"train": 5, "dev": 3}
