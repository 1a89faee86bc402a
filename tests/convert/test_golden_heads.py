"""Every output layer's logits are Hugging Face's, read from a directory as Hugging Face's are."""

import json
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from bert_jax.config import BertConfig
from bert_jax.convert.models import pretrained_from
from bert_jax.convert.safetensors_files import write_safetensors
from bert_jax.convert.weights import named_arrays
from tests.convert.models import CLASSES, LABELLED
from tests.golden import rule

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "huggingface.npz")


def write_model(directory, case, head):
    """A Hugging Face directory whose weights follow the golden rule."""
    config = BertConfig(**rule.CASES[case])
    options = {"num_labels": rule.HEADS[head]} if head in LABELLED else {}
    model = CLASSES[head](config, nnx.Rngs(0), **options)
    arrays, _ = named_arrays(pretrained_from(model).params, config, "huggingface")
    ruled = {
        name: (shape, lambda name=name, shape=shape: rule.weight(name, shape))
        for name, (shape, _) in arrays.items()
    }
    write_safetensors(directory / "model.safetensors", ruled, {})
    content = {**config.to_dict(), "architectures": [head]}
    (directory / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize("head", rule.HEADS)
@pytest.mark.parametrize("case", rule.CASES)
def test_logits_are_hugging_faces(tmp_path, case, head):
    write_model(tmp_path, case, head)
    model = CLASSES[head].from_pretrained(tmp_path)
    batch = rule.batch(case)
    inputs = [batch[name] for name in ("input_ids", "token_type_ids", "attention_mask")]
    if head == "BertForMultipleChoice":
        inputs = [array[None] for array in inputs]
    output = model(*inputs)
    names = ("start_logits", "end_logits") if head == "BertForQuestionAnswering" else ("logits",)
    for name in names:
        want = GOLDEN[f"{case} {head} {name}"]
        np.testing.assert_allclose(getattr(output, name), want, rtol=1e-5, atol=1e-5)
