"""Vectors of texts: of every token or of the whole text, from any layers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Self, cast

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.arguments import expect, known_names, strings, whole_number
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.models import fit
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.data.row_layout import in_windows, lay_out, row_lengths, sequences_of, sorted_rows
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.memory import check_batch
from bert_jax.model.bert import Bert, BertOutput
from bert_jax.parameters import merge_model
from bert_jax.pooling import MEAN, POOLINGS, Pooling
from bert_jax.text.encoding import Encoding

Vectors = Callable[[BertOutput, jax.Array], list[jax.Array]]
"""From a model's output and the mask of real pieces [B, L] to fp32 vectors, a layer each."""


@dataclasses.dataclass(frozen=True)
class _Way:
    """What becomes of hidden states.

    Attributes:
        vectors: gives [B, L, D] or [B, D].
        a_row_a_piece: whether there is a vector a piece, and not one a text.
        max_length: pieces a text is cut to; None for the model's positions.
        prompt: what is put before every text.
    """

    vectors: Vectors
    a_row_a_piece: bool = False
    max_length: int | None = None
    prompt: str = ""


def _tokens(pretrained: Pretrained, layers: tuple[int, ...]) -> _Way:
    return _Way(lambda output, mask: _states(output, layers), a_row_a_piece=True)


def _pooled_by(pooling: Pooling) -> Callable[[Pretrained, tuple[int, ...]], _Way]:
    def way(pretrained: Pretrained, layers: tuple[int, ...]) -> _Way:
        return _Way(lambda output, mask: [pooling.of(h, mask) for h in _states(output, layers)])

    return way


def _pooler(pretrained: Pretrained, layers: tuple[int, ...]) -> _Way:
    last = pretrained.config.num_hidden_layers
    if "pooler" not in pretrained.params["bert"]:
        raise UserError(
            "got pooling by the pooler, which this checkpoint does not have; expected "
            f"{', '.join(name for name in _WAYS if _WAYS[name] is not _pooler)}"
        )
    if layers != (last,):
        raise UserError(
            f"got pooling by the pooler of layers {', '.join(map(str, layers))}; expected the last"
            f" layer, {last}, alone"
        )
    return _Way(lambda output, mask: [cast(jax.Array, output.pooler_output).astype(jnp.float32)])


def _as_the_model_says(pretrained: Pretrained, layers: tuple[int, ...]) -> _Way:
    said, last = pretrained.sentences, pretrained.config.num_hidden_layers
    if said is None:
        return _tokens(pretrained, layers)
    if said.not_obeyed:
        raise UserError(
            f"got a sentence encoder with {', '.join(said.not_obeyed)}, which is not known here;"
            f" expected pooling={MEAN.name} or another, to have vectors without it"
        )
    if said.layers and layers != (last,):
        raise UserError(
            f"got a sentence encoder with a Dense layer over layers"
            f" {', '.join(map(str, layers))}; expected the last layer, {last}, alone, or pooling="
            f"{MEAN.name} or another"
        )
    return _Way(
        lambda output, mask: [said.of(hidden, mask) for hidden in _states(output, layers)],
        max_length=said.max_length,
        prompt=said.prompt,
    )


def _states(output: BertOutput, layers: tuple[int, ...]) -> list[jax.Array]:
    states = cast(tuple[jax.Array, ...], output.hidden_states)  # they were asked for
    return [states[layer].astype(jnp.float32) for layer in layers]


_WAYS: dict[str, Callable[[Pretrained, tuple[int, ...]], _Way]] = {
    "auto": _as_the_model_says,
    "tokens": _tokens,
    **{pooling.name: _pooled_by(pooling) for pooling in POOLINGS},
    "pooler": _pooler,
}
POOLING_NAMES = tuple(_WAYS)


@dataclasses.dataclass(frozen=True)
class Features:
    """The vectors of one text.

    Attributes:
        encoding: its pieces; cut to the model's length where the text was longer.
        vectors: fp32 by layer number: [L, D] where there is one a piece, else [D].
    """

    encoding: Encoding
    vectors: dict[int, np.ndarray]


