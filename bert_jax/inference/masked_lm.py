"""A checkpoint's masked-LM head and vocabulary, ready to be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from bert_jax.arguments import whole_number
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.models import fit
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.memory import check_batch
from bert_jax.model.bert import BertForMaskedLM
from bert_jax.parameters import with_cast_products
from bert_jax.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class MaskedLM:
    """A masked LM with its vocabulary.

    Attributes:
        tokenizer: of the vocabulary.
        positions: the most pieces of a text, [CLS] and [SEP] among them.
        definition, params: of a `BertForMaskedLM`, for `merge_model`; on the device.
    """

    tokenizer: Tokenizer
    positions: int
    definition: Any
    params: Any

    @classmethod
    def of(cls, pretrained: Pretrained, batch_size: int, dtype: Any) -> MaskedLM:
        """Take it from a checkpoint's contents.

        Args:
            pretrained: from `load_pretrained`.
            batch_size: B of the batches that it will be asked.
            dtype: what the model computes in.

        Raises:
            UserError: the checkpoint has no masked-LM head or no vocabulary, or a batch does not
                fit the memory.
        """
        if "mlm" not in pretrained.params:
            raise UserError(
                f"got a {pretrained.architecture}, which has no masked-LM head; expected a"
                " pretrained checkpoint, such as a BertForPreTraining or BertForMaskedLM"
            )
        if pretrained.tokenizer is None:
            raise UserError(
                f"got a checkpoint without a vocabulary ({'; '.join(pretrained.notes)}); expected "
                "one with a vocab.txt or tokenizer.json"
            )
        config = pretrained.config
        whole_number("batch_size", batch_size)
        check_batch(
            batch_size, config.max_position_embeddings, config.hidden_size,
            f"batch_size={batch_size}",
        )  # fmt: skip
        compute = Compute(dtype=dtype).at_work()
        fitted = fit(pretrained, BertForMaskedLM, config, seed=0, compute=compute)
        params = jax.device_put(with_cast_products(fitted.params, compute.dtype))
        return cls(pretrained.tokenizer, config.max_position_embeddings, fitted.definition, params)

    def why_too_long(self, pieces: int) -> str:
        """What to say of a text of so many pieces; empty where the model has positions for it."""
        if pieces <= self.positions:
            return ""
        return f"got {pieces} pieces; expected at most {self.positions}, the model's positions"


def check_finite(chances: np.ndarray) -> None:
    """Make sure that what a model says is made of numbers.

    Raises:
        UserError: it is not.
    """
    if not np.isfinite(chances).all():
        raise UserError(
            "got weights so large that the probabilities are not finite; expected a"
            " model that was trained, or dtype=float32"
        )
