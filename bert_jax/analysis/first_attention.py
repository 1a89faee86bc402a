r"""Layer 1's attention taken apart: which part of the input looks at which, and at what distance.

Layer 1 reads LayerNorm(token + segment + position). At place i the sum has a mean and a deviation
σᵢ = √(variance + epsilon). Both are held at what they are there, of the whole sum, and then the
rest is linear: query and key are each a sum of four parts,

    token, segment, position    (scale ⊙ (rowᵢ - mean of rowᵢ) / σᵢ) · kernel
    constant                    LayerNorm's bias · kernel + the kernel's own bias

and a logit, queryᵢ · keyⱼ / √H, is the sum of sixteen terms, one for each part of the query with
each part of the key. No approximation is made: they add up to the model's own logits, but for
rounding. What the convention hides: a token row's term is smaller where a long position row has
made σᵢ large. The four terms whose key part is `constant` are the same for every key, so that
softmax takes no notice of them, nor do the figures here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.config import BertConfig
from bert_jax.data.row_layout import Encoded, lay_out, row_lengths, sequences_of, sorted_rows
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.model.embeddings import PUBLISHED, Embeddings, Parts, as_ids
from bert_jax.model.encoder import SelfAttention
from bert_jax.parameters import Parameters, abstract_params, merge_model

INPUT_PARTS = ("token", "segment", "position", "constant")
OFFSETS = {"previous": -1, "same": 0, "next": 1}
LOGITS = ("all terms", "positions alone", "without position to position")
_TOKEN, _SEGMENT, _POSITION, _CONSTANT = range(4)
_BATCH_ROWS = 16
_DRAWS = 1000


class FirstAttention:
    """The attention logits of layer 1, whole and in terms.

        first = FirstAttention(config, params["bert"])
        first.terms(input_ids).sum((0, 1))  # [B, N, L, L], as first.logits(input_ids)

    Args:
        config: the model's sizes.
        params: the parameters of a `Bert`, layers unrolled.
        parts: how the parts of its input representation are made.
    """

    def __init__(self, config: BertConfig, params: Parameters, parts: Parts = PUBLISHED):
        self.config = config
        self._definition, _ = abstract_params(lambda: _FirstLayer(config, parts))
        self._params = {
            "embeddings": params["embeddings"],
            "attention": params["encoder"]["layers"]["0"]["attention"],
        }
        self._jitted = {call: jax.jit(call) for call in (self._terms, self._logits, self._sums)}

    def terms(self, input_ids: Any, token_type_ids: Any = None) -> np.ndarray:
        """Return fp32 [4, 4, B, N, L, L]: by part of the query, part of the key (`INPUT_PARTS`).

        Args:
            input_ids: [B, L].
            token_type_ids: [B, L]; None means segment 0 everywhere.

        Raises:
            UserError: wrong dtype or shape, an id outside its table, inputs too long.
        """
        return np.asarray(self._run(self._terms, *self._checked(input_ids, token_type_ids)))

    def logits(self, input_ids: Any, token_type_ids: Any = None) -> np.ndarray:
        """Return what the model itself computes, before mask and softmax: fp32 [B, N, L, L]."""
        return np.asarray(self._run(self._logits, *self._checked(input_ids, token_type_ids)))

    def measure(self, texts: Sequence[Encoded]) -> AttentionFigures:
        """Look at some texts, each a row.

        Args:
            texts: encoded, [CLS] and [SEP] among their pieces; no longer than the model reads.

        Raises:
            UserError: there are none, one is too long, or a pair where there is one segment.
        """
        sequences = sequences_of(texts)
        most = self.config.max_position_embeddings
        longest = int(sequences.lengths.max(initial=0))
        if not len(sequences) or longest > most:
            raise UserError(
                f"got {len(sequences)} texts, the longest of {longest} pieces; expected at least"
                f" one, and at most {most} pieces, the rows of the position table"
            )
        as_ids("input_ids", sequences.ids[None], self.config.vocab_size, "the token table")
        kinds = self.config.type_vocab_size
        as_ids("token_type_ids", sequences.type_ids[None], kinds, "the segment table")
        found: dict[str, list[np.ndarray]] = {}
        for rows in sorted_rows(sequences, _BATCH_ROWS, row_lengths(most)):
            batch = lay_out(sequences, rows, self.config.pad_token_id)
            sums = self._run(
                self._sums, batch["input_ids"], batch["token_type_ids"], batch["instance_ids"] > 0
            )
            for name, values in sums.items():
                found.setdefault(name, []).append(np.asarray(values)[: len(rows.texts)])
        return _figures({name: np.concatenate(values) for name, values in found.items()})

    def _checked(self, input_ids: Any, token_type_ids: Any) -> tuple[jax.Array, jax.Array]:
        ids = as_ids("input_ids", input_ids, self.config.vocab_size, "the token table")
        if ids.shape[1] > self.config.max_position_embeddings:
            raise UserError(
                f"got inputs of length {ids.shape[1]}; expected at most"
                f" {self.config.max_position_embeddings}, the rows of the position table"
            )
        if token_type_ids is None:
            return ids, jnp.zeros_like(ids)
        kinds = self.config.type_vocab_size
        return ids, as_ids("token_type_ids", token_type_ids, kinds, "the segment table")

    def _run(self, call: Any, *arrays: Any) -> Any:
        with jax.default_matmul_precision("float32"):  # accelerators would multiply in less
            return self._jitted[call](self._params, *arrays)

    def _logits(self, params: Parameters, ids: jax.Array, types: jax.Array) -> jax.Array:
        layer = merge_model(self._definition, params)
        x = layer.embeddings(ids, types).output
        attention = layer.attention
        return _products(*(
            jnp.reshape(dense(x), (*ids.shape, attention.heads, -1))
            for dense in (attention.query, attention.key)
        ))  # fmt: skip

    def _terms(self, params: Parameters, ids: jax.Array, types: jax.Array) -> jax.Array:
        layer = merge_model(self._definition, params)
        made, norm = layer.embeddings(ids, types), layer.embeddings.norm
        deviation = jnp.sqrt(jnp.var(made.sum, axis=-1, keepdims=True) + norm.epsilon)
        rows = jnp.stack([made.token, made.segment, made.position])
        rows = norm.scale[...] * (rows - rows.mean(axis=-1, keepdims=True)) / deviation

        def split(dense: Any) -> jax.Array:  # [4, B, L, N, H]
            kernel = dense.kernel[...]
            constant = norm.bias[...] @ kernel + dense.bias[...]
            whole = jnp.concatenate(
                [rows @ kernel, jnp.broadcast_to(constant, (1, *rows.shape[1:]))]
            )
            return jnp.reshape(whole, (*whole.shape[:3], layer.attention.heads, -1))

        query, key = split(layer.attention.query), split(layer.attention.key)
        return _products(query[:, None], key[None])

    def _sums(
        self, params: Parameters, ids: jax.Array, types: jax.Array, real: jax.Array
    ) -> dict[str, jax.Array]:
        """Of each row [B], what the figures are ratios of; a row at a time, as it has 16 maps."""

        def one(row: tuple[jax.Array, jax.Array, jax.Array]) -> dict[str, jax.Array]:
            ids, types, real = row
            terms = self._terms(params, ids[None], types[None])[:, :, 0]
            return _row_sums(terms, self._logits(params, ids[None], types[None])[0], real)

        return jax.lax.map(one, (ids, types, real))


class _FirstLayer(nnx.Module):
    def __init__(self, config: BertConfig, parts: Parts):
        rngs, compute = nnx.Rngs(0), Compute()
        self.embeddings = Embeddings(config, rngs, compute, parts)
        self.attention = SelfAttention(config, rngs, compute)


def _products(query: jax.Array, key: jax.Array) -> jax.Array:
    """[…, B, L, N, H] twice -> […, B, N, L, L], rows queries and columns keys."""
    return jnp.einsum("...LNH,...MNH->...NLM", query, key) * query.shape[-1] ** -0.5


def _row_sums(terms: jax.Array, own: jax.Array, real: jax.Array) -> dict[str, jax.Array]:
    """Sums over the real places of a row, of terms [4, 4, N, L, L] and the model's own logits."""
    whole = terms.sum(axis=(0, 1))
    count = jnp.maximum(real.sum(), 1)
    keys = real / count
    centred = whole - (whole @ keys)[..., None]
    bare = jnp.array([_POSITION, _CONSTANT])
    alone = terms[bare][:, bare].sum(axis=(0, 1))
    logits = jnp.stack([whole, alone, whole - terms[_POSITION, _POSITION]])
    weights = jax.nn.softmax(jnp.where(real, logits, jnp.finfo(logits.dtype).min), axis=-1)
    masses, pairs = [], []
    for offset in OFFSETS.values():
        both = jnp.diagonal(real[:, None] & real[None], offset)
        masses.append(jnp.diagonal(weights, offset, axis1=-2, axis2=-1) @ both.astype(jnp.float32))
        pairs.append(both.sum())
    return {
        "covariances": jnp.einsum("prNLM,NLM,M,L->Npr", terms, centred, keys, real * 1.0),
        "variances": jnp.einsum("NLM,M,L->N", jnp.square(centred), keys, real * 1.0),
        "masses": jnp.stack(masses, axis=-1),  # [3, N, 3]
        "pairs": jnp.stack(pairs),
        "uniform": jnp.stack(pairs) / count,
        "places": real.sum(),
        "error": jnp.max(jnp.where(real[:, None] & real[None], jnp.abs(whole - own), 0)),
        "largest": jnp.max(jnp.where(real[:, None] & real[None], jnp.abs(own), 0)),
    }


