"""A tagger trained here and by transformers from the same numbers, step by step."""

import dataclasses
import itertools

import jax
import numpy as np
import optax
import pytest

torch = pytest.importorskip("torch", reason="the peers suite needs torch")
transformers = pytest.importorskip("transformers", reason="the peers suite needs transformers")

from bert_jax.convert.huggingface import save_huggingface  # noqa: E402
from bert_jax.tasks.batches import TrainingBatches  # noqa: E402
from bert_jax.tasks.tagged_files import TaggedSentence  # noqa: E402
from bert_jax.training.sharding import put_batch  # noqa: E402
from tests.tasks.examples import TASKS, TOKENIZER, finetuner, tiny_pretrained  # noqa: E402

STEPS, RATE = 12, 1e-3


def test_losses_and_gradient_norms_are_theirs_however_sentences_share_rows(tmp_path):
    """AdamW, decay on matrices only, clipping; ours packed, theirs a sentence a row."""
    task, sentences = TASKS["tagging"]
    task = dataclasses.replace(task, max_length=48)
    examples = [_joined(sentences[i % 10 : i % 10 + 1 + i % 3]) for i in range(50)]
    features = task.prepare(examples, TOKENIZER).features
    batches = TrainingBatches(
        features, task.head.lay_labels, seed=0, epochs=STEPS, batch_size=25, pad_id=0
    )
    assert batches.packed
    run = finetuner(task, 25, dropout=0.0)
    state = run.initial_state(0)
    start = tmp_path / "start"
    pretrained = dataclasses.replace(
        tiny_pretrained(),
        architecture=task.head.architecture,
        params=jax.device_get(state.params),
        labels=task.labels,
    )
    save_huggingface(pretrained, start)
    peer = transformers.AutoModelForTokenClassification.from_pretrained(
        start, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    ).train()
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in peer.parameters() if p.ndim > 1], "weight_decay": 0.01},
            {"params": [p for p in peer.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=RATE,
        eps=1e-6,
    )
    step = run.train_step(0, optax.constant_schedule(RATE), STEPS)
    for number in range(STEPS):
        batch = batches[number]
        state, metrics = step(state, put_batch(batch, run.mesh))
        loss = _loss(peer, features, batches.rows(number).sequences)
        optimizer.zero_grad()
        (loss * float(batch["share"].mean())).backward()
        norm = torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        optimizer.step()
        got = jax.device_get(metrics)
        np.testing.assert_allclose(got["loss"], loss.item(), rtol=1e-5)
        np.testing.assert_allclose(got["gradient_norm"], norm.item(), rtol=1e-5)


def _joined(sentences):
    fields = ([getattr(s, name) for s in sentences] for name in ("words", "tags", "lines"))
    return TaggedSentence(*(tuple(itertools.chain(*field)) for field in fields))


def _loss(peer, features, rows):
    sequences = rows[rows >= 0]
    length = int(features.lengths[sequences].max())
    ids, mask, labels = (np.zeros((len(sequences), length), np.int64) for _ in range(3))
    labels[:] = -100
    for row, sequence in enumerate(sequences):
        begin, end = features.starts[sequence], features.starts[sequence + 1]
        ids[row, : end - begin] = features.ids[begin:end]
        mask[row, : end - begin] = 1
        own = features.labels[begin:end]
        labels[row, : end - begin] = np.where(own < 0, -100, own)
    return peer(
        input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask), labels=torch.tensor(labels)
    ).loss