class FeatureExtractor:
    """Vectors of texts with one model, in batches.

        extractor = FeatureExtractor.from_pretrained("runs/pretrain", pooling="mean")
        vectors = [features.vectors[extractor.layers[-1]] for features in extractor(texts)]

    Args:
        pretrained: a checkpoint with a vocabulary.
        layers: 0 is the input representation, 1 … the layers; negative ones count from the last.
        pooling: `tokens` gives every piece's vector, [CLS] and [SEP] too; `cls`, `max`, `mean`,
            `mean_sqrt_len`, `weighted_mean` and `last` one of the real pieces, [CLS] and [SEP] too
            (`bert_jax.pooling`); `pooler` what the pooler makes of [CLS], which belongs to the last
            layer alone; `auto` what the model says, as a sentence encoder does, its maximum length,
            normalising and prompt too; else as `tokens`.
        max_length: texts are cut to it; None for the model's own.
        batch_size: B.
        dtype: what the model computes in.

    Raises:
        UserError: no vocabulary, no such layer, no pooler, a length the model does not have, or a
            sentence encoder with modules that are not known here.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        layers: Sequence[int] = (-1,),
        pooling: str = "auto",
        *,
        max_length: int | None = None,
        batch_size: int = 32,
        dtype: Any = jnp.float32,
    ):
        config = pretrained.config
        if pretrained.tokenizer is None:
            raise UserError(
                f"got a checkpoint without a vocabulary ({'; '.join(pretrained.notes)}); expected "
                "one with a vocab.txt or tokenizer.json"
            )
        for layer in expect("layers", layers, Sequence, "a list of layer numbers"):
            expect("layers", layer, (int, np.integer), "a list of layer numbers")
        self.layers = _numbered(layers, config.num_hidden_layers)
        known_names([pooling], _WAYS, "`pooling`")
        self._way = _WAYS[pooling](pretrained, self.layers)
        positions = config.max_position_embeddings
        own = min(self._way.max_length or positions, positions)
        self._longest = own if max_length is None else max_length
        whole_number("max_length", self._longest, 0)
        if not 2 <= self._longest <= positions:
            raise UserError(
                f"got max_length={max_length}; expected 2 to {positions}, the model's positions"
            )
        self.tokenizer = pretrained.tokenizer
        self._batch_size = whole_number("batch_size", batch_size)
        check_batch(batch_size, self._longest, config.hidden_size, f"batch_size={batch_size}")
        self._lengths = row_lengths(positions)
        has_pooler = "pooler" in pretrained.params["bert"]
        fitted = fit(
            pretrained, Bert, config, seed=0, compute=Compute(dtype=dtype), pooler=has_pooler
        )
        self._params = jax.device_put(fitted.params)
        self._vectors = jax.jit(partial(_vectors, fitted.definition, self._way.vectors))

    @property
    def a_row_a_piece(self) -> bool:
        """Whether there is a vector a piece, and not one a text."""
        return self._way.a_row_a_piece

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        layers: Sequence[int] = (-1,),
        pooling: str = "auto",
        *,
        splitting: str | None = None,
        **options: Any,
    ) -> Self:
        """Make one from a run's workdir, or whatever `load_pretrained` takes."""
        return cls(load_pretrained(source, splitting=splitting), layers, pooling, **options)

    def __call__(self, texts: Sequence[str]) -> list[Features]:
        """The vectors of each text, in order; a single string is a list of one."""
        return list(self.extract([texts] if isinstance(texts, str) else texts))

    def extract(self, texts: Iterable[str]) -> Iterator[Features]:
        """The vectors of each text; streams, in order, in constant memory."""
        expect("texts", texts, Iterable, "a list of texts")
        return in_windows(texts, self._batch_size, self._extract_window)

    def _extract_window(self, texts: list[str]) -> Sequence[Features]:
        strings("texts", texts)
        prompted = [self._way.prompt + text for text in texts]
        encodings = self.tokenizer.encode_batch(prompted, max_length=self._longest)
        found: list[dict[int, np.ndarray]] = [{} for _ in texts]
        sequences = sequences_of(encodings)
        for rows in sorted_rows(sequences, self._batch_size, self._lengths):
            batch = lay_out(sequences, rows, self.tokenizer.pad_id)
            vectors = jax.device_get(
                self._vectors(
                    self._params,
                    batch["input_ids"],
                    batch["token_type_ids"],
                    batch["instance_ids"] > 0,
                )
            )
            for row, i in enumerate(rows.texts):
                real = slice(len(encodings[i].ids)) if self.a_row_a_piece else slice(None)
                found[i] = {
                    layer: of_layer[row][real].copy()
                    for layer, of_layer in zip(self.layers, vectors, strict=True)
                }
        return [Features(e, vectors) for e, vectors in zip(encodings, found, strict=True)]


def _numbered(layers: Sequence[int], count: int) -> tuple[int, ...]:
    """-1 -> the last layer's number, and so on; each once, in the order given."""
    for layer in layers:
        if not -count - 1 <= layer <= count:
            raise UserError(
                f"got layer {layer}; expected 0 (the input representation) to {count}, or "
                f"-1 (the last) to {-count - 1}"
            )
    return tuple(dict.fromkeys(layer % (count + 1) for layer in layers))


def _vectors(
    definition: Any,
    vectors: Vectors,
    params: Any,
    ids: jax.Array,
    types: jax.Array,
    mask: jax.Array,
) -> list[jax.Array]:
    """For each layer, fp32 [B, L, D] or [B, D]."""
    output = merge_model(definition, params)(ids, types, mask, output_hidden_states=True)
    return vectors(output, mask)
