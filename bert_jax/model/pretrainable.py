"""`from_pretrained` and `save_pretrained`, for every model class.

What they need is imported when they are called: reading checkpoints takes a second to import.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from bert_jax.arguments import path_like
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute

if TYPE_CHECKING:
    from bert_jax.text.tokenizer import Tokenizer


class Pretrainable:
    """A model that can be made from a checkpoint of any kind, and written as Hugging Face's."""

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        compute: Compute | None = None,
        *,
        seed: int = 0,
        **options: Any,
    ) -> Self:
        """Make the model a checkpoint holds.

        What the class has and the checkpoint lacks (a pooler, a head) is drawn as at the start of
        training; what the checkpoint has beside it is left out. Both are said through
        `logging.getLogger("bert_jax")`, at level WARNING and INFO.

        Args:
            source: a checkpoint or workdir of ours, a Hugging Face directory, a Google TensorFlow
                checkpoint, or a name on the Hugging Face hub such as `bert-base-uncased`.
            compute: how to compute; None is `Compute()`.
            seed: of what is drawn.
            **options: fields of `BertConfig` to change (`hidden_dropout_prob=0.0`), fields of
                `Compute` (`dtype="bfloat16"`), and arguments of the class (`num_labels`,
                `parts`).

        Raises:
            UserError: there is no such checkpoint, or its weights do not fit the class; names
                every misfit.
        """
        from bert_jax.convert.models import model_from
        from bert_jax.convert.pretrained import load_pretrained

        fields = {field.name for field in dataclasses.fields(Compute)}
        changes = {name: options.pop(name) for name in fields & options.keys()}
        compute = (compute or Compute()).replace(**changes)
        return model_from(
            load_pretrained(source), cls, seed=seed, take_over=True, compute=compute, **options
        )

    def save_pretrained(
        self,
        directory: str | os.PathLike[str],
        tokenizer: Tokenizer | None = None,
        labels: Sequence[str] = (),
        *,
        overwrite: bool = False,
    ) -> None:
        """Write the model as a Hugging Face directory, whole or not at all.

        Args:
            directory: made; must be absent or empty unless `overwrite`.
            tokenizer: written beside the weights.
            labels: class names of a fine-tuned head, in the order of its scores.
            overwrite: replace what is there.

        Raises:
            UserError: the directory holds something, or the tokenizer or the labels do not belong
                to this model.
        """
        from bert_jax.convert.huggingface import save_huggingface
        from bert_jax.convert.models import pretrained_from

        path_like("directory", directory)
        if tokenizer is not None and not hasattr(tokenizer, "vocab_size"):
            raise UserError(f"got tokenizer={tokenizer!r}; expected a Tokenizer")
        save_huggingface(pretrained_from(self, tokenizer, labels), directory, overwrite=overwrite)