@dataclasses.dataclass(frozen=True)
class AttentionFigures:
    """What layer 1's heads look at and why, over the real places of some texts.

    Intervals are 95 %, by a bootstrap of a thousand resamples of the texts (percentiles).

    Attributes:
        shares: [N, 4, 4] share of each term, by part of the query and of the key, in the variance
            of a head's logits over the keys of a query: covariance with the whole by variance of
            the whole, each summed over all queries. They add up to 1; a term that works against
            the others has a negative share.
        share_intervals: [2, N, 4, 4] low, high.
        mass: [3, N, 3] attention to the previous, the same and the next place (`OFFSETS`), mean
            over the queries that have one, by the `LOGITS` that softmax is given: all terms;
            those of position and constant alone; all but position to position.
        mass_intervals: [2, 3, N, 3] low, high.
        uniform: [3] the same for a head that looks at all places equally.
        texts, places: how much was looked at.
        largest_error: between the sum of the terms and the model's own logits.
        largest_logit: to compare it with.
    """

    shares: np.ndarray
    share_intervals: np.ndarray
    mass: np.ndarray
    mass_intervals: np.ndarray
    uniform: np.ndarray
    texts: int
    places: int
    largest_error: float
    largest_logit: float

    @property
    def because_of_positions(self) -> np.ndarray:
        """[N, 3] whether a head looks at the previous, same, next place because of positions.

        It does where it gives the place at least twice what a uniform head gives; the position
        terms alone would, too; and without the term of position to position at least half of what
        it gives beyond uniform is lost.
        """
        whole, alone, without = self.mass
        strong = (whole >= 2 * self.uniform) & (alone >= 2 * self.uniform)
        return strong & (without - self.uniform <= (whole - self.uniform) / 2)

    def grouped_shares(self) -> dict[str, np.ndarray]:
        """Return `shares` by name, [N] each, all terms with a segment as one; they add up to 1."""
        names = [(_TOKEN, _TOKEN), (_TOKEN, _POSITION), (_POSITION, _TOKEN),
                 (_POSITION, _POSITION), (_CONSTANT, _TOKEN), (_CONSTANT, _POSITION)]  # fmt: skip
        found = {
            f"{INPUT_PARTS[query]} to {INPUT_PARTS[key]}": self.shares[:, query, key]
            for query, key in names
        }
        with_segment = self.shares[:, _SEGMENT].sum(axis=-1) + self.shares[:, :, _SEGMENT].sum(-1)
        return {**found, "with a segment": with_segment - self.shares[:, _SEGMENT, _SEGMENT]}


