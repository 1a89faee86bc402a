"""Multi-label classification here and in transformers: loss, gradient, probabilities."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

torch = pytest.importorskip("torch", reason="the peers suite needs torch")
transformers = pytest.importorskip("transformers", reason="the peers suite needs transformers")

from bert_jax.convert.huggingface import save_huggingface  # noqa: E402
from bert_jax.convert.weights import named_arrays  # noqa: E402
from bert_jax.tasks import Predictor  # noqa: E402
from bert_jax.tasks.batches import TrainingBatches  # noqa: E402
from bert_jax.training.sharding import put_batch  # noqa: E402
from tests.tasks.examples import TASKS, TOKENIZER, finetuner, tiny_pretrained  # noqa: E402

transformers.logging.set_verbosity_error()


@pytest.fixture
def started(tmp_path):
    """Ours before a step, and the same written for transformers."""
    task, _ = TASKS["multi_label"]
    params = jax.device_get(finetuner(task, 10).initial_state(0).params)
    params["classifier"] = {k: np.array(v) + 0.5 for k, v in params["classifier"].items()}
    pretrained = dataclasses.replace(
        tiny_pretrained(), architecture=task.head.architecture, params=params, labels=task.labels,
        problem_type=task.head.problem_type,
    )  # fmt: skip
    save_huggingface(pretrained, tmp_path / "theirs")
    return pretrained, tmp_path / "theirs"


def encoded(features, examples):
    """The sequences, padded, and their labels, in the order of the examples."""
    length = int(features.lengths.max())
    ids, kinds, mask = (np.zeros((len(examples), length), np.int64) for _ in range(3))
    for row, (begin, n) in enumerate(zip(features.starts, features.lengths, strict=False)):
        ids[row, :n] = features.ids[begin : begin + n]
        kinds[row, :n] = features.type_ids[begin : begin + n]
        mask[row, :n] = 1
    names = "input_ids", "token_type_ids", "attention_mask"
    arrays = dict(zip(names, map(torch.tensor, (ids, kinds, mask)), strict=True))
    return {**arrays, "labels": torch.tensor(features.labels)}


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient_are_theirs(started, weighted):
    pretrained, path = started
    task, examples = TASKS["multi_label"]
    features = task.prepare(examples, TOKENIZER).features
    weights = np.array([0.5, 2.0, 3.0]) if weighted else None
    batches = TrainingBatches(
        features, task.head.lay_labels, seed=0, epochs=1, batch_size=10, pad_id=0
    )
    run = finetuner(
        task, 10, pretrained=pretrained, optimizer="sgd", weight_decay=0.0, clip_norm=0.0,
        class_weights=weights,
    )  # fmt: skip
    before = jax.device_get(run.initial_state(0).params)
    step = run.train_step(0, optax.constant_schedule(1.0), 1)
    state, metrics = step(run.initial_state(0), put_batch(batches[0], run.mesh))
    moved = jax.tree.map(np.subtract, before, jax.device_get(state.params))
    ours, _ = named_arrays(moved, pretrained.config, "huggingface")

    peer = transformers.AutoModelForSequenceClassification.from_pretrained(path).train()
    assert peer.config.problem_type == "multi_label_classification"
    inputs = encoded(features, examples)
    output = peer(**inputs)
    loss = output.loss
    if weighted:
        criterion = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weights))
        loss = criterion(output.logits, inputs["labels"])
    loss.backward()
    np.testing.assert_allclose(float(metrics["loss"]), loss.item(), rtol=1e-5)
    theirs = {name: p.grad for name, p in peer.named_parameters() if p.grad is not None}
    assert ours.keys() >= theirs.keys()
    for name, gradient in theirs.items():
        wanted = gradient.numpy()
        scale = max(np.abs(wanted).max(), 1e-4)
        _, gradient_here = ours[name]
        np.testing.assert_allclose(gradient_here() / scale, wanted / scale, atol=1e-4)


def test_their_checkpoint_is_answered_as_their_pipeline_does(started):
    _, path = started
    _, examples = TASKS["multi_label"]
    texts = [example.text for example in examples]
    pipeline = transformers.pipeline("text-classification", str(path), top_k=None)
    for theirs, ours in zip(pipeline(texts), Predictor.from_pretrained(path)(texts), strict=True):
        scores = {row["label"]: row["score"] for row in theirs}
        assert scores == pytest.approx(ours["scores"], abs=1e-5)
        assert sum(scores.values()) != pytest.approx(1.0, abs=1e-2)
        assert ours["labels"] == [name for name in ours["scores"] if scores[name] > 0.5]
