"""BERT in JAX and Flax: from raw text to pretrained embedding tables, and a look inside them."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bert_jax.config import BertConfig
    from bert_jax.model.bert import Bert, BertForPretraining
    from bert_jax.model.tasks import (
        BertForMultipleChoice,
        BertForQuestionAnswering,
        BertForSequenceClassification,
        BertForTokenClassification,
    )
    from bert_jax.text.tokenizer import Tokenizer

__all__ = [
    "Bert",
    "BertConfig",
    "BertForMultipleChoice",
    "BertForPretraining",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "Tokenizer",
]

# Looked up on first use: whoever only tokenises waits for no jax, whoever only asks for the
# version of a config waits for neither.
_HOMES = {
    "Bert": "bert_jax.model.bert",
    "BertConfig": "bert_jax.config",
    "BertForMultipleChoice": "bert_jax.model.tasks",
    "BertForPretraining": "bert_jax.model.bert",
    "BertForQuestionAnswering": "bert_jax.model.tasks",
    "BertForSequenceClassification": "bert_jax.model.tasks",
    "BertForTokenClassification": "bert_jax.model.tasks",
    "Tokenizer": "bert_jax.text.tokenizer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bert_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
