"""Similarity trained here and by transformers from the same numbers, step by step."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

torch = pytest.importorskip("torch", reason="the peers suite needs torch")
transformers = pytest.importorskip("transformers", reason="the peers suite needs transformers")

from bert_jax.convert.huggingface import save_huggingface  # noqa: E402
from bert_jax.tasks.batches import TrainingBatches  # noqa: E402
from bert_jax.training.sharding import put_batch  # noqa: E402
from tests.tasks.examples import TASKS, TOKENIZER, finetuner, tiny_pretrained  # noqa: E402

STEPS, RATE = 8, 1e-3


@pytest.mark.parametrize("scored", [True, False])
def test_losses_and_gradient_norms_are_those_of_sentence_transformers(tmp_path, scored):
    """`CosineSimilarityLoss`, and `MultipleNegativesRankingLoss` for pairs without scores."""
    task, examples = TASKS["similarity"]
    examples = [dataclasses.replace(e, pair=f"{e.text[4:]} {e.pair}") for e in examples]
    if not scored:
        examples = [dataclasses.replace(example, label=None) for example in examples]
    features = task.prepare(examples, TOKENIZER).features
    batches = TrainingBatches(
        features, task.head.lay_labels, seed=0, epochs=STEPS, batch_size=5, pad_id=0
    )
    run = finetuner(task, 10, unit_size=2, dropout=0.0, optimizer="sgd", weight_decay=0.0)
    state = run.initial_state(0)
    start = dataclasses.replace(
        tiny_pretrained(), architecture="BertModel", params=jax.device_get(state.params)
    )
    save_huggingface(start, tmp_path / "start")
    peer = transformers.AutoModel.from_pretrained(
        tmp_path / "start", add_pooling_layer=False,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    ).train()  # fmt: skip
    optimizer = torch.optim.SGD(peer.parameters(), lr=RATE)
    step = run.train_step(0, optax.constant_schedule(RATE), STEPS)
    for number in range(STEPS):
        batch = batches[number]
        state, metrics = step(state, put_batch(batch, run.mesh))
        loss = _loss(peer, features, batches.rows(number).sequences)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        optimizer.step()
        got = jax.device_get(metrics)
        np.testing.assert_allclose(got["loss"], loss.item(), rtol=2e-5)
        np.testing.assert_allclose(got["gradient_norm"], norm.item(), rtol=1e-4)


def _loss(peer, features, rows):
    sequences = rows[rows >= 0]
    length = int(features.lengths[sequences].max())
    ids, mask = (np.zeros((len(sequences), length), np.int64) for _ in range(2))
    for row, sequence in enumerate(sequences):
        begin, end = features.starts[sequence], features.starts[sequence + 1]
        ids[row, : end - begin] = features.ids[begin:end]
        mask[row, : end - begin] = 1
    real = torch.tensor(mask)
    states = peer(input_ids=torch.tensor(ids), attention_mask=real).last_hidden_state
    vectors = (states * real[..., None]).sum(1) / real.sum(1, keepdim=True)
    first, second = vectors[::2], vectors[1::2]
    labels = torch.tensor(features.labels[sequences[::2]])
    if labels.isnan().any():
        scores = 20 * torch.cosine_similarity(first[:, None], second[None], dim=-1)
        return torch.nn.functional.cross_entropy(scores, torch.arange(len(first)))
    return torch.nn.functional.mse_loss(torch.cosine_similarity(first, second), labels)
