"""What the masked-LM head would put in place of each [MASK]."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, Self, overload

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.arguments import expect, strings, whole_number
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.models import fit
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.data.row_layout import in_windows, lay_out, row_lengths, sequences_of, sorted_rows
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.memory import check_batch
from bert_jax.model.bert import BertForMaskedLM
from bert_jax.parameters import merge_model
from bert_jax.text.encoding import Encoding


@dataclasses.dataclass(frozen=True)
class Fills:
    """The best pieces for every [MASK] of one text, in reading order, best first.

    Attributes:
        text: as given.
        pieces: one tuple of k pieces a mask.
        probabilities: as many, of the softmax over the whole vocabulary.
        error: why there are none, of a text that cannot be filled; else empty.
    """

    text: str
    pieces: tuple[tuple[str, ...], ...] = ()
    probabilities: tuple[tuple[float, ...], ...] = ()
    error: str = ""


class MaskFiller:
    """Fills masks with one model, in batches.

        fills = MaskFiller.from_pretrained("runs/pretrain")("Paris is the [MASK] of France.")
        fills.pieces[0], fills.probabilities[0]

    Args:
        pretrained: a checkpoint with a masked-LM head and a vocabulary.
        k: how many pieces for each mask.
        batch_size: B.
        dtype: what the model computes in.

    Raises:
        UserError: the checkpoint has no masked-LM head or no vocabulary.
    """

    def __init__(
        self, pretrained: Pretrained, k: int = 5, batch_size: int = 32, dtype: Any = jnp.float32
    ):
        if "mlm" not in pretrained.params:
            raise UserError(
                f"got a {pretrained.architecture}, which has no masked-LM head; expected a "
                "checkpoint of pretraining, such as a BertForPreTraining or BertForMaskedLM"
            )
        if pretrained.tokenizer is None:
            raise UserError(
                f"got a checkpoint without a vocabulary ({'; '.join(pretrained.notes)}); expected "
                "one with a vocab.txt or tokenizer.json"
            )
        self._tokenizer = pretrained.tokenizer
        self._longest = pretrained.config.max_position_embeddings
        self._k = min(whole_number("k", k), self._tokenizer.vocab_size)
        self._batch_size = whole_number("batch_size", batch_size)
        width = pretrained.config.hidden_size
        check_batch(batch_size, self._longest, width, f"batch_size={batch_size}")
        fitted = fit(
            pretrained, BertForMaskedLM, pretrained.config, seed=0, compute=Compute(dtype=dtype)
        )
        self._params = jax.device_put(fitted.params)
        self._best = jax.jit(partial(_best, fitted.definition, self._k, self._tokenizer.vocab_size))

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        k: int = 5,
        *,
        splitting: str | None = None,
        **options: Any,
    ) -> Self:
        """Make one from a run's workdir, or whatever `load_pretrained` takes."""
        return cls(load_pretrained(source, splitting=splitting), k, **options)

    @overload
    def __call__(self, texts: str) -> Fills: ...
    @overload
    def __call__(self, texts: list[str] | tuple[str, ...]) -> list[Fills]: ...

    def __call__(self, texts: str | list[str] | tuple[str, ...]) -> Fills | list[Fills]:
        """Fill every [MASK] of a text, or of each text; errors as for `fill`."""
        if isinstance(texts, str):
            return next(self.fill([texts]))
        return list(self.fill(texts))

    def fill(
        self, texts: Iterable[str], on_error: Literal["stop", "mark"] = "stop"
    ) -> Iterator[Fills]:
        """Fill every [MASK] of each text; streams, in order.

        Args:
            texts: one by one.
            on_error: what becomes of a text that has no [MASK], or more pieces than the model has
                positions: "stop" raises, "mark" gives `Fills` that say so.

        Raises:
            UserError: such a text; says which, counted from 1. Texts before it have been given.
        """
        expect("texts", texts, Iterable, "a text, or a list of them")
        filled = in_windows(texts, self._batch_size, self._fill_window)
        for number, fills in enumerate(filled, 1):
            if fills.error and on_error == "stop":
                raise UserError(f"text {number}: {fills.error}")
            yield fills

    def _fill_window(self, given: list[str]) -> Sequence[Fills]:
        strings("texts", given)
        every = [self._tokenizer.encode(text, special_pieces_in_text=True) for text in given]
        errors = [self._error(text, each) for text, each in zip(given, every, strict=True)]
        texts = [text for text, error in zip(given, errors, strict=True) if not error]
        encodings = [each for each, error in zip(every, errors, strict=True) if not error]
        filled = iter(self._filled(texts, encodings) if texts else ())
        return [
            Fills(text, error=error) if error else next(filled)
            for text, error in zip(given, errors, strict=True)
        ]

    def _filled(self, texts: list[str], encodings: list[Encoding]) -> list[Fills]:
        found: list[Fills | None] = [None] * len(texts)
        sequences = sequences_of(encodings)
        for rows in sorted_rows(sequences, self._batch_size, row_lengths(self._longest)):
            batch = lay_out(sequences, rows, self._tokenizer.pad_id)
            input_ids, real = batch["input_ids"], batch["instance_ids"] > 0
            is_mask = input_ids == self._tokenizer.mask_id
            chances, ids = jax.device_get(
                self._best(
                    self._params, input_ids, batch["token_type_ids"], real, _positions(is_mask)
                )
            )
            if not np.isfinite(chances).all():
                raise UserError(
                    "got weights so large that no finite probabilities come of them; expected a"
                    " model that was trained, or dtype=float32"
                )
            for row, i in enumerate(rows.texts):
                masks = int(is_mask[row].sum())
                found[i] = Fills(
                    texts[i],
                    tuple(
                        tuple(self._tokenizer.pieces[p] for p in ids[row, mask])
                        for mask in range(masks)
                    ),
                    tuple(tuple(chances[row, mask].tolist()) for mask in range(masks)),
                )
        return [fills for fills in found if fills is not None]

    def _error(self, text: str, encoding: Encoding) -> str:
        """Why a text cannot be filled; empty where it can."""
        if self._tokenizer.mask_id not in encoding.ids:
            return f"got {text!r}; expected a [MASK] in it"
        if len(encoding.ids) > self._longest:
            return (
                f"got {len(encoding.ids)} pieces; expected at most {self._longest}, the model's"
                " positions"
            )
        return ""


def _positions(is_mask: np.ndarray) -> np.ndarray:
    """Where the masks stand, [B, P]; P is a power of two, so that few shapes are compiled.

    . M . M        1 3
    . . M .   ->   2 0      0 where a row has fewer masks than another
    """
    counts = is_mask.sum(axis=1)
    most = 1 << int(max(counts.max() - 1, 0)).bit_length()
    positions = np.zeros((len(is_mask), most), np.int32)
    for row, mask in enumerate(is_mask):
        positions[row, : counts[row]] = np.flatnonzero(mask)
    return positions


def _best(
    definition: Any,
    k: int,
    pieces: int,
    params: Any,
    ids: jax.Array,
    types: jax.Array,
    mask: jax.Array,
    positions: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Probabilities and ids [B, P, k] of the best pieces; rows without a piece are never best."""
    model = merge_model(definition, params)
    output = model(ids, types, mask, masked_positions=positions)
    chances = jax.nn.softmax(output.logits[..., :pieces], axis=-1)
    return jax.lax.top_k(chances, k)
