"""One device equals many for every fine-tuning head: gradients, leaf by leaf."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding

from bert_jax.model.task_heads import (
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from bert_jax.parameters import merge_model, split_model
from bert_jax.training.losses import weighted_cross_entropy
from bert_jax.training.padding import put_padded
from bert_jax.training.sharding import BATCH, create_mesh, path_name, place, put_batch
from tests.training.examples import MESHES, UNEVEN_VOCABULARY, tiny_config

ROWS, LENGTH, CLASSES = 8, 16, 3


def summed(logits, labels):
    """Cross entropies added up: nothing that a split of the batch could weigh unequally."""
    return weighted_cross_entropy(logits, labels, jnp.ones(labels.shape))[0]


def classify(model, batch):
    output = model(batch["ids"], None, batch["mask"])
    return summed(output.logits, batch["ids"][:, 0] % CLASSES)


def tag(model, batch):
    return summed(model(batch["ids"], None, batch["mask"]).logits, batch["ids"] % CLASSES)


def answer(model, batch):
    output = model(batch["ids"], None, batch["mask"])
    return summed(output.start_logits, batch["ids"][:, 1] % LENGTH) + summed(
        output.end_logits, batch["ids"][:, 2] % LENGTH
    )


def choose(model, batch):
    pairs = batch["ids"].reshape(ROWS, 2, LENGTH // 2)
    return summed(model(pairs, None, None).logits, batch["ids"][:, 3] % 2)


HEADS = {
    "classification": (
        functools.partial(BertForSequenceClassification, num_labels=CLASSES),
        classify,
    ),
    "tagging": (functools.partial(BertForTokenClassification, num_labels=CLASSES), tag),
    "answering": (BertForQuestionAnswering, answer),
    "choice": (BertForMultipleChoice, choose),
}


@functools.cache
def gradients(axes, packed):
    """Of all heads in one compiled program, which is what takes the time."""
    config = tiny_config(
        vocab_size=UNEVEN_VOCABULARY, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    mesh = create_mesh(dict(axes), jax.devices()[: math.prod(dict(axes).values())])
    models = {name: split_model(build(config, nnx.Rngs(0))) for name, (build, _) in HEADS.items()}
    params = {name: leaves for name, (_, leaves) in models.items()}
    placed = place(params, mesh)
    abstract = jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        params,
        placed,
    )

    def all_gradients(params, batch):
        def loss(p, name):
            definition, (_, loss_of) = models[name][0], HEADS[name]
            return loss_of(merge_model(definition, p), batch)

        return {name: jax.grad(loss)(params[name], name) for name in HEADS}

    draw = np.random.default_rng(0)
    ids = draw.integers(0, config.vocab_size, (ROWS, LENGTH)).astype(np.int32)
    real = np.arange(LENGTH) < draw.integers(8, LENGTH, (ROWS, 1))
    batch = {"ids": ids, "mask": real * (1 + np.arange(LENGTH) // 6) if packed else real}
    step = jax.jit(
        all_gradients, in_shardings=(placed, NamedSharding(mesh, BATCH)), out_shardings=placed
    )
    return jax.device_get(step(put_padded(params, abstract), put_batch(batch, mesh)))


@pytest.mark.parametrize(
    ("axes", "packed"),
    [(axes, i % 2 == 1) for i, axes in enumerate(MESHES)],
    ids=str,
)
def test_gradients_of_every_head_equal_those_of_one_device(axes, packed):
    expected = jax.tree.leaves(gradients((), packed))
    found = jax.tree_util.tree_leaves_with_path(gradients(tuple(axes.items()), packed))
    scale = 1e-7 * math.sqrt(sum(float(np.sum(np.square(g))) for g in expected))
    for (path, g), e in zip(found, expected, strict=True):
        atol = 1e-5 * np.abs(e).max() + scale
        np.testing.assert_allclose(g, e, rtol=1e-5, atol=atol, err_msg=path_name(path))
