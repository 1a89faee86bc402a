"""Small models of every class, and their parameters as a checkpoint would hold them."""

import jax
import numpy as np
from flax import nnx

from bert_jax import (
    Bert,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from bert_jax.config import BertConfig
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.models import pretrained_from
from bert_jax.text.tokenizer import Tokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##able", "read", "##ing", "é", "你"]
LABELS = ("no", "perhaps", "yes")
LABELLED = ("BertForSequenceClassification", "BertForTokenClassification")
# Which class of ours reads a checkpoint of a class of Hugging Face's.
CLASSES = {
    "BertModel": Bert,
    "BertForPreTraining": BertForPreTraining,
    "BertForMaskedLM": BertForMaskedLM,
    "BertForNextSentencePrediction": BertForNextSentencePrediction,
    "BertForSequenceClassification": BertForSequenceClassification,
    "BertForMultipleChoice": BertForMultipleChoice,
    "BertForTokenClassification": BertForTokenClassification,
    "BertForQuestionAnswering": BertForQuestionAnswering,
}
ARCHITECTURES = list(CLASSES)


def config(**changes):
    sizes = {
        "vocab_size": len(PIECES),
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 12,
        "max_position_embeddings": 16,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    return BertConfig(**{**sizes, **changes})


def model(architecture, seed=0, **changes):
    options = {"num_labels": len(LABELS)} if architecture in LABELLED else {}
    made = CLASSES[architecture](config(**changes), nnx.Rngs(seed), **options)
    # Biases and LayerNorms start at 0 and 1; here every number differs from every other.
    definition, state = nnx.split(made)
    keys = iter(jax.random.split(jax.random.key(seed), len(jax.tree.leaves(state))))
    noisy = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(next(keys), x.shape), state)
    return nnx.merge(definition, noisy)


def tokenizer(**settings):
    return Tokenizer(PIECES, **settings)


def pretrained(architecture, tokenizer=None, **changes) -> Pretrained:
    labels = LABELS if architecture in LABELLED else ()
    return pretrained_from(model(architecture, **changes), tokenizer, labels)


def assert_same_params(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def _norm(ours):
    return {"LayerNorm": ours}


def flax_tree(params, bare=False):
    """Parameters under the names of FlaxBert's modules, written out by hand."""
    bert = params["bert"]
    embeddings = bert["embeddings"]
    theirs = {
        "embeddings": {
            "word_embeddings": {"embedding": embeddings["token"]["table"]},
            "position_embeddings": {"embedding": embeddings["position"]["table"]},
            "token_type_embeddings": {"embedding": embeddings["segment"]["table"]},
            **_norm(embeddings["norm"]),
        },
        "encoder": {
            "layer": {
                number: {
                    "attention": {
                        "self": {
                            part: layer["attention"][part] for part in ("query", "key", "value")
                        },
                        "output": {
                            "dense": layer["attention"]["output"], **_norm(layer["attention_norm"])
                        },
                    },
                    "intermediate": {"dense": layer["feed_forward"]["up"]},
                    "output": {
                        "dense": layer["feed_forward"]["down"], **_norm(layer["feed_forward_norm"])
                    },
                }
                for number, layer in bert["encoder"]["layers"].items()
            }
        },
    }  # fmt: skip
    if "pooler" in bert:
        theirs["pooler"] = bert["pooler"]
    if bare:
        return theirs
    theirs, cls = {"bert": theirs}, {}
    if "mlm" in params:
        mlm = params["mlm"]
        cls["predictions"] = {
            "bias": mlm["bias"],
            "transform": {"dense": mlm["transform"], **_norm(mlm["norm"])},
        }
        if "decoder" in mlm:
            cls["predictions"]["decoder"] = {"kernel": mlm["decoder"].T}
    if "nsp" in params:
        cls["seq_relationship"] = params["nsp"]["dense"]
    for head in ("classifier", "qa_outputs"):
        if head in params:
            theirs[head] = params[head]
    return {**theirs, **({"cls": cls} if cls else {})}
