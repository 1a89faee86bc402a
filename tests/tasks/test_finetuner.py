import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bert_jax.data.row_layout import NO_SEQUENCE, Rows, sorted_rows
from bert_jax.errors import UserError
from bert_jax.tasks.batches import TrainingBatches
from bert_jax.tasks.classification import Classification
from bert_jax.tasks.head_start import head_start
from bert_jax.tasks.heads import class_sums, means
from bert_jax.tasks.rate_factors import Rates, frozen_paths, rate_factors
from bert_jax.training.freezing import split_frozen
from bert_jax.training.sharding import put_batch
from tests.tasks.examples import TASKS, TOKENIZER, finetuner, tiny_pretrained

SAID = {"label", "labels", "tags", "answer", "start"}  # beside probabilities


def run_steps(task, examples, steps, *, seed=0, batch_size=10, rate=3e-3, **settings):
    prepared = task.prepare(examples, TOKENIZER)
    features = prepared.features
    size, longest = features.unit_size, int(features.unit_lengths.max())
    batches = TrainingBatches(
        features, task.head.lay_labels, seed=seed, epochs=steps, batch_size=batch_size, pad_id=0,
        lengths=(longest,),
    )  # fmt: skip
    run = finetuner(task, batch_size * size, unit_size=size, **settings)
    step = run.train_step(seed, optax.constant_schedule(rate), steps)
    state = run.initial_state(seed)
    history = []
    for number in range(steps):
        state, metrics = step(state, put_batch(batches[number], run.mesh))
        history.append(jax.device_get(metrics))
    return run, state, history, prepared


@functools.cache
def learned(name):
    """A task after some steps on its ten examples; tests share what it takes to compile this."""
    task, examples = TASKS[name]
    # A question can rest unlearned for long, and a sigmoid a class learns slower than a softmax.
    steps = {"multiple_choice": 240, "multi_label": 300}.get(name, 120)
    return run_steps(task, examples, steps, batch_size=16 if name == "qa" else 10)  # windows


@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradients_of_a_taggers_batches_add_up_to_that_of_all_its_words(weighted):
    task, examples = TASKS["tagging"]
    features = task.prepare(examples, TOKENIZER).features
    weights = np.linspace(0.5, 2.0, len(task.labels)) if weighted else None

    def change(size):
        """What one step of SGD from the same start does for each batch, added up."""
        run = finetuner(
            task, size, optimizer="sgd", weight_decay=0.0, clip_norm=0.0, dropout=0.0,
            class_weights=weights,
        )  # fmt: skip
        batches = TrainingBatches(
            features,
            task.head.lay_labels,
            seed=0,
            epochs=1,
            batch_size=size,
            pad_id=0,
            lengths=(24,),
        )
        step = run.train_step(0, optax.constant_schedule(1.0), 1)
        start = jax.device_get(run.initial_state(0).params)
        total = jax.tree.map(np.zeros_like, start)
        for number in range(len(batches)):
            state, _ = step(run.initial_state(0), put_batch(batches[number], run.mesh))
            moved = jax.tree.map(np.subtract, jax.device_get(state.params), start)
            total = jax.tree.map(np.add, total, moved)
        return total

    whole, parts = change(10), change(4)  # 4 + 4 + 2 of the ten sentences
    for mine, all_at_once in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        scale = max(np.abs(all_at_once).max(), 1e-3)
        np.testing.assert_allclose(mine * 4 / 10 / scale, all_at_once / scale, atol=1e-4)


@pytest.mark.parametrize("name", TASKS)
def test_every_head_learns_ten_examples_by_heart(name):
    task, examples = TASKS[name]
    run, state, history, prepared = learned(name)
    assert history[-1]["loss"] < 0.05 * history[0]["loss"]
    rows = sorted_rows(prepared.features, 4, (24,))
    logits = run.predict(state.params, prepared.features, rows)
    scores = task.scores(examples, prepared, logits)
    if name in ("regression", "similarity"):
        assert scores["pearson"] > 0.99 and scores["negative_mean_square"] > -0.01
    else:
        assert next(iter(scores.values())) == 1.0
    found = list(task.predictions(examples, prepared, logits))
    assert len(found) == 10
    if name == "qa":
        assert [row["answer"] for row in found] == [row["truth"][0] for row in found]