def _figures(sums: dict[str, np.ndarray]) -> AttentionFigures:
    """From the sums of each text [n, …]."""
    texts = len(sums["places"])
    drawn = np.random.default_rng(0).multinomial(texts, np.full(texts, 1 / texts), _DRAWS)
    shares = _ratio(sums["covariances"], sums["variances"][:, :, None, None], drawn)
    mass = _ratio(sums["masses"], sums["pairs"][:, None, None, :], drawn)
    uniform = _ratio(sums["uniform"], sums["pairs"], drawn)
    return AttentionFigures(
        *shares,
        *mass,
        uniform[0],
        texts=texts,
        places=int(sums["places"].sum()),
        largest_error=float(sums["error"].max()),
        largest_logit=float(sums["largest"].max()),
    )


def _ratio(
    above: np.ndarray, below: np.ndarray, drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Σ above / Σ below over texts [n, …], and [2, …] its interval over the `drawn` [R, n]."""

    def ratio(weights: np.ndarray) -> np.ndarray:  # [r, n] -> [r, …]
        top, bottom = (np.tensordot(weights, part.astype(np.float64), 1) for part in (above, below))
        return top / np.where(bottom == 0, np.nan, bottom)

    whole = ratio(np.ones((1, len(above))))[0]
    return whole, np.quantile(ratio(drawn), [0.025, 0.975], axis=0)
