"""The count by hand, against XLA's of an unrolled model."""

import jax
import pytest
from flax import nnx

from bert_jax.analysis.flops import RowShape, forward_flops, training_flops
from bert_jax.config import BertConfig
from bert_jax.data.rows import empty_batch
from bert_jax.kernels.compute import Compute
from bert_jax.kernels.products import PLAIN
from bert_jax.model.bert import BertForPreTraining


def test_bert_base_is_the_published_count():
    # 12 layers of 7.08 M weights in products, twice each, and the scores of 128 keys.
    row = RowShape(length=128, predictions=0, instances=0)
    assert forward_flops(BertConfig.base(), row) == 128 * 12 * (2 * 7_077_888 + 4 * 128 * 768)
    assert training_flops(BertConfig.base(), row) == 3 * forward_flops(BertConfig.base(), row)


@pytest.mark.parametrize("length, instances", [(32, 1), (128, 3)])
def test_xla_counts_the_same_products(length, instances):
    config = BertConfig.tiny(vocab_size=4096)
    batch = empty_batch(2, length, 20, instances, 0)

    def forward(ids, kinds, mask, where, masked, cls):
        model = BertForPreTraining(config, nnx.Rngs(0), Compute(products=PLAIN))
        output = model(ids, kinds, mask, where, masked_positions=masked, cls_positions=cls)
        return output.mlm_logits, output.nsp_logits

    names = ("input_ids", "token_type_ids", "instance_ids", "position_ids")
    arrays = [batch[name] for name in (*names, "masked_positions", "cls_positions")]
    arrays[2] = arrays[2] > 0
    jaxpr = jax.make_jaxpr(forward)(*arrays)
    counted = forward_flops(config, RowShape(length, 20, instances)) * 2
    assert sum(map(_product_flops, _equations(jaxpr.jaxpr))) == counted


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", None)
            if inner is not None:
                yield from _equations(getattr(inner, "jaxpr", inner))


def _product_flops(equation):
    if equation.primitive.name != "dot_general":
        return 0
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    flops = 2 * equation.outvars[0].aval.size
    for axis in contracted:
        flops *= shape[axis]
    return flops
