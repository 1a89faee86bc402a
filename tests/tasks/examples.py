"""Ten examples of every kind of task, and a tiny random model, that the tests of tasks share."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from bert_jax import Bert, BertConfig
from bert_jax.checkpoint_files import save_params
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.models import pretrained_from
from bert_jax.data.row_layout import sorted_rows
from bert_jax.tasks.classification import Classification
from bert_jax.tasks.finetuner import Finetuner, assemble_finetuner
from bert_jax.tasks.kinds import head_item
from bert_jax.tasks.multi_label import MultiLabel
from bert_jax.tasks.multiple_choice import ChoiceQuestion, MultipleChoice
from bert_jax.tasks.question_answering.squad import Answer, Question
from bert_jax.tasks.question_answering.task import QuestionAnswering
from bert_jax.tasks.regression import Regression
from bert_jax.tasks.similarity import Similarity
from bert_jax.tasks.tagged_files import TaggedSentence
from bert_jax.tasks.tagging import Tagging
from bert_jax.tasks.texts import TextExample
from bert_jax.text.vocabulary_record import vocabulary_record
from bert_jax.training.sharding import create_mesh
from tests.text.vocabulary import small_tokenizer

TOKENIZER = small_tokenizer()
ANIMALS = ["cats", "dogs", "mr smith", "you", "i"]
VERBS = ["like", "left"]
LABEL_SETS = [tuple("AB"[i % 3 : i % 3 + 1]) + ("C",) * (i > 4) for i in range(10)]
TEXTS = [(a, v) for v in VERBS for a in ANIMALS]  # ten pairs


def tiny_pretrained(**changes) -> Pretrained:
    sizes = {
        "vocab_size": TOKENIZER.vocab_size, "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    } | changes  # fmt: skip
    return pretrained_from(Bert(BertConfig(**sizes), nnx.Rngs(0)), TOKENIZER)


def _text(number, pair=True):
    animal, verb = TEXTS[number]
    label = ("A", "B", "C")[number % 3]
    second = f"{verb} one day" if pair else None
    text = f"the {animal}" if pair else f"the {animal} {verb}"
    return TextExample(text, second, label, "x.tsv", number)


def _sentence(number):
    animal, verb = TEXTS[number]
    words = (*animal.split(), verb, "dogging", "é.")
    tags = ("B-who", *["I-who"] * (len(animal.split()) - 1), "O", f"B-{verb}", "O")
    return TaggedSentence(words, tags, (number,) * len(words))


def _question(number):
    animal, verb = TEXTS[number]
    context = f"One day the {animal} {verb}. Yes, thanks, “fine” and how."
    answer = animal if number % 2 else verb
    words = "Who?" if number % 2 else "How are you?"
    return Question(str(number), "T", words, context, (Answer(answer, context.index(answer)),))


def _choice(number):
    animal, verb = TEXTS[number]
    choices = [f"{animal} {verb}", f"{verb} {animal} one day", "fine"][: 2 + number % 2]
    return ChoiceQuestion(f"how {animal} {verb}?", tuple(choices), number % len(choices), number)


TASKS = {
    "classification": (Classification(("A", "B", "C"), 24), [_text(i) for i in range(10)]),
    "multi_label": (
        MultiLabel(("A", "B", "C"), 24),
        [dataclasses.replace(_text(i), label=LABEL_SETS[i]) for i in range(10)],
    ),
    "one text": (Classification(("A", "B", "C"), 24), [_text(i, False) for i in range(10)]),
    "regression": (
        Regression(24),
        [dataclasses.replace(_text(i), label=str(i / 5)) for i in range(10)],
    ),
    "tagging": (Tagging(("B-left", "B-like", "B-who", "I-who", "O"), 24),
                [_sentence(i) for i in range(10)]),
    "qa": (QuestionAnswering(24, 4), [_question(i) for i in range(10)]),
    "multiple_choice": (MultipleChoice(24), [_choice(i) for i in range(10)]),
    "similarity": (
        Similarity(24, 1.0, 5.0),
        [dataclasses.replace(_text(i), label=str(1 + 4 * (i % 3) / 2)) for i in range(10)],
    ),
}  # fmt: skip


def finetuner(task, batch_rows, devices=1, pretrained=None, **settings) -> Finetuner:
    mesh = create_mesh({"data": devices}, jax.devices()[:devices])
    return assemble_finetuner(
        pretrained or tiny_pretrained(), task.head, mesh, batch_rows=batch_rows, labels=task.labels,
        **settings,
    )  # fmt: skip


def save_finetuned(path, name, seed=0) -> list[dict]:
    """Write a checkpoint of a task, whose weights are drawn, and return what it must say."""
    task, examples = TASKS[name]
    prepared = task.prepare(examples, TOKENIZER)
    pretrained = tiny_pretrained(num_hidden_layers=1)
    run = finetuner(task, 8, pretrained=pretrained)
    rng = np.random.default_rng(seed)  # so that no bias is zero and no class is far ahead
    params = jax.tree.map(
        lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype(np.float32),
        jax.device_get(run.initial_state(seed).params),
    )
    logits = run.predict(params, prepared.features, sorted_rows(prepared.features, 16, (24,)))
    save_params(
        path, params, config=pretrained.config.to_dict(),
        vocabulary=vocabulary_record(TOKENIZER), head=head_item(task),
    )  # fmt: skip
    return list(task.predictions(examples, prepared, logits))


def assert_says_the_same(row, other) -> None:
    """Two rows of predictions: numbers to 1e-4 of them, all else as it is; truths aside."""
    mine, theirs = (
        dict(jax.tree_util.tree_leaves_with_path({**each, "truth": None})) for each in (row, other)
    )
    assert mine.keys() == theirs.keys()
    for path, value in theirs.items():
        same = pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
        assert mine[path] == same, path
