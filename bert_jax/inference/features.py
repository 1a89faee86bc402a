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
from bert_jax.data.row_layout import Batch, windows
from bert_jax.errors import UserError
from bert_jax.inference.running import Place, Runner
from bert_jax.kernels.compute import Compute
from bert_jax.memory import check_batch
from bert_jax.model.bert import Bert, BertOutput
from bert_jax.parameters import merge_model, with_cast_products
from bert_jax.pooling import MEAN, POOLINGS, Pooling
from bert_jax.text.encoding import Encoding
from bert_jax.text.inputs import Inputs
from bert_jax.text.tokenizer import Tokenizer

Pool = Callable[[jax.Array, jax.Array], jax.Array]
"""From fp32 states [B, L, D] and a mask [B, L] of real pieces to vectors [B, E]."""


@dataclasses.dataclass(frozen=True)
class _Way:
    """What becomes of hidden states.

    Attributes:
        pool: makes one vector of a text's states; None leaves them as they are, a vector a piece.
        by_pooler: whether the vector is what the model's own pooler makes of [CLS], instead.
        max_length: pieces a text is cut to; None for the model's positions.
        prompt: what is put before every text.
    """

    pool: Pool | None = None
    by_pooler: bool = False
    max_length: int | None = None
    prompt: str = ""


def _tokens(pretrained: Pretrained, layers: tuple[int, ...]) -> _Way:
    return _Way()


def _pooled_by(pooling: Pooling) -> Callable[[Pretrained, tuple[int, ...]], _Way]:
    return lambda pretrained, layers: _Way(pooling.of)


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
    return _Way(by_pooler=True)


def _as_the_model_says(pretrained: Pretrained, layers: tuple[int, ...]) -> _Way:
    said, last = pretrained.sentences, pretrained.config.num_hidden_layers
    if said is None:
        return _tokens(pretrained, layers)
    if said.not_obeyed:
        raise UserError(
            f"got a sentence encoder with {', '.join(said.not_obeyed)}, which bert_jax does not"
            " know;"
            f" expected pooling={MEAN.name} or another, to have vectors without it"
        )
    if said.layers and layers != (last,):
        raise UserError(
            f"got a sentence encoder with a Dense layer over layers"
            f" {', '.join(map(str, layers))}; expected the last layer, {last}, alone, or pooling="
            f"{MEAN.name} or another"
        )
    return _Way(said.of, max_length=said.max_length, prompt=said.prompt)


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
        ids: of its pieces; cut to the model's length where the text was longer.
        vectors: fp32 by layer number: [L, D] if there is one per piece, else [D].
        text: what was encoded, the model's prompt before it.
        tokenizer: what it was encoded with.
    """

    ids: list[int]
    vectors: dict[int, np.ndarray]
    text: str
    tokenizer: Tokenizer = dataclasses.field(repr=False)

    @property
    def encoding(self) -> Encoding:
        """Its pieces with their spelling and their place in the text, made when it is asked for."""
        return self.tokenizer.encode(self.text, max_length=len(self.ids))


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
        batch_size: texts per batch if they have 64 pieces each; longer ones make it smaller,
            shorter ones larger, several in a row.
        dtype: what the model computes in.

    Raises:
        UserError: no vocabulary, no such layer, no pooler, a length the model does not have, or a
            sentence encoder with modules that bert_jax does not know.
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
        compute = Compute(dtype=dtype).at_work()
        fitted = fit(pretrained, Bert, config, seed=0, compute=compute, pooler=self._way.by_pooler)
        params = jax.device_put(with_cast_products(fitted.params, compute.dtype))
        vectors = jax.jit(partial(_vectors, fitted.definition, self._way, self.layers))
        self._runner = Runner(
            partial(vectors, params), self._of_text,
            batch_size=batch_size, positions=positions, pad_id=self.tokenizer.pad_id,
            text_by_text=not self.a_row_a_piece,
        )  # fmt: skip

    @property
    def a_row_a_piece(self) -> bool:
        """Whether there is a vector per piece, not one per text."""
        return self._way.pool is None and not self._way.by_pooler

    @property
    def compiled_shapes(self) -> int:
        """How many shapes of batches there were so far; each was compiled."""
        return len(self._runner.shapes)

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
        for window, found in self._runner.over(self._windows(texts)):
            for (text, inputs), arrays in zip(window, found, strict=True):
                vectors = dict(zip(self.layers, arrays, strict=True))
                yield Features(inputs.ids, vectors, text, self.tokenizer)

    def _windows(
        self, texts: Iterable[str]
    ) -> Iterator[tuple[list[tuple[str, Inputs]], list[Inputs]]]:
        for window in windows(texts, self._batch_size):
            prompted = [self._way.prompt + text for text in strings("texts", window)]
            inputs = self.tokenizer.inputs_of(prompted, max_length=self._longest)
            yield list(zip(prompted, inputs, strict=True)), inputs

    def _of_text(self, vectors: list[np.ndarray], batch: Batch, place: Place) -> list[np.ndarray]:
        """The vectors of one text, of each layer."""
        part = place.tokens if self.a_row_a_piece else place.slot
        return [of_layer[place.row, part].copy() for of_layer in vectors]


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
    definition: Any, way: _Way, layers: tuple[int, ...], params: Any, batch: dict[str, jax.Array]
) -> list[jax.Array]:
    """For each layer, fp32 [B, L, D], or of I texts in each row [B, I, E]."""
    instances, begins = batch["instance_ids"], batch.get("cls_positions")
    output: BertOutput = merge_model(definition, params)(
        batch["input_ids"],
        batch["token_type_ids"],
        instances,
        batch["position_ids"],
        begins,
        output_hidden_states=True,
    )
    if way.by_pooler:
        return [cast(jax.Array, output.pooler_output).astype(jnp.float32)]
    states = cast(tuple[jax.Array, ...], output.hidden_states)  # they were asked for
    found = [states[layer].astype(jnp.float32) for layer in layers]
    if way.pool is None or begins is None:
        return found
    return [_pooled(way.pool, hidden, instances, begins) for hidden in found]


def _pooled(pool: Pool, hidden: jax.Array, instances: jax.Array, begins: jax.Array) -> jax.Array:
    """A vector for each of the I texts in a row, [B, I, E]; of places without one, whatever."""
    if begins.shape[1] == 1:
        return pool(hidden, instances > 0)[:, None]
    places = jnp.arange(hidden.shape[1])[None]

    def of_slot(slot: tuple[jax.Array, jax.Array]) -> jax.Array:
        number, begin = slot  # its states, moved to the front of the row, as `pool` has them
        lengths = (instances == number).sum(axis=1, keepdims=True)
        moved = (begin[:, None] + places) % hidden.shape[1]
        states = jnp.take_along_axis(hidden, moved[:, :, None], axis=1)
        return pool(states, places < lengths)

    numbers = jnp.arange(1, begins.shape[1] + 1)
    return jax.lax.map(of_slot, (numbers, begins.T)).swapaxes(0, 1)
