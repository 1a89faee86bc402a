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
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.data.row_layout import Batch, windows
from bert_jax.errors import UserError
from bert_jax.inference.masked_lm import MaskedLM, check_finite
from bert_jax.inference.running import Place, Runner
from bert_jax.parameters import merge_model
from bert_jax.text.inputs import Inputs


@dataclasses.dataclass(frozen=True)
class Fills:
    """The best pieces for every [MASK] of one text, in reading order, best first.

    Attributes:
        text: as given.
        pieces: one tuple of k pieces per mask.
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
        batch_size: texts per batch if they have 64 pieces each; longer ones make it smaller,
            shorter ones larger, several in a row.
        dtype: what the model computes in.

    Raises:
        UserError: the checkpoint has no masked-LM head or no vocabulary.
    """

    def __init__(
        self, pretrained: Pretrained, k: int = 5, batch_size: int = 32, dtype: Any = jnp.float32
    ):
        self._model = MaskedLM.of(pretrained, batch_size, dtype)
        self._tokenizer = self._model.tokenizer
        self._k = min(whole_number("k", k), self._tokenizer.vocab_size)
        self._batch_size = batch_size
        best = jax.jit(partial(_best, self._model.definition, self._k, self._tokenizer.vocab_size))
        params = self._model.params

        def step(batch: Batch) -> tuple[jax.Array, jax.Array]:
            return best(params, batch, _positions(batch["input_ids"] == self._tokenizer.mask_id))

        self._runner = Runner(
            step, self._of_text,
            batch_size=batch_size, positions=self._model.positions, pad_id=self._tokenizer.pad_id,
            text_by_text=False,
        )  # fmt: skip

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
            on_error: what happens to a text that has no [MASK], or more pieces than the model has
                positions: "stop" raises, "mark" gives `Fills` that say so.

        Raises:
            UserError: such a text; says which, counted from 1. Texts before it have been given.
        """
        expect("texts", texts, Iterable, "a text, or a list of them")
        filled = (
            fills
            for window in windows(texts, self._batch_size)
            for fills in self._fill_window(strings("texts", window))
        )
        for number, fills in enumerate(filled, 1):
            if fills.error and on_error == "stop":
                raise UserError(f"text {number}: {fills.error}")
            yield fills

    def _fill_window(self, texts: Sequence[str]) -> Iterator[Fills]:
        every = self._tokenizer.inputs_of(texts, special_pieces_in_text=True)
        errors = [self._error(text, each) for text, each in zip(texts, every, strict=True)]
        good = [each for each, error in zip(every, errors, strict=True) if not error]
        # One window alone: whoever waits for it may not have written the next.
        found = iter([best for _, window in self._runner.over([(None, good)]) for best in window])
        for text, error in zip(texts, errors, strict=True):
            yield Fills(text, error=error) if error else Fills(text, *next(found))

    def _of_text(
        self, best: tuple[np.ndarray, np.ndarray], batch: Batch, place: Place
    ) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[float, ...], ...]]:
        """The best pieces of one text and their probabilities, for every mask."""
        chances, ids = best
        is_mask = batch["input_ids"][place.row] == self._tokenizer.mask_id
        first, count = int(is_mask[: place.tokens.start].sum()), int(is_mask[place.tokens].sum())
        masks = slice(first, first + count)
        check_finite(chances[place.row, masks])
        return (
            tuple(tuple(self._tokenizer.pieces[p] for p in each) for each in ids[place.row, masks]),
            tuple(tuple(each) for each in chances[place.row, masks].tolist()),
        )

    def _error(self, text: str, encoding: Inputs) -> str:
        """Why a text cannot be filled; empty where it can."""
        if self._tokenizer.mask_id not in encoding.ids:
            return f"got {text!r}; expected a [MASK] in it"
        return self._model.why_too_long(len(encoding.ids))


def _positions(is_mask: np.ndarray) -> np.ndarray:
    """Where the masks of rows stand, [B, P]; P is a power of two, so that few shapes are compiled.

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
    batch: dict[str, jax.Array],
    positions: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Probabilities and ids [B, P, k] of the best pieces; rows without a piece are never best."""
    output = merge_model(definition, params)(
        batch["input_ids"],
        batch["token_type_ids"],
        batch["instance_ids"],
        batch["position_ids"],
        masked_positions=positions,
    )
    chances = jax.nn.softmax(output.logits[..., :pieces], axis=-1)
    return jax.lax.top_k(chances, k)
