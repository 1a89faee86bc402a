"""The three embedding tables, their LayerNorm, and the vocabulary whose rows they hold.

    token     [V, D]   row i belongs to piece i of the vocabulary
    segment   [S, D]
    position  [L, D]
    norm_scale, norm_bias  [D]

Rows mean nothing without their vocabulary: the same table under another `vocab.txt` is noise that
trains without complaint. So the vocabulary goes where the tables go, and whoever joins tables with
text calls `check_vocabulary`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer

PARTS = ("token", "segment", "position")  # the three tables
ARRAYS = (*PARTS, "norm_scale", "norm_bias")


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingTables:
    """Token, segment and position tables with their LayerNorm and their vocabulary.

    Arrays of any float dtype are taken and kept as float32 (from half precision: exactly).

        >>> rows = np.ones((9, 4))
        >>> tables = EmbeddingTables(rows, rows[:2], rows[:8], rows[0], rows[0])
        >>> tables.token.shape, tables.segment.shape, tables.position.shape
        ((9, 4), (2, 4), (8, 4))

    Attributes:
        token: [V, D].
        segment: [S, D].
        position: [L, D].
        norm_scale: [D], of the LayerNorm over the sum of the three.
        norm_bias: [D].
        tokenizer: the vocabulary and how text is normalised for it; None where the source had
            none. It may have fewer pieces than the table has rows: the rows after the last piece
            are padding that no text reaches.

    Raises:
        UserError: shapes that do not belong together, no floats, a value that is not finite, or
            more pieces than rows.
    """

    token: np.ndarray
    segment: np.ndarray
    position: np.ndarray
    norm_scale: np.ndarray
    norm_bias: np.ndarray
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        for name in ARRAYS:
            object.__setattr__(self, name, _as_float32(name, getattr(self, name)))
        width = self.token.shape[-1] if self.token.ndim == 2 else "D"
        for name in ARRAYS:
            array = getattr(self, name)
            axes = 2 if name in PARTS else 1
            if array.ndim != axes or array.shape[-1] != width or not array.size:
                expected = f"[rows, {width}]" if axes == 2 else f"[{width}]"
                raise UserError(
                    f"got {name} of shape {list(array.shape)}; expected {expected}, as wide as the"
                    " token table"
                )
            if not np.isfinite(array).all():
                raise UserError(
                    f"got {name} with {np.count_nonzero(~np.isfinite(array))} values that are NaN"
                    " or infinite; expected finite numbers"
                )
        if self.tokenizer is not None and self.tokenizer.vocab_size > len(self.token):
            raise UserError(
                f"got {self.tokenizer.vocab_size} pieces for a token table of {len(self.token)}"
                " rows; expected a row for each piece"
            )

    @property
    def width(self) -> int:
        """D."""
        return self.token.shape[1]

    @property
    def vocab_hash(self) -> str | None:
        """`Tokenizer.vocab_hash` of the vocabulary, or None without one."""
        return None if self.tokenizer is None else self.tokenizer.vocab_hash

    def replace(self, **changes: Any) -> EmbeddingTables:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def check_vocabulary(self, other: Tokenizer | str) -> None:
        """Refuse a vocabulary these tables do not belong to.

        Args:
            other: the tokenizer the tables are to be used with; or its hash, and then how text is
                normalised is not checked.

        Raises:
            UserError: other pieces, another order, or text normalised in another way; or these
                tables have no vocabulary.
        """
        own = self.tokenizer
        size = "" if isinstance(other, str) else f"of {other.vocab_size} pieces "
        other_hash = other if isinstance(other, str) else other.vocab_hash
        if own is None:
            raise UserError(
                f"got embedding tables without a vocabulary for one {size}"
                f"(hash {other_hash[:12]}); expected tables that say which piece a row belongs to:"
                " give them their tokenizer, or experiments.edit_embeddings their vocab.txt"
            )
        if own.vocab_hash != other_hash:
            raise UserError(
                f"got a vocabulary {size}(hash {other_hash[:12]}) that does not belong to the"
                f" embedding tables; expected theirs, of {own.vocab_size} pieces (hash"
                f" {own.vocab_hash[:12]}): use that one, or move the tables to yours with"
                " bert_jax.tables.move_vocabulary or experiments.edit_embeddings"
            )
        if not isinstance(other, str):
            names = ("lowercase", "strip_accents", "split_chinese", "splitting")
            for name, mine, theirs in zip(
                names, normalisation(own), normalisation(other), strict=True
            ):
                if mine != theirs:
                    raise UserError(
                        f"got text normalised with {name}={theirs} for embedding tables whose"
                        f" vocabulary has {name}={mine}; expected the same, or rows would never be"
                        " read"
                    )

    def to_params(self) -> dict[str, Any]:
        """Return the arrays as a model holds them, under `params["bert"]["embeddings"]`."""
        return {
            "token": {"table": self.token},
            "segment": {"table": self.segment},
            "position": {"table": self.position},
            "norm": {"scale": self.norm_scale, "bias": self.norm_bias},
        }

    @classmethod
    def from_params(
        cls, embeddings: Mapping[str, Any], tokenizer: Tokenizer | None = None
    ) -> EmbeddingTables:
        """Take the tables from `params["bert"]["embeddings"]`.

        Raises:
            UserError: a part has no table.
        """
        if missing := parts_without_table(embeddings):
            raise UserError(
                f"got embeddings whose {' and '.join(missing)} part has no table; expected `parts`,"
                " how the model makes its parts, by which to ask for their vectors (`tables_of`)"
            )
        return cls(
            token=embeddings["token"]["table"],
            segment=embeddings["segment"]["table"],
            position=embeddings["position"]["table"],
            norm_scale=embeddings["norm"]["scale"],
            norm_bias=embeddings["norm"]["bias"],
            tokenizer=tokenizer,
        )


def parts_without_table(embeddings: Mapping[str, Any]) -> list[str]:
    """Which of `PARTS` are no lookup in a table, by `params["bert"]["embeddings"]`."""
    return [part for part in PARTS if "table" not in embeddings.get(part, {})]


def normalisation(tokenizer: Tokenizer) -> tuple[bool, bool, bool, str]:
    """How text is treated: lowercase, strip_accents (None resolved), split_chinese, splitting."""
    accents = tokenizer.strip_accents
    return (
        tokenizer.lowercase,
        tokenizer.lowercase if accents is None else accents,
        tokenizer.split_chinese,
        tokenizer.splitting.name,
    )


def _as_float32(name: str, array: Any) -> np.ndarray:
    array = np.asarray(array)
    # bfloat16 is no subtype of NumPy's floats; that it can be cast to float32 exactly tells it.
    if array.dtype.kind != "f" and not (
        array.dtype.kind == "V" and np.can_cast(array.dtype, np.float32)
    ):
        raise UserError(f"got {name} of dtype {array.dtype}; expected floating-point numbers")
    return array.astype(np.float32, copy=False)