@st.composite
def arrangements(draw, lengths, batch_rows, row_length, places):
    """Sequences in any order, in any row that has room, in batches that may not be full."""
    rows = [[]]
    for sequence in draw(st.permutations(range(len(lengths)))):
        room = row_length - lengths[rows[-1]].sum() >= lengths[sequence]
        if not room or len(rows[-1]) == places or (rows[-1] and draw(st.booleans())):
            rows.append([])
        rows[-1].append(sequence)
    table = np.full((-(-len(rows) // batch_rows) * batch_rows, places), NO_SEQUENCE)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return [Rows(part, row_length) for part in np.split(table, len(table) // batch_rows)]


@pytest.mark.parametrize("name", sorted(TASKS.keys() - {"one text"}))
def test_alone_in_a_batch_packed_and_padded_it_says_the_same(name):
    task, examples = TASKS[name]
    run, state, _, prepared = learned(name)
    features, params = prepared.features, state.params
    alone = run.predict(params, features, sorted_rows(features, 1, (64,)))
    said = list(task.predictions(examples, prepared, alone))

    @hypothesis_settings(max_examples=20, deadline=None)
    @given(arrangements(features.lengths, 4, 24, 1) | arrangements(features.lengths, 3, 60, 5))
    def check(rows):
        logits = run.predict(params, features, rows)
        np.testing.assert_allclose(logits, alone, rtol=1e-4, atol=1e-4)
        for mine, other in zip(task.predictions(examples, prepared, logits), said, strict=True):
            assert {k: mine[k] for k in SAID & mine.keys()} == {
                k: other[k] for k in SAID & other.keys()
            }

    check()


@pytest.mark.parametrize("name", ["multiple_choice", "qa"])
def test_eight_devices_step_as_one(name):
    task, examples = TASKS[name]
    pretrained = tiny_pretrained(hidden_dropout_prob=0.1, num_hidden_layers=1)
    one, eight = (
        run_steps(task, examples, 2, batch_size=16, devices=n, pretrained=pretrained)
        for n in (1, 8)
    )
    for a, b in zip(one[2], eight[2], strict=True):
        for figure in a:
            np.testing.assert_allclose(a[figure], b[figure], rtol=2e-4)


def test_seeds_share_the_compiled_step_and_not_the_numbers():
    task, examples = TASKS["classification"]
    features = task.prepare(examples, TOKENIZER).features
    pretrained = tiny_pretrained(hidden_dropout_prob=0.1)
    before = jax.tree.map(np.array, pretrained.params)
    run = finetuner(task, 10, pretrained=pretrained)
    losses = []
    for seed, rate in ((0, 1e-3), (1, 1e-3), (0, 1e-3), (0, 2e-3)):
        batches = TrainingBatches(
            features, task.head.lay_labels, seed=0, epochs=3, batch_size=10, pad_id=0
        )
        step, state = run.train_step(seed, lambda n, r=rate: r, 3), run.initial_state(seed)
        for number in range(3):
            state, metrics = step(state, put_batch(batches[number], run.mesh))
        losses.append(float(metrics["loss"]))
    assert losses[0] == losses[2]
    assert len(set(losses)) == 3
    assert run.compiled_shapes() == 1
    jax.tree.map(np.testing.assert_array_equal, pretrained.params, before)


@pytest.mark.parametrize("name", TASKS)
def test_rows_that_fill_a_batch_up_weigh_nothing(name):
    task, examples = TASKS[name]
    features = task.prepare(examples, TOKENIZER).features
    size, units = features.unit_size, len(features.unit_starts) - 1
    sums = []
    for batch_size in (units, units + 5):
        batches = TrainingBatches(
            features, task.head.lay_labels, seed=0, epochs=1, batch_size=batch_size, pad_id=0
        )
        batch = batches[0]
        rows, length = batch["input_ids"].shape
        scores = task.head.count(task.labels) or 8  # a vector
        # By row, so that rows of both batches have the same; the filling has something, too.
        shape = (64, length, scores) if task.head.per_token else (64, 1, scores)
        logits = np.random.default_rng(0).normal(size=shape).astype(np.float32)[:rows]
        sums.append(task.head.sums(logits, batch, size, None))
        assert bool(sums[-1]["weight"] > 0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *sums)


def test_class_weights_by_hand():
    logits = np.zeros((3, 1, 2), np.float32)
    logits[0, 0, 0] = np.log(3)
    batch = {
        "labels": np.array([[0], [1], [1]]),
        "weights": np.array([[1.0], [1], [0]], np.float32),
    }
    sums = class_sums(logits, batch, 1, np.array([1.0, 3.0], np.float32))
    found = means(sums)
    assert float(found["loss"]) == pytest.approx((np.log(4 / 3) + 3 * np.log(2)) / 4)
    assert float(found["accuracy"]) == 1.0  # a tie counts as a hit


def test_rates_by_depth():
    params = tiny_pretrained().params | {"classifier": {"bias": np.zeros(2)}}
    factors = rate_factors(params, Rates(layer_decay=0.5, head=10.0))
    assert factors["bert"]["embeddings"]["token"]["table"] == 0.125
    assert factors["bert"]["encoder"]["layers"]["0"]["attention_norm"]["bias"] == 0.25
    assert factors["bert"]["encoder"]["layers"]["1"]["attention_norm"]["bias"] == 0.5
    assert factors["bert"]["pooler"]["dense"]["kernel"] == 1.0
    assert factors["classifier"]["bias"] == 10.0
    with pytest.raises(UserError, match="got freeze_layers=3; expected 0 to 2"):
        frozen_paths(params, Rates(freeze_layers=3))
    with pytest.raises(UserError, match="got layer_decay=0; expected above 0 and at most 1"):
        Rates(layer_decay=0)


@pytest.mark.parametrize("rates", [Rates(freeze_embeddings=True), Rates(freeze_layers=1)])
def test_what_is_frozen_keeps_its_bits_and_has_no_moments(rates):
    task, examples = TASKS["classification"]
    run, state, _, _ = run_steps(task, examples, 3, rates=rates)
    start = run.initial_state(0).params["bert"]
    same = jax.tree.map(lambda a, b: bool((np.asarray(a) == b).all()), state.params["bert"], start)
    assert all(jax.tree.leaves(same["embeddings"]))
    layers = same["encoder"]["layers"]
    assert all(jax.tree.leaves(layers["0"])) is (rates.freeze_layers == 1)
    assert not any(jax.tree.leaves(layers["1"]["feed_forward"]))
    moments = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state))
    trained, _ = split_frozen(state.params, frozen_paths(state.params, rates))
    learning = [leaf.size for leaf in jax.tree.leaves(trained)]
    assert moments - 2 * sum(learning) in (1, 2, 3)  # the counters


def test_the_head_of_the_checkpoint_goes_on_where_it_has_the_same_classes():
    task, examples = TASKS["classification"]
    _, state, _, _ = run_steps(task, examples, 1)
    params = jax.device_get(state.params)
    again = dataclasses.replace(
        tiny_pretrained(), params=params, architecture=task.head.architecture, labels=task.labels
    )
    kept = finetuner(task, 10, pretrained=again).initial_state(7).params["classifier"]["kernel"]
    np.testing.assert_array_equal(kept, params["classifier"]["kernel"])
    turned = dataclasses.replace(task, labels=("C", "A", "B"))
    moved = finetuner(turned, 10, pretrained=again).initial_state(7).params["classifier"]["kernel"]
    np.testing.assert_array_equal(moved, params["classifier"]["kernel"][:, [2, 0, 1]])
    other = Classification(("x", "y", "z"), 24)
    drawn = finetuner(other, 10, pretrained=again).initial_state(7).params["classifier"]["kernel"]
    assert not np.array_equal(drawn, params["classifier"]["kernel"])


def of_three(*labels, architecture="BertForSequenceClassification", problem_type=None):
    params = {**tiny_pretrained().params, "classifier": {"kernel": np.zeros((32, 3))}}
    return dataclasses.replace(
        tiny_pretrained(), params=params, architecture=architecture, labels=labels,
        problem_type=problem_type,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("checkpoint", "labels", "kept", "said"),
    [
        (tiny_pretrained(), ("x", "y"), False, "is new: the checkpoint has none"),
        (of_three("a", "b", "c"), ("x", "y"), False,
         "is new, of 2 classes (x, y); left out: the checkpoint's, of 3 classes (a, b, c)"),
        (of_three("a", "b", "c"), ("a", "b", "x"), False,
         "is new, of 3 classes (a, b, x); left out: the checkpoint's, of 3 classes (a, b, c)"),
        (of_three(), ("x", "y"), False,
         "is new, of 2 classes (x, y); left out: the checkpoint's, of 3 scores"),
        (of_three("a", "b", "c"), ("a", "b", "c"), True, "of 3 classes (a, b, c)"),
        (of_three("a", "b", "c"), ("c", "a", "b"), True, "(a, b, c), in the order c, a, b"),
        (of_three(), ("x", "y", "z"), True,
         "the checkpoint's, of 3 scores without names, which are taken for x, y, z"),
        (of_three("a", "b", "c", architecture="BertForTokenClassification"), ("a", "b", "c"), False,
         "left out: the checkpoint's, of BertForTokenClassification"),
        (of_three("a", "b", "c", problem_type="regression"), ("a", "b", "c"), False,
         "of BertForSequenceClassification with problem_type regression"),
    ],
)  # fmt: skip
def test_what_becomes_of_the_checkpoints_head_is_said(checkpoint, labels, kept, said):
    start = head_start(checkpoint, Classification.head, labels)
    assert start.kept is kept
    assert start.said.startswith("the output layer is ") and start.said.endswith(said)
    assert ("classifier" in start.pretrained.params) is kept


def test_a_checkpoints_own_dropout_in_front_of_the_head_is_obeyed():
    pretrained = tiny_pretrained(classifier_dropout=0.9)  # and none elsewhere
    task, examples = TASKS["classification"]
    features = task.prepare(examples, TOKENIZER).features
    batches = TrainingBatches(
        features, task.head.lay_labels, seed=0, epochs=1, batch_size=10, pad_id=0
    )
    losses = {}
    for dropout in (None, 0.0):
        for seed in (0, 1):
            run = finetuner(task, 10, pretrained=pretrained, dropout=dropout)
            step = run.train_step(seed, optax.constant_schedule(0.0), 1)
            _, metrics = step(run.initial_state(0), put_batch(batches[0], run.mesh))
            losses[dropout, seed] = float(metrics["loss"])
    assert losses[0.0, 0] == losses[0.0, 1]
    assert len({losses[None, 0], losses[None, 1], losses[0.0, 0]}) == 3


def test_a_batch_that_cannot_be_cut_is_refused():
    with pytest.raises(UserError, match="got batches of 10 rows; expected a multiple of 8"):
        finetuner(TASKS["classification"][0], 10, devices=8)
