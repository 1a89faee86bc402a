"""Every number of Hugging Face's BertForPreTraining, from `tests/golden`, to 1e-5."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from bert_jax.config import BertConfig
from bert_jax.kernels.compute import Compute
from bert_jax.kernels.cpu_products import CPU
from bert_jax.kernels.products import PLAIN
from bert_jax.model.bert import BertForPreTraining, gather_positions
from bert_jax.parameters import abstract_params, merge_model, stack_layers, unstack_layers
from tests.golden import rule

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "huggingface.npz")


def golden(case, prefix=""):
    start = f"{case} {prefix}"
    return {key.removeprefix(start): GOLDEN[key] for key in GOLDEN if key.startswith(start)}


def leaf(tree, path):
    for name in path:
        tree = tree[name]
    return tree


def our_params(case, params):
    """The rule's weights in the layout of `params` (abstract leaves)."""
    params = jax.tree.map(lambda _: None, params)
    for name, gradient in golden(case, "gradient ").items():
        *parents, last = rule.our_path(name)
        weight = rule.weight(name, gradient.shape)
        leaf(params, parents)[last] = jnp.asarray(weight.T if last == "kernel" else weight)
    assert all(value is not None for value in jax.tree.leaves(params, is_leaf=lambda x: x is None))
    return params


def compute(case, products, scan_layers):
    config = BertConfig(**rule.CASES[case])

    def build(scan_layers=False):
        return BertForPreTraining(
            config, nnx.Rngs(0), Compute(scan_layers=scan_layers, products=products)
        )

    params = our_params(case, abstract_params(build)[1])
    definition, _ = abstract_params(lambda: build(scan_layers))
    batch = rule.batch(case)

    @jax.jit
    def run(params):
        def loss(params):
            model = merge_model(definition, stack_layers(params) if scan_layers else params)
            output = model(
                batch["input_ids"],
                batch["token_type_ids"],
                batch["attention_mask"],
                output_hidden_states=True,
                output_attentions=True,
            )
            entropy = optax.softmax_cross_entropy_with_integer_labels
            masked = gather_positions(output.mlm_logits, batch["masked_positions"])
            total = entropy(masked, batch["masked_labels"]).mean()
            return total + entropy(output.nsp_logits, batch["next_labels"]).mean(), output

        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, output), gradients = run(params)
    return loss, output, unstack_layers(gradients)


@pytest.mark.parametrize(
    ("case", "products", "scan_layers"),
    [
        ("gelu", PLAIN, False),
        ("gelu", CPU, False),
        ("gelu_new_three_layers", CPU, True),
        ("relu_untied", PLAIN, False),
    ],
    ids=["gelu-plain", "gelu-cpu", "gelu_new-cpu-scanned", "relu-untied-plain"],
)
def test_every_number_is_hugging_faces(case, products, scan_layers):
    loss, output, gradients = compute(case, products, scan_layers)
    want = golden(case)
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(loss, want["loss"], **close)
    np.testing.assert_allclose(output.pooler_output, want["pooled"], **close)
    np.testing.assert_allclose(output.mlm_logits, want["mlm_logits"], **close)
    np.testing.assert_allclose(output.nsp_logits, want["nsp_logits"], **close)
    layers = rule.CASES[case]["num_hidden_layers"]
    assert len(output.hidden_states) == layers + 1
    assert len(output.attentions) == layers
    for i, states in enumerate(output.hidden_states):
        np.testing.assert_allclose(states, want[f"hidden {i}"], **close)
    for i, maps in enumerate(output.attentions):
        np.testing.assert_allclose(maps, want[f"attention {i}"], **close)
    for name, gradient in golden(case, "gradient ").items():
        path = rule.our_path(name)
        ours = leaf(gradients, path)
        np.testing.assert_allclose(
            ours.T if path[-1] == "kernel" else ours, gradient, err_msg=name, **close
        )
