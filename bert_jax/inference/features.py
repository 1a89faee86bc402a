"""Vectors of texts: of every token or of the whole text, from any layers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, Self

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
from bert_jax.model.bert import Bert
from bert_jax.parameters import merge_model
from bert_jax.text.encoding import Encoding

Pooling = Literal["tokens", "cls", "mean", "pooler"]
POOLINGS: tuple[Pooling, ...] = ("tokens", "cls", "mean", "pooler")


@dataclasses.dataclass(frozen=True)
class Features:
    """The vectors of one text.

    Attributes:
        encoding: its pieces; cut to the model's length where the text was longer.
        vectors: fp32 by layer number: [L, D] for tokens, else [D].
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
        pooling: `tokens` gives every piece's vector, [CLS] and [SEP] too; `cls` that of [CLS];
            `mean` the mean over all real pieces; `pooler` what the pooler makes of [CLS], which
            belongs to the last layer alone.
        max_length: texts are cut to it; None for the model's positions.
        batch_size: B.
        dtype: what the model computes in.

    Raises:
        UserError: no vocabulary, no such layer, no pooler, or a length the model does not have.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        layers: Sequence[int] = (-1,),
        pooling: Pooling = "tokens",
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
        has_pooler = "pooler" in pretrained.params["bert"]
        if pooling == "pooler" and not (has_pooler and self.layers == (config.num_hidden_layers,)):
            raise UserError(
                f"got pooling by the pooler of layers {', '.join(map(str, self.layers))}; expected "
                f"the last layer, {config.num_hidden_layers}, alone"
                if has_pooler
                else "got pooling by the pooler, which this checkpoint does not have; expected "
                "tokens, cls or mean"
            )
        self._longest = config.max_position_embeddings if max_length is None else max_length
        whole_number("max_length", self._longest, 0)
        if not 2 <= self._longest <= config.max_position_embeddings:
            raise UserError(
                f"got max_length={max_length}; expected 2 to {config.max_position_embeddings}, the "
                "model's positions"
            )
        self.tokenizer = pretrained.tokenizer
        self._batch_size, self._pooling = whole_number("batch_size", batch_size), pooling
        self._lengths = row_lengths(config.max_position_embeddings)
        fitted = fit(
            pretrained, Bert, config, seed=0, compute=Compute(dtype=dtype), pooler=has_pooler
        )
        self._params = jax.device_put(fitted.params)
        self._vectors = jax.jit(partial(_vectors, fitted.definition, self.layers, pooling))

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        layers: Sequence[int] = (-1,),
        pooling: Pooling = "tokens",
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
        encodings = self.tokenizer.encode_batch(texts, max_length=self._longest)
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
                real = slice(len(encodings[i].ids)) if self._pooling == "tokens" else slice(None)
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
    layers: tuple[int, ...],
    pooling: Pooling,
    params: Any,
    ids: jax.Array,
    types: jax.Array,
    mask: jax.Array,
) -> list[jax.Array]:
    """For each layer, fp32 [B, L, D] or [B, D]."""
    output = merge_model(definition, params)(ids, types, mask, output_hidden_states=True)
    if pooling == "pooler":
        return [output.pooler_output.astype(jnp.float32)]
    states = [output.hidden_states[layer].astype(jnp.float32) for layer in layers]
    if pooling == "cls":
        return [hidden[:, 0] for hidden in states]
    if pooling == "mean":
        real = mask.astype(jnp.float32)[..., None]
        return [(hidden * real).sum(1) / jnp.maximum(real.sum(1), 1.0) for hidden in states]
    return states
