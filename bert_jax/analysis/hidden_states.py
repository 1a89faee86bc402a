"""Every layer's hidden states of many short texts, pooled as they are made; sentences scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.analysis.similarity import Agreement, ScoredPairs, agreement, distinct_texts
from bert_jax.config import BertConfig
from bert_jax.data.row_layout import lay_out, row_lengths, sequences_of, sorted_rows
from bert_jax.kernels.attention import within_instances
from bert_jax.kernels.compute import Compute
from bert_jax.model.embeddings import PUBLISHED, Embeddings, Parts
from bert_jax.model.encoder import Encoder
from bert_jax.parameters import Parameters, abstract_params, merge_model
from bert_jax.text.encoding import Encoding
from bert_jax.text.tokenizer import Tokenizer

_BATCH_ROWS = 32


class HiddenStates:
    """The body of a BERT, embeddings and encoder, that returns pooled states of all its layers.

    Args:
        config: its sizes.
        params: the parameters of a `Bert`, layers unrolled; a pooler is not needed.
        parts: how the parts of its input representation are made.
    """

    def __init__(self, config: BertConfig, params: Parameters, parts: Parts = PUBLISHED):
        self.config = config
        self.layers = config.num_hidden_layers + 1  # the input representation counts as one
        self._definition, _ = abstract_params(lambda: _Body(config, parts))
        self._params = {name: params[name] for name in ("embeddings", "encoder")}
        self._pooled = jax.jit(self._pool)

    def pooled(self, ids: np.ndarray, weights: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return fp32 [layers + 1, B, K, D]: for each layer K weighted sums over the positions.

        Args:
            ids: [B, L].
            weights: [B, K, L], such as 1/n at the n positions that are averaged.
            lengths: [B], how many positions of each row are real.
        """
        return np.asarray(self._pooled(self._params, ids, weights, lengths))

    def _pool(
        self, params: Parameters, ids: jax.Array, weights: jax.Array, lengths: jax.Array
    ) -> jax.Array:
        body = merge_model(self._definition, params)
        real = jnp.arange(ids.shape[1])[None] < lengths[:, None]
        states = body(ids, real)
        return jnp.stack([jnp.einsum("BKL,BLD->BKD", weights, state) for state in states])


class _Body(nnx.Module):
    def __init__(self, config: BertConfig, parts: Parts):
        rngs, compute = nnx.Rngs(0), Compute().at_work()
        self.embeddings = Embeddings(config, rngs, compute, parts)
        self.encoder = Encoder(config, rngs, compute)

    def __call__(self, ids: jax.Array, real: jax.Array) -> tuple[jax.Array, ...]:
        x = self.embeddings(ids).output
        states = self.encoder(x, within_instances(real), output_hidden_states=True).hidden_states
        assert states is not None
        return states


def text_states(
    hidden: HiddenStates, texts: Sequence[Encoding]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pool every text in two ways: its first state, at [CLS], and the mean of all its states.

    Texts are sorted by length and padded to few lengths, none beyond the model's own.

    Yields:
        Numbers [n] into the texts, and their states [layers + 1, n, 2, D].
    """
    sequences = sequences_of(texts)
    lengths = row_lengths(hidden.config.max_position_embeddings)
    for rows in sorted_rows(sequences, _BATCH_ROWS, lengths):
        batch = lay_out(sequences, rows, hidden.config.pad_token_id)
        real = batch["instance_ids"] > 0
        real[len(rows.texts) :, 0] = True  # a row of padding, whose states nobody reads
        count = real.sum(axis=1)
        weights = np.zeros((_BATCH_ROWS, 2, rows.length), np.float32)
        weights[:, 0, 0] = 1
        weights[:, 1] = real / count[:, None]
        states = hidden.pooled(batch["input_ids"], weights, count)
        yield rows.texts, states[:, : len(rows.texts)]


POOLINGS = ("cls", "mean")


def sentence_agreement(
    hidden: HiddenStates, tokenizer: Tokenizer, pairs: ScoredPairs, max_length: int = 128
) -> dict[str, list[Agreement]]:
    """Score the pairs by the state at [CLS] and by the mean of all states, for every layer.

    Args:
        pairs: of sentences.
        max_length: positions that are read of a sentence.

    Returns:
        For "cls" and for "mean", layers + 1 correlations.
    """
    texts, first, second = distinct_texts(pairs)
    limit = min(max_length, hidden.config.max_position_embeddings)
    encodings = tokenizer.encode_batch(texts, max_length=limit)
    vectors = np.empty((hidden.layers, len(texts), 2, hidden.config.hidden_size), np.float32)
    for numbers, states in text_states(hidden, encodings):
        vectors[:, numbers] = states
    return {
        name: [agreement(layer[first, way], layer[second, way], pairs.scores) for layer in vectors]
        for way, name in enumerate(POOLINGS)
    }
